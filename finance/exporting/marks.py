"""Under which watermark an export is made: the seal of a closed month, or a mark that is taken for an open one.

An export has the id of its watermark, so whoever names it again gets the same bytes again. A seal is named as its close
(`close_…`), a mark as the export that it was taken for (`export_…`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

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
from finance.tables import Close, CloseState, Export, Watermark
from ledger import ids

OF_SEAL: Final = "close"
OF_MARK: Final = "export"


@dataclass(frozen=True, slots=True)
class Marked:
    """A period and up to where the journal counts for it. `digest` is the watermark's, over all its books."""

    id: UUID
    period: Period
    is_seal: bool
    books: int
    digest: bytes
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

    Raises `IntegrityError` when the operator key has used the idempotency key before.
    """
    async with sessions() as session, session.begin():
        query = select(Close.id).where(col(Close.period) == period.name, col(Close.state) == CloseState.SEALED.value)
        watermark_id = (await session.exec(query)).first()
        if watermark_id is None:
            watermark_id = new_id(now)
            await watermarks.take(session, watermark_id, now=now)
        values = {"id": watermark_id, "period": period.name, "holder": by.holder, "created_at": now}
        await session.exec(insert(Export).values(values).on_conflict_do_nothing())
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


async def named(session: AsyncSession, name: str) -> Marked:
    """The export of that name. Raises `Refused(NOT_FOUND)`."""
    found = await of(session, parsed(name))
    if found.name != name:
        raise Refused(Refusal.NOT_FOUND, "there is no such export")
    return found


async def of(session: AsyncSession, watermark_id: UUID) -> Marked:
    """The export under a watermark. Raises `Refused(NOT_FOUND)`."""
    mark = await session.get(Watermark, watermark_id)
    kept: Export | Close | None = await session.get(Export, watermark_id) or await session.get(Close, watermark_id)
    if mark is None or kept is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such export")
    return Marked(mark.id, Period.parse(kept.period), mark.is_seal, mark.books, mark.digest, mark.created_at)


async def listed(session: AsyncSession, *, before: UUID | None = None, limit: int) -> list[Marked]:
    """Exports that were asked for, newest first, from behind `before`."""
    query = select(Export, Watermark).where(col(Watermark.id) == col(Export.id))
    if before is not None:
        query = query.where(col(Export.id) < before)
    found = (await session.exec(query.order_by(col(Export.id).desc()).limit(limit))).all()
    return [
        Marked(mark.id, Period.parse(export.period), mark.is_seal, mark.books, mark.digest, mark.created_at)
        for export, mark in found
    ]
