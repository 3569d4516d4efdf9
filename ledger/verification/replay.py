"""A book rebuilt from its journal, one operation at a time. Pure, and it asks neither the books nor their functions.

What an operation did is said by its lines, its terms, the lot that it opened and its own columns; a replay follows them
by the rules of `docs/postings.md`, which the functions in `migrations/versions/0001_*.sql` follow too. What holds for
every operation stands here: chain, key, order, time, the lines and the balances after them; what holds for a kind
stands in `effects`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ledger import chain
from ledger.chart import BY_NUMBER, Side
from ledger.operations import SYSTEM_SCOPE
from ledger.outcomes import FREEZES_KEY
from ledger.verification.effects import EFFECTS, Charged, Effect
from ledger.verification.journal import COLUMNS_A_LINE, Entry, Opened, number
from ledger.verification.rebuilt import CREDIT_ACCOUNTS, HELD, ISSUED, WALLET, Hold, Lot, Misfit, RebuiltBook, day_of

_HASHED = len(chain.OPERATION_COLUMNS)
_SYSTEM = SYSTEM_SCOPE.bytes
_FROZEN_REFUSALS = frozenset(outcome.value for outcome in FREEZES_KEY)


class Replay:
    """One book. `found` is what did not fit so far: where, and what is wrong. `broken`: the rest cannot be followed."""

    def __init__(
        self,
        *,
        next_due_at: int | None = None,
        published: Mapping[int, bytes] = MappingProxyType({}),
        broken: bool = False,
    ) -> None:
        """`next_due_at` is what the stored book says, `published` heads by seq."""
        self.book = RebuiltBook(next_due_at)
        self.published = published
        self.seq = 0
        self.posted_at: int | None = None
        self.head = chain.GENESIS
        self.found: list[tuple[str, str]] = []
        self.broken = broken

    def apply(self, entry: Entry, charged: Charged | None = None) -> None:
        """Follow the next operation. `charged` is of the spend or the capture that a `spend_refund` gives back."""
        place = f"operation {entry.seq}"
        try:
            for problem in self._links(entry):
                self.found.append((place, problem))
            self._follow(entry, charged)
            self.found += [(place, problem) for problem in self._dating(entry)]
            said = entry.available_after, entry.held_after, entry.paid_after
            sums = self.book.sums
            if said != (are := (sums[WALLET] - self.book.frozen, sums[HELD], self.book.paid)):
                self.found.append((place, f"available, held and paid after it are said to be {said}, and are {are}"))
        except Misfit as misfit:
            self.found.append((place, str(misfit)))
            self.broken = True
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            self.found.append((place, f"cannot be followed: {type(error).__name__} {error}"))
            self.broken = True

    def at_rest(self) -> list[Lot]:
        """Lots that came to rest since this was asked last."""
        book = self.book
        touched, book.touched = book.touched, set()
        return [lot for n in sorted(touched) if (lot := book.lots.get(n)) is not None and lot.at_rest]

    def take_ended(self) -> list[Hold]:
        """Holds that ended since this was asked last. They are not kept."""
        ended, self.book.ended = self.book.ended, []
        return ended

    def _links(self, entry: Entry) -> Iterator[str]:
        self.seq += 1
        if entry.seq != self.seq:
            yield f"seq should be {self.seq}"
            self.seq = entry.seq
        if entry.hash != chain.hash_of_sent(self.head, entry[:_HASHED], entry.opened):
            yield "hash does not follow from its content and the hash before it"
        self.head = entry.hash
        if self.published and self.published.get(entry.seq, entry.hash) != entry.hash:
            yield "hash is not the head that was published"
        # The same as `operations.operation_id`, without two UUIDs a row.
        digest = hashlib.sha256(entry.organization_id + entry.scope + entry.key.encode()).hexdigest()
        if f"{digest[:12]}8{digest[13:16]}a{digest[17:32]}" != entry.id.hex():
            yield "id is not that of its key"
        posted_at = number(entry.posted_at)
        if self.posted_at is not None and posted_at <= self.posted_at:
            yield "posted_at is not later than that of the operation before it"
        self.posted_at = posted_at
        if (entry.kind == "opening") != (entry.seq == 1):
            yield "a book is opened by its first operation and by no other"

    def _dating(self, entry: Entry) -> Iterator[str]:
        """Asked when the operation was followed: one that moves the end of what is closed is dated behind it."""
        day, closed = number(entry.accounting_date), self.book.closed_through
        event_day = day_of(number(entry.event_at or entry.posted_at))
        if day != (event_day if closed is None else max(event_day, closed + 1)):
            yield "accounting_date is neither the day of event_at nor the first open day"

    def _follow(self, entry: Entry, charged: Charged | None) -> None:
        if entry.outcome != "posted":
            frozen = entry.outcome in _FROZEN_REFUSALS and entry.scope != _SYSTEM
            if not frozen or entry.lines or entry.terms is not None or entry.opened is not None:
                raise Misfit(f"outcome {entry.outcome} is not kept like this")
            return
        effect = EFFECTS.get(entry.kind)
        if effect is None:
            raise Misfit(f"kind {entry.kind} is not known")
        if entry.opened is not None:
            self._open_lot(entry.opened)
        self._move(entry.lines, effect)
        if entry.opened is not None and self.book.lots[entry.opened.lot].parts[ISSUED] != -entry.opened.credits:
            raise Misfit(f"does not issue the {entry.opened.credits} credits of lot {entry.opened.lot}")
        if effect.follow is not None:
            effect.follow(self.book, entry, charged)

    def _open_lot(self, opened: Opened) -> None:
        book = self.book
        if opened.lot != book.last_lot + 1:
            raise Misfit(f"opens lot {opened.lot}, and the last one was {book.last_lot}")
        book.last_lot = opened.lot
        expires_at = None if opened.expires_at is None else number(opened.expires_at)
        book.lots[opened.lot] = Lot(opened.lot, opened.cause, expires_at, opened.priority)

    def _move(self, lines: list[int], effect: Effect) -> None:
        book, sums, pairs = self.book, self.book.sums, effect.pairs
        for at in range(0, len(lines), COLUMNS_A_LINE):
            debit, credit, lot_number, amount, debit_after, credit_after = lines[at : at + COLUMNS_A_LINE]
            if amount <= 0:
                raise Misfit(f"line {at // COLUMNS_A_LINE} moves {amount}")
            if not lot_number and effect.moves_money:
                self._move_money(debit, credit, amount, [debit_after, credit_after])
                continue
            if (debit, credit) not in pairs:
                raise Misfit(f"line {at // COLUMNS_A_LINE} is not one of its kind")
            lot = book.lots.get(lot_number)
            if lot is None:
                raise Misfit(f"moves credits of lot {lot_number}, which has none")
            parts = lot.parts
            parts[debit] += amount
            parts[credit] -= amount
            sums[debit] += amount
            sums[credit] -= amount
            if parts[credit] < 0 and credit != ISSUED:
                raise Misfit(f"takes more from lot {lot_number} than there is")
            if debit == WALLET:
                book.wallet_changed(lot, amount)
            elif credit == WALLET:
                book.wallet_changed(lot, -amount)
            if not parts[WALLET] and not parts[HELD]:
                book.touched.add(lot_number)
            if debit_after != sums[debit] or credit_after != (-sums[credit] if credit == ISSUED else sums[credit]):
                raise Misfit(f"line {at // COLUMNS_A_LINE} has balances that do not follow from the lines before")

    def _move_money(self, debit: int, credit: int, amount: int, afters: list[int]) -> None:
        into, out_of = BY_NUMBER[debit], BY_NUMBER[credit]
        if into.currency is not out_of.currency or debit == credit or min(debit, credit) <= CREDIT_ACCOUNTS:
            raise Misfit(f"moves money from {out_of.code} to {into.code}")
        balances = []
        for account, column in ((debit, 0), (credit, 1)):
            posted = self.book.money.setdefault(account, [0, 0, 0])
            posted[column] += amount
            posted[2] += 1
            balances.append((posted[0] - posted[1]) * (1 if BY_NUMBER[account].side is Side.DEBIT else -1))
        if afters != balances:
            raise Misfit(f"says that {into.code} and {out_of.code} are {afters} after it, and they are {balances}")
