"""What goes wrong between a lane and PostgreSQL: afterwards the same keys get the same answers, nothing is doubled."""

import asyncio
import os
import random
import signal
from uuid import UUID

import asyncpg
import pytest

from api.wiring import async_url
from billing import database as connecting
from billing.database import engine, sessions
from ledger import lane as lanes
from ledger.operations import Operation
from ledger.outcomes import Outcome, Posted
from tests.books.books import Owner
from tests.books.lanes import essence, hold, insist, lane_on, new_books, spend, spent_as_asked
from tests.crash.test_postgres_killed import _answers, durable  # noqa: F401 - a fixture
from tests.model.proxy import proxy_to
from tests.service import until
from tests.unit.fake_books import Meter

SEED = 20261121
SHORT_S = 0.4
KILLS = 6
FAULTS = 3
ROUNDS_MAX = 100
PATIENCE_S = 60.0
STANDING = """SELECT pid FROM pg_locks JOIN pg_database AS here ON here.oid = database
    WHERE locktype = 'advisory' AND objid = 1 AND NOT granted AND datname = current_database()"""
"""Who waits for the lock that a test holds."""


@pytest.fixture
async def proxy(database):
    async with proxy_to(database.run_url) as between:
        yield between


@pytest.fixture
def impatient(monkeypatch):
    """A server that has vanished is noticed soon, so that the test is over soon."""
    monkeypatch.setattr(lanes, "ANSWER_TIMEOUT_S", SHORT_S)
    monkeypatch.setattr(connecting, "CONNECT_TIMEOUT_S", SHORT_S)


async def _many_callers(lane, ids, number, each, chance, *, prefix=""):
    """What all of them asked, and what they were answered."""
    asked: list[Operation] = []
    answered: dict[UUID, Posted] = {}

    async def one(caller):
        for n in range(each):
            group = chance.choice([0, 3])
            mine = [spend(ids[caller % len(ids)], f"{prefix}c{caller}-{n}-{i}", i + 1, group=group) for i in range(3)]
            asked.extend(mine)
            answered.update((answer.operation_id, answer) for answer in await insist(lane, mine))
            await asyncio.sleep(chance.uniform(0, 0.02))

    await asyncio.gather(*(one(caller) for caller in range(number)))
    return asked, answered


async def _until(done, lane, ids, chance):
    """Many callers, again and again, until enough went wrong."""
    asked: list[Operation] = []
    answered: dict[UUID, Posted] = {}
    for number in range(ROUNDS_MAX):
        if done():
            break
        more, found = await _many_callers(lane, ids, 16, 2, chance, prefix=f"{number}-")
        asked += more
        answered |= found
    assert done()
    return asked, answered


async def _breaks(meter, number):
    """Wait until so many calls had no answer in time."""
    await asyncio.to_thread(until, lambda: meter.breaks["TimeoutError"] >= number, within_s=PATIENCE_S)


async def _same_again(url, asked, answered):
    """Everything once more, past the proxy, in another order and other batches."""
    mixed = random.Random(SEED).sample(asked, len(asked))
    async with lane_on(url) as lane:
        again = await asyncio.gather(*(insist(lane, [operation]) for operation in mixed))
    assert all(answer.replayed for [answer] in again)
    assert {essence(answer) for [answer] in again} == {essence(answer) for answer in answered.values()}
    assert {answer.outcome for answer in answered.values()} == {Outcome.POSTED}


