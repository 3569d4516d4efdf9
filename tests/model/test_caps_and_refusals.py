"""Spend caps and their windows, and refusals that keep their key."""

from datetime import timedelta
from uuid import UUID

import pytest

from ledger.operations import SYSTEM_SCOPE, Kind
from ledger.outcomes import Outcome
from tests.model.desk import AGENT, BOOK, DAY, HOUR
from tests.model.world import send

OTHER = UUID(int=0xA2)
OVER = Outcome.CAP_EXCEEDED
MINUTE = timedelta(minutes=1)
windows = pytest.mark.parametrize(("cap", "passes"), [("per_hour", HOUR), ("per_day", DAY), ("per_month", 2 * DAY)])


async def used(desk):
    await desk.world.check()
    [spender] = (await desk.world.rows(BOOK))["spenders"]
    return [spender[name] for name in ("hour_used", "day_used", "month_used", "total_used")]


@windows
async def test_a_window_allows_its_cap_and_begins_anew(desk, cap, passes):
    await desk.grant(100)
    await desk.caps(**{cap: 10})
    await desk.spend(6, spender=AGENT)
    await desk.spend(5, spender=AGENT, outcome=OVER)
    await desk.hold(4, spender=AGENT, lasts=20 * DAY)
    await desk.spend(1, spender=AGENT, outcome=OVER)
    await desk.wait(passes)
    await desk.spend(10, spender=AGENT)
    await desk.spend(1, spender=AGENT, outcome=OVER)


async def test_windows_are_those_of_the_utc_clock(desk):
    await desk.grant(100)
    await desk.caps(per_hour=10)
    await desk.wait(59 * MINUTE)
    await desk.spend(10, spender=AGENT)
    await desk.wait(MINUTE - timedelta(microseconds=1))
    await desk.spend(1, spender=AGENT, outcome=OVER)
    await desk.wait(timedelta(microseconds=1))
    await desk.spend(10, spender=AGENT)


async def test_the_total_never_begins_anew_and_one_spend_has_a_cap_of_its_own(desk):
    await desk.grant(100)
    await desk.caps(total=15, per_spend=10)
    await desk.spend(11, spender=AGENT, outcome=OVER)
    await desk.spend(10, spender=AGENT)
    await desk.wait(400 * DAY)
    await desk.spend(6, spender=AGENT, outcome=OVER)
    await desk.spend(5, spender=AGENT)


async def test_a_hold_counts_its_maximum_and_what_it_gives_back_goes_to_the_window_that_was_charged(desk):
    await desk.grant(100)
    await desk.caps(per_hour=10, per_day=50, total=60)
    first = await desk.hold(10, spender=AGENT, lasts=3 * HOUR)
    await desk.capture(first, 4, spender=AGENT)
    assert await used(desk) == [4, 4, 4, 4]
    second = await desk.hold(6, spender=AGENT, lasts=3 * HOUR)
    await desk.wait(HOUR)
    await desk.spend(10, spender=AGENT)
    await desk.void(second)
    assert await used(desk) == [10, 14, 14, 14]
    await desk.spend(1, spender=AGENT, outcome=OVER)


async def test_a_refunded_spend_goes_to_the_window_that_was_charged(desk):
    await desk.grant(100)
    await desk.caps(per_hour=10)
    early = await desk.spend(8, spender=AGENT)
    await desk.wait(HOUR)
    late = await desk.spend(9, spender=AGENT)
    await desk.refund(early, 8)
    assert await used(desk) == [9, 9, 9, 9]
    await desk.refund(late, 5)
    assert await used(desk) == [4, 4, 4, 4]
    await desk.spend(6, spender=AGENT)


async def test_a_hold_that_expires_gives_back_to_the_window_that_was_charged(desk):
    await desk.grant(100)
    await desk.caps(per_day=10)
    await desk.hold(10, spender=AGENT, lasts=MINUTE)
    await desk.spend(1, spender=AGENT, outcome=OVER)
    await desk.wait(MINUTE)
    await desk.spend(10, spender=AGENT)
    assert await used(desk) == [10, 10, 10, 10]


async def test_what_a_refund_of_a_capture_gives_back_goes_to_the_spender_of_the_hold(desk):
    """Design: what a hold gives back goes to the window that was charged. Its capture need not name the spender."""
    await desk.grant(100)
    await desk.caps(per_day=10)
    hold = await desk.hold(10, spender=AGENT)
    captured = await desk.capture(hold, 10)
    await desk.refund(captured, 4)
    assert await used(desk) == [6, 6, 6, 6]


