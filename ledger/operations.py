"""What can be posted: operations as frozen values. Pure.

An operation is one request in one book. Its scope says who asks (an agent, an operator key, or the service itself),
its key makes it happen once for ever: the same (scope, key) with the same content is answered with the first outcome,
with other content it is refused. The id of an operation is made from its book, scope and key, so whoever knows those
knows it beforehand; a hold has the id of the operation that made it.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from ledger import chart
from ledger.money import AMOUNT_MAX, Currency, Money

LANE: Final = 0
"""The only lane of one PostgreSQL; the column is there so that the books can be spread later."""

PLATFORM: Final = UUID("00000000-0000-7000-8000-000000000000")
"""The organization id of the platform book, `org_platform`."""

SYSTEM_SCOPE: Final = UUID(int=0)
"""The scope of what the service itself posts. No request can reach it."""

TRANSFERS_MAX: Final = 16
KEY_LENGTH_MAX: Final = 255
HOLD_MAX: Final = timedelta(days=30)
"""How long a hold may last, extensions included."""

RETURNED_LOT_DAYS: Final = 30
"""For how long credits live that come back to a lot that has expired."""

PRIORITY: Final = 100


class Kind(enum.StrEnum):
    """What an operation is. The value stands in the journal. The last two the books post by themselves."""

    OPENING = "opening"
    GRANT = "grant"
    MONEY = "money"
    SPEND = "spend"
    HOLD = "hold"
    CAPTURE = "capture"
    VOID = "void"
    EXTEND = "extend"
    SPEND_REFUND = "spend_refund"
    CLAW_BACK = "claw_back"
    REINSTATE = "reinstate"
    SETTLE_OWED = "settle_owed"
    WRITE_OFF = "write_off"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    SET_CAPS = "set_caps"
    CLOSE = "close"
    REOPEN = "reopen"
    HOLD_EXPIRY = "hold_expiry"
    LOT_EXPIRY = "lot_expiry"


COUNTED: Final = frozenset({
    Kind.SPEND, Kind.HOLD, Kind.CAPTURE, Kind.SPEND_REFUND, Kind.CLAW_BACK, Kind.REINSTATE, Kind.SETTLE_OWED,
    Kind.WRITE_OFF,
})  # fmt: skip
"""Kinds that are of one credit or more."""

TARGETED: Final = frozenset({
    Kind.CAPTURE, Kind.VOID, Kind.EXTEND, Kind.SPEND_REFUND, Kind.CLAW_BACK, Kind.REINSTATE, Kind.WRITE_OFF,
    Kind.FREEZE, Kind.UNFREEZE,
})  # fmt: skip
"""Kinds that are about a hold, an operation or a grant. Money may be: what moves for one payment names its grant."""

CLOSING: Final = frozenset({Kind.CLOSE, Kind.REOPEN})
"""Kinds that move the end of what is closed. Their deadline is the first moment that is open."""

MOVING_MONEY: Final = frozenset({Kind.GRANT, Kind.MONEY})
"""Kinds that have transfers."""


class LotCause(enum.StrEnum):
    """Why credits were granted. Only `paid` lots carry a basis in money."""

    PAID = "paid"
    PROMOTIONAL = "promotional"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money from one account to another of the same currency: one debit, one credit, one amount."""

    debit: str
    credit: str
    money: Money

    def __post_init__(self) -> None:
        if self.debit == self.credit:
            raise ValueError("a transfer moves between two different accounts")
        if not 0 < self.money.amount <= AMOUNT_MAX:
            raise ValueError(f"a transfer moves a positive amount, not {self.money.amount}")
        if self.money.currency is Currency.CREDIT:
            raise ValueError("credits are moved by what the operation is, not by a transfer")
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
    priority: int = PRIORITY

    def __post_init__(self) -> None:
        if not 0 < self.credits <= AMOUNT_MAX:
            raise ValueError("a lot has at least one credit")
        if (self.basis is not None) != (self.cause is LotCause.PAID):
            raise ValueError("a paid lot has a basis, another lot has none")
        if self.basis is not None and self.basis.amount < 0:
            raise ValueError("a basis is never negative")


