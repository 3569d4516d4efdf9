"""What agents, payers, banks and operators may do, as frozen values that a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tests.soak.book import Balance

Rail = Literal["card", "deposit"]
Ending = Literal[
    "paid", "late", "declined then paid", "reopened then paid", "debit arrives", "debit returns", "abandoned",
    "expired", "canceled", "wrong amount", "failed",
]  # fmt: skip
RefundBy = Literal["operator", "dashboard"]
RefundStart = Literal["by itself", "pending", "requires_action"]
RefundEnd = Literal["settle", "cancel", "fail"]
DisputeStart = Literal["inquiry", "withdrawn", "announced"]
DisputeMove = Literal["respond", "escalate", "withdraw", "prevent", "win", "lose", "appeal"]

ENDS: Final[dict[Ending, str]] = {
    "paid": "succeeded", "late": "succeeded", "declined then paid": "succeeded", "reopened then paid": "succeeded",
    "debit arrives": "succeeded", "wrong amount": "succeeded", "debit returns": "failed", "failed": "failed",
    "abandoned": "expired", "expired": "expired", "canceled": "canceled",
}  # fmt: skip
"""In which state of the attempt each ending must end."""


@dataclass(frozen=True)
class Break:
    """One request to Stripe goes wrong, in this way; `times` in a row."""

    kind: str
    times: int = 1
    seconds: float | None = None
    stored: bool = True

    @property
    def name(self) -> str:
        return f"{self.kind} (stored)" if self.kind == "error_500" and self.stored else self.kind


@dataclass(frozen=True)
class Buy:
    """A quote is bought, and paid or not. Cents; `off` is a promotion in per cent, `sent` what a wallet sends first."""

    number: int
    rail: Rail
    credits: int
    ending: Ending
    tax: int = 0
    off: int = 0
    sent: int = 0
    broken: Break | None = None


@dataclass(frozen=True)
class Spend:
    credits: int
    accepted: bool


@dataclass(frozen=True)
class Hold:
    credits: int


@dataclass(frozen=True)
class Capture:
    credits: int
    final: bool


@dataclass(frozen=True)
class Void:
    pass


@dataclass(frozen=True)
class Refund:
    """Part of a payment, or all that is left of it, goes back; asked for over our API or in Stripe's Dashboard."""

    name: str
    number: int
    cents: int
    by: RefundBy
    start: RefundStart
    broken: Break | None = None


@dataclass(frozen=True)
class MoveRefund:
    name: str
    end: RefundEnd


@dataclass(frozen=True)
class Dispute:
    name: str
    number: int
    cents: int
    start: DisputeStart


@dataclass(frozen=True)
class MoveDispute:
    name: str
    move: DisputeMove
    fee_returned: bool = False


@dataclass(frozen=True)
class Warn:
    number: int


@dataclass(frozen=True)
class Freeze:
    pass


@dataclass(frozen=True)
class Unfreeze:
    pass


@dataclass(frozen=True)
class WriteOff:
    number: int
    credits: int


Act: TypeAlias = (
    Buy | Spend | Hold | Capture | Void | Refund | MoveRefund | Dispute | MoveDispute | Warn | Freeze | Unfreeze
    | WriteOff
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """An act, and what its organization must have once it is through. The next step waits for that."""

    act: Act
    after: Balance


@dataclass(frozen=True)
class Granted:
    """What a payment must have brought: credits, and cents: all, tax, what was paid beyond the price."""

    credits: int
    cents: int
    tax: int
    remainder: int
