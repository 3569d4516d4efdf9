"""What can be posted: an operation with its transfers and the lot it opens, as frozen values.

An operation is one accepted request in one book. Its id is made by the caller; its key makes it happen once for ever:
the same (scope, key) with the same content is answered with the first outcome, with other content it is refused.
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ledger import chart
from ledger.money import AMOUNT_MAX, Currency, Money

LANE: Final = 0
"""The only lane of one PostgreSQL; the column is there so that the books can be spread later."""

PLATFORM: Final = UUID("00000000-0000-7000-8000-000000000000")
"""The organization id of the platform book, `org_platform`."""

SYSTEM_SCOPE: Final = "system"
"""The scope of what the service itself posts. No request can reach it."""

TRANSFERS_MAX: Final = 16
KEY_LENGTH_MAX: Final = 255


class Kind(enum.StrEnum):
    """What an operation is. The value stands in the journal."""

    OPENING = "opening"
    GRANT = "grant"


class LotCause(enum.StrEnum):
    """Why credits were granted. Only `paid` lots carry a basis in money."""

    PAID = "paid"
    PROMOTIONAL = "promotional"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One debit, one credit, one amount. `into_lot` says that its credits are those of the lot the operation opens."""

    debit: str
    credit: str
    money: Money
    into_lot: bool = False

    def __post_init__(self) -> None:
        if self.debit == self.credit:
            raise ValueError("a transfer moves between two different accounts")
        if not 0 < self.money.amount <= AMOUNT_MAX:
            raise ValueError(f"a transfer moves a positive amount, not {self.money.amount}")
        for code in (self.debit, self.credit):
            if chart.account(code).currency is not self.money.currency:
                raise ValueError(f"account {code} is not kept in {self.money.currency}")


@dataclass(frozen=True, slots=True)
class LotOpening:
    """Credits granted together. `basis` is what was paid for all of them, net of tax; a unit price is never kept.

    Burn order is priority (smallest first), expiry (soonest first, never last), age.
    """

    cause: LotCause
    credits: int
    basis: Money | None
    expires_at: datetime | None
    priority: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.credits <= AMOUNT_MAX:
            raise ValueError("a lot has at least one credit")
        if (self.basis is not None) != (self.cause is LotCause.PAID):
            raise ValueError("a paid lot has a basis, another lot has none")
        if self.basis is not None and self.basis.amount < 0:
            raise ValueError("a basis is never negative")


@dataclass(frozen=True, slots=True)
class Operation:
    """One request to a book. `terms` is what it changes that no transfer or lot shows, in canonical JSON."""

    id: UUID
    organization_id: UUID
    kind: Kind
    scope: str
    key: str
    event_at: datetime
    cause: str
    transfers: tuple[Transfer, ...] = ()
    lot: LotOpening | None = None
    terms: str | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.key) <= KEY_LENGTH_MAX:
            raise ValueError(f"a key has 1 to {KEY_LENGTH_MAX} characters")
        if len(self.transfers) > TRANSFERS_MAX:
            raise ValueError(f"an operation has at most {TRANSFERS_MAX} transfers")
        if self.event_at.tzinfo is None:
            raise ValueError("event_at says its time zone")
        moved = sum(transfer.money.amount for transfer in self.transfers if transfer.into_lot)
        if moved != (self.lot.credits if self.lot else 0):
            raise ValueError("what moves into a lot is exactly what the lot is opened with")

    def fingerprint(self) -> bytes:
        """16 bytes over the content that a repetition must share: everything but the id and the time of asking."""
        content = [
            self.kind.value,
            self.cause,
            [
                [transfer.debit, transfer.credit, transfer.money.amount, transfer.money.currency, transfer.into_lot]
                for transfer in self.transfers
            ],
            _lot_content(self.lot),
            self.terms,
        ]
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).digest()[:16]


def _lot_content(lot: LotOpening | None) -> list[object] | None:
    if lot is None:
        return None
    expires = lot.expires_at.astimezone(UTC).isoformat() if lot.expires_at else None
    basis = [lot.basis.amount, lot.basis.currency] if lot.basis else None
    return [lot.cause.value, lot.credits, basis, expires, lot.priority]


def opening(*, id: UUID, organization_id: UUID, event_at: datetime) -> Operation:  # noqa: A002 - the field's own name
    """The first operation of every book."""
    return Operation(id, organization_id, Kind.OPENING, SYSTEM_SCOPE, "opening", event_at, cause="opening")


def credits_granted(credits_: int) -> Transfer:
    """The credit side of every grant: `credits_` come into the wallet, as the lot that the operation opens."""
    return Transfer("wallet", "issued", Money(credits_, Currency.CREDIT), into_lot=True)
