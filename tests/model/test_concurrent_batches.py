"""Several connections post random batches over the same few books at once: some serialization explains every answer."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, opening
from ledger.outcomes import Outcome
from tests.model.conftest import CONNECTIONS
from tests.model.losing import post_and_lose_the_reply
from tests.model.proxy import proxy_to
from tests.model.world import START, send

BOOKS = [UUID(int=n << 120) for n in (0xC1, 0xC2, 0xC3)]
AGENT = UUID(int=0xA1)
HOUR = timedelta(hours=1)


def paid(book, key, credits_):
    lot = LotOpening(LotCause.PAID, credits_, usd(credits_), None)
    return Operation(book, Kind.GRANT, SYSTEM_SCOPE, key, "payment", lot=lot)


def wish(dice, now):
    """Few keys and few credits: repetitions, other content under an old key, and refusals are common."""
    book, key = dice.choice(BOOKS), f"k{dice.randrange(60)}"
    kind = dice.choices(
        [Kind.SPEND, Kind.HOLD, Kind.CAPTURE, Kind.VOID, Kind.GRANT, Kind.CLAW_BACK], [8, 5, 4, 2, 2, 2]
    )[0]
    known = Operation(book, Kind.SPEND, AGENT, f"k{dice.randrange(60)}", "job", credits=1)
    match kind:
        case Kind.SPEND:
            return Operation(book, kind, AGENT, key, "job", credits=dice.randrange(1, 4), group=0)
        case Kind.HOLD:
            return Operation(book, kind, AGENT, key, "job", credits=dice.randrange(1, 6), deadline=now + HOUR)
        case Kind.CAPTURE:
            return Operation(book, kind, AGENT, f"c{key}", "job", credits=1, target=known.id, final=dice.random() < 0.5)
        case Kind.VOID:
            return Operation(book, kind, AGENT, f"v{key}", "job", target=known.id)
        case Kind.GRANT:
            return paid(book, f"g{dice.randrange(20)}", 5)
        case _:
            grant = paid(book, f"g{dice.randrange(20)}", 5)
            return Operation(book, kind, SYSTEM_SCOPE, f"r{key}", "dispute", credits=2, target=grant.id)


def batch(dice, now):
    wishes = [wish(dice, now) for _ in range(dice.randrange(1, 9))]
    if dice.random() < 0.3:
        together = [made for made in wishes if made.organization_id == wishes[0].organization_id]
        others = [made for made in wishes if made.organization_id != wishes[0].organization_id]
        return [replace(made, group=1) for made in together] + others
    return wishes


async def open_books(world):
    await world.post(*(opening(organization_id=book, event_at=START) for book in BOOKS))
    await world.post(*(paid(book, "first", 40) for book in BOOKS))


async def race(world, *, rounds, batches, seed):
    dice = random.Random(seed)
    await open_books(world)
    for _ in range(rounds):
        histories = [[batch(dice, world.now) for _ in range(batches)] for _ in range(CONNECTIONS)]
        await world.post_at_once(histories)
        await world.check()
        await world.set_clock(world.now + timedelta(minutes=dice.randrange(30)))
    await world.verify()


@pytest.mark.parametrize("seed", range(3))
async def test_some_serialization_explains_every_answer_of_batches_posted_at_once(world, seed):
    await race(world, rounds=5, batches=4, seed=seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
async def test_some_serialization_explains_long_races(world, seed):
    await race(world, rounds=30, batches=5, seed=seed)


async def test_a_batch_sent_by_all_at_once_is_posted_once(world):
    await open_books(world)
    same = [Operation(book, Kind.SPEND, AGENT, f"s{n}", "job", credits=1) for n in range(5) for book in BOOKS]
    answers = await asyncio.gather(*(send(connection, same) for connection in world.connections))
    first = world.oracle.post(same, world.now)
    for n, posted in enumerate(first):
        assert sorted(answer[n].replayed for answer in answers) == [False] + [True] * (CONNECTIONS - 1)
        assert all(replace(answer[n], replayed=False) == posted for answer in answers)
    await world.check()


async def test_a_batch_whose_reply_was_lost_after_commit_gets_its_first_answers_when_sent_again(world, model_database):
    await open_books(world)
    hold = Operation(BOOKS[0], Kind.HOLD, AGENT, "hold", "job", credits=5, deadline=world.now + HOUR)
    sent = [
        Operation(BOOKS[0], Kind.SPEND, AGENT, "s", "job", credits=3),
        hold,
        Operation(BOOKS[0], Kind.CAPTURE, AGENT, "c", "job", credits=2, target=hold.id),
        Operation(BOOKS[1], Kind.SPEND, AGENT, "too much", "job", credits=1000),
        paid(BOOKS[2], "second", 7),
    ]
    async with proxy_to(model_database.run_url) as proxy:
        await post_and_lose_the_reply(proxy, sent)
    first = world.oracle.post(sent, world.now)
    await world.check()
    again = await world.post(*sent)
    assert again == [replace(posted, replayed=True) for posted in first]
    assert [posted.outcome for posted in again].count(Outcome.POSTED) == 4
    await world.check()


async def test_a_busy_book_is_skipped_when_asked_not_to_wait_and_others_are_posted(world):
    await open_books(world)
    spends = [Operation(book, Kind.SPEND, AGENT, "s", "job", credits=1) for book in BOOKS]
    locked = world.connections[1].transaction()
    await locked.start()
    await send(world.connections[1], [spends[1]])
    answers = await send(world.connections[0], spends, wait=False)
    assert [answer.outcome for answer in answers] == [Outcome.POSTED, Outcome.BUSY, Outcome.POSTED]
    await locked.rollback()
    world.oracle.post([spends[0], spends[2]], world.now)
    await world.check()
    assert [posted.replayed for posted in await world.post(*spends)] == [True, False, True]
