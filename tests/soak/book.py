"""An oracle of one organization's credits, as plainly as it goes. Written from the design, not from our code.

Rules it follows. Lots burn in the order of their age (all have one priority and none expires). A reversal of a payment
takes, of its lot: what is unspent, then what is held (marked), then what was spent (owed). Giving back goes the other
way: what is owed, what was settled (to the lot that paid it), what is marked, what was taken. How much is reversed is
a target: the cumulative share of all refunds and of money that disputes hold, rounded up. What is owed is settled from
the next paid grant, the oldest debt first. A hold's reversed part never comes back to the wallet; captured, it is owed.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits: to be spent, in holds, in frozen lots, owed."""

    spendable: int = 0
    held: int = 0
    frozen: int = 0
    owed: int = 0


@dataclass
class Lot:
    """What one purchase brought, and where it is. Cents are what was paid in all, tax included."""

    number: int
    credits: int
    cents: int
    remaining: int
    held: int = 0
    marked: int = 0
    taken: int = 0
    owed: int = 0
    settled: list[tuple[Lot, int]] = field(default_factory=list)
    """Which lot paid how much of this one's debt, in the order of settling."""
    target: int = 0
    forgiven: int = 0
    warned: bool = False
    live: dict[str, int] = field(default_factory=dict)
    """Cents that each refund and dispute holds now, by its name."""

    @property
    def rest_cents(self) -> int:
        """What nobody has taken back."""
        return self.cents - sum(self.live.values())


@dataclass
class Book:
    """One organization. At most one hold is open at a time: which of several is marked first is nobody's business."""

    lots: list[Lot] = field(default_factory=list)
    stopped: bool = False

    @property
    def balance(self) -> Balance:
        return Balance(
            sum(lot.remaining for lot in self.lots if not self.is_frozen(lot)),
            sum(lot.held for lot in self.lots),
            sum(lot.remaining for lot in self.lots if self.is_frozen(lot)),
            sum(lot.owed for lot in self.lots),
        )

    def is_frozen(self, lot: Lot) -> bool:
        return self.stopped or lot.warned

    def lot(self, number: int) -> Lot:
        return next(lot for lot in self.lots if lot.number == number)

    def grant(self, number: int, credits_: int, cents: int) -> None:
        """A payment settled; what is owed is settled from it at once, unless nothing was paid."""
        new = Lot(number, credits_, cents, remaining=credits_)
        for debtor in self.lots if cents else ():
            part = min(debtor.owed, new.remaining)
            if part:
                debtor.owed -= part
                debtor.settled.append((new, part))
                new.remaining -= part
        self.lots.append(new)

    def spend(self, credits_: int) -> bool:
        """Whether there is enough; then it is used, the oldest first."""
        return bool(self._burn(credits_)) if credits_ <= self.balance.spendable else False

    def hold(self, credits_: int) -> None:
        for lot, part in self._burn(credits_):
            lot.held += part

    def _burn(self, credits_: int) -> list[tuple[Lot, int]]:
        parts = []
        for lot in self.lots:
            part = 0 if self.is_frozen(lot) else min(credits_, lot.remaining)
            lot.remaining -= part
            credits_ -= part
            if part:
                parts.append((lot, part))
        return parts

    def capture(self, credits_: int, *, final: bool) -> None:
        """What is not reversed is used first; what is reversed becomes owed; then the rest goes back."""
        for lot in self.lots:
            free = min(credits_, lot.held - lot.marked)
            lot.held -= free
            credits_ -= free
        for lot in self.lots:
            part = min(credits_, lot.marked)
            lot.held -= part
            lot.marked -= part
            credits_ -= part
            self._take(lot, part)
        if final:
            self.release()

    def release(self) -> None:
        """The hold ends: the reversed part was taken back, the rest can be spent again."""
        for lot in self.lots:
            lot.remaining += lot.held - lot.marked
            lot.taken += lot.marked
            lot.held = lot.marked = 0

    def reverse(self, number: int, name: str, cents: int) -> None:
        """The refund or dispute `name` of the payment holds `cents` now; what follows from all of them is done."""
        lot = self.lot(number)
        lot.live[name] = cents
        gone = min(sum(lot.live.values()), lot.cents)
        target = -(-lot.credits * gone // lot.cents)
        if target > lot.target:
            self._take(lot, target - lot.target)
        elif target < lot.target:
            # Forgiven credits were used: nothing comes back for them, but they are not forgiven any longer.
            back = min(lot.target - target, lot.target - lot.forgiven)
            lot.forgiven -= lot.target - target - back
            self._give_back(lot, back)
        lot.target = target

    @staticmethod
    def _take(lot: Lot, credits_: int) -> None:
        unspent = min(credits_, lot.remaining)
        held = min(credits_ - unspent, lot.held - lot.marked)
        lot.remaining -= unspent
        lot.taken += unspent
        lot.marked += held
        lot.owed += credits_ - unspent - held

    @staticmethod
    def _give_back(lot: Lot, credits_: int) -> None:
        forgiven = min(credits_, lot.owed)
        lot.owed -= forgiven
        credits_ -= forgiven
        while credits_ and lot.settled:
            payer, amount = lot.settled.pop()
            part = min(credits_, amount)
            if amount > part:
                lot.settled.append((payer, amount - part))
            own_debt = min(part, payer.owed)
            payer.owed -= own_debt
            payer.taken += own_debt
            payer.remaining += part - own_debt
            credits_ -= part
        unmarked = min(credits_, lot.marked)
        lot.marked -= unmarked
        credits_ -= unmarked
        lot.taken -= credits_
        lot.remaining += credits_

    def write_off(self, number: int, credits_: int) -> None:
        lot = self.lot(number)
        lot.owed -= credits_
        lot.forgiven += credits_
