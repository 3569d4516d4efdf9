"""Times and money as text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ledger.statements import Balance

CREDIT_UNIT_CENTS: Final = 1
CURRENCY: Final = "USD"


def at(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as in `2026-11-21T08:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at_or_none(moment: datetime | None) -> str | None:
    """`at`, or none."""
    return at(moment) if moment is not None else None


def limits(balance: Balance) -> dict[str, Any]:
    """The balance in credits under the contract's names. Paid and promotional credits are told apart, never mixed."""
    return {
        "remaining_credits": balance.promotional,
        "payment_backed_remaining_credits": balance.paid,
        "held_credits": balance.held,
    }
