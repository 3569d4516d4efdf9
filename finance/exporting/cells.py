"""What stands in one cell of an export: amounts, times, ids and texts of strangers, always written the same way. Pure.

CSV is that of RFC 4180, in UTF-8. A text that came from outside may begin with what a spreadsheet takes for a formula;
such a text gets an apostrophe before it. Source: https://owasp.org/www-community/attacks/CSV_Injection. What we write
ourselves (numbers, ids, times) stays as it is, so that a negative number is still a number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from ledger.ids import external
from ledger.operations import PLATFORM

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_ORGANIZATIONS_KEPT: Final = 4096
"""Names of organizations that are not spelled again for each row."""


def safe(said: str) -> str:
    """A text of somebody else's that no spreadsheet takes for a formula."""
    return f"'{said}" if said.startswith(_FORMULAS) else said


def decimal(minor: int, scale: int) -> str:
    """An amount in whole units with all digits of its currency: `-5.00` for -500 of scale 2."""
    if not scale:
        return str(minor)
    digits = str(abs(minor)).rjust(scale + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def moment(at: datetime) -> str:
    """A time to the microsecond, in UTC: `2026-10-01T09:30:00.000000Z`."""
    return f"{at.astimezone(UTC).isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


@lru_cache(maxsize=_ORGANIZATIONS_KEPT)
def organization(organization_id: UUID) -> str:
    """`org_…` as everybody sees it; the platform's book by its name."""
    return "org_platform" if organization_id == PLATFORM else external("org", organization_id)


def csv_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as CSV; `None` is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
