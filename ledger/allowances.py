"""What a spender may still spend: its caps, what it used of them, and when they free up.

Counted as posting counts: what has fallen due is given back, whether or not anybody has posted it yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.operations import LANE
from ledger.tables import HoldRow, SpenderRow


@dataclass(frozen=True, slots=True)
class Window:
    """What one cap allows (none: no limit) and what was used of it since `began_at`, in credits.

    `frees_up_at` is when it begins anew; none for the total, which never does.
    """

    limit: int | None
    used: int
    began_at: datetime
    frees_up_at: datetime | None


@dataclass(frozen=True, slots=True)
class Allowance:
    """The caps of a spender at one time."""

    paused: bool
    per_spend: int | None
    per_hour: Window
    per_day: Window
    per_month: Window
    total: Window


async def allowance(session: AsyncSession, organization_id: UUID, spender_id: UUID, at: datetime) -> Allowance | None:
    """The caps of a spender at `at`, now or later; none when no cap was ever set.

    Holds that have run out by then no longer count, whether or not anybody has posted it yet.
    """
    row = await session.get(SpenderRow, (LANE, organization_id, spender_id), populate_existing=True)
    if row is None:
        return None
    given_back = await _given_back(session, row, at)

    def window(limit: int | None, used: int, counted_from: datetime, begins: datetime, ends: datetime) -> Window:
        still = used - given_back[counted_from] if counted_from == begins else 0
        return Window(limit, still, begins, ends)

    hour, day, month = _windows(at)
    return Allowance(
        paused=row.paused,
        per_spend=row.per_spend,
        per_hour=window(row.per_hour, row.hour_used, row.hour_start, hour, hour + timedelta(hours=1)),
        per_day=window(row.per_day, row.day_used, row.day_start, day, day + timedelta(days=1)),
        per_month=window(row.per_month, row.month_used, row.month_start, month, _next_month(month)),
        total=Window(row.total, row.total_used - given_back[row.since], row.since, None),
    )


async def _given_back(session: AsyncSession, row: SpenderRow, at: datetime) -> dict[datetime, int]:
    """For each time from which a counter of the spender counts: what holds that ran out by `at` still keep in it."""
    starts = [row.hour_start, row.day_start, row.month_start, row.since]
    sums = [
        func.coalesce(func.sum(HoldRow.remaining).filter(col(HoldRow.made_at) >= max(start, row.since)), 0)
        for start in starts
    ]
    query: Any = select(*sums).where(
        col(HoldRow.lane) == LANE,
        col(HoldRow.organization_id) == row.organization_id,
        col(HoldRow.open),
        col(HoldRow.deadline) <= at,
        col(HoldRow.spender) == row.spender,
    )
    found = (await session.exec(query)).one()
    return {start: int(credits_) for start, credits_ in zip(starts, found, strict=True)}


def _windows(at: datetime) -> tuple[datetime, datetime, datetime]:
    """When the UTC hour, day and month of a time began."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return hour, day, day.replace(day=1)


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=31)).replace(day=1)
