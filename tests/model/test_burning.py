"""In which order lots burn, how many a request may need, and how small gifts become one."""

from datetime import timedelta

import pytest

from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening
from ledger.outcomes import Outcome
from tests.model.desk import BOOK, DAY, HOUR


async def remaining(desk):
    return [lot["remaining"] for lot in await desk.lots()]


async def test_lots_burn_by_priority_then_expiry_then_age(desk):
    await desk.grant(10)
    await desk.grant(10, expires_in=2 * DAY)
    await desk.grant(10, expires_in=DAY)
    await desk.grant(10)
    await desk.grant(10, priority=50)
    for left in ([10, 10, 10, 10, 5], [10, 10, 10, 10, 0], [10, 10, 5, 10, 0], [10, 10, 0, 10, 0]):
        await desk.spend(5)
        assert await remaining(desk) == left
    await desk.hold(25)
    assert await remaining(desk) == [0, 0, 0, 5, 0]


async def small_lots(desk, count, *, each=1):
    """Lots that burn in the order of their numbers and are never joined."""
    lots = [LotOpening(LotCause.CORRECTION, each, None, desk.world.now + DAY) for _ in range(count)]
    await desk.world.post(*(desk.new(Kind.GRANT, scope=SYSTEM_SCOPE, lot=lot) for lot in lots))


@pytest.mark.parametrize("kind", [Kind.SPEND, Kind.HOLD])
async def test_spends_go_on_over_pages_of_lots(desk, kind):
    await small_lots(desk, 150)
    deadline = desk.world.now + HOUR if kind is Kind.HOLD else None
    batch = [desk.new(kind, credits=credits_, deadline=deadline) for credits_ in (31, 1, 33, 2, 40, 12)]
    answers = await desk.world.post(*batch)
    assert [answer.available_after for answer in answers] == [119, 118, 85, 83, 43, 31]
    assert await remaining(desk) == [0] * 119 + [1] * 31


@pytest.mark.parametrize("kind", [Kind.SPEND, Kind.HOLD])
async def test_a_request_burns_at_most_256_lots_and_one_that_needs_more_changes_nothing(desk, kind):
    await small_lots(desk, 300, each=2)
    before = await desk.world.rows(BOOK)
    deadline = desk.world.now + HOUR if kind is Kind.HOLD else None
    await desk.do(kind, credits=513, deadline=deadline, outcome=Outcome.TOO_FRAGMENTED)
    assert await desk.world.rows(BOOK) == before
    await desk.do(kind, credits=512, deadline=deadline)
    assert await remaining(desk) == [0] * 256 + [2] * 44


async def test_a_request_that_needs_too_many_lots_does_not_disturb_its_neighbours(desk):
    await small_lots(desk, 320, each=2)
    batch = [desk.new(Kind.SPEND, credits=credits_) for credits_ in (3, 600, 4, 513, 500, 513, 100)]
    answers = await desk.world.post(*batch)
    assert [answer.outcome.value for answer in answers] == [
        "posted", "too_fragmented", "posted", "too_fragmented", "posted", "not_enough_credits", "posted",
    ]  # fmt: skip
    await desk.lots()


async def test_promotional_lots_of_equal_terms_are_one_lot(desk):
    await desk.gift(5, expires_in=DAY)
    await desk.gift(7, expires_in=DAY)
    assert await remaining(desk) == [12]
    await desk.gift(1, expires_in=2 * DAY)
    await desk.gift(1, expires_in=DAY, priority=50)
    await desk.gift(1)
    await desk.gift(2)
    await desk.grant(9, cause=LotCause.CORRECTION, expires_in=DAY)
    assert await remaining(desk) == [12, 1, 1, 3, 9]


async def test_a_promotional_lot_that_is_used_up_is_not_joined(desk):
    await desk.gift(5)
    await desk.spend(5)
    await desk.gift(7)
    assert await remaining(desk) == [0, 7]


async def test_a_gift_that_has_expired_is_refused_and_a_payment_is_never(desk):
    past = desk.world.now - timedelta(seconds=1)
    for cause in (LotCause.PROMOTIONAL, LotCause.CORRECTION):
        await desk.do(Kind.GRANT, lot=LotOpening(cause, 5, None, past), outcome=Outcome.EXPIRES_IN_THE_PAST)
    await desk.grant(5, expires_in=timedelta(seconds=-1))
    await desk.due()
    assert await desk.lot() == {"expired": 5}


async def test_a_book_with_more_due_than_one_call_posts_says_catch_up_until_it_has_caught_up(desk):
    await small_lots(desk, 250)
    await desk.grant(10)
    await desk.wait(2 * DAY)
    request = desk.new(Kind.SPEND, credits=3)
    for left in (150, 50):
        [answer] = await desk.world.post(request)
        assert answer.outcome is Outcome.CATCH_UP
        assert sum(await remaining(desk)) == left + 10
    [answer] = await desk.world.post(request)
    assert (answer.outcome, answer.available_after) == (Outcome.POSTED, 7)


async def test_catching_up_without_items_goes_on_until_nothing_is_left(desk):
    await desk.grant(130)
    for _ in range(125):
        await desk.hold(1)
    await small_lots(desk, 90)
    await desk.wait(2 * DAY)
    assert [await desk.world.catch_up(BOOK) for _ in range(3)] == [True, True, False]
    await desk.spend(130)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)
