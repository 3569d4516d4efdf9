"""The table of holds and lots, a test per cell (four rows, four columns), and the rules of the text around it.

Every answer and every row is compared with the oracle as well (`World.post`, `World.check`).
"""

from datetime import timedelta

import pytest
import pytest_asyncio

from ledger.operations import Kind
from ledger.outcomes import Outcome
from tests.model.desk import BOOK, DAY, HOUR, Desk
from tests.model.world import world_on

endings = pytest.mark.parametrize("ending", ["rest", "void", "expiry"])
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def lots_database(new_databases):
    """A database whose clock these tests set, and which they empty."""
    return new_databases("lots")


@pytest_asyncio.fixture
async def desk(lots_database):
    """An empty book."""
    async with world_on(lots_database) as world:
        made = Desk(world)
        await made.open()
        yield made


def used(ending):
    """What a hold's end consumed: the capture whose rest is released takes one credit."""
    return {"consumed": 1} if ending == "rest" else {}


# Row 1: capture before the hold's deadline.


async def test_a_capture_consumes_what_was_held_of_an_open_lot(desk):
    await desk.grant(100)
    hold = await desk.hold(60)
    await desk.capture(hold, 60)
    assert await desk.lot() == {"remaining": 40, "consumed": 60}


async def test_a_capture_consumes_of_a_lot_that_expired_while_held(desk):
    await desk.grant(100, expires_in=HOUR)
    hold = await desk.hold(60, lasts=3 * HOUR)
    await desk.wait(2 * HOUR)
    await desk.capture(hold, 60)
    assert await desk.lot() == {"consumed": 60, "expired": 40}


async def test_a_capture_takes_unreversed_credits_first_and_the_reversed_become_owed(desk):
    grant = await desk.grant(60)
    hold = await desk.hold(60)
    await desk.claw_back(grant, 20)
    assert await desk.lot() == {"held": 60, "held_reversed": 20}
    await desk.capture(hold, 40, final=False)
    assert await desk.lot() == {"held": 20, "held_reversed": 20, "consumed": 40}
    await desk.capture(hold, 15, final=False)
    assert await desk.lot() == {"held": 5, "held_reversed": 5, "consumed": 55, "owed": 15}


async def test_unreversed_credits_of_every_lot_of_a_hold_go_before_reversed_ones_of_the_first(desk):
    first = await desk.grant(30)
    await desk.grant(30)
    hold = await desk.hold(60)
    await desk.claw_back(first, 30)
    await desk.capture(hold, 40, final=False)
    assert await desk.lot(1) == {"held": 20, "held_reversed": 20, "consumed": 10, "owed": 10}
    assert await desk.lot(2) == {"consumed": 30}


async def test_a_capture_of_a_frozen_lot_is_refused_until_it_is_unfrozen(desk):
    grant = await desk.grant(100)
    hold = await desk.hold(60)
    await desk.freeze(grant)
    await desk.capture(hold, 1, outcome=Outcome.HOLD_FROZEN)
    await desk.unfreeze(grant)
    await desk.capture(hold, 60)
    assert await desk.lot() == {"remaining": 40, "consumed": 60}


async def test_a_capture_takes_what_is_not_frozen_of_a_hold_and_no_more(desk):
    grant = await desk.grant(30)
    await desk.grant(30)
    hold = await desk.hold(60)
    await desk.freeze(grant)
    await desk.capture(hold, 31, outcome=Outcome.HOLD_FROZEN)
    await desk.capture(hold, 30)
    assert await desk.lot(1) == {"remaining": 30}
    assert await desk.lot(2) == {"consumed": 30}
    assert (desk.last.available_after, desk.last.held_after) == (0, 0)


# Row 2: the rest of a final capture, a void, the expiry of a hold.


@endings
async def test_what_is_released_of_an_open_lot_goes_back_to_it(desk, ending):
    await desk.grant(100)
    await desk.end(await desk.hold(60), ending)
    assert await desk.lot() == {"remaining": 100 - len(used(ending)), **used(ending)}


@endings
async def test_what_is_released_of_a_lot_that_expired_while_held_expires(desk, ending):
    await desk.grant(60, expires_in=HOUR)
    hold = await desk.hold(60, lasts=3 * HOUR)
    await desk.wait(2 * HOUR)
    await desk.end(hold, ending)
    assert await desk.lot() == {"expired": 60 - len(used(ending)), **used(ending)}


@endings
async def test_what_is_released_is_clawed_back_up_to_the_reversed_amount_and_the_rest_goes_back(desk, ending):
    grant = await desk.grant(60)
    hold = await desk.hold(60)
    await desk.claw_back(grant, 20)
    await desk.end(hold, ending)
    assert await desk.lot() == {"remaining": 40 - len(used(ending)), "clawed_back": 20, **used(ending)}


