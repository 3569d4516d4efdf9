"""What others told is kept once: a line again with the same numbers changes nothing, with others it is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, insert, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id
from billing.reversal_tables import PayoutRow
from finance.reconciling import bank_statement, stripe_report
from finance.reconciling.files import StatementRefused
from finance.reconciling.stripe_report import Told
from finance.statement_tables import BankLine, Imported, StatementLine, StatementPayout
from rails.money import PayoutTold

STRIPE_ITEMIZED: Final = "stripe_itemized"
BANK: Final = "bank"
LINES_AT_ONCE: Final = 1000
LOCK_WAIT_S: Final = 60
CAME_BACK: Final = ("failed", "canceled")


@dataclass(frozen=True, slots=True)
class Taken:
    """A file and what of it was new. `again`: the same content had come before, and nothing of it was looked at.

    `known` lines stood here already, from another file.
    """

    imported: Imported
    again: bool
    known: int


async def lock(session: AsyncSession) -> None:
    """One at a time takes statements over or compares, until the transaction ends; the others wait `LOCK_WAIT_S`."""
    await (await session.connection()).execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT_S}s'"))
    await session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended("finance.statements", 0))))


async def take_over(sessions: Sessions, kind: str, content: bytes, *, name: str, holder: str, now: datetime) -> Taken:
    """Take over a file, whole or not at all.

    `kind` is `STRIPE_ITEMIZED` or `BANK`. Raises `StatementRefused`. A long file is read before the lock is taken, and
    before a transaction waits for it.
    """
    told = stripe_report.parsed(content, name) if kind == STRIPE_ITEMIZED else ()
    entries = bank_statement.parsed(content, name) if kind == BANK else ()
    digest = hashlib.sha256(content).digest()
    async with sessions() as session, session.begin():
        await lock(session)
        before = select(Imported).where(col(Imported.kind) == kind, col(Imported.digest) == digest)
        known = (await session.exec(before)).first()
        if known is not None:
            return Taken(known, again=True, known=known.lines)
        import_id = new_id(now)
        lines = await keep_lines(session, told, import_id=import_id, where=name, now=now)
        lines += await _keep_bank_lines(session, entries, import_id=import_id, now=now)
        made = Imported(id=import_id, kind=kind, name=name, digest=digest, lines=lines, holder=holder, created_at=now)
        session.add(made)
        return Taken(made, again=False, known=len(told) + len(entries) - lines)


async def keep_lines(
    session: AsyncSession, told: Sequence[Told], *, import_id: UUID | None, where: str, now: datetime
) -> int:
    """Keep lines of the provider's balance, and which payout took them; how many are new. Raises `StatementRefused`.

    A line goes to another payout only when the one that had it came back.
    """
    kept = 0
    for start in range(0, len(told), LINES_AT_ONCE):
        some = told[start : start + LINES_AT_ONCE]
        kept += await _keep_some(session, some, import_id=import_id, where=where, now=now)
    return kept


async def _keep_some(
    session: AsyncSession, told: Sequence[Told], *, import_id: UUID | None, where: str, now: datetime
) -> int:
    by_id = {one.line.transaction_id: one for one in told}
    query = select(StatementLine).where(col(StatementLine.id).in_(by_id))
    known = {row.id: row for row in (await session.exec(query)).all()}
    fresh = [_row(one, import_id, now) for name, one in by_id.items() if name not in known]
    if fresh:
        await session.exec(insert(StatementLine).values(fresh))
    moved = [row for name, row in known.items() if by_id[name].payout_id not in {None, row.payout_id}]
    back = await _came_back(session, {row.payout_id for row in moved if row.payout_id is not None})
    for name, row in known.items():
        _require_same(row, by_id[name], where)
    for row in moved:
        if row.payout_id is not None and row.payout_id not in back:
            raise StatementRefused(f"{where}: {row.id} was in {row.payout_id}, and is now told of another payout")
        change = update(StatementLine).where(col(StatementLine.id) == row.id)
        await session.exec(change.values(payout_id=by_id[row.id].payout_id))
    return len(fresh)


def _row(told: Told, import_id: UUID | None, now: datetime) -> dict[str, object]:
    line = told.line
    return {
        "id": line.transaction_id,
        "category": line.category,
        "amount_cents": line.amount,
        "fee_cents": line.fee,
        "net_cents": line.net,
        "currency": line.currency,
        "source_id": line.source_id,
        "payout_id": told.payout_id,
        "import_id": import_id,
        "occurred_at": line.occurred_at,
        "created_at": now,
    }


def _require_same(row: StatementLine, told: Told, where: str) -> None:
    line = told.line
    before = (row.category, row.amount_cents, row.fee_cents, row.net_cents, row.currency)
    now = (line.category, line.amount, line.fee, line.net, line.currency)
    if before != now:
        raise StatementRefused(f"{where}: {row.id} was told before as {before}, and now as {now}")


async def _came_back(session: AsyncSession, payout_ids: set[str]) -> set[str]:
    """Those of the payouts that the bank sent back, as either side knows."""
    back: set[str] = set()
    for table in (StatementPayout, PayoutRow):
        query = select(table.id).where(col(table.id).in_(payout_ids), col(table.status).in_(CAME_BACK))
        back |= set((await session.exec(query)).all())
    return back


async def keep_payouts(session: AsyncSession, told: Sequence[PayoutTold], *, read_at: datetime) -> None:
    """Keep what the provider says of its payouts now; what was read later stays."""
    for one in told:
        row = await session.get(StatementPayout, one.payout_id)
        if row is None:
            row = StatementPayout(
                id=one.payout_id,
                amount_cents=one.amount,
                currency=one.currency,
                status=one.status,
                automatic=one.automatic,
                reconciliation_status=one.reconciliation_status,
                arrives_on=one.arrives_on,
                occurred_at=one.occurred_at,
                read_at=read_at,
            )
            session.add(row)
        elif read_at > row.read_at:
            row.amount_cents, row.status, row.arrives_on = one.amount, one.status, one.arrives_on
            row.reconciliation_status, row.read_at = one.reconciliation_status, read_at


async def _keep_bank_lines(
    session: AsyncSession, entries: Sequence[bank_statement.Entry], *, import_id: UUID, now: datetime
) -> int:
    """Keep what no other file had; how many lines that were."""
    kept = 0
    for start in range(0, len(entries), LINES_AT_ONCE):
        some = {entry.digest: entry for entry in entries[start : start + LINES_AT_ONCE]}
        query = select(BankLine.digest).where(col(BankLine.digest).in_(some))
        known = set((await session.exec(query)).all())
        fresh = [entry for digest, entry in some.items() if digest not in known]
        session.add_all(
            BankLine(
                id=new_id(now),
                import_id=import_id,
                digest=entry.digest,
                booked_on=entry.booked_on,
                amount_cents=entry.amount,
                currency=entry.currency,
                description=entry.description,
                reference=entry.reference,
                created_at=now,
            )
            for entry in fresh
        )
        await session.flush()
        kept += len(fresh)
    return kept
