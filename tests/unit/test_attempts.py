import itertools

import pytest

from billing.attempts import OPEN_STATES, TRANSITIONS, AttemptState, Happening, after


@pytest.mark.parametrize("state", list(AttemptState))
def test_money_that_settled_is_honoured_from_every_state(state):
    assert after(state, Happening.SETTLED) is AttemptState.SUCCEEDED


@pytest.mark.parametrize("happening", list(Happening))
def test_a_succeeded_attempt_stays_succeeded(happening):
    assert after(AttemptState.SUCCEEDED, happening) is AttemptState.SUCCEEDED


@pytest.mark.parametrize(
    ("state", "happening"),
    list(itertools.product([AttemptState.FAILED, AttemptState.CANCELED], sorted(set(Happening) - {Happening.SETTLED}))),
)
def test_an_ended_attempt_is_not_opened_again_by_a_late_message(state, happening):
    assert after(state, happening) is state


def test_a_stale_message_never_takes_a_processing_payment_back_to_waiting():
    assert after(AttemptState.PROCESSING, Happening.OPENED) is AttemptState.PROCESSING


def test_only_an_expired_attempt_is_reopened():
    assert [state for state, happening in TRANSITIONS if happening is Happening.REOPENED] == [AttemptState.EXPIRED]


def test_every_state_can_be_reached_and_every_open_state_can_be_left_every_way():
    reached = {AttemptState.CREATED, *TRANSITIONS.values()}
    assert reached == set(AttemptState)
    ends = {AttemptState.SUCCEEDED, AttemptState.EXPIRED, AttemptState.CANCELED, AttemptState.FAILED}
    for state in OPEN_STATES:
        assert {TRANSITIONS.get((state, happening)) for happening in Happening} >= ends