@endings
async def test_what_is_released_of_a_reversed_and_expired_lot_is_clawed_back_and_the_rest_expires(desk, ending):
    grant = await desk.grant(60, expires_in=HOUR)
    hold = await desk.hold(60, lasts=3 * HOUR)
    await desk.claw_back(grant, 20)
    await desk.wait(2 * HOUR)
    await desk.end(hold, ending)
    assert await desk.lot() == {"expired": 40 - len(used(ending)), "clawed_back": 20, **used(ending)}


async def test_releasing_a_reversed_hold_leaves_what_is_owed_unchanged(desk):
    grant = await desk.grant(100)
    await desk.spend(40)
    hold = await desk.hold(60)
    await desk.claw_back(grant, 100)
    assert await desk.lot() == {"held": 60, "held_reversed": 60, "consumed": 40, "owed": 40}
    await desk.void(hold)
    assert await desk.lot() == {"clawed_back": 60, "consumed": 40, "owed": 40}


@pytest.mark.parametrize("ending", ["void", "expiry"])
async def test_what_is_released_of_a_frozen_lot_goes_back_frozen(desk, ending):
    grant = await desk.grant(100)
    hold = await desk.hold(60)
    await desk.freeze(grant)
    await desk.end(hold, ending)
    assert await desk.lot() == {"remaining": 100}
    book = await desk.book()
    assert (book["wallet"], book["frozen"], book["paid"]) == (100, 100, 0)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)


# Row 3: capture after the deadline. A deadline equal to now has come.


@pytest.mark.parametrize("late", [timedelta(0), MICROSECOND, 10 * DAY])
async def test_a_capture_after_the_deadline_is_refused_and_the_lot_has_its_credits_back(desk, late):
    await desk.grant(100)
    hold = await desk.hold(60, lasts=HOUR)
    await desk.wait(HOUR + late)
    await desk.capture(hold, 60, outcome=Outcome.HOLD_EXPIRED)
    assert await desk.lot() == {"remaining": 100}


async def test_a_capture_just_before_the_deadline_is_posted(desk):
    await desk.grant(100)
    hold = await desk.hold(60, lasts=HOUR)
    await desk.wait(HOUR - MICROSECOND)
    await desk.capture(hold, 60)


async def test_a_capture_after_the_deadline_of_a_lot_that_expired_while_held_is_refused(desk):
    await desk.grant(60, expires_in=HOUR)
    hold = await desk.hold(60, lasts=2 * HOUR)
    await desk.wait(2 * HOUR)
    await desk.capture(hold, 60, outcome=Outcome.HOLD_EXPIRED)
    assert await desk.lot() == {"expired": 60}


async def test_a_capture_after_the_deadline_of_a_lot_that_was_reversed_while_held_is_refused(desk):
    grant = await desk.grant(60)
    hold = await desk.hold(60)
    await desk.claw_back(grant, 20)
    await desk.wait(HOUR)
    await desk.capture(hold, 60, outcome=Outcome.HOLD_EXPIRED)
    assert await desk.lot() == {"remaining": 40, "clawed_back": 20}


async def test_a_capture_after_the_deadline_of_a_lot_that_was_frozen_while_held_is_refused(desk):
    grant = await desk.grant(60)
    hold = await desk.hold(60)
    await desk.freeze(grant)
    await desk.wait(HOUR)
    await desk.capture(hold, 60, outcome=Outcome.HOLD_EXPIRED)
    assert await desk.lot() == {"remaining": 60}
    assert (await desk.book())["frozen"] == 60


# Row 4: refund of a spend, or of a capture.


async def consume(desk, by, credits_, *, lasts=HOUR):
    if by == "spend":
        return await desk.spend(credits_)
    return await desk.capture(await desk.hold(credits_, lasts=lasts), credits_)


consumers = pytest.mark.parametrize("by", ["spend", "capture"])


@consumers
async def test_a_refund_of_a_spend_goes_back_to_its_open_lot(desk, by):
    await desk.grant(100)
    spent = await consume(desk, by, 60)
    await desk.refund(spent, 25)
    assert await desk.lot() == {"remaining": 65, "consumed": 35}
    await desk.refund(spent, 36, outcome=Outcome.EXCEEDS_TARGET)
    await desk.refund(spent, 35)
    assert await desk.lot() == {"remaining": 100}


@consumers
async def test_a_refund_of_a_spend_of_an_expired_lot_comes_in_a_new_lot_of_thirty_days(desk, by):
    await desk.grant(100, expires_in=HOUR)
    spent = await consume(desk, by, 60)
    await desk.wait(2 * HOUR)
    await desk.refund(spent, 25)
    assert await desk.lot(1) == {"consumed": 35, "expired": 65}
    assert await desk.lot(2) == {"remaining": 25}
    new = (await desk.lots())[1]
    assert (new["cause"], new["expires_at"]) == ("correction", desk.world.now + 30 * DAY)


