"""A book as its journal says it is, with its lots, holds and spenders. Pure.

Each part gives the columns that its row must have (`columns`), without the lane and the organization. Times are integer
microseconds since 2000, ids are 16 bytes, as PostgreSQL sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final, Self

from ledger.chart import NUMBERS

WALLET, HELD, ISSUED, CONSUMED, EXPIRED, CLAWED_BACK = (
    NUMBERS[code] for code in ("wallet", "held", "issued", "consumed", "expired", "clawed_back")
)
CREDIT_ACCOUNTS: Final = 6
"""The credit accounts are the first of the chart, so that a list by number holds their sums."""

_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR
_EPOCH_DAY: Final = date(2000, 1, 1)
_REVERSAL: Final = ("reversed", "taken", "taken_expired", "held_reversed", "owed", "settled")
_CAPS: Final = ("per_spend", "per_hour", "per_day", "per_month", "total")


def no_sums() -> list[int]:
    """A sum for each credit account, by its number; what an account is credited with counts below zero."""
    return [0] * (CREDIT_ACCOUNTS + 1)


@dataclass(slots=True)
class Lot:
    """Credits granted together, and where they are now."""

    number: int
    cause: str
    expires_at: int | None
    priority: int
    parts: list[int] = field(default_factory=no_sums)
    frozen: bool = False
    reversed: int = 0
    taken: int = 0
    taken_expired: int = 0
    held_reversed: int = 0
    owed: int = 0
    settled: int = 0
    settled_lots: list[int] = field(default_factory=list)
    settled_amounts: list[int] = field(default_factory=list)
    reissued: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The lot whose `columns` are `row`."""
        parts = [
            0, row["remaining"], row["held"], -row["credits"], row["consumed"], row["expired"], row["clawed_back"],
        ]  # fmt: skip
        return cls(
            row["lot"], row["cause"], row["expires_at"], row["priority"], parts, row["frozen"], row["reversed"],
            row["taken"], row["taken_expired"], row["held_reversed"], row["owed"], row["settled"],
            list(row["settled_lots"]), list(row["settled_amounts"]), row["reissued"],
        )  # fmt: skip

    @property
    def at_rest(self) -> bool:
        """Whether only a reversal, a refund or a freeze can still change it."""
        return not (self.parts[WALLET] or self.parts[HELD] or self.owed)

    @property
    def fault(self) -> str | None:
        """Which promise about a lot it breaks; none when it is sound."""
        reversals = [getattr(self, name) for name in _REVERSAL]
        if sum(self.parts) != 0 or min(self.parts[WALLET], self.parts[HELD], *self.parts[CONSUMED:]) < 0:
            return "its parts do not add up to its credits"
        if self.reversed != self.taken + self.held_reversed + self.owed + self.settled or min(reversals) < 0:
            return "its reversals do not add up"
        if self.reversed > -self.parts[ISSUED] or self.taken_expired > self.taken:
            return "more was taken than was reversed"
        if not 0 <= self.reissued <= self.parts[EXPIRED]:
            return "more came back in another lot than expired"
        if self.held_reversed > self.parts[HELD] or self.settled != sum(self.settled_amounts):
            return "more is marked or settled than there is"
        return None

    def columns(self) -> dict[str, Any]:
        """Its row."""
        _, remaining, held, issued, consumed, expired, clawed_back = self.parts
        return {
            "lot": self.number, "cause": self.cause, "credits": -issued, "remaining": remaining, "held": held,
            "consumed": consumed, "expired": expired, "clawed_back": clawed_back, "open": remaining > 0,
            "frozen": self.frozen, "expires_at": self.expires_at, "priority": self.priority, "reversed": self.reversed,
            "taken": self.taken, "taken_expired": self.taken_expired, "held_reversed": self.held_reversed,
            "owed": self.owed, "settled": self.settled, "settled_lots": self.settled_lots,
            "settled_amounts": self.settled_amounts, "reissued": self.reissued,
        }  # fmt: skip


@dataclass(slots=True)
class Hold:
    """A reservation, by lot in the order of burning. `ended` is how it was closed."""

    id: bytes
    maker: bytes
    spender: bytes | None
    credits: int
    made_at: int
    deadline: int
    lots: list[int]
    amounts: list[int]
    reversed_amounts: list[int]
    ended: str | None = None

    def columns(self) -> dict[str, Any]:
        """Its row."""
        return {
            "id": self.id, "maker": self.maker, "spender": self.spender, "credits": self.credits,
            "remaining": sum(self.amounts), "reversed": sum(self.reversed_amounts), "made_at": self.made_at,
            "deadline": self.deadline, "lots": self.lots, "amounts": self.amounts,
            "reversed_amounts": self.reversed_amounts, "open": self.ended is None, "ended": self.ended,
        }  # fmt: skip