async def test_a_reply_lost_after_commit_is_asked_for_again_and_the_first_answer_comes(books, owner, database, proxy):
    ids = await new_books(books, 3)
    asked = [spend(ids[n % 3], f"k{n}", group=n // 9 % 2) for n in range(0, 90, 3)]
    async with lane_on(proxy.url) as lane:
        await lane.post(spend(ids[0], "warm"))  # the statement is prepared: the next reply is that of the batch
        proxy.lose_reply()
        answers = await lane.post_all(asked)
    assert proxy.replies_lost == 1
    assert [answer.replayed for answer in answers] == [True] * len(asked)
    await _same_again(database.run_url, asked, {answer.operation_id: answer for answer in answers})
    await spent_as_asked(books, owner, [*asked, spend(ids[0], "warm")])


async def test_replies_lost_at_any_moment_leave_every_caller_with_its_answer(books, owner, database, proxy):
    ids = await new_books(books, 4)
    chance = random.Random(SEED)

    async def lose():
        while proxy.replies_lost <= FAULTS:
            proxy.lose_reply()
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            proxy._losing = False  # it may have swallowed half a greeting: that connection leads nowhere
            proxy.cut()
            await asyncio.sleep(chance.uniform(0, 0.2))

    async with lane_on(proxy.url) as lane:
        losing = asyncio.ensure_future(lose())
        asked, answered = await _until(lambda: proxy.replies_lost > FAULTS, lane, ids, chance)
        losing.cancel()
        proxy._losing = False
    await _same_again(database.run_url, asked, answered)
    await spent_as_asked(books, owner, asked)


async def test_connections_cut_at_any_moment_double_nothing_and_lose_nothing(books, owner, database, proxy):
    ids = await new_books(books, 4)
    meter = Meter()
    chance = random.Random(SEED)

    async def cut():
        while meter.breaks.total() <= FAULTS:
            await asyncio.sleep(chance.uniform(0.02, 0.15))
            proxy.cut()

    async with lane_on(proxy.url, meter) as lane:
        cutting = asyncio.ensure_future(cut())
        asked, answered = await _until(lambda: meter.breaks.total() > FAULTS, lane, ids, chance)
        cutting.cancel()
    await _same_again(database.run_url, asked, answered)
    await spent_as_asked(books, owner, asked)


async def test_a_slow_line_only_takes_longer(books, owner, database, proxy):
    ids = await new_books(books, 2)
    meter = Meter()
    proxy.delay_s = 0.02
    async with lane_on(proxy.url, meter) as lane:
        asked, answered = await _many_callers(lane, ids, 20, 3, random.Random(SEED))
        assert meter.breaks == {}
        assert max(meter.sizes) > 20  # what comes during a slow call goes in one
    await _same_again(database.run_url, asked, answered)
    await spent_as_asked(books, owner, asked)


async def test_a_line_on_which_nobody_answers_is_left_for_a_new_one(books, owner, database, proxy, impatient):
    ids = await new_books(books, 3)
    meter = Meter()
    async with lane_on(proxy.url, meter) as lane:
        await insist(lane, [spend(ids[0], "warm")])
        before = meter.breaks["TimeoutError"]
        proxy.half_open = True
        calling = asyncio.ensure_future(_many_callers(lane, ids, 9, 3, random.Random(SEED)))
        await _breaks(meter, before + 2)  # on the old connection, and then on a new one
        proxy.half_open = False
        asked, answered = await calling
    await _same_again(database.run_url, asked, answered)
    await spent_as_asked(books, owner, [*asked, spend(ids[0], "warm")])


async def test_a_call_that_lives_on_at_the_server_holds_its_book_and_is_waited_for(
    books, owner, database, proxy, impatient, monkeypatch
):
    """The reply is late, the lane asks again, and the book is still locked by the old call, which then commits."""
    monkeypatch.setattr(lanes, "GIVE_UP_S", PATIENCE_S)
    monkeypatch.setattr(lanes, "RESENDS_MAX", 100)  # a machine that stalls breaks more calls than this test does
    slow, other = await new_books(books, 2)
    meter = Meter()
    async with lane_on(proxy.url, meter) as lane:
        await lane.post(spend(slow, "warm"))
        before = meter.breaks["TimeoutError"]
        await owner.connection.execute("SELECT pg_advisory_lock(1)")
        async with owner.clock_at("clock_timestamp() FROM pg_advisory_xact_lock_shared(1)"):
            calling = asyncio.ensure_future(lane.post(spend(slow, "late")))
            await asyncio.to_thread(until, lambda: database.rows(STANDING), within_s=PATIENCE_S)
            await _breaks(meter, before + 1)
        await asyncio.to_thread(until, lambda: meter.given_back > lanes.GIVE_BACKS_MAX, within_s=PATIENCE_S)
        await _breaks(meter, meter.breaks["TimeoutError"] + 1)  # aside, too, it waits for the lock longer than it may
        await owner.connection.execute("SELECT pg_advisory_unlock(1)")
        answer = await calling
        quick = await lane.post(spend(other, "k"))
    assert quick.outcome is Outcome.POSTED
    assert answer.outcome is Outcome.POSTED
    await _same_again(database.run_url, [spend(slow, "late")], {answer.operation_id: answer})
    await spent_as_asked(books, owner, [spend(slow, "late"), spend(slow, "warm"), spend(other, "k")])


@pytest.mark.long
async def test_postgres_killed_in_mid_batch_again_and_again(durable):  # noqa: F811
    server, database = durable
    on = engine(async_url(database.run_url))
    books = sessions(on)
    ids = await new_books(books, 6)
    now = await asyncio.to_thread(lambda: database.rows("SELECT ledger.clock()")[0][0])
    chance = random.Random(SEED)

    async def kill():
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.2, 1.2))
            pid = int((server.data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(until, lambda: _answers(database), within_s=60)

    held = [hold(ids[n % 6], f"h{n}", 2, at=now) for n in range(30)]
    asked = list(held)
    answered: dict[UUID, Posted] = {}
    meter = Meter()
    async with lane_on(database.run_url, meter) as lane:
        killing = asyncio.ensure_future(kill())
        holding = asyncio.ensure_future(insist(lane, held))
        rounds = 0
        while not killing.done():
            more, found = await _many_callers(lane, ids, 24, 3, chance, prefix=f"{rounds}-")
            asked += more
            answered |= found
            rounds += 1
        await killing
        answered |= {answer.operation_id: answer for answer in await holding}
        assert sum(meter.breaks.values()) >= KILLS
    await _same_again(database.run_url, asked, answered)
    owner = Owner(await asyncpg.connect(database.owner_url))
    await spent_as_asked(books, owner, asked)
    await owner.connection.close()
    await on.dispose()