@consumers
async def test_a_refund_of_a_spend_lowers_what_is_still_owed_and_the_rest_goes_back(desk, by):
    grant = await desk.grant(100)
    spent = await consume(desk, by, 100)
    await desk.claw_back(grant, 30)
    assert await desk.lot() == {"consumed": 100, "owed": 30}
    await desk.refund(spent, 20)
    assert await desk.lot() == {"consumed": 80, "clawed_back": 20, "owed": 10}
    await desk.refund(spent, 50)
    assert await desk.lot() == {"remaining": 40, "consumed": 30, "clawed_back": 30}


@consumers
async def test_a_refund_of_a_spend_of_a_frozen_lot_goes_back_frozen(desk, by):
    grant = await desk.grant(100)
    spent = await consume(desk, by, 100)
    await desk.freeze(grant)
    await desk.refund(spent, 60)
    assert await desk.lot() == {"remaining": 60, "consumed": 40}
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)
    await desk.unfreeze(grant)
    await desk.spend(60)


async def test_a_refund_gives_back_the_last_lot_of_a_spend_first(desk):
    for credits_ in (10, 20, 30):
        await desk.grant(credits_)
    spent = await desk.spend(60)
    await desk.refund(spent, 35)
    assert [lot["remaining"] for lot in await desk.lots()] == [0, 5, 30]
    await desk.refund(spent, 20)
    assert [lot["remaining"] for lot in await desk.lots()] == [5, 20, 30]


# The text around the table: holds.


async def test_a_hold_counts_in_the_same_check_as_the_balance(desk):
    await desk.grant(100)
    await desk.hold(60)
    await desk.spend(41, outcome=Outcome.NOT_ENOUGH_CREDITS)
    await desk.hold(41, outcome=Outcome.NOT_ENOUGH_CREDITS)
    await desk.spend(40)


async def test_a_hold_is_captured_in_parts_and_closed_by_its_last_credit(desk):
    await desk.grant(100)
    hold = await desk.hold(60)
    await desk.capture(hold, 20, final=False)
    await desk.capture(hold, 41, outcome=Outcome.EXCEEDS_TARGET)
    await desk.capture(hold, 40, final=False)
    await desk.capture(hold, 1, outcome=Outcome.HOLD_CLOSED)
    await desk.void(hold, outcome=Outcome.HOLD_CLOSED)
    assert await desk.lot() == {"remaining": 40, "consumed": 60}


async def test_a_hold_that_is_nobodys_is_not_found(desk):
    await desk.grant(100)
    spent = await desk.spend(1)
    await desk.capture(spent, 1, outcome=Outcome.HOLD_NOT_FOUND)


@pytest.mark.parametrize("lasts", [timedelta(0), -HOUR, 30 * DAY + MICROSECOND])
async def test_a_hold_of_no_time_or_of_more_than_thirty_days_is_refused(desk, lasts):
    await desk.grant(10)
    await desk.wait(HOUR)
    await desk.hold(1, lasts=lasts, outcome=Outcome.DEADLINE_OUT_OF_RANGE)


async def test_a_hold_is_extended_to_thirty_days_in_all_and_no_further(desk):
    await desk.grant(10)
    await desk.wait(HOUR)
    made = desk.world.now
    hold = await desk.hold(5, lasts=HOUR)

    async def extend(deadline, outcome=Outcome.POSTED):
        await desk.do(Kind.EXTEND, target=hold.id, deadline=deadline, outcome=outcome)

    await extend(made + HOUR, Outcome.DEADLINE_OUT_OF_RANGE)
    await extend(made + 30 * DAY + MICROSECOND, Outcome.DEADLINE_OUT_OF_RANGE)
    await extend(made + 29 * DAY)
    await desk.wait(28 * DAY)
    await extend(made + 31 * DAY, Outcome.DEADLINE_OUT_OF_RANGE)
    await extend(made + 30 * DAY)
    await desk.wait_until(made + 30 * DAY - MICROSECOND)
    await desk.capture(hold, 1, final=False)
    await desk.wait(MICROSECOND)
    await extend(made + 31 * DAY, Outcome.HOLD_EXPIRED)
    assert await desk.lot() == {"remaining": 9, "consumed": 1}


async def test_what_falls_due_is_posted_before_the_request_holds_first_with_their_own_time(desk):
    await desk.grant(10, expires_in=2 * HOUR)
    made = desk.world.now
    second, first = await desk.hold(3, lasts=HOUR + MICROSECOND), await desk.hold(2, lasts=HOUR)
    await desk.wait(3 * HOUR)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)
    journal = (await desk.world.rows(BOOK))["journal"][-4:]
    assert [(row["kind"], row["target"], row["event_at"] - made) for row in journal] == [
        ("hold_expiry", first.id, HOUR),
        ("hold_expiry", second.id, HOUR + MICROSECOND),
        ("lot_expiry", None, 2 * HOUR),
        ("spend", None, 3 * HOUR + 3 * MICROSECOND),
    ]
    assert await desk.lot() == {"expired": 10}
