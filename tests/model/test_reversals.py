"""Claw-backs, what is owed, reinstating and freezing: the text around the table of holds and lots."""

import pytest

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
