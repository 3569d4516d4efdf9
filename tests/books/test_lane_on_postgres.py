"""Lanes on PostgreSQL: several at once on the same books, next to transactions that hold them."""

import asyncio
import json
import random
import sys
import time
from collections import Counter

import pytest

from ledger import posting
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome
from tests.billing.patience import LOCK_TIMEOUT_MS
from tests.books.books import AGENT, grant
from tests.books.lanes import CREDITS, deadlocks, essence, insist, lane_on, new_books, spend, spent_as_asked
from tests.service import ROOT
from tests.unit.fake_books import Meter

SEED = 20261121
SEARCH_S = 4.0
LONG_SEARCH_S = 40.0
PATIENCE_S = 120.0
"""For a machine that stalls: what goes well is over long before."""
ROUNDS = 60


async def test_two_lanes_on_the_same_hot_books_post_each_key_once(books, owner, database):
    hot = await new_books(books, 3)
    chance = random.Random(SEED)
    spends = [spend(chance.choice(hot), f"k{n}") for n in range(1_500)]
    async with lane_on(database.run_url) as one, lane_on(database.run_url) as two:
        both = [
            asyncio.gather(*(insist(lane, [operation]) for operation in chance.sample(spends, len(spends))))
            for lane in (one, two)
        ]
        answers = [answer for lane in await asyncio.gather(*both) for [answer] in lane]
    replays = Counter(answer.operation_id for answer in answers if answer.replayed)
    assert set(replays.values()) == {1}
    assert len(replays) == len({essence(answer) for answer in answers}) == len(spends)
    await spent_as_asked(books, owner, spends)


async def test_lanes_of_several_processes_post_each_key_once(books, owner, database):
    hot = await new_books(books, 2)
    spends = [spend(hot[n % 2], f"k{n}") for n in range(600)]

    async def process(mine):
        asked = {"url": database.run_url, "callers": 32, "spends": [[str(o.organization_id), o.key] for o in mine]}
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.books.lane_process", cwd=ROOT, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(running.communicate(json.dumps(asked).encode()), PATIENCE_S)
        assert running.returncode == 0
        return [tuple(json.loads(line)) for line in out.splitlines()]

    first, second = await asyncio.gather(process(spends[:400]), process(spends[200:]))
    assert len(first) == len(second) == 400
    assert len({*first, *second}) == 600
    await spent_as_asked(books, owner, spends)