async def test_a_capture_that_names_another_spender_does_not_give_back_to_that_one(desk):
    await desk.grant(100)
    await desk.caps(per_day=10)
    captured = await desk.capture(await desk.hold(10, spender=OTHER), 10, spender=AGENT)
    await desk.refund(captured, 4)
    assert await used(desk) == [0, 0, 0, 0]


async def test_counting_begins_when_the_first_cap_is_set_and_goes_on_when_caps_change(desk):
    await desk.grant(100)
    before = await desk.spend(10, spender=AGENT)
    await desk.caps(per_day=10)
    await desk.spend(7, spender=AGENT)
    await desk.refund(before, 10)
    await desk.caps(per_day=8)
    await desk.spend(2, spender=AGENT, outcome=OVER)
    await desk.caps()
    await desk.spend(30, spender=AGENT)
    assert await used(desk) == [37, 37, 37, 37]


async def test_a_paused_spender_spends_nothing_until_it_goes_on_and_keeps_its_key(desk):
    await desk.grant(100)
    await desk.caps(paused=True)
    request = desk.new(Kind.SPEND, credits=1, spender=AGENT)
    [answer] = await desk.world.post(request)
    assert answer.outcome is Outcome.SPENDER_PAUSED
    await desk.caps()
    [answer] = await desk.world.post(request)
    assert (answer.outcome, answer.replayed) == (Outcome.POSTED, False)


async def test_a_deadline_out_of_range_is_said_before_a_paused_spender(desk):
    """`ledger/outcomes.py`: the first in the list that applies is answered."""
    await desk.grant(100)
    await desk.caps(paused=True)
    await desk.hold(1, spender=AGENT, lasts=-HOUR, outcome=Outcome.DEADLINE_OUT_OF_RANGE)


@pytest.mark.parametrize(("credits_", "outcome"), [(11, OVER), (9, Outcome.NOT_ENOUGH_CREDITS)])
async def test_a_stored_refusal_stays_after_a_top_up_and_a_new_key_succeeds(desk, credits_, outcome):
    await desk.grant(5)
    await desk.caps(per_hour=10)
    refused = desk.new(Kind.SPEND, credits=credits_, spender=AGENT)
    [first] = await desk.world.post(refused)
    assert (first.outcome, first.available_after) == (outcome, 5)
    await desk.grant(100)
    await desk.caps(per_hour=100)
    [again] = await desk.world.post(refused)
    assert (again.outcome, again.replayed, again.seq, again.available_after) == (outcome, True, first.seq, 5)
    await desk.spend(credits_, spender=AGENT)


async def test_a_refusal_of_the_system_leaves_no_trace_and_its_key_works_later(desk):
    request = desk.new(Kind.SPEND, credits=5, scope=SYSTEM_SCOPE)
    [answer] = await desk.world.post(request)
    assert (answer.outcome, answer.seq) == (Outcome.NOT_ENOUGH_CREDITS, None)
    await desk.grant(5)
    [answer] = await desk.world.post(request)
    assert (answer.outcome, answer.replayed) == (Outcome.POSTED, False)


async def test_a_group_that_is_refused_leaves_only_its_frozen_refusal(desk):
    await desk.grant(10)
    group = [desk.new(Kind.SPEND, credits=credits_, group=1) for credits_ in (4, 20, 4)]
    for replayed in (False, True):
        answers = await desk.world.post(*group)
        assert [(answer.outcome.value, answer.replayed) for answer in answers] == [
            ("group_refused", False), ("not_enough_credits", replayed), ("group_refused", False),
        ]  # fmt: skip
        assert await desk.lot() == {"remaining": 10}


async def test_a_replay_in_a_book_that_must_catch_up_is_still_answered(desk):
    """Design, Posting: replays are answered first; its *other* items are answered `catch_up`."""
    await desk.grant(200)
    spent = await desk.spend(1)
    for _ in range(101):
        await desk.hold(1)
    await desk.wait(HOUR)
    [answer] = await send(desk.world.connections[0], [spent])
    assert (answer.outcome, answer.replayed) == (Outcome.POSTED, True)


async def test_a_clock_that_goes_back_does_not_stop_a_book(desk):
    """A lot expires, the clock goes back, a hold is voided: what comes back cannot expire under the same key."""
    await desk.grant(10, expires_in=HOUR)
    hold = await desk.hold(4, lasts=3 * HOUR)
    await desk.wait(HOUR)
    await desk.due()
    await desk.wait(-MINUTE)
    await send(desk.world.connections[0], [desk.new(Kind.VOID, target=hold.id)])
    await desk.wait(HOUR)
    [answer] = await send(desk.world.connections[0], [desk.new(Kind.SPEND, credits=1)])
    assert answer.outcome is Outcome.NOT_ENOUGH_CREDITS
