"""Claw-backs, what is owed, reinstating and freezing: the text around the table of holds and lots."""

import pytest

from ledger.operations import LotCause
from ledger.outcomes import Outcome
from tests.model.desk import BOOK, DAY, HOUR


async def test_a_claw_back_takes_the_unspent_then_the_held_then_the_spent(desk):
    grant = await desk.grant(100)
    await desk.spend(20)
    await desk.hold(30)
    await desk.claw_back(grant, 40)
    assert await desk.lot() == {"remaining": 10, "held": 30, "consumed": 20, "clawed_back": 40}
    await desk.claw_back(grant, 25)
    assert await desk.lot() == {"held": 30, "held_reversed": 15, "consumed": 20, "clawed_back": 50}
    await desk.claw_back(grant, 20)
    assert await desk.lot() == {"held": 30, "held_reversed": 30, "consumed": 20, "clawed_back": 50, "owed": 5}
    await desk.claw_back(grant, 16, outcome=Outcome.EXCEEDS_TARGET)
    await desk.claw_back(grant, 15)
    assert (await desk.lots())[0]["reversed"] == 100


async def test_owed_is_settled_from_the_next_paid_grant_at_once_the_oldest_first(desk):
    first, second = await desk.grant(20), await desk.grant(20)
    await desk.spend(40)
    await desk.claw_back(second, 10)
    await desk.claw_back(first, 20)
    await desk.gift(50)
    assert (await desk.book())["owed"] == 30
    await desk.grant(25)
    assert await desk.lot(1) == {"consumed": 20, "settled": 20}
    assert await desk.lot(2) == {"consumed": 20, "owed": 5, "settled": 5}
    assert await desk.lot(4) == {"clawed_back": 25}
    assert (await desk.world.rows(BOOK))["journal"][-1]["kind"] == "settle_owed"


async def test_what_is_reinstated_forgives_the_owed_then_gives_back_settled_held_and_taken(desk):
    grant = await desk.grant(100)
    await desk.spend(40)
    await desk.hold(30)
    await desk.claw_back(grant, 100)
    await desk.grant(15)
    assert await desk.lot(1) == {
        "held": 30, "held_reversed": 30, "consumed": 40, "clawed_back": 30, "owed": 25, "settled": 15,
    }  # fmt: skip
    await desk.reinstate(grant, 30)
    assert await desk.lot(1) == {"held": 30, "held_reversed": 30, "consumed": 40, "clawed_back": 30, "settled": 10}
    assert await desk.lot(2) == {"remaining": 5, "clawed_back": 10}
    await desk.reinstate(grant, 30)
    assert await desk.lot(1) == {"held": 30, "held_reversed": 10, "consumed": 40, "clawed_back": 30}
    await desk.reinstate(grant, 40)
    assert await desk.lot(1) == {"remaining": 30, "held": 30, "consumed": 40}


async def test_what_is_reinstated_to_a_lot_that_expired_comes_in_a_new_lot_of_thirty_days(desk):
    grant = await desk.grant(100, expires_in=HOUR)
    await desk.claw_back(grant, 60)
    await desk.wait(2 * HOUR)
    await desk.reinstate(grant, 60)
    assert await desk.lot(1) == {"expired": 100}
    assert await desk.lot(2) == {"remaining": 60}
    assert (await desk.lots())[1]["expires_at"] == desk.world.now + 30 * DAY


async def test_holding_and_voiding_around_a_dispute_keeps_nothing(desk):
    grant = await desk.grant(60)
    holds = [await desk.hold(20), await desk.hold(40)]
    await desk.claw_back(grant, 60)
    for hold in holds:
        await desk.void(hold)
    assert await desk.lot() == {"clawed_back": 60}


@pytest.mark.parametrize("first", ["capture", "void"])
async def test_capturing_the_marked_hold_and_voiding_the_other_keeps_nothing(desk, first):
    """Design, Reversals: under any interleaving, nobody keeps credits after a dispute by holding and voiding."""
    grant = await desk.grant(60)
    marked, other = sorted([await desk.hold(30), await desk.hold(30)], key=lambda hold: hold.id)
    await desk.claw_back(grant, 30)
    if first == "capture":
        await desk.capture(marked, 30)
        await desk.void(other)
    else:
        await desk.void(other)
        await desk.capture(marked, 30)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)


async def test_a_dispute_after_a_refund_into_a_new_lot_leaves_nothing_for_nothing(desk):
    """The spent credits came back in another lot, so they are not the expired ones that a claw-back may take."""
    grant = await desk.grant(100, expires_in=HOUR)
    spent = await desk.spend(100)
    await desk.wait(2 * HOUR)
    await desk.refund(spent, 100)
    await desk.claw_back(grant, 100)
    book = await desk.book()
    assert book["wallet"] <= book["owed"]


async def test_a_frozen_lot_is_not_spent_and_still_expires(desk):
    grant = await desk.grant(60, expires_in=HOUR)
    await desk.freeze(grant)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)
    await desk.wait(HOUR)
    await desk.unfreeze(grant)
    assert await desk.lot() == {"expired": 60}
    assert (await desk.book())["frozen"] == 0


async def test_only_a_paid_grant_is_taken_back(desk):
    gift = await desk.gift(10)
    await desk.claw_back(gift, 1, outcome=Outcome.GRANT_NOT_FOUND)


