"""The exceptions: one row a line that does not fit, for ever, and how it stands.

Found again a row stays what people made of it, unless its numbers changed: then it is open again. What a run that
looked no longer finds is gone; what is gone and found again is open. A resolved one stays resolved, as long as the line
that its adjustment stands for is still found: when that line fits by itself, the adjustment is one too many, and the
exception is open again until it is taken back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Text, cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.fresh import new_id
from billing.refusals import Refusal, Refused
from finance.reconciling.found import Compared, Found
from finance.statement_tables import ExceptionState, Finding, ReconciliationException, ReconciliationRun
from ledger import ids

PREFIX: Final = "exception"
RUN_PREFIX: Final = "reconciliation"
LISTS: Final = ("exceptions", "resolved")
"""What of the report of a run is as long as there are exceptions."""
ADJUSTED: Final = "adjusted"
"""What `here` has besides, of an adjustment that is one too many."""
STANDING: Final = (ExceptionState.OPEN, ExceptionState.ACKNOWLEDGED, ExceptionState.PROPOSED)
"""States of what still does not fit and is not settled."""


@dataclass(frozen=True, slots=True)
class Written:
    """How many exceptions a run opened (or opened again), and how many went."""

    opened: int
    gone: int


@dataclass(frozen=True, slots=True)
class Came:
    """What a run came to: its report without the lists of exceptions, which are long."""

    id: UUID
    holder: str
    report: dict[str, Any]
    created_at: datetime


def public_id(exception_id: UUID) -> str:
    """`exception_…`, as it is shown."""
    return ids.external(PREFIX, exception_id)


def parsed(name: str) -> UUID:
    """The id inside `exception_…`. Raises `Refused(NOT_FOUND)`."""
    try:
        return ids.parse(PREFIX, name)
    except ids.MalformedId:
        raise _not_found() from None


async def write(session: AsyncSession, compared: Sequence[Compared], *, now: datetime) -> Written:
    """Bring the list up to what was found; only sources that were looked at lose rows. The caller holds the lock."""
    query = select(ReconciliationException).where(
        col(ReconciliationException.source).in_([one.source for one in compared])
    )
    rows = (await session.exec(query.with_for_update())).all()
    known = {(row.source, row.subject): row for row in rows}
    opened, seen = 0, set()
    for found in _named_apart(found for one in compared for found in one.found):
        seen.add((found.source, found.subject))
        row = known.get((found.source, found.subject))
        if row is None:
            session.add(_new(found, now))
            opened += 1
        else:
            opened += _again(row, found, now)
    missed = [row for key, row in known.items() if key not in seen]
    gone = [row for row in missed if row.state in STANDING and not _adjusted(row)]
    for row in gone:
        row.state, row.updated_at = ExceptionState.GONE, now
        row.adjustment = without_proposal(row.adjustment)
    opened += sum(_too_many(row, now) for row in missed if _adjusted(row))
    await session.flush()
    return Written(opened, len(gone))


def _named_apart(all_found: Iterable[Found]) -> Iterator[Found]:
    """Two about one subject, as a refund that left another treasury than it was booked for, are two exceptions."""
    times = Counter[tuple[str, str]]()
    for found in all_found:
        times[found.source, found.subject] += 1
        before = times[found.source, found.subject] - 1
        yield replace(found, subject=f"{found.subject}:{before + 1}") if before else found


def _new(found: Found, now: datetime) -> ReconciliationException:
    return ReconciliationException(
        id=new_id(now),
        source=found.source,
        subject=found.subject,
        finding=found.finding,
        organization_id=found.organization_id,
        amount=found.amount,
        currency=found.currency,
        here=dict(found.here),
        there=dict(found.there),
        state=ExceptionState.OPEN,
        occurred_at=found.occurred_at,
        first_seen_at=now,
        opened_at=now,
        last_seen_at=now,
        updated_at=now,
    )


def _again(row: ReconciliationException, found: Found, now: datetime) -> bool:
    """Found again; whether it is open again. What is about no amount is another matter once the sides say otherwise."""
    changed = (row.finding, row.amount) != (found.finding.value, found.amount) or (
        found.amount == 0 and (row.here, row.there) != (found.here, found.there)
    )
    again = row.state == ExceptionState.GONE or (changed and row.state != ExceptionState.OPEN)
    if again:
        row.state, row.opened_at, row.adjustment = ExceptionState.OPEN, now, without_proposal(row.adjustment)
    if again or changed:
        row.updated_at = now
    row.finding, row.amount, row.last_seen_at = found.finding.value, found.amount, now
    row.here, row.there = dict(found.here), dict(found.there)
    return again


def _adjusted(row: ReconciliationException) -> bool:
    """Whether something is posted for it, in all: in the account that was told. What stands against it is decided."""
    kept = row.adjustment or {}
    return bool(kept.get("posted", {}).get(kept.get("account")))


def _too_many(row: ReconciliationException, now: datetime) -> bool:
    """The line fits by itself now: what was posted for it is to be taken back. Whether it is open again by that."""
    if row.state in STANDING and ADJUSTED in row.here:  # somebody may know of that already, or propose it
        return False
    row.state, row.opened_at, row.adjustment = ExceptionState.OPEN, now, without_proposal(row.adjustment)
    row.finding, row.amount, row.updated_at = Finding.DIFFERENT, 0, now
    row.here = {**row.here, ADJUSTED: (row.adjustment or {}).get("posted", {})}
    return True


def without_proposal(adjustment: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was posted, without what waits for somebody to agree."""
    return {**adjustment, "proposal": None, "proposal_id": None} if adjustment is not None else None


