"""Looking tokens up together: nothing is kept, nobody waits for nobody, and a lost connection is made anew."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from billing import bearers, identity
from billing.bearers import Lookups, verified
from billing.identity import TOKEN_PREFIX, Newcomer
from billing.refusals import Refused
from tests.books.books import new_id


class Table:
    """A database of tokens: what is in it, what was asked in one statement, and whether it hangs or is gone."""

    def __init__(self, *ids: UUID) -> None:
        self.rows = {token_id: {"token_id": token_id} for token_id in ids}
        self.statements: list[list[UUID]] = []
        self.opened = 0
        self.open = asyncio.Event()
        self.open.set()
        self.lose = 0

    async def connect(self):
        self.opened += 1
        return self

    async def fetch(self, _statement, ids, timeout):  # noqa: ASYNC109 - the driver's name for it
        assert timeout == bearers.ANSWER_TIMEOUT_S
        self.statements.append(list(ids))
        await self.open.wait()
        if self.lose:
            self.lose -= 1
            raise ConnectionResetError
        return [self.rows[token_id] for token_id in ids if token_id in self.rows]

    def terminate(self):
        pass


async def turned():
    """So many turns of the loop that whoever waits for nothing but them has gone on; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_those_that_arrive_while_a_statement_runs_share_the_next_one():
    ids = [new_id() for _ in range(6)]
    table = Table(*ids)
    table.open.clear()
    lookup = Lookups(table.connect, "SELECT")
    first = asyncio.ensure_future(lookup(ids[0]))
    await turned()
    others = [asyncio.ensure_future(lookup(token_id)) for token_id in [*ids[1:], new_id()]]
    await turned()
    table.open.set()
    found = await asyncio.gather(first, *others)
    assert [row and row["token_id"] for row in found] == [*ids, None]
    assert [len(asked) for asked in table.statements] == [1, 6]


async def test_every_lookup_is_answered_from_a_read_that_began_after_it():
    token_id = new_id()
    table = Table(token_id)
    lookup = Lookups(table.connect, "SELECT")
    assert await lookup(token_id) is not None
    del table.rows[token_id]
    assert await lookup(token_id) is None


async def test_no_statement_looks_up_more_than_its_bound(monkeypatch):
    monkeypatch.setattr(bearers, "IDS_MAX", 4)
    table = Table()
    lookup = Lookups(table.connect, "SELECT")
    await asyncio.gather(*(lookup(new_id()) for _ in range(10)))
    assert [len(asked) for asked in table.statements] == [4, 4, 2]


async def test_too_many_that_wait_are_turned_away(monkeypatch):
    monkeypatch.setattr(bearers, "WAITING_MAX", 2)
    table = Table()
    lookup = Lookups(table.connect, "SELECT")
    waiting = [asyncio.ensure_future(lookup(new_id())) for _ in range(2)]
    await asyncio.sleep(0)
    monkeypatch.setattr(bearers, "WAITING_MAX", 0)
    with pytest.raises(Refused, match="too many requests are waiting"):
        await lookup(new_id())
    assert await asyncio.gather(*waiting) == [None, None]


async def test_a_connection_that_was_lost_meanwhile_is_made_anew_and_one_that_stays_lost_is_told():
    token_id = new_id()
    table = Table(token_id)
    lookup = Lookups(table.connect, "SELECT")
    await lookup(token_id)
    table.lose = 1
    assert await lookup(token_id) is not None
    assert table.opened == 2
    table.lose = 2
    with pytest.raises(ConnectionResetError):
        await lookup(token_id)
    assert await lookup(token_id) is not None


async def test_a_request_that_goes_away_disturbs_no_other():
    ids = [new_id(), new_id()]
    table = Table(*ids)
    table.open.clear()
    lookup = Lookups(table.connect, "SELECT")
    gone, stays = (asyncio.ensure_future(lookup(token_id)) for token_id in ids)
    await turned()
    gone.cancel()
    table.open.set()
    assert await stays == {"token_id": ids[1]}


async def test_a_token_that_was_revoked_is_refused_by_the_next_request(quiet_house):
    now = quiet_house.clock()
    newcomer = Newcomer(name="leaver", runtime="pytest")
    made = await identity.sign_up(quiet_house.sessions, newcomer, want_token=True, presented=None, now=now)
    lookup, token = quiet_house.bearers.agents, made.token or ""
    actors = await asyncio.gather(*(identity.authenticate(lookup, token, now=now) for _ in range(20)))
    assert {actor.agent_id for actor in actors} == {made.agent.id}
    await identity.revoke_token(quiet_house.sessions, actors[0], now=now)
    for bad in (token, token[:-1], "isk_r_", ""):
        with pytest.raises(Refused, match="a valid agent token is required"):
            await verified(lookup, bad, prefix=TOKEN_PREFIX, now=now + timedelta(microseconds=1))