@pytest.mark.parametrize("cause", list(LotCause))
async def test_any_lot_is_frozen_and_thawed_and_only_a_paid_one_counts_as_paid(desk, cause):
    grant = await desk.grant(30, cause=cause)
    await desk.grant(7)
    await desk.hold(10)
    paid = 27 if cause is LotCause.PAID else 7
    for _ in range(2):
        await desk.freeze(grant)
        book = await desk.book()
        assert (book["wallet"], book["frozen"], book["paid"]) == (27, 20, 7)
    await desk.spend(8, outcome=Outcome.NOT_ENOUGH_CREDITS)
    for _ in range(2):
        await desk.unfreeze(grant)
        book = await desk.book()
        assert (book["wallet"], book["frozen"], book["paid"]) == (27, 0, paid)
    await desk.spend(27)


async def test_a_gift_does_not_join_a_frozen_lot(desk):
    frozen = await desk.gift(10)
    await desk.freeze(frozen)
    joining = await desk.gift(5)
    joined = await desk.gift(2)
    assert [lot["credits"] for lot in await desk.lots()] == [10, 7]
    await desk.freeze(joined, outcome=Outcome.GRANT_NOT_FOUND)
    await desk.freeze(joining)
    assert (await desk.book())["frozen"] == 17


async def test_credits_that_came_back_in_a_new_lot_are_frozen_by_what_opened_it(desk):
    grant = await desk.grant(50, expires_in=HOUR)
    spent = await desk.spend(20)
    await desk.claw_back(grant, 30)
    await desk.wait(2 * HOUR)
    refund = await desk.refund(spent, 20)
    reinstated = await desk.reinstate(grant, 30)
    assert [await desk.lot(2), await desk.lot(3)] == [{"remaining": 20}, {"remaining": 30}]
    await desk.freeze(refund)
    await desk.freeze(reinstated)
    await desk.spend(1, outcome=Outcome.NOT_ENOUGH_CREDITS)
    await desk.unfreeze(reinstated)
    await desk.spend(30)


async def test_what_opened_no_lot_freezes_nothing(desk):
    await desk.grant(10)
    spent = await desk.spend(5)
    await desk.freeze(spent, outcome=Outcome.GRANT_NOT_FOUND)


async def test_a_frozen_gift_still_expires_and_its_captured_hold_waits(desk):
    gift = await desk.gift(30, expires_in=2 * HOUR)
    hold = await desk.hold(10)
    await desk.freeze(gift)
    await desk.capture(hold, 10, outcome=Outcome.HOLD_FROZEN)
    await desk.wait(2 * HOUR)
    await desk.due()
    assert await desk.lot() == {"expired": 30}
    book = await desk.book()
    assert (book["frozen"], book["paid"]) == (0, 0)


async def test_a_write_off_lowers_what_is_owed_and_leaves_what_was_consumed(desk):
    grant = await desk.grant(100)
    await desk.spend(100)
    await desk.claw_back(grant, 60)
    await desk.write_off(grant, 25)
    assert await desk.lot() == {"consumed": 100, "owed": 35}
    assert (await desk.lots())[0]["reversed"] == 35
    assert (await desk.book())["owed"] == 35
    await desk.write_off(grant, 36, outcome=Outcome.EXCEEDS_TARGET)
    await desk.write_off(grant, 35)
    assert await desk.lot() == {"consumed": 100}
    await desk.write_off(grant, 1, outcome=Outcome.EXCEEDS_TARGET)


async def test_what_was_written_off_is_neither_settled_nor_reinstated(desk):
    grant = await desk.grant(100)
    await desk.spend(100)
    await desk.claw_back(grant, 60)
    await desk.write_off(grant, 25)
    await desk.grant(50)
    assert await desk.lot(1) == {"consumed": 100, "settled": 35}
    await desk.reinstate(grant, 36, outcome=Outcome.EXCEEDS_TARGET)
    await desk.reinstate(grant, 35)
    assert [await desk.lot(1), await desk.lot(2)] == [{"consumed": 100}, {"remaining": 50}]


async def test_only_what_is_owed_is_written_off_not_what_is_held_taken_or_settled(desk):
    grant = await desk.grant(100)
    await desk.spend(40)
    await desk.hold(30)
    await desk.claw_back(grant, 100)
    await desk.grant(15)
    await desk.write_off(grant, 26, outcome=Outcome.EXCEEDS_TARGET)
    await desk.write_off(grant, 25)
    assert await desk.lot(1) == {
        "held": 30, "held_reversed": 30, "consumed": 40, "clawed_back": 30, "settled": 15,
    }  # fmt: skip


async def test_a_spend_of_a_debt_that_was_written_off_comes_back_whole(desk):
    grant = await desk.grant(100)
    spent = await desk.spend(100)
    await desk.claw_back(grant, 60)
    await desk.write_off(grant, 50)
    await desk.refund(spent, 30)
    assert await desk.lot() == {"remaining": 20, "consumed": 70, "clawed_back": 10}


async def test_what_was_written_off_can_be_reversed_again(desk):
    grant = await desk.grant(10)
    await desk.spend(10)
    await desk.claw_back(grant, 10)
    await desk.claw_back(grant, 1, outcome=Outcome.EXCEEDS_TARGET)
    await desk.write_off(grant, 4)
    await desk.claw_back(grant, 4)
    assert await desk.lot() == {"consumed": 10, "owed": 10}


async def test_a_debt_is_written_off_of_a_paid_grant_only(desk):
    gift = await desk.gift(10)
    await desk.write_off(gift, 1, outcome=Outcome.GRANT_NOT_FOUND)
