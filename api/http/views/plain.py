"""Times and money as text. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ledger.ids import external
from ledger.statements import Balance, Expiry
from ledger.tables import OperationRow

CREDIT_UNIT_CENTS: Final = 1
CURRENCY: Final = "USD"


def at(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as in `2026-11-21T08:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exactly(moment: datetime) -> str:
    """`at` with microseconds, as the books count: a time of theirs that is asked about again is the same time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def at_or_none(moment: datetime | None) -> str | None:
    """`at`, or none."""
    return at(moment) if moment is not None else None


def limits(balance: Balance) -> dict[str, Any]:
    """The balance in credits under the contract's names. Paid and promotional credits are told apart, never mixed.

    Frozen credits cannot be spent while their payment is questioned; owed ones are taken from the next purchase. Both
    are named only where there are any.
    """
    found = {
        "remaining_credits": balance.promotional,
        "payment_backed_remaining_credits": balance.paid,
        "held_credits": balance.held,
    }
    rare = {"frozen_credits": balance.frozen, "owed_credits": balance.owed}
    return found | {name: credits_ for name, credits_ in rare.items() if credits_ > 0}


def lot_name(number: int) -> str:
    """A lot, as it is named in every answer."""
    return f"lot_{number}"


def expiry(found: Expiry) -> dict[str, Any]:
    """Credits that will expire, and when."""
    return {
        "expires_at": at(found.expires_at),
        "credits": found.credits,
        "cause": found.cause,
        "lot_id": lot_name(found.lot),
    }


def published_head(operation: OperationRow) -> dict[str, Any]:
    """Where an operation stands in the journal of its book, and the hash of the journal up to it, in hex."""
    return {"operation_id": external("op", operation.id), "seq": operation.seq, "head": operation.hash.hex()}
