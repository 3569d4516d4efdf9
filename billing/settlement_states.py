"""The state machine of a settlement, as a table. Pure.

Theory of operation
-------------------
A settlement is one signed payment that somebody presented for an attempt. It is *claimed* (stored, and nothing was sent
anywhere), then *settling* (something may have been sent: from here on only the chain says what became of it), perhaps
*unknown* (what was sent cannot be found, or failed while the signature is still good), perhaps *held* (paid, and a
person must look before it is granted), and ends *settled* (paid and granted), *kept* (paid and not granted: the money
stands unallocated until it is sent back) or *failed* (proven not paid). *settled* is not the end before its block is
final: a payment that a reorganization took out is *vanished* until it is back or proven to be gone for good.
`docs/settlement-states.md` is drawn from this table.
"""

from __future__ import annotations

import enum
from typing import Final


class SettlementState(enum.StrEnum):
    """Where a settlement stands. The value stands in the database."""

    CLAIMED = "claimed"
    SETTLING = "settling"
    UNKNOWN = "unknown"
    HELD = "held"
    SETTLED = "settled"
    KEPT = "kept"
    VANISHED = "vanished"
    FAILED = "failed"


class Turn(enum.StrEnum):
    """What can happen to a settlement."""

    SUBMITTED = "submitted"
    LOST_SIGHT = "lost_sight"
    HELD = "held"
    GRANTED = "granted"
    REJECTED = "rejected"
    REORGANIZED = "reorganized"
    REAPPEARED = "reappeared"
    PROVEN_UNPAID = "proven_unpaid"


_S, _T = SettlementState, Turn

TRANSITIONS: Final = {
    (_S.CLAIMED, _T.SUBMITTED): _S.SETTLING,
    (_S.CLAIMED, _T.PROVEN_UNPAID): _S.FAILED,
    (_S.CLAIMED, _T.HELD): _S.HELD,
    (_S.CLAIMED, _T.GRANTED): _S.SETTLED,
    (_S.CLAIMED, _T.REJECTED): _S.KEPT,
    (_S.SETTLING, _T.LOST_SIGHT): _S.UNKNOWN,
    (_S.SETTLING, _T.HELD): _S.HELD,
    (_S.SETTLING, _T.GRANTED): _S.SETTLED,
    (_S.SETTLING, _T.REJECTED): _S.KEPT,
    (_S.SETTLING, _T.PROVEN_UNPAID): _S.FAILED,
    (_S.UNKNOWN, _T.SUBMITTED): _S.SETTLING,
    (_S.UNKNOWN, _T.HELD): _S.HELD,
    (_S.UNKNOWN, _T.GRANTED): _S.SETTLED,
    (_S.UNKNOWN, _T.REJECTED): _S.KEPT,
    (_S.UNKNOWN, _T.PROVEN_UNPAID): _S.FAILED,
    (_S.HELD, _T.GRANTED): _S.SETTLED,
    (_S.HELD, _T.REJECTED): _S.KEPT,
    (_S.HELD, _T.PROVEN_UNPAID): _S.FAILED,
    (_S.SETTLED, _T.REORGANIZED): _S.VANISHED,
    (_S.VANISHED, _T.REAPPEARED): _S.SETTLED,
    (_S.VANISHED, _T.PROVEN_UNPAID): _S.FAILED,
    (_S.FAILED, _T.GRANTED): _S.SETTLED,
    (_S.FAILED, _T.HELD): _S.HELD,
    (_S.FAILED, _T.REJECTED): _S.KEPT,
}
"""Every change of state there is. What does not stand here leaves the settlement as it is.

From `failed`: a signature that we never sent anywhere is still good until its window closes, so its payer may yet carry
it out alone; money that arrives is honoured from every state.
"""

PAYING: Final = (_S.CLAIMED, _S.SETTLING, _S.UNKNOWN, _S.HELD)
"""Nobody knows yet, or nobody has decided: the payer is told to wait, and is never asked again."""
ON_ITS_WAY: Final = (_S.CLAIMED, _S.SETTLING, _S.UNKNOWN, _S.FAILED)
"""Where the chain is asked whether the payment has arrived."""


def after(state: SettlementState, turn: Turn) -> SettlementState:
    """The state after `turn`; the same state when it changes nothing."""
    return TRANSITIONS.get((state, turn), state)
