"""What each kind of operation does to a book of the oracle, and what it is refused for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from ledger.money import AMOUNT_MAX
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation
from ledger.outcomes import FREEZES_KEY, Outcome, Posted
from tests.model.book import Ground
from tests.model.kept import PLACES, Entry, Hold, Lot, Move, Part, Spender, content

LOTS_MAX = 256
HOLD_MAX = timedelta(days=30)


class Refused(Exception):
    """The books say no; nothing has changed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Book(Ground):
    """Everything of one organization: answers one operation at a time."""

    def answer(self, operation: Operation, clock: datetime) -> Posted:
        now = self.own_time(clock)
        if operation.id in self.by_id:
            return self.replay(operation) or Posted(operation.id, Outcome.EXISTS_WITH_DIFFERENT_CONTENT)
        try:
            moves = RULES[operation.kind](self, operation, now)
        except Refused as no:
            return self.refuse(operation, no.outcome, now)
        posted = self.write_asked(now, operation, moves, Outcome.POSTED)
        if operation.kind is Kind.GRANT:
            self.settle_after(operation, posted, now)
            if operation.lot and operation.lot.expires_at and operation.lot.expires_at <= now:
                self.post_due(now)
        return posted

    def known(self, operations: Sequence[Operation], otherwise: Outcome) -> list[Posted]:
        """The first answers, where there are any; `otherwise` for the others."""
        return [
            self.replay(operation)
            or Posted(
                operation.id,
                Outcome.EXISTS_WITH_DIFFERENT_CONTENT if operation.id in self.by_id else otherwise,
            )
            for operation in operations
        ]

    def replay(self, operation: Operation) -> Posted | None:
        """The first answer, when the key was used with this content."""
        known = self.by_id.get(operation.id)
        same = known is not None and known.asked == content(operation)
        return replace(known.posted, replayed=True) if known is not None and same else None

    def refuse(self, operation: Operation, outcome: Outcome, now: datetime) -> Posted:
        if outcome in FREEZES_KEY and operation.scope != SYSTEM_SCOPE:
            return self.write_asked(now, operation, (), outcome)
        return Posted(operation.id, outcome)

    def settle_after(self, grant: Operation, posted: Posted, now: datetime) -> None:
        """What is owed is settled from a paid grant at once."""
        if grant.lot is None or grant.lot.cause is not LotCause.PAID or not self.owed():
            return
        moves = list(self.settle([self.lots[-1]], self.owed()))
        at = self.by_id[posted.operation_id].event_at
        self.write_own(now, Kind.SETTLE_OWED, f"settle_owed:{posted.operation_id}", at, posted.operation_id, moves)

    def settle(self, sources: list[Lot], at_most: int) -> Iterator[Move]:
        """Pay what is owed, the oldest debt first, out of `sources` in their order."""
        for source in sources:
            paid = 0
            for debtor in self.lots:
                part = min(at_most - paid, source.remaining - paid, debtor.owed)
                if part > 0:
                    debtor.owed -= part
                    debtor.settled.append([source.number, part])
                    paid += part
            at_most -= paid
            yield from self.move(source, "clawed_back", "wallet", paid)

    # Kinds.

    def opened(self, _operation: Operation, _now: datetime) -> list[Move]:
        return []

    def grant(self, operation: Operation, now: datetime) -> list[Move]:
        opening = operation.lot
        assert opening is not None
        past = opening.expires_at is not None and opening.expires_at <= now
        if past and opening.cause is not LotCause.PAID:
            raise Refused(Outcome.EXPIRES_IN_THE_PAST)
        issued = sum(other.places[place] for other in self.lots for place in PLACES)
        if opening.cause is not LotCause.PAID and issued + opening.credits > AMOUNT_MAX:
            raise Refused(Outcome.TOO_MANY_CREDITS)
        lot = self.lot_to_join(opening) or self.open_lot(opening, operation.id)
        return [*self.move(lot, "wallet", "issued", opening.credits), *self.move_money(operation, now)]

    def move_money(self, operation: Operation, _now: datetime) -> list[Move]:
        moves: list[Move] = []
        for transfer in operation.transfers:
            self.money[transfer.debit, "debits"] += transfer.money.amount
            self.money[transfer.credit, "credits"] += transfer.money.amount
            moves.append((transfer.debit, transfer.credit, 0, transfer.money.amount))
        return moves

    def lot_to_join(self, opening: LotOpening) -> Lot | None:
        """Promotional lots of equal terms are one lot."""
        terms = (LotCause.PROMOTIONAL, opening.expires_at, opening.priority)
        same = (
            lot for lot in self.lots
            if lot.spendable and (lot.opening.cause, lot.opening.expires_at, lot.opening.priority) == terms
        )  # fmt: skip
        return next(same, None) if opening.cause is LotCause.PROMOTIONAL else None

    def take(self, operation: Operation, now: datetime) -> list[tuple[Lot, int]]:
        """Whether a spend or a hold is allowed, and what it takes of which lots; charged to its spender."""
        at = self.moment(now)
        if operation.kind is Kind.HOLD and not (operation.deadline and at < operation.deadline <= at + HOLD_MAX):
            raise Refused(Outcome.DEADLINE_OUT_OF_RANGE)
        spender = self.spenders.get(operation.spender) if operation.spender else None
        if spender is not None and spender.caps.paused:
            raise Refused(Outcome.SPENDER_PAUSED)
        if spender is not None and not spender.allows(operation.credits, at):
            raise Refused(Outcome.CAP_EXCEEDED)
        if operation.credits > self.available():
            raise Refused(Outcome.NOT_ENOUGH_CREDITS)
        left, parts = operation.credits, []
        for lot in self.burnable():
            if left:
                part = min(left, lot.remaining)
                parts.append((lot, part))
                left -= part
        if len(parts) > LOTS_MAX:
            raise Refused(Outcome.TOO_FRAGMENTED)
        if spender is not None:
            spender.charges.append((at, operation.credits))
        return parts

    def spend(self, operation: Operation, now: datetime) -> list[Move]:
        taken = self.take(operation, now)
        return [move for lot, part in taken for move in self.move(lot, "consumed", "wallet", part)]

    def hold(self, operation: Operation, now: datetime) -> list[Move]:
        taken = self.take(operation, now)
        assert operation.deadline is not None
        self.holds[operation.id] = Hold(
            operation.id, operation.scope, operation.spender, operation.credits, self.moment(now), operation.deadline,
            [Part(lot, part) for lot, part in taken],
        )  # fmt: skip
        return [move for lot, part in taken for move in self.move(lot, "held", "wallet", part)]

    def open_hold(self, operation: Operation) -> Hold:
        hold = self.holds.get(operation.target) if operation.target else None
        if hold is None:
            raise Refused(Outcome.HOLD_NOT_FOUND)
        if hold.ended is not None:
            raise Refused(Outcome.HOLD_EXPIRED if hold.ended == "expired" else Outcome.HOLD_CLOSED)
        return hold

    def capture(self, operation: Operation, now: datetime) -> list[Move]:
        hold = self.open_hold(operation)
        thawed = [part for part in hold.parts if not part.lot.frozen]
        if operation.credits > hold.remaining:
            raise Refused(Outcome.EXCEEDS_TARGET)
        if operation.credits > sum(part.credits for part in thawed):
            raise Refused(Outcome.HOLD_FROZEN)
        left = operation.credits
        moves: list[Move] = []
        taken: Counter[int] = Counter()
        for part in thawed:
            free = min(left, part.free)
            taken[part.lot.number] += free
            part.credits -= free
            left -= free
        for part in thawed:
            reversed_ = min(left, part.reversed)
            taken[part.lot.number] += reversed_
            part.credits -= reversed_
            part.reversed -= reversed_
            moves += self.take_back(part.lot, reversed_)
            left -= reversed_
        for part in hold.parts:
            moves += self.move(part.lot, "consumed", "held", taken[part.lot.number])
        if operation.final or not hold.remaining:
            moves += self.release(hold, "captured", now)
        return moves

    def void(self, operation: Operation, now: datetime) -> list[Move]:
        return list(self.release(self.open_hold(operation), "voided", now))

    def extend(self, operation: Operation, _now: datetime) -> list[Move]:
        hold = self.open_hold(operation)
        if not (operation.deadline and hold.deadline < operation.deadline <= hold.made_at + HOLD_MAX):
            raise Refused(Outcome.DEADLINE_OUT_OF_RANGE)
        hold.deadline = operation.deadline
        return []

    def spend_refund(self, operation: Operation, now: datetime) -> list[Move]:
        spent = self.by_id.get(operation.target) if operation.target else None
        if spent is None or spent.kind not in {Kind.SPEND, Kind.CAPTURE} or spent.posted.outcome is not Outcome.POSTED:
            raise Refused(Outcome.SPEND_NOT_FOUND)
        if operation.credits > sum(amount for _, amount in spent.consumed()) - spent.given_back:
            raise Refused(Outcome.EXCEEDS_TARGET)
        moves: list[Move] = []
        anew = 0
        for number, part in last_first(spent.consumed(), already=spent.given_back, amount=operation.credits):
            lot = self.lots[number - 1]
            lowered = min(part, lot.owed)
            lot.owed -= lowered
            lot.taken += lowered
            moves += self.move(lot, "clawed_back", "consumed", lowered)
            back, new = self.come_back(lot, "consumed", part - lowered, now)
            moves += back
            anew += new
        spent.given_back += operation.credits
        self.uncharge_spend(spent, operation.credits)
        return [*moves, *self.open_correction(anew, operation.id, now)]

    def uncharge_spend(self, spent: Entry, amount: int) -> None:
        """To the windows that were charged: a spend's own, or those of the hold that was captured."""
        if spent.kind is Kind.SPEND:
            assert spent.posted.posted_at is not None
            self.uncharge(spent.spender, amount, spent.posted.posted_at)
        elif spent.target is not None:
            hold = self.holds[spent.target]
            self.uncharge(hold.spender, amount, hold.made_at)

    def paid_lot(self, operation: Operation) -> Lot:
        for lot in self.lots:
            if lot.grant == operation.target and lot.opening.cause is LotCause.PAID:
                return lot
        raise Refused(Outcome.GRANT_NOT_FOUND)

    def claw_back(self, operation: Operation, _now: datetime) -> list[Move]:
        lot = self.paid_lot(operation)
        left = operation.credits
        if left > sum(lot.places[place] for place in PLACES) - self.reversed(lot):
            raise Refused(Outcome.EXCEEDS_TARGET)
        return self.take_back(lot, left)

    def take_back(self, lot: Lot, amount: int) -> list[Move]:
        """So much is reversed: unspent credits go, held ones are marked, expired ones go, spent ones are owed."""
        left = amount
        unspent = min(left, lot.remaining)
        left -= unspent
        for part in self.marked(lot):
            mark = min(left, part.free)
            part.reversed += mark
            left -= mark
        expired = min(left, lot.places["expired"] - lot.reissued)
        lot.owed += left - expired
        lot.taken += unspent + expired
        lot.taken_expired += expired
        return [
            *self.move(lot, "clawed_back", "wallet", unspent),
            *self.move(lot, "clawed_back", "expired", expired),
        ]

    def reinstate(self, operation: Operation, now: datetime) -> list[Move]:
        lot = self.paid_lot(operation)
        left = operation.credits
        if left > self.reversed(lot):
            raise Refused(Outcome.EXCEEDS_TARGET)
        moves: list[Move] = []
        anew = 0
        forgiven = min(left, lot.owed)
        lot.owed -= forgiven
        left -= forgiven
        for settlement in reversed(lot.settled):
            part = min(left, settlement[1])
            settlement[1] -= part
            left -= part
            source = self.lots[settlement[0] - 1]
            debt = min(part, source.owed)
            source.owed -= debt
            source.taken += debt
            back, new = self.come_back(source, "clawed_back", part - debt, now)
            moves += back
            anew += new
        for part_ in self.marked(lot):
            unmarked = min(left, part_.reversed)
            part_.reversed -= unmarked
            left -= unmarked
        taken = min(left, lot.taken - lot.taken_expired)
        back, new = self.come_back(lot, "clawed_back", taken, now)
        left -= taken
        lot.taken -= taken + left
        lot.taken_expired -= left
        moves += [*back, *self.move(lot, "expired", "clawed_back", left)]
        return [*moves, *self.open_correction(anew + new, operation.id, now)]

    def settle_owed(self, operation: Operation, _now: datetime) -> list[Move]:
        sources = [lot for lot in self.burnable() if lot.opening.cause is LotCause.PAID]
        moves = list(self.settle(sources, operation.credits))
        if not moves:
            raise Refused(Outcome.NOTHING_TO_SETTLE)
        return moves

    def write_off(self, operation: Operation, _now: datetime) -> list[Move]:
        lot = self.paid_lot(operation)
        if operation.credits > lot.owed:
            raise Refused(Outcome.EXCEEDS_TARGET)
        lot.owed -= operation.credits
        return []

    def freeze(self, operation: Operation, _now: datetime) -> list[Move]:
        lot = next((lot for lot in self.lots if lot.grant == operation.target), None)
        if lot is None:
            raise Refused(Outcome.GRANT_NOT_FOUND)
        lot.frozen = operation.kind is Kind.FREEZE
        return []

    def set_caps(self, operation: Operation, now: datetime) -> list[Move]:
        assert operation.spender is not None
        assert operation.caps is not None
        known = self.spenders.setdefault(operation.spender, Spender(operation.caps, self.moment(now)))
        known.caps = operation.caps
        return []

    def close(self, operation: Operation, now: datetime) -> list[Move]:
        assert operation.deadline is not None
        through = operation.deadline.date() - timedelta(days=1)
        closed = self.closed_through or date.min
        if operation.kind is Kind.REOPEN and through >= closed:
            raise Refused(Outcome.PERIOD_OPEN)
        if operation.kind is Kind.CLOSE and operation.deadline > self.own_time(now):
            raise Refused(Outcome.PERIOD_NOT_OVER)
        if operation.kind is Kind.CLOSE and through <= closed:
            raise Refused(Outcome.PERIOD_CLOSED)
        self.closed_through = through
        return []


