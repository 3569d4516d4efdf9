"""What posting answers: one closed list, in order of precedence, the same here, in SQL and in `docs/postings.md`.

An expected "no" is a value. A refusal that *freezes its key* is stored: the same key is refused for ever, whatever the
balance does, and the caller asks again under a new one. The others leave no trace and may be sent again as they are.
Scope `system` stores no refusal; `billing` raises on one, so that its transaction rolls back and nothing is half done.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID


class Outcome(enum.StrEnum):
    """The first that applies is answered."""

    POSTED = "posted"
    BOOK_NOT_FOUND = "book_not_found"
    BUSY = "busy"
    CATCH_UP = "catch_up"
    EXISTS_WITH_DIFFERENT_CONTENT = "exists_with_different_content"
    GROUP_REFUSED = "group_refused"
    HOLD_NOT_FOUND = "hold_not_found"
    SPEND_NOT_FOUND = "spend_not_found"
    GRANT_NOT_FOUND = "grant_not_found"
    HOLD_EXPIRED = "hold_expired"
    HOLD_CLOSED = "hold_closed"
    EXCEEDS_TARGET = "exceeds_target"
    HOLD_FROZEN = "hold_frozen"
    DEADLINE_OUT_OF_RANGE = "deadline_out_of_range"
    EXPIRES_IN_THE_PAST = "expires_in_the_past"
    TOO_MANY_CREDITS = "too_many_credits"
    NOTHING_TO_SETTLE = "nothing_to_settle"
    PERIOD_NOT_OVER = "period_not_over"
    PERIOD_CLOSED = "period_closed"
    PERIOD_OPEN = "period_open"
    SPENDER_PAUSED = "spender_paused"
    CAP_EXCEEDED = "cap_exceeded"
    NOT_ENOUGH_CREDITS = "not_enough_credits"
    TOO_FRAGMENTED = "too_fragmented"


FREEZES_KEY: Final = frozenset({Outcome.CAP_EXCEEDED, Outcome.NOT_ENOUGH_CREDITS})
"""Refusals that are stored under their key."""


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to one operation. A replay carries the journal position and balances of the first time.

    `available_after` is what can be spent, `paid_after` the part of it that was paid for, `held_after` what open
    holds keep.
    """

    operation_id: UUID
    outcome: Outcome
    replayed: bool = False
    seq: int | None = None
    posted_at: datetime | None = None
    accounting_date: date | None = None
    available_after: int | None = None
    held_after: int | None = None
    paid_after: int | None = None


class PostingRefused(Exception):
    """The books said no to something the service itself wanted to post. Nothing of the transaction may stay."""

    def __init__(self, posted: Posted) -> None:
        super().__init__(f"operation {posted.operation_id} was refused: {posted.outcome}")
        self.posted = posted
