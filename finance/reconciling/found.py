"""What a comparison finds: one line that does not fit. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from finance.statement_tables import Finding


@dataclass(frozen=True, slots=True)
class Found:
    """One line that is missing on a side, or that the sides tell differently.

    `source` names what was compared and `subject` the line in it: found again, the two are the same. `amount` is
    signed, in minor units of `currency` (USDC: atomic units): there less here, so what the books would have to be told.
    `here` and `there` are what each side says, as JSON for a person; empty where that side says nothing.
    """

    source: str
    subject: str
    finding: Finding
    organization_id: UUID | None
    amount: int
    currency: str
    here: Mapping[str, Any]
    there: Mapping[str, Any]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Compared:
    """What one comparison came to: how many lines fit, and those that do not. `source` is looked at as a whole."""

    source: str
    matched: int
    found: Sequence[Found] = field(default=())

    def counts(self) -> dict[str, int]:
        """`matched`, `missing_here`, `missing_there`, `different`."""
        by = Counter(one.finding for one in self.found)
        return {"matched": self.matched, **{finding.value: by[finding] for finding in Finding}}
