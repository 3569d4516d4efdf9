"""What an organization can spend, and what will come in the way: read at one moment, in few statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.claim_states import claim_state
from billing.identity import Actor
from billing.job_states import OPEN
from billing.job_tables import Job, JobDay
from billing.jobs.reading import day_of
from billing.tables import Receipt
from ledger import statements
from ledger.allowances import Allowance, allowance
from ledger.operations import LANE
from ledger.statements import Balance, Expiry
from ledger.tables import HoldRow

EXPIRIES_MAX: Final = 5
"""What expires next; all of it stands in `GET /v1/ledger/balance`."""


@dataclass(frozen=True, slots=True)
class DailyJobs:
    """How many jobs may be ordered on this UTC day, and were. Both begin anew at `reset_at`."""

    limit: int
    used: int
    reset_at: datetime

    @property
    def remaining(self) -> int:
        """How many more may be ordered today."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Holds:
    """Holds that are open, what they keep, and when the first of them ends by itself."""

    open: int = 0
    credits: int = 0
    next_deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Foresight:
    """How things stand for one agent. `expiring` has at most `EXPIRIES_MAX`, and one more when there are more.

    `allowance` is none when the agent never had a cap, `daily_jobs` when there is no limit.
    """

    balance: Balance
    has_paid: bool = True
    claim_state: str = "unclaimed"
    allowance: Allowance | None = None
    holds: Holds = Holds()
    expiring: Sequence[Expiry] = ()
    jobs_open: int = 0
    daily_jobs: DailyJobs | None = None


async def foresight(session: AsyncSession, actor: Actor, *, jobs_per_day: int | None, now: datetime) -> Foresight:
    """How things stand now, for a session that sees one moment (`database.snapshot`)."""
    organization_id = actor.organization_id
    balance = await statements.balance(session, organization_id, now)
    has_paid, jobs_open, ordered = await _of_billing(session, organization_id, now)
    tomorrow = datetime.combine(day_of(now), datetime.min.time(), UTC) + timedelta(days=1)
    return Foresight(
        balance=balance,
        has_paid=has_paid,
        claim_state=await claim_state(session, organization_id),
        allowance=await allowance(session, organization_id, actor.agent_id, now),
        holds=await _holds(session, organization_id, now) if balance.held else Holds(),
        expiring=await statements.expiries(session, organization_id, after=now, until=None, limit=EXPIRIES_MAX + 1),
        jobs_open=jobs_open,
        daily_jobs=DailyJobs(jobs_per_day, ordered, tomorrow) if jobs_per_day is not None else None,
    )


async def _of_billing(session: AsyncSession, organization_id: UUID, now: datetime) -> tuple[bool, int, int]:
    """Whether it ever paid, how many of its jobs are under way, and how many it has ordered today."""
    paid = select(Receipt.id).where(col(Receipt.organization_id) == organization_id, col(Receipt.total_cents) > 0)
    under_way = select(func.count()).where(col(Job.organization_id) == organization_id, col(Job.state).in_(OPEN))
    today = select(JobDay.jobs).where(col(JobDay.organization_id) == organization_id, col(JobDay.day) == day_of(now))
    known = select(paid.exists(), under_way.scalar_subquery(), func.coalesce(today.scalar_subquery(), 0))
    return (await session.exec(known)).one()


async def _holds(session: AsyncSession, organization_id: UUID, now: datetime) -> Holds:
    query = select(func.count(), func.coalesce(func.sum(HoldRow.remaining), 0), func.min(HoldRow.deadline)).where(
        col(HoldRow.lane) == LANE,
        col(HoldRow.organization_id) == organization_id,
        col(HoldRow.open),
        col(HoldRow.deadline) > now,
    )
    count, credits_, deadline = (await session.exec(query)).one()
    return Holds(count, int(credits_), deadline)