async def listed(
    session: AsyncSession, *, state: str | None = None, before: UUID | None = None, limit: int
) -> Sequence[ReconciliationException]:
    """Exceptions, newest first, from behind `before`; without `state` those that still stand."""
    states = [state] if state is not None else list(STANDING)
    query = select(ReconciliationException).where(col(ReconciliationException.state).in_(states))
    if before is not None:
        query = query.where(col(ReconciliationException.id) < before)
    return (await session.exec(query.order_by(col(ReconciliationException.id).desc()).limit(limit))).all()


async def lately_resolved(session: AsyncSession, *, since: datetime, limit: int) -> Sequence[ReconciliationException]:
    """Those that were resolved at or after `since` and stayed so, newest first."""
    query = select(ReconciliationException).where(
        col(ReconciliationException.state) == ExceptionState.RESOLVED, col(ReconciliationException.updated_at) >= since
    )
    return (await session.exec(query.order_by(col(ReconciliationException.id).desc()).limit(limit))).all()


def age_days(found: ReconciliationException, now: datetime) -> int:
    """Whole days since what it is about happened."""
    return max((now - found.occurred_at).days, 0)


async def one(session: AsyncSession, exception_id: UUID) -> ReconciliationException:
    """One exception. Raises `Refused(NOT_FOUND)`."""
    found = await session.get(ReconciliationException, exception_id)
    if found is None:
        raise _not_found()
    return found


async def newest_run(session: AsyncSession) -> ReconciliationRun | None:
    """The last comparison; none before the first."""
    query = select(ReconciliationRun).order_by(col(ReconciliationRun.id).desc()).limit(1)
    return (await session.exec(query)).first()


async def runs(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[Came]:
    """Comparisons, newest first, from behind `before`."""
    rest: Any = col(ReconciliationRun.report).op("-", return_type=JSONB())(cast(list(LISTS), ARRAY(Text)))
    query = select(ReconciliationRun.id, ReconciliationRun.holder, rest, ReconciliationRun.created_at)
    if before is not None:
        query = query.where(col(ReconciliationRun.id) < before)
    rows = (await session.exec(query.order_by(col(ReconciliationRun.id).desc()).limit(limit))).all()
    return [Came(one_id, holder, dict(report), created_at) for one_id, holder, report, created_at in rows]


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such exception")