RULES: dict[Kind, Callable[[Book, Operation, datetime], list[Move]]] = {
    Kind.OPENING: Book.opened,
    Kind.GRANT: Book.grant,
    Kind.MONEY: Book.move_money,
    Kind.SPEND: Book.spend,
    Kind.HOLD: Book.hold,
    Kind.CAPTURE: Book.capture,
    Kind.VOID: Book.void,
    Kind.EXTEND: Book.extend,
    Kind.SPEND_REFUND: Book.spend_refund,
    Kind.CLAW_BACK: Book.claw_back,
    Kind.REINSTATE: Book.reinstate,
    Kind.SETTLE_OWED: Book.settle_owed,
    Kind.WRITE_OFF: Book.write_off,
    Kind.FREEZE: Book.freeze,
    Kind.UNFREEZE: Book.freeze,
    Kind.SET_CAPS: Book.set_caps,
    Kind.CLOSE: Book.close,
    Kind.REOPEN: Book.close,
}


def last_first(consumed: list[tuple[int, int]], *, already: int, amount: int) -> Iterator[tuple[int, int]]:
    """Which parts of which lots the next `amount` of a spend are, counted from its end; `already` was given back."""
    for lot, part in reversed(consumed):
        gone = min(already, part)
        already -= gone
        given = min(amount, part - gone)
        amount -= given
        if given:
            yield lot, given