@dataclass(slots=True)
class Spender:
    """The caps of a spender and what counts against them: of each window its beginning, and what was used in it."""

    id: bytes
    since: int
    caps: dict[str, int | None] = field(default_factory=dict)
    paused: bool = False
    starts: tuple[int, int, int] = (0, 0, 0)
    used: list[int] = field(default_factory=lambda: [0, 0, 0])
    total_used: int = 0

    def __post_init__(self) -> None:
        self.starts = windows(self.since)

    def limit(self, caps: Mapping[str, Any]) -> None:
        """Set all caps at once; one that is not named sets no limit."""
        self.caps = {name: caps.get(name) for name in _CAPS}
        self.paused = caps["paused"]

    def charge(self, amount: int, at: int) -> None:
        """Count `amount`; a window that has passed begins anew."""
        now = windows(at)
        for n, start in enumerate(now):
            self.used[n] = amount + (self.used[n] if self.starts[n] == start else 0)
        self.starts = now
        self.total_used += amount

    def uncharge(self, amount: int, charged_at: int) -> None:
        """Give back to the windows that were charged, where they still count."""
        if charged_at >= self.since:
            for n, start in enumerate(self.starts):
                self.used[n] -= amount if charged_at >= start else 0
            self.total_used -= amount

    def columns(self) -> dict[str, Any]:
        """Its row."""
        (hour, day, month), (by_hour, by_day, by_month) = self.starts, self.used
        return {
            "spender": self.id, **self.caps, "paused": self.paused, "since": self.since, "hour_start": hour,
            "hour_used": by_hour, "day_start": day, "day_used": by_day, "month_start": month, "month_used": by_month,
            "total_used": self.total_used,
        }  # fmt: skip


def windows(at: int) -> tuple[int, int, int]:
    """When the UTC hour, day and month of a time began."""
    return at - at % _HOUR, at - at % _DAY, _month_start(day_of(at)) * _DAY


def day_of(at: int) -> int:
    """The UTC date of a time, in days since 2000."""
    return at // _DAY


@lru_cache(maxsize=64)
def _month_start(day: int) -> int:
    return ((_EPOCH_DAY + timedelta(days=day)).replace(day=1) - _EPOCH_DAY).days


class Misfit(Exception):
    """The journal says what cannot be, so nothing behind it can be rebuilt."""


@dataclass(slots=True)
class RebuiltBook:
    """A book after the operations that were followed so far.

    It keeps open holds and lots that are not at rest; `touched` and `ended` are what may be let go. `next_due_at` is
    what the stored book says, `next_due_at_known` whether a hold or a lot ever had that deadline. `money` is debits,
    credits and the number of transfers of each money account, by its number.
    """

    next_due_at: int | None = None
    next_due_at_known: bool = False
    sums: list[int] = field(default_factory=no_sums)
    frozen: int = 0
    paid: int = 0
    owed: int = 0
    money: dict[int, list[int]] = field(default_factory=dict)
    lots: dict[int, Lot] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    holds: dict[bytes, Hold] = field(default_factory=dict)
    ended: list[Hold] = field(default_factory=list)
    spenders: dict[bytes, Spender] = field(default_factory=dict)
    last_lot: int = 0
    closed_through: int | None = None
    holds_made: int = 0
    refunds: int = 0

    def lot(self, number: int) -> Lot:
        """A lot that was opened before. Raises `Misfit` when there is none."""
        self.touched.add(number)
        try:
            return self.lots[number]
        except KeyError:
            raise Misfit(f"is about lot {number}, which is not there") from None

    def hold(self, hold_id: bytes | None) -> Hold:
        """An open hold. Raises `Misfit` when there is none."""
        hold = None if hold_id is None else self.holds.get(hold_id)
        if hold is None:
            raise Misfit("is about a hold that is not open")
        return hold

    def owe(self, lot: Lot, amount: int) -> None:
        """Add to what is owed for a lot."""
        lot.owed += amount
        self.owed += amount

    def wallet_changed(self, lot: Lot, change: int) -> None:
        """Keep the parts of the wallet that depend on the lot."""
        if lot.frozen:
            self.frozen += change
        elif lot.cause == "paid":
            self.paid += change
        if change > 0:
            self.saw_deadline(lot.expires_at)

    def saw_deadline(self, deadline: int | None) -> None:
        """A hold or an open lot has this deadline now."""
        if deadline == self.next_due_at:
            self.next_due_at_known = True

    def uncharge(self, spender_id: bytes | None, amount: int, charged_at: int) -> None:
        """Give back to a spender's windows, if its spending is counted."""
        if spender_id is not None and (spender := self.spenders.get(spender_id)) is not None:
            spender.uncharge(amount, charged_at)

    def next_deadline(self) -> int | None:
        """When the next hold or lot falls due."""
        deadlines = [hold.deadline for hold in self.holds.values()]
        expiries = [lot.expires_at for lot in self.lots.values() if lot.parts[WALLET] and lot.expires_at is not None]
        return min(deadlines + expiries, default=None)