async def test_a_transaction_that_keeps_one_book_stalls_no_other_however_long(books, owner, database):
    slow, *others = await new_books(books, 9)
    held, over = asyncio.Event(), asyncio.Event()

    async def keep():
        async with books() as session, session.begin():
            await posting.post(session, [grant(slow, "slow", 5)])
            held.set()
            await over.wait()

    async with lane_on(database.run_url, batch_max=64) as lane:
        await lane.post_all([spend(book, "warm") for book in others])
        keeping = asyncio.ensure_future(keep())
        await held.wait()
        blocked = [asyncio.ensure_future(lane.post(spend(slow, f"b{n}"))) for n in range(200)]
        took = []
        for number in range(ROUNDS):
            sent = time.monotonic()
            await lane.post_all([spend(book, f"k{number}") for book in others])
            took.append(time.monotonic() - sent)
        assert not any(one.done() for one in blocked)
        over.set()
        answers = await asyncio.gather(*blocked)
        await keeping
    assert sorted(took)[-3] < 1.0, "two may have met a moment in which the machine stood still"
    assert max(took) < LOCK_TIMEOUT_MS / 2000, "no round has waited for a lock"
    assert sorted(took)[len(took) // 2] < 0.2
    assert [answer.seq for answer in answers] == list(range(4, 204))  # opening, grant, the slow one, then all in order
    assert answers[-1].available_after == CREDITS + 5 - 200
    asked = [spend(book, f"k{n}") for book in others for n in range(ROUNDS)] + [spend(book, "warm") for book in others]
    await spent_as_asked(books, owner, [*asked, *(spend(slow, f"b{n}") for n in range(200))])


async def test_a_book_with_more_due_than_one_call_posts_catches_up_in_the_lane(books, owner, database):
    behind, other = await new_books(books, 2)
    later = await owner.connection.fetchval("SELECT ledger.clock() + interval '1 hour'")
    holds = [
        Operation(behind, Kind.HOLD, behind, f"h{n}", "job", credits=1, deadline=later.replace(microsecond=n))
        for n in range(950)
    ]
    async with lane_on(database.run_url) as lane:
        assert {answer.outcome for answer in await lane.post_all(holds)} == {Outcome.POSTED}
        async with owner.clock_at("clock_timestamp() + interval '2 hours'"):
            late, quick = await asyncio.gather(lane.post(spend(behind, "late")), lane.post(spend(other, "quick")))
    assert (late.outcome, quick.outcome) == (Outcome.POSTED, Outcome.POSTED)
    assert (late.held_after, late.available_after) == (0, CREDITS - 1)
    await spent_as_asked(books, owner, [spend(behind, "late"), spend(other, "quick")])


async def test_an_operation_that_the_database_cannot_take_fails_alone(books, owner, database):
    [book] = await new_books(books, 1)
    async with lane_on(database.run_url) as lane:
        unknown = [Operation(book, Kind.LOT_EXPIRY, AGENT, key, "job") for key in ("x", "y")]
        asked = [spend(book, "a", 1), unknown[0], spend(book, "b", 1), unknown[1], spend(book, "c", 1)]
        calls = [lane.post(operation) for operation in asked]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(answer, "outcome", None) for answer in answers] == ["posted", None, "posted", None, "posted"]
    assert all(isinstance(answers[n], Exception) for n in (1, 3))
    await spent_as_asked(books, owner, [spend(book, key) for key in "abc"])


async def _search_for_deadlocks(books, owner, database, *, for_s):
    """Fulfilments grant in several books at once and keep them a while; two lanes spend in the same books meanwhile."""
    shared = await new_books(books, 12)
    before = await deadlocks(database.owner_url)
    chance = random.Random(SEED)
    ends, enough = time.monotonic() + for_s, 5 * for_s
    spends: list[Operation] = []
    fulfilled: list[int] = []

    def goes_on():
        now = time.monotonic()
        return now < ends or (len(fulfilled) <= enough and now < ends + PATIENCE_S)

    async def fulfil(number):
        while goes_on():
            n = len(fulfilled)
            chosen = chance.sample(shared, chance.randint(1, 5))
            async with books() as session, session.begin():
                answers = await posting.post(session, [grant(book, f"f{number}-{n}", 10) for book in chosen])
                await asyncio.sleep(chance.uniform(0, 0.03))
            assert {answer.outcome for answer in answers} == {Outcome.POSTED}
            fulfilled.append(n)

    async def buy(lane, name):
        n = 0
        while goes_on():
            mine = [spend(chance.choice(shared), f"{name}-{n}-{i}") for i in range(chance.choice([1, 1, 5]))]
            spends.extend(mine)
            assert {answer.outcome for answer in await lane.post_all(mine)} == {Outcome.POSTED}
            n += 1

    meter = Meter()
    async with lane_on(database.run_url, meter) as one, lane_on(database.run_url, meter) as two:
        buyers = [buy(lane, f"{name}{n}") for name, lane in (("one", one), ("two", two)) for n in range(12)]
        await asyncio.gather(*(fulfil(number) for number in range(6)), *buyers)
    assert meter.breaks == {}
    assert await deadlocks(database.owner_url) == before
    assert len(fulfilled) > enough
    await spent_as_asked(books, owner, spends)


async def test_fulfilments_and_lanes_on_the_same_books_never_deadlock(books, owner, database):
    await _search_for_deadlocks(books, owner, database, for_s=SEARCH_S)


@pytest.mark.long
async def test_fulfilments_and_lanes_on_the_same_books_never_deadlock_for_long(books, owner, database):
    await _search_for_deadlocks(books, owner, database, for_s=LONG_SEARCH_S)
