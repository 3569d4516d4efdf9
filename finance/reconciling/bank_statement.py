"""The bank's statement as a CSV file: a day, an amount, and what the bank wrote. Pure.

Every bank has its own file; this one has the columns `date` (or `booked_on`), `amount`, `currency`, and if the bank
says so `description` and `reference`, in any order. Money that came is positive.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from finance.reconciling.files import rows

COLUMNS: Final = (("date", "booked_on"), ("amount",), ("currency",))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the statement, in cents.

    `digest` is over what it says and how often the same was said before in the file: in another file that has the line
    too it is the same.
    """

    booked_on: date
    amount: int
    currency: str
    description: str
    reference: str
    digest: bytes


def parsed(content: bytes, file: str) -> Sequence[Entry]:
    """The lines of a statement. Raises `StatementRefused`."""
    before: Counter[tuple[str, ...]] = Counter()
    found: list[Entry] = []
    for row in rows(content, file, columns=COLUMNS):
        day, cents, currency = row.day("date", "booked_on"), row.cents("amount"), row.currency()
        description, reference = row.text("description"), row.text("reference")
        said = (day.isoformat(), str(cents), currency, description, reference)
        digest = hashlib.sha256("\0".join((*said, str(before[said]))).encode()).digest()
        before[said] += 1
        found.append(Entry(day, cents, currency, description, reference, digest))
    return found
