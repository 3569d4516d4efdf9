"""What posting answers: one closed list, in order of precedence, the same here, in SQL and in `docs/postings.md`.

An expected "no" is a value. Scope `system` stores no refusal; `billing` raises on one, so that its transaction rolls
back and nothing is half done.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID


class Outcome(enum.StrEnum):
    """The first that applies is answered."""

    POSTED = "posted"
    BOOK_NOT_FOUND = "book_not_found"
    EXISTS_WITH_DIFFERENT_CONTENT = "exists_with_different_content"
    ID_ALREADY_USED = "id_already_used"
    WOULD_FALL_BELOW_FLOOR = "would_fall_below_floor"


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to one operation. A replay carries the journal position and balances of the first time."""

    operation_id: UUID
    outcome: Outcome
    replayed: bool
    seq: int | None
    posted_at: datetime | None
    accounting_date: date | None
    available_after: int | None
    held_after: int | None


class PostingRefused(Exception):
    """The books said no to something the service itself wanted to post. Nothing of the transaction may stay."""

    def __init__(self, posted: Posted) -> None:
        super().__init__(f"operation {posted.operation_id} was refused: {posted.outcome}")
        self.posted = posted
