"""The state machine of a payment attempt, as a table. Pure.

Theory of operation
-------------------
An attempt is *created* (its request is stored; the provider's answer is not known yet), then *action_required* (the
payer must act), perhaps *processing* (the payer acted, the money is on its way), and ends *succeeded*, *expired*,
*failed* or *canceled*. Money that settles is honoured from every state, because it was really paid. What a
fact about an older object of the same attempt says (a session that was replaced) changes nothing, unless it settled.
`docs/attempt-states.md` is drawn from this table.
"""

from __future__ import annotations

import enum
from typing import Final


class AttemptState(enum.StrEnum):
    """Where an attempt stands. The value stands in the database and in answers."""

    CREATED = "created"
    ACTION_REQUIRED = "action_required"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELED = "canceled"


class RequestState(enum.StrEnum):
    """Where a stored request to a provider stands. `unknown`: it was sent, and nobody knows whether it was done."""

    STORED = "stored"
    UNKNOWN = "unknown"
    ANSWERED = "answered"
    REFUSED = "refused"


class Happening(enum.StrEnum):
    """What can happen to an attempt: a rail's fact in one word, or something of our own."""

    OPENED = "opened"
    PROCESSING = "processing"
    SETTLED = "settled"
    EXPIRED = "expired"
    CANCELED = "canceled"
    FAILED = "failed"
    REOPENED = "reopened"


OPEN_STATES: Final = (AttemptState.CREATED, AttemptState.ACTION_REQUIRED, AttemptState.PROCESSING)
"""An attempt in one of these may still be paid by its current object; a quote has at most one of them."""

_S, _H = AttemptState, Happening

TRANSITIONS: Final = {
    (_S.CREATED, _H.OPENED): _S.ACTION_REQUIRED,
    (_S.CREATED, _H.PROCESSING): _S.PROCESSING,
    (_S.CREATED, _H.SETTLED): _S.SUCCEEDED,
    (_S.CREATED, _H.EXPIRED): _S.EXPIRED,
    (_S.CREATED, _H.CANCELED): _S.CANCELED,
    (_S.CREATED, _H.FAILED): _S.FAILED,
    (_S.ACTION_REQUIRED, _H.PROCESSING): _S.PROCESSING,
    (_S.ACTION_REQUIRED, _H.SETTLED): _S.SUCCEEDED,
    (_S.ACTION_REQUIRED, _H.EXPIRED): _S.EXPIRED,
    (_S.ACTION_REQUIRED, _H.CANCELED): _S.CANCELED,
    (_S.ACTION_REQUIRED, _H.FAILED): _S.FAILED,
    (_S.PROCESSING, _H.SETTLED): _S.SUCCEEDED,
    (_S.PROCESSING, _H.EXPIRED): _S.EXPIRED,
    (_S.PROCESSING, _H.CANCELED): _S.CANCELED,
    (_S.PROCESSING, _H.FAILED): _S.FAILED,
    (_S.EXPIRED, _H.REOPENED): _S.CREATED,
    (_S.EXPIRED, _H.CANCELED): _S.CANCELED,
    (_S.EXPIRED, _H.SETTLED): _S.SUCCEEDED,
    (_S.FAILED, _H.SETTLED): _S.SUCCEEDED,
    (_S.CANCELED, _H.SETTLED): _S.SUCCEEDED,
}
"""Every change of state there is. What does not stand here leaves the attempt as it is."""


def after(state: AttemptState, happening: Happening) -> AttemptState:
    """The state after `happening`; the same state when it changes nothing (a repeated or late message)."""
    return TRANSITIONS.get((state, happening), state)
