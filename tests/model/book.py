"""A book of the oracle, without what is asked of it: what it has, its journal, how credits move, what falls due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, operation_id
from ledger.outcomes import Outcome, Posted
from tests.model.kept import NEVER, Entry, Hold, Lot, Move, Part, Spender, content

DUE_MAX = 100
RETURNED = timedelta(days=30)
TICK = timedelta(microseconds=1)


class Ground:
    """What one organization has, how credits move in it, and what falls due."""

    def __init__(self, organization_id: UUID) -> None:
        self.organization_id = organization_id
        self.lots: list[Lot] = []
        self.holds: dict[UUID, Hold] = {}
        self.spenders: dict[UUID, Spender] = {}
        self.journal: list[Entry] = []
        self.by_id: dict[UUID, Entry] = {}
        self.money: Counter[tuple[str, str]] = Counter()
        self.closed_through: date | None = None

    # What can be counted.

    def available(self) -> int:
        return sum(lot.spendable for lot in self.lots)

    def paid(self) -> int:
        return sum(lot.spendable for lot in self.lots if lot.opening.cause is LotCause.PAID)

    def held(self) -> int:
        return sum(hold.remaining for hold in self.holds.values())

    def owed(self) -> int:
        return sum(lot.owed for lot in self.lots)

    def burnable(self) -> list[Lot]:
        return sorted((lot for lot in self.lots if lot.spendable), key=lambda lot: lot.burn_order)

    def open_holds(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.ended is None]

    def marked(self, lot: Lot) -> list[Part]:
        """The parts of open holds that are of `lot`, in the order of the holds' ids."""
        holds = sorted(self.open_holds(), key=lambda hold: hold.id)
        return [part for hold in holds for part in hold.parts if part.lot is lot]

    def held_reversed(self, lot: Lot) -> int:
        return sum(part.reversed for part in self.marked(lot))

    def reversed(self, lot: Lot) -> int:
        return lot.taken + self.held_reversed(lot) + lot.owed + sum(amount for _, amount in lot.settled)

    def own_time(self, clock: datetime) -> datetime:
        """What time it is in this book: never earlier than its last posting, whatever the clock says."""
        return max(clock, self.journal[-1].posted.posted_at or clock) if self.journal else clock

    def moment(self, now: datetime) -> datetime:
        """When the next operation is posted: later than the last one, whatever the clock says."""
        last = self.journal[-1].posted.posted_at if self.journal else None
        return now if last is None else max(now, last + TICK)

    # The journal.

    def write(
        self, now: datetime, operation_id_: UUID, kind: Kind, scope: UUID, key: str, cause: str, *,
        outcome: Outcome = Outcome.POSTED, event_at: datetime | None = None, spender: UUID | None = None,
        target: UUID | None = None, moves: Sequence[Move] = (), asked: Operation | None = None,
    ) -> Posted:  # fmt: skip
        posted_at = self.moment(now)
        event_at = event_at or posted_at
        day = event_at.astimezone(UTC).date()
        if self.closed_through is not None:
            day = max(day, self.closed_through + timedelta(days=1))
        posted = Posted(
            operation_id_, outcome, False, len(self.journal) + 1, posted_at, day,
            self.available(), self.held(), self.paid(),
        )  # fmt: skip
        entry = Entry(posted, kind, scope, key, cause, event_at, spender, target, list(moves), asked)
        self.journal.append(entry)
        self.by_id[operation_id_] = entry
        return posted

    def write_asked(self, now: datetime, asked: Operation, moves: Sequence[Move], outcome: Outcome) -> Posted:
        return self.write(
            now, asked.id, asked.kind, asked.scope, asked.key, asked.cause, outcome=outcome, event_at=asked.event_at,
            spender=asked.spender, target=asked.target, moves=moves, asked=content(asked),
        )  # fmt: skip

    def write_own(
        self, now: datetime, kind: Kind, key: str, event_at: datetime, target: UUID | None, moves: Sequence[Move]
    ) -> None:
        own = operation_id(self.organization_id, SYSTEM_SCOPE, key)
        self.write(now, own, kind, SYSTEM_SCOPE, key, kind.value, event_at=event_at, target=target, moves=moves)

    # Moving credits. Every move is a line of the operation.

    @staticmethod
    def move(lot: Lot, debit: str, credit: str, amount: int) -> Iterator[Move]:
        if amount:
            lot.places[credit] -= amount
            lot.places[debit] += amount
            yield debit, credit, lot.number, amount

    def open_lot(self, opening: LotOpening, grant: UUID) -> Lot:
        lot = Lot(len(self.lots) + 1, opening, grant)
        self.lots.append(lot)
        return lot

    def come_back(self, lot: Lot, credit: str, amount: int, now: datetime) -> tuple[list[Move], int]:
        """Credits come back to a lot: to the wallet, or, when it has expired, to a new lot: so many."""
        if lot.expired_at(now):
            lot.reissued += amount
            return list(self.move(lot, "expired", credit, amount)), amount
        return list(self.move(lot, "wallet", credit, amount)), 0

    def open_correction(self, credits_: int, grant: UUID, now: datetime) -> Iterator[Move]:
        if credits_:
            lot = self.open_lot(LotOpening(LotCause.CORRECTION, credits_, None, now + RETURNED), grant)
            yield from self.move(lot, "wallet", "issued", credits_)

    def release(self, hold: Hold, ended: str, at: datetime) -> Iterator[Move]:
        """The end of a hold: its reversed part is clawed back, the rest returns, or expires with its lot."""
        self.uncharge(hold.spender, hold.remaining, hold.made_at)
        for part in hold.parts:
            part.lot.taken += part.reversed
            yield from self.move(part.lot, "clawed_back", "held", part.reversed)
            yield from self.move(part.lot, "expired" if part.lot.expired_at(at) else "wallet", "held", part.free)
            part.credits = part.reversed = 0
        hold.ended = ended

    def uncharge(self, spender: UUID | None, amount: int, charged_at: datetime) -> None:
        known = self.spenders.get(spender) if spender else None
        if known is not None and charged_at >= known.since:
            known.charges.append((charged_at, -amount))

    # What falls due.

    def post_due(self, now: datetime) -> bool:
        """Holds and then lots whose time has come, at most `DUE_MAX`; whether more is left."""
        now = self.own_time(now)
        holds = sorted((h for h in self.open_holds() if h.deadline <= now), key=lambda hold: (hold.deadline, hold.id))
        for hold in holds[:DUE_MAX]:
            moves = list(self.release(hold, "expired", hold.deadline))
            self.write_own(now, Kind.HOLD_EXPIRY, f"hold_expiry:{hold.id}", hold.deadline, hold.id, moves)
        lots = sorted(self.due_lots(now), key=lambda lot: (lot.opening.expires_at or NEVER, lot.number))
        for lot in lots[: max(0, DUE_MAX - len(holds))]:
            moves = list(self.move(lot, "expired", "wallet", lot.remaining))
            self.write_own(
                now, Kind.LOT_EXPIRY, f"lot_expiry:{lot.number}", lot.opening.expires_at or NEVER, None, moves
            )
        return any(hold.deadline <= now for hold in self.open_holds()) or bool(self.due_lots(now))

    def due_lots(self, now: datetime) -> list[Lot]:
        return [lot for lot in self.lots if lot.remaining and lot.expired_at(now)]
