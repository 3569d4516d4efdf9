"""One agent's part of the plan, drawn: what it buys, what is spent meanwhile, what is taken back and given back.

Every act is tried out on the oracle first, so that a plan holds only what can be done, and says what it must end in.
Left out is what would be decided by who comes first: a warning about a payment that is disputed already or of which
nothing is left, captures and purchases that pay a debt while an organization is stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

from tests.soak.book import Book, Lot
from tests.soak.steps import (
    Act,
    Break,
    Buy,
    Capture,
    Dispute,
    DisputeMove,
    DisputeStart,
    Ending,
    Freeze,
    Granted,
    Hold,
    MoveDispute,
    MoveRefund,
    Rail,
    Refund,
    RefundBy,
    RefundEnd,
    RefundStart,
    Spend,
    Step,
    Unfreeze,
    Void,
    Warn,
    WriteOff,
)

T = TypeVar("T")

CREDITS_MIN, CREDITS_MAX = 60, 2000
BREAKS: Final = (
    Break("error_500"), Break("error_500", stored=False), Break("error_503", times=2), Break("error_429", times=2),
    Break("hang", seconds=6.0), Break("drop", times=2), Break("slow", seconds=1.0), Break("lost_answer"),
    Break("work_then_500"),
)  # fmt: skip
BROKEN_SHARE: Final = 0.35
_CARD: Final[dict[Ending, int]] = {
    "paid": 40, "declined then paid": 8, "debit arrives": 10, "debit returns": 5, "abandoned": 5, "expired": 4,
    "reopened then paid": 6, "canceled": 6, "late": 6,
}  # fmt: skip
_DEPOSIT: Final[dict[Ending, int]] = {
    "paid": 45, "wrong amount": 10, "abandoned": 5, "expired": 5, "failed": 5, "canceled": 5, "late": 5,
}  # fmt: skip
_REFUND_STARTS: Final[dict[RefundStart, int]] = {"by itself": 2, "pending": 1, "requires_action": 1}
_REFUNDED_BY: Final[dict[RefundBy, int]] = {"operator": 2, "dashboard": 1}
_DISPUTE_STARTS: Final[dict[DisputeStart, int]] = {"withdrawn": 60, "inquiry": 25, "announced": 15}
_DISPUTE_MOVES: Final[dict[str, dict[DisputeMove, int]]] = {
    "inquiry": {"respond": 3, "escalate": 4, "win": 3},
    "inquiry under review": {"win": 1},
    "announced": {"withdraw": 3, "prevent": 2},
    "withdrawn": {"respond": 2, "win": 3, "lose": 3},
    "withdrawn under review": {"win": 1, "lose": 1},
    "appealed": {"respond": 1, "win": 2, "lose": 2},
    "appeal under review": {"win": 1, "lose": 1},
    "lost": {"appeal": 1},
}
_AFTER_MOVE: Final[dict[tuple[str, DisputeMove], str]] = {
    ("inquiry", "respond"): "inquiry under review", ("inquiry", "escalate"): "withdrawn", ("inquiry", "win"): "over",
    ("inquiry under review", "win"): "over", ("announced", "withdraw"): "withdrawn", ("announced", "prevent"): "over",
    ("withdrawn", "respond"): "withdrawn under review", ("withdrawn", "win"): "over", ("withdrawn", "lose"): "lost",
    ("withdrawn under review", "win"): "over", ("withdrawn under review", "lose"): "lost",
    ("lost", "appeal"): "appealed", ("appealed", "respond"): "appeal under review", ("appealed", "win"): "over",
    ("appealed", "lose"): "lost again", ("appeal under review", "win"): "over",
    ("appeal under review", "lose"): "lost again",
}  # fmt: skip
APPEALED_SHARE: Final = 0.35


def granted(buy: Buy, *, partial: bool) -> Granted:
    """What a payment brings. A credit costs a cent; a promotion lowers what is paid and not what is given.

    A transfer of another amount is taken where the service takes such; else it is matched by nobody, and the right one
    follows.
    """
    if buy.ending == "wrong amount" and partial:
        return Granted(min(buy.credits, buy.sent), buy.sent, 0, max(0, buy.sent - buy.credits))
    paid = buy.credits - buy.credits * buy.off // 100
    return Granted(buy.credits, paid + buy.tax, buy.tax, 0)


@dataclass
class _Refunded:
    number: int
    cents: int
    ends: Mapping[RefundEnd, int]
    """What may still become of it."""


@dataclass
class _Disputed:
    number: int
    cents: int
    state: str
    appealable: bool


@dataclass
class Drawing:
    """Draws one agent's steps, until `purchases` attempts were made and what is open is closed again."""

    chance: Random
    purchases: int
    partial: bool
    temper: str
    """`stopped`: an operator stops it now and then; `warned`: its cards are suspected; else neither."""
    book: Book = field(default_factory=Book)
    steps: list[Step] = field(default_factory=list)
    granted: dict[int, Granted] = field(default_factory=dict)
    bought: int = 0
    named: int = 0
    promoted: bool = False
    refunds: dict[str, _Refunded] = field(default_factory=dict)
    disputes: dict[str, _Disputed] = field(default_factory=dict)
    cards: set[int] = field(default_factory=set)
    disputed: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    """Payments that a bank decided against: Stripe refunds nothing more of them."""
    warned: set[int] = field(default_factory=set)

    def draw(self) -> list[Step]:
        while self.bought < self.purchases:
            self._buy()
            for _ in range(self.chance.randint(1, 7)):
                self._anything()
        for name in list(self.refunds):
            self._move_refund(name)
        while open_ := [name for name, one in self.disputes.items() if one.state != "lost"]:
            self._move_dispute(open_[0])
        if self.book.stopped and self.chance.random() < 0.6:
            self._stop(stop=False)
        return self.steps

    def _add(self, act: Act) -> None:
        self.steps.append(Step(act, self.book.balance))

    def _anything(self) -> None:
        """One of the things that can be done now; nothing when the dice name one that cannot."""
        weights = {
            "spend": 5, "hold": 3, "end hold": 4, "refund": 4, "move refund": 3, "dispute": 3, "move dispute": 4,
            "warn": 8, "stop": 3, "write off": 3,
        }  # fmt: skip
        match self._one_of(weights):
            case "spend":
                self._spend()
            case "hold":
                self._hold()
            case "end hold":
                self._end_hold()
            case "refund":
                self._refund()
            case "move refund" if self.refunds:
                self._move_refund(self.chance.choice(list(self.refunds)))
            case "dispute":
                self._dispute()
            case "move dispute" if self.disputes:
                self._move_dispute(self.chance.choice(list(self.disputes)))
            case "warn" if self.temper == "warned":
                self._warn()
            case "stop" if self.temper == "stopped":
                self._stop(stop=not self.book.stopped)
            case "write off":
                self._write_off()

    def _one_of(self, weights: Mapping[T, int]) -> T:
        return self.chance.choices(list(weights), list(weights.values()))[0]

    def _name(self, what: str) -> str:
        self.named += 1
        return f"{what} {self.named}"

    def _broken(self) -> Break | None:
        return self.chance.choice(BREAKS) if self.chance.random() < BROKEN_SHARE else None

    def _buy(self) -> None:
        self.bought += 1
        rail: Rail = "card" if self.chance.random() < 0.6 else "deposit"
        ending = self._one_of(_CARD if rail == "card" else _DEPOSIT)
        if self.book.stopped and self.book.balance.owed:
            ending = "canceled"
        credits_ = self.chance.randint(CREDITS_MIN, CREDITS_MAX)
        tax = off = sent = 0
        if rail == "card" and self.chance.random() < 0.3:
            tax = credits_ * self.chance.choice((7, 10, 19)) // 100
        if ending == "paid" and rail == "card" and self.chance.random() < 0.3:
            off = self.chance.choice((10, 50) if self.promoted else (10, 50, 100))
            tax, self.promoted = (0, True) if off == 100 else (tax, self.promoted)
        if ending == "wrong amount":
            sent = max(1, credits_ + self.chance.choice((-40, -1, 1, 35)))
        buy = Buy(self.bought, rail, credits_, ending, tax, off, sent, self._broken())
        brings = ("paid", "late", "declined then paid", "reopened then paid", "debit arrives", "wrong amount")
        if ending in brings:
            terms = granted(buy, partial=self.partial)
            self.granted[self.bought] = terms
            self.book.grant(self.bought, terms.credits, terms.cents)
            if rail == "card" and ending != "debit arrives" and terms.cents:
                self.cards.add(self.bought)
        self._add(buy)

    def _spend(self) -> None:
        spendable = self.book.balance.spendable
        if self.chance.random() < 0.08:
            self._add(Spend(spendable + self.chance.randint(1, 50), accepted=False))
        elif spendable:
            # Often nearly all of it: a reversal then meets credits that are gone.
            credits_ = self.chance.randint(1, spendable) if self.chance.random() < 0.5 else spendable
            self.book.spend(credits_)
            self._add(Spend(credits_, accepted=True))

    def _hold(self) -> None:
        balance = self.book.balance
        if balance.spendable and not balance.held:
            credits_ = self.chance.randint(1, balance.spendable)
            self.book.hold(credits_)
            self._add(Hold(credits_))

    def _end_hold(self) -> None:
        held = self.book.balance.held
        if not held:
            return
        is_frozen = any(lot.held and self.book.is_frozen(lot) for lot in self.book.lots)
        if is_frozen or self.chance.random() < 0.35:
            self.book.release()
            self._add(Void())
            return
        credits_ = self.chance.randint(1, held)
        final = credits_ == held or self.chance.random() < 0.6
        self.book.capture(credits_, final=final)
        self._add(Capture(credits_, final))

    def _payment(self, *, cards: bool = False) -> Lot | None:
        """A payment of which something can still be taken back, and which no bank holds now."""
        busy = {one.number for one in self.disputes.values()} | self.lost
        found = [
            lot for lot in self.book.lots
            if lot.rest_cents > 0 and lot.number not in busy and (not cards or lot.number in self.cards - self.disputed)
        ]  # fmt: skip
        return self.chance.choice(found) if found else None

    def _refund(self) -> None:
        lot = self._payment()
        if lot is None:
            return
        rest = lot.rest_cents
        cents = rest if self.chance.random() < 0.4 else self.chance.randint(1, rest)
        name = self._name("refund")
        start = self._one_of(_REFUND_STARTS)
        by = self._one_of(_REFUNDED_BY)
        refund = Refund(name, lot.number, cents, by, start, self._broken() if by == "operator" else None)
        self.book.reverse(lot.number, name, cents)
        ends: dict[RefundEnd, int] = {"fail": 1} if start == "by itself" else {"settle": 2, "cancel": 1, "fail": 1}
        if start != "by itself" or self.chance.random() < 0.3:
            self.refunds[name] = _Refunded(lot.number, cents, ends)
        self._add(refund)

    def _move_refund(self, name: str) -> None:
        refund = self.refunds.pop(name)
        end = self._one_of(refund.ends)
        if end == "settle":
            if self.chance.random() < 0.25:
                self.refunds[name] = _Refunded(refund.number, refund.cents, {"fail": 1})
        else:
            self.book.reverse(refund.number, name, 0)
        self._add(MoveRefund(name, end))

    def _dispute(self) -> None:
        lot = self._payment(cards=True)
        if lot is None:
            return
        start = self._one_of(_DISPUTE_STARTS)
        cents = lot.rest_cents if self.chance.random() < 0.7 else self.chance.randint(1, lot.rest_cents)
        name = self._name("dispute")
        self.disputed.add(lot.number)
        self.disputes[name] = _Disputed(lot.number, cents, start, self.chance.random() < APPEALED_SHARE)
        if start == "withdrawn":
            self.book.reverse(lot.number, name, cents)
        self._add(Dispute(name, lot.number, cents, start))

    def _move_dispute(self, name: str) -> None:
        dispute = self.disputes[name]
        move = self._one_of(_DISPUTE_MOVES[dispute.state])
        was_withdrawn = dispute.state not in {"inquiry", "inquiry under review", "announced"}
        dispute.state = _AFTER_MOVE[dispute.state, move]
        if move in {"escalate", "withdraw"}:
            self.book.reverse(dispute.number, name, dispute.cents)
        if dispute.state.startswith("lost"):
            self.lost.add(dispute.number)
        if dispute.state == "over":
            self.lost.discard(dispute.number)
            self.book.reverse(dispute.number, name, 0)
            self.book.lot(dispute.number).warned = False
        if dispute.state in {"over", "lost again"} or (dispute.state == "lost" and not dispute.appealable):
            del self.disputes[name]
        fee_returned = move == "win" and was_withdrawn and self.chance.random() < 0.3
        self._add(MoveDispute(name, move, fee_returned))

    def _warn(self) -> None:
        early = self.cards - self.disputed - self.warned
        found = [lot for lot in self.book.lots if lot.remaining and lot.number in early]
        if found:
            lot = self.chance.choice(found)
            lot.warned = True
            self.warned.add(lot.number)
            self._add(Warn(lot.number))

    def _stop(self, *, stop: bool) -> None:
        self.book.stopped = stop
        self._add(Freeze() if stop else Unfreeze())

    def _write_off(self) -> None:
        found = [lot for lot in self.book.lots if lot.owed]
        if found:
            lot = self.chance.choice(found)
            credits_ = lot.owed if self.chance.random() < 0.5 else self.chance.randint(1, lot.owed)
            self.book.write_off(lot.number, credits_)
            self._add(WriteOff(lot.number, credits_))
