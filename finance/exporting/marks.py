"""Under which watermark an export is made: the seal of a closed month, or a mark that is taken for an open one.

An export has the id of its watermark, so whoever names it again gets the same bytes again. A seal is named as its close
(`close_…`), a mark as the export that it was taken for (`export_…`). The first export of either keeps which comparison
was the newest then: what is compared later is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import operator_actions
from billing.database import Sessions
from billing.fresh import new_id
from billing.operator_actions import Act, Acting
from billing.refusals import Refusal, Refused
from finance import watermarks
from finance.periods import Period
from finance.reconciling import keeping
from finance.statement_tables import ReconciliationRun
from finance.tables import Close, CloseState, Export, Watermark
from ledger import ids
from ledger.operations import LANE

OF_SEAL: Final = "close"
OF_MARK: Final = "export"
MARK_S_MAX: Final = 600
"""How long a statement may take that marks all books, or waits for a comparison to end."""
_PATIENCE: Final = tuple(f"SET LOCAL {wait} = '{MARK_S_MAX}s'" for wait in ("statement_timeout", "lock_timeout"))
_NEWEST_RUN: Final = select(ReconciliationRun.id).order_by(col(ReconciliationRun.id).desc()).limit(1)
_MOVED: Final = text("""
    SELECT EXISTS (
      SELECT FROM ledger.books AS b
      LEFT JOIN finance.watermark_books AS w ON w.watermark_id = :watermark AND w.organization_id = b.organization_id
      WHERE b.lane = :lane AND w.seq IS DISTINCT FROM b.last_seq)""")


@dataclass(frozen=True, slots=True)
class Marked:
    """A period and up to where the journal counts for it. `digest` is the watermark's, over all its books.

    `reconciliation_id` is the comparison whose exceptions belong to it; none when there was none.
    """

    id: UUID
    period: Period
    is_seal: bool
    books: int
    digest: bytes
    reconciliation_id: UUID | None
    created_at: datetime

    @property
    def name(self) -> str:
        """`close_…` or `export_…`."""
        return ids.external(OF_SEAL if self.is_seal else OF_MARK, self.id)

    @property
    def kind(self) -> str:
        """`seal` or `mark`."""
        return "seal" if self.is_seal else "mark"


def parsed(name: str) -> UUID:
    """The id inside `close_…` or `export_…`. Raises `Refused(NOT_FOUND)`."""
    try:
        return ids.parse(OF_SEAL if name.startswith(f"{OF_SEAL}_") else OF_MARK, name)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, "there is no such export") from None


async def make(sessions: Sessions, period: Period, *, by: Acting, reason: str, now: datetime) -> Marked:
    """The seal of the month when it is closed, else a mark of where every book stands now. Records who asked.

    While no book has moved and nothing was compared since the month's last mark, that one is answered again. Raises
    `IntegrityError` when the operator key has used the idempotency key before.
    """
    async with sessions() as session, session.begin():
        await _patient(session)
        query = select(Close.id).where(col(Close.period) == period.name, col(Close.state) == CloseState.SEALED.value)
        watermark_id = (await session.exec(query)).first() or await _unmoved(session, period)
        if watermark_id is None:
            watermark_id = new_id(now)
            await watermarks.take(session, watermark_id, now=now)
        await _keep(session, watermark_id, period.name, by=by, now=now)
        made = await of(session, watermark_id)
        await operator_actions.record(
            session,
            by,
            Act.MAKE_EXPORT,
            organization_id=None,
            subject=period.name,
            reason=reason,
            details={"export_id": made.name},
            now=now,
        )
    return made


async def _patient(session: AsyncSession) -> None:
    connection = await session.connection()
    for wait in _PATIENCE:
        await connection.execute(text(wait))


async def _unmoved(session: AsyncSession, period: Period) -> UUID | None:
    """The last mark of the month, while all that is exported under it is still the newest there is."""
    marks = select(Export).join(Watermark, col(Watermark.id) == col(Export.id)).where(~col(Watermark.is_seal))
    query = marks.where(col(Export.period) == period.name).order_by(col(Export.id).desc()).limit(1)
    last = (await session.exec(query)).first()
    if last is None or last.reconciliation_id != (await session.exec(_NEWEST_RUN)).first():
        return None
    moved = await (await session.connection()).execute(_MOVED, {"watermark": last.id, "lane": LANE})
    return None if moved.scalar_one() else last.id


async def _keep(session: AsyncSession, watermark_id: UUID, period: str, *, by: Acting, now: datetime) -> None:
    """Write the export down once, with the comparison that is its own from then on. Waits for one that is at work."""
    await keeping.lock(session)
    values = {
        "id": watermark_id,
        "period": period,
        "holder": by.holder,
        "reconciliation_id": _NEWEST_RUN.scalar_subquery(),
        "created_at": now,
    }
    await session.exec(insert(Export).values(values).on_conflict_do_nothing())


async def again(sessions: Sessions, name: str, *, by: Acting, now: datetime) -> Marked:
    """The export of that name; of a seal also when it was never exported, as one that was opened again may be.

    Raises `Refused(NOT_FOUND)`.
    """
    async with sessions() as session, session.begin():
        await _patient(session)
        watermark_id = parsed(name)
        close = await session.get(Close, watermark_id)
        if close is not None and close.seal is not None:
            await _keep(session, watermark_id, close.period, by=by, now=now)
        return await named(session, name)


async def named(session: AsyncSession, name: str) -> Marked:
    """The export of that name. Raises `Refused(NOT_FOUND)`."""
    found = await of(session, parsed(name))
    if found.name != name:
        raise Refused(Refusal.NOT_FOUND, "there is no such export")
    return found


async def of(session: AsyncSession, watermark_id: UUID) -> Marked:
    """The export under a watermark. Raises `Refused(NOT_FOUND)`."""
    mark, kept = await session.get(Watermark, watermark_id), await session.get(Export, watermark_id)
    if mark is None or kept is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such export")
    return _marked(kept, mark)


async def listed(session: AsyncSession, *, before: UUID | None = None, limit: int) -> list[Marked]:
    """Exports that were asked for, newest first, from behind `before`."""
    query = select(Export, Watermark).where(col(Watermark.id) == col(Export.id))
    if before is not None:
        query = query.where(col(Export.id) < before)
    found = (await session.exec(query.order_by(col(Export.id).desc()).limit(limit))).all()
    return [_marked(export, mark) for export, mark in found]


def _marked(export: Export, mark: Watermark) -> Marked:
    return Marked(
        id=mark.id,
        period=Period.parse(export.period),
        is_seal=mark.is_seal,
        books=mark.books,
        digest=mark.digest,
        reconciliation_id=export.reconciliation_id,
        created_at=mark.created_at,
    )
