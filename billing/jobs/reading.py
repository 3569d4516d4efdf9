"""Jobs as they stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, literal_column, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.identity import Buyer
from billing.job_states import JobState
from billing.job_tables import Job, JobDay
from billing.refusals import Refusal, Refused

JOB_PREFIX: Final = "job"

# The states stand here as in the indexes of open jobs, which are few. What was made already waits for credits that are
# frozen, not for its deadline: a worker that lives moves its next try on.
_DEADLINE_PASSED: Final = text("""
    SELECT min(late) FROM (SELECT CASE WHEN result_digest IS NULL THEN deadline ELSE next_try_at END AS late
                           FROM billing.jobs WHERE state IN ('queued', 'running')) AS open
    WHERE late < :now""")


def fingerprint(asked: Mapping[str, Any]) -> bytes:
    """What tells two requests apart: the SHA-256 of what was asked, in one spelling."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).digest()


async def by_key(session: AsyncSession, buyer: Buyer, key: str, asked: bytes) -> Job | None:
    """The job that this key was used for; `asked` is the fingerprint of what is asked under it now.

    Raises `Refused(SPENDING_CONFLICT)` when something else was asked under it.
    """
    query = select(Job).where(
        col(Job.organization_id) == buyer.organization_id,
        col(Job.agent_id) == buyer.agent_id,
        col(Job.idempotency_key) == key,
    )
    job = (await session.exec(query)).first()
    if job is not None and job.fingerprint != asked:
        raise Refused(Refusal.SPENDING_CONFLICT)
    return job


async def by_id(session: AsyncSession, organization_id: UUID, job_id: UUID) -> Job:
    """One job. Raises `Refused(NOT_FOUND)`, also for those of others and for those that were refused."""
    job = await session.get(Job, (organization_id, job_id), populate_existing=True)
    if job is None or job.state == JobState.REFUSED:
        raise Refused(Refusal.NOT_FOUND, "there is no such job")
    return job


async def organization_of(session: AsyncSession, job_id: UUID) -> UUID:
    """Whose a job is, for its executor. Raises `Refused(NOT_FOUND)`."""
    found = (await session.exec(select(Job.organization_id).where(col(Job.id) == job_id))).first()
    if found is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such job")
    return found


async def page(
    session: AsyncSession, organization_id: UUID, *, before: UUID | None, limit: int, state: str | None = None
) -> Sequence[Job]:
    """The organization's jobs, newest first, from behind `before`."""
    query = select(Job).where(col(Job.organization_id) == organization_id, col(Job.state) != JobState.REFUSED)
    if before is not None:
        query = query.where(col(Job.id) < before)
    if state is not None:
        query = query.where(col(Job.state) == state)
    return (await session.exec(query.order_by(col(Job.id).desc()).limit(limit))).all()


async def by_asset(session: AsyncSession, organization_id: UUID, asset_id: str) -> Job:
    """The organization's newest job that was completed with this asset. Raises `Refused(NOT_FOUND)`."""
    assets = col(Job.result).op("->")(literal_column("'assets'"))  # as in the index
    made = assets.op("@>")(bindparam("made", [{"asset_id": asset_id}], JSONB))
    done = col(Job.state) == JobState.COMPLETED
    query = select(Job).where(col(Job.organization_id) == organization_id, made, done)
    query = query.order_by(col(Job.id).desc()).limit(1)
    job = (await session.exec(query)).first()
    if job is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such asset")
    return job


async def by_captures(session: AsyncSession, organization_id: UUID, operations: Iterable[UUID]) -> dict[UUID, Job]:
    """The jobs that were charged by these operations."""
    query = select(Job).where(col(Job.organization_id) == organization_id, col(Job.capture_id).in_(list(operations)))
    return {job.capture_id: job for job in (await session.exec(query)).all() if job.capture_id is not None}


async def deadline_passed_since(session: AsyncSession, *, now: datetime) -> datetime | None:
    """The earliest deadline that has passed of a job which is still open and not made; none when there is none."""
    found: datetime | None = (await (await session.connection()).execute(_DEADLINE_PASSED, {"now": now})).scalar_one()
    return found


async def ordered_on(session: AsyncSession, organization_id: UUID, now: datetime) -> int:
    """How many jobs the organization has ordered on the UTC day of `now`."""
    found = await session.get(JobDay, (organization_id, day_of(now)), populate_existing=True)
    return found.jobs if found is not None else 0


def day_of(now: datetime) -> date:
    """The UTC day of a time."""
    return now.astimezone(UTC).date()
