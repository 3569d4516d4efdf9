"""Rebuilding a book's projections from its journal, and its chain, and naming what does not fit.

The chain finds every changed journal row; the rebuilt sums find every changed projection. A journal that was rewritten
whole, chain included, can only be found by comparing its head with one that was published outside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger import chain, chart
from ledger.chart import Side
from ledger.operations import LANE
from ledger.tables import AccountRow, Book, LotOpeningRow, LotRow, OperationRow, TransferRow


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row that does not fit: where it is, and what is wrong with it."""

    organization_id: UUID
    place: str
    problem: str


@dataclass(slots=True)
class _Rebuilt:
    """A book as the journal alone says it is."""

    head: bytes = chain.GENESIS
    seq: int = 0
    debits: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    credits: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    versions: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def balance(self, code: str, currency: str) -> int:
        net = self.debits[code, currency] - self.credits[code, currency]
        known = chart.BY_CODE.get(code)
        return -net if known is not None and known.side is Side.CREDIT else net


async def verify_book(session: AsyncSession, organization_id: UUID) -> list[Mismatch]:
    """Every row of one book that does not fit; empty when all is well. Run it in one REPEATABLE READ transaction."""
    book = await session.get(Book, (LANE, organization_id))
    if book is None:
        return [Mismatch(organization_id, "book", "is missing")]
    operations = await _rows(session, OperationRow, organization_id, col(OperationRow.seq))
    transfers = await _rows(session, TransferRow, organization_id, col(TransferRow.seq), col(TransferRow.line))
    openings = await _rows(session, LotOpeningRow, organization_id, col(LotOpeningRow.lot))
    rebuilt = _Rebuilt()
    problems = [*_replay(rebuilt, operations, transfers, openings)]
    if (book.head, book.last_seq) != (rebuilt.head, rebuilt.seq):
        problems.append(("book", "head or last seq is not the journal's"))
    if book.last_lot != len(openings) or book.last_posted_at != (operations[-1].posted_at if operations else None):
        problems.append(("book", "last lot or last posting time is not the journal's"))
    problems += _check_accounts(rebuilt, await _rows(session, AccountRow, organization_id, col(AccountRow.code)))
    problems += _check_lots(openings, await _rows(session, LotRow, organization_id, col(LotRow.lot)), rebuilt)
    return [Mismatch(organization_id, place, problem) for place, problem in problems]


async def _rows(session: AsyncSession, table: Any, organization_id: UUID, *order: Any) -> Sequence[Any]:
    query = select(table).where(table.lane == LANE, table.organization_id == organization_id).order_by(*order)
    return (await session.exec(query)).all()


def _replay(
    rebuilt: _Rebuilt,
    operations: Sequence[OperationRow],
    transfers: Sequence[TransferRow],
    openings: Sequence[LotOpeningRow],
) -> Iterator[tuple[str, str]]:
    for operation in operations:
        of_operation = [transfer for transfer in transfers if transfer.seq == operation.seq]
        for transfer in of_operation:
            yield from _replay_transfer(rebuilt, transfer)
        lots = [opening for opening in openings if opening.seq == operation.seq]
        rebuilt.seq += 1
        rebuilt.head = chain.operation_hash(rebuilt.head, operation, of_operation, lots)
        place = f"operation {operation.seq}"
        if operation.seq != rebuilt.seq:
            yield place, f"seq should be {rebuilt.seq}"
        if operation.hash != rebuilt.head:
            yield place, "hash does not follow from its content and the hash before it"
            rebuilt.head = operation.hash
        balances = (rebuilt.balance("wallet", "CREDIT"), rebuilt.balance("held", "CREDIT"))
        if (operation.available_after, operation.held_after) != balances:
            yield place, f"balances after it should be {balances}"


def _replay_transfer(rebuilt: _Rebuilt, transfer: TransferRow) -> Iterator[tuple[str, str]]:
    debit, credit = (transfer.debit, transfer.currency), (transfer.credit, transfer.currency)
    rebuilt.debits[debit] += transfer.amount
    rebuilt.credits[credit] += transfer.amount
    rebuilt.versions[debit] += 1
    rebuilt.versions[credit] += 1
    if (transfer.debit_after, transfer.credit_after) != (rebuilt.balance(*debit), rebuilt.balance(*credit)):
        yield f"transfer {transfer.seq}/{transfer.line}", "balances after it do not follow from the transfers before"


def _check_accounts(rebuilt: _Rebuilt, rows: Sequence[AccountRow]) -> Iterator[tuple[str, str]]:
    stored = {(row.code, row.currency): (row.debits, row.credits, row.version) for row in rows}
    for key in sorted(set(stored) | set(rebuilt.versions)):
        expected = (rebuilt.debits[key], rebuilt.credits[key], rebuilt.versions[key])
        if stored.get(key) != expected:
            yield f"account {key[0]}", f"is {stored.get(key)}, the journal says {expected}"


def _check_lots(
    openings: Sequence[LotOpeningRow], rows: Sequence[LotRow], rebuilt: _Rebuilt
) -> Iterator[tuple[str, str]]:
    """No operation of this version moves credits out of a lot, so a lot is as it was opened."""
    stored = {row.lot: row for row in rows}
    for opening in openings:
        row = stored.pop(opening.lot, None)
        expected = (opening.cause, opening.credits, opening.expires_at, opening.priority, opening.credits, 0, 0, 0, 0)
        if row is None or expected != (
            row.cause, row.credits, row.expires_at, row.priority,
            row.remaining, row.held, row.consumed, row.expired, row.clawed_back,
        ):  # fmt: skip
            yield f"lot {opening.lot}", "is not as it was opened"
        elif row.frozen:
            yield f"lot {opening.lot}", "is frozen, and no operation froze it"
    for lot in stored:
        yield f"lot {lot}", "has no opening in the journal"
    if rebuilt.balance("wallet", "CREDIT") != sum(row.remaining for row in rows):
        yield "lots", "what remains in the lots is not the balance of the wallet"