@dataclass(frozen=True, slots=True)
class Caps:
    """What a spender may spend, in credits; none means no limit. Windows are the UTC hour, day and month.

    `total` counts from the time the first cap was set. A paused spender spends nothing.
    """

    per_spend: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    total: int | None = None
    paused: bool = False

    def __post_init__(self) -> None:
        for cap in (self.per_spend, self.per_hour, self.per_day, self.per_month, self.total):
            if cap is not None and not 0 <= cap <= AMOUNT_MAX:
                raise ValueError("a cap is 0 or more")


@dataclass(frozen=True, slots=True)
class Operation:
    """One request to a book. Which fields a kind uses stands in `docs/postings.md`.

    `event_at` is when it happened in the world, none for the time of posting. Operations of one call with the same
    `group` above 0 stand next to each other, are of one book, and are posted all or none.
    """

    organization_id: UUID
    kind: Kind
    scope: UUID
    key: str
    cause: str
    event_at: datetime | None = None
    credits: int = 0
    spender: UUID | None = None
    target: UUID | None = None
    deadline: datetime | None = None
    final: bool = True
    transfers: tuple[Transfer, ...] = ()
    lot: LotOpening | None = None
    caps: Caps | None = None
    group: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.key) <= KEY_LENGTH_MAX:
            raise ValueError(f"a key has 1 to {KEY_LENGTH_MAX} characters")
        if not self.key.isascii() or "\0" in self.key + self.cause:
            _require_storable(self.key + self.cause)
        if not (self.kind in COUNTED) <= self.credits <= AMOUNT_MAX:
            raise ValueError(f"a {self.kind} is of 1 credit or more")
        if (self.kind in TARGETED) != (self.target is not None) and self.kind is not Kind.MONEY:
            raise ValueError(f"a {self.kind} names what it is about, and only such kinds do")
        if self.kind in CLOSING and self.deadline is None:
            raise ValueError(f"a {self.kind} names the first moment that is open")
        if (self.kind is Kind.GRANT) != (self.lot is not None):
            raise ValueError("a grant is of a lot, and nothing else is")
        if self.kind is Kind.MONEY and not self.transfers:
            raise ValueError("money is moved by at least one transfer")
        if self.transfers and (self.kind not in MOVING_MONEY or len(self.transfers) > TRANSFERS_MAX):
            raise ValueError(f"at most {TRANSFERS_MAX} transfers are of a grant or of money, and of nothing else")
        for moment in (self.event_at, self.deadline):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("a time says its zone")

    @property
    def id(self) -> UUID:
        """The operation's id, known before it is posted."""
        return operation_id(self.organization_id, self.scope, self.key)

    def fingerprint(self) -> bytes:
        """16 bytes over the content that a repetition must share: everything but the key and the time of asking."""
        content = (
            self.kind.value, self.cause, self.credits, self.spender, self.target, _microseconds(self.deadline),
            self.final, self.transfers and _transfers_content(self.transfers), self.lot and _lot_content(self.lot),
            self.caps and tuple(getattr(self.caps, f.name) for f in fields(self.caps)),
        )  # fmt: skip
        return hashlib.sha256(repr(content).encode()).digest()[:16]


def _require_storable(text: str) -> None:
    """Raises `ValueError` for what PostgreSQL keeps in no text: NUL, and what has no UTF-8."""
    text.encode()
    if "\0" in text:
        raise ValueError("a text has no NUL in it")


def operation_id(organization_id: UUID, scope: UUID, key: str) -> UUID:
    """The id of the operation under this key: a version 8 UUID (RFC 9562, 5.8) of their SHA-256."""
    digest = hashlib.sha256(organization_id.bytes + scope.bytes + key.encode()).hexdigest()
    return UUID(f"{digest[:12]}8{digest[13:16]}a{digest[17:32]}")


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _transfers_content(transfers: tuple[Transfer, ...]) -> tuple[object, ...]:
    return tuple((t.debit, t.credit, t.money.amount, t.money.currency.value) for t in transfers)


def _lot_content(lot: LotOpening) -> tuple[object, ...]:
    basis = (lot.basis.amount, lot.basis.currency.value) if lot.basis else None
    return (lot.cause.value, lot.credits, basis, _microseconds(lot.expires_at), lot.priority)


def opening(*, organization_id: UUID, event_at: datetime) -> Operation:
    """The first operation of every book."""
    return Operation(organization_id, Kind.OPENING, SYSTEM_SCOPE, "opening", "opening", event_at)
