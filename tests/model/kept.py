"""What the oracle keeps of a book. Nothing is kept that can be counted: see `tests/model/oracle.py`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from ledger.operations import Caps, Kind, LotOpening, Operation
from ledger.outcomes import Posted

NEVER = datetime.max.replace(tzinfo=UTC)
PLACES = ("wallet", "held", "consumed", "expired", "clawed_back")

Move = tuple[str, str, int, int]
"""Debit, credit, lot (0 for money), amount."""


@dataclass
class Lot:
    """Credits granted together. `places` says where each of them is now."""

    number: int
    opening: LotOpening
    grant: UUID
    places: Counter[str] = field(default_factory=Counter)
    frozen: bool = False
    taken: int = 0
    taken_expired: int = 0
    reissued: int = 0
    """What expired and came back in another lot."""
    owed: int = 0
    settled: list[list[int]] = field(default_factory=list)
    """[lot that paid, credits], in the order of settling."""

    @property
    def remaining(self) -> int:
        return self.places["wallet"]

    @property
    def spendable(self) -> int:
        return 0 if self.frozen else self.remaining

    @property
    def burn_order(self) -> tuple[int, datetime, int]:
        return self.opening.priority, self.opening.expires_at or NEVER, self.number

    def expired_at(self, moment: datetime) -> bool:
        return self.opening.expires_at is not None and self.opening.expires_at <= moment


@dataclass
class Part:
    """What a hold keeps of one lot, and how much of that was reversed."""

    lot: Lot
    credits: int
    reversed: int = 0

    @property
    def free(self) -> int:
        return self.credits - self.reversed


@dataclass
class Hold:
    """A reservation that names its lots, in burn order."""

    id: UUID
    maker: UUID
    spender: UUID | None
    credits: int
    made_at: datetime
    deadline: datetime
    parts: list[Part]
    ended: str | None = None

    @property
    def remaining(self) -> int:
        return sum(part.credits for part in self.parts)


@dataclass
class Spender:
    """Caps, and every charge since the first cap was set: (when it was charged, credits; negative when given back)."""

    caps: Caps
    since: datetime
    charges: list[tuple[datetime, int]] = field(default_factory=list)

    def used(self, window: str, at: datetime) -> int:
        return sum(credits_ for when, credits_ in self.charges if start_of(window, when) == start_of(window, at))

    def total(self) -> int:
        return sum(credits_ for _, credits_ in self.charges)

    def last_charged_at(self) -> datetime:
        return max((when for when, _ in self.charges), default=self.since)

    def allows(self, credits_: int, at: datetime) -> bool:
        caps = self.caps
        asked = (
            (caps.per_spend, 0),
            (caps.per_hour, self.used("hour", at)),
            (caps.per_day, self.used("day", at)),
            (caps.per_month, self.used("month", at)),
            (caps.total, self.total()),
        )
        return all(cap is None or used + credits_ <= cap for cap, used in asked)


def start_of(window: str, at: datetime) -> datetime:
    """The beginning of the UTC hour, day or month that `at` lies in."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    return {"hour": hour, "day": hour.replace(hour=0), "month": hour.replace(hour=0, day=1)}[window]


@dataclass
class Entry:
    """One row of the journal. `asked` is the request without what a repetition may change; none for the books' own."""

    posted: Posted
    kind: Kind
    scope: UUID
    key: str
    cause: str
    event_at: datetime
    spender: UUID | None
    target: UUID | None
    moves: list[Move]
    asked: Operation | None
    given_back: int = 0

    def consumed(self) -> list[tuple[int, int]]:
        return [(lot, amount) for debit, _, lot, amount in self.moves if debit == "consumed"]


def content(operation: Operation) -> Operation:
    """What a repetition must share: all but the time of asking and the group it came in."""
    return replace(operation, event_at=None, group=0)
