"""A job is ordered: stored with the hold of its credits in one transaction, or else refused and charged nothing.

A refusal for want of credits keeps the key, as everywhere (`ledger.outcomes.FREEZES_KEY`): the job is stored as
`refused` in a transaction of its own, because the books' transaction left nothing behind. Whoever comes second with a
key is told what came of the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import once_more
from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Buyer
from billing.job_states import OPEN, JobState
from billing.job_tables import Job, JobDay
from billing.jobs import reading, telling
from billing.pricing import Price
from billing.refusals import Refusal, Refused
from ledger import posting
from ledger.operations import SYSTEM_SCOPE, Kind, Operation
from ledger.outcomes import FREEZES_KEY, Outcome, Posted, PostingRefused

HOLD_GRACE: Final = timedelta(minutes=5)
"""How much longer the credits are held than the executor may take, so that what comes in time is charged.

Longer than a job that somebody took and dropped is left alone (`turning.LEASE`).
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made, and at which price. `asked` is the fingerprint of the request, `request` the executor's."""

    key: str
    asked: bytes
    operation: str
    model_id: str
    executor: str
    request: Mapping[str, Any]
    units: int
    price: Price
    lasting: timedelta
    """How long the executor may take."""
    job_id: UUID | None = None
    """The id that a new job gets, so that who orders can tell it from the first one under its key; else a fresh one."""

    @property
    def credits(self) -> int:
        """What it costs at most, which is what is held."""
        return self.price.credits_for(self.units)


class HoldRefused(Exception):
    """The books would not hold the credits. `job` is stored as refused when that keeps its key, and none otherwise."""

    def __init__(self, operation: Operation, posted: Posted, job: Job | None) -> None:
        super().__init__(f"the credits of a job were not held: {posted.outcome}")
        self.operation = operation
        self.posted = posted
        self.job = job


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs an organization may order on a UTC day (none: any number), and have open at once."""

    per_day: int | None
    open: int


async def order(
    sessions: Sessions, buyer: Buyer, wanted: Order, *, bounds: Bounds, wait: timedelta, now: datetime
) -> Job:
    """Store the job and hold its credits. The worker looks after it when `wait` is over, and the caller until then.

    An order under the key of another one finds that (`reading.by_key` says what it is). Raises `HoldRefused`, and
    `Refused`: SPENDING_CONFLICT, DAILY_JOB_LIMIT_REACHED, OPEN_JOBS_LIMIT_REACHED.
    """
    job = _job(buyer, wanted, JobState.QUEUED, now=now, next_try_at=now + wait)
    hold = hold_of(job)
    job.hold_id = hold.id
    try:
        return await once_more(sessions, lambda: _store(sessions, job, hold, bounds=bounds, now=now))
    except IntegrityError:
        return await _first(sessions, buyer, wanted)
    except Refused:
        # The same order may have come first, and be the last one there was room for.
        first = await before(sessions, buyer, wanted.key, wanted.asked)
        if first is None:
            raise
        return first
    except PostingRefused as error:
        posted = error.posted
    if posted.outcome not in FREEZES_KEY:
        raise HoldRefused(hold, posted, None)
    refused = _job(buyer, wanted, JobState.REFUSED, now=now, next_try_at=now)
    refused.reason, refused.ended_at = posted.outcome.value, now
    refused = await _store_alone(sessions, buyer, wanted, refused)
    if refused.state != JobState.REFUSED:
        return refused
    raise HoldRefused(hold, posted, refused)


async def plan(sessions: Sessions, buyer: Buyer, wanted: Order, *, now: datetime) -> Job:
    """Store what a job would cost. Nothing is held and nothing is carried out. Raises `Refused(SPENDING_CONFLICT)`."""
    job = _job(buyer, wanted, JobState.PLANNED, now=now, next_try_at=now)
    job.ended_at = now
    return await _store_alone(sessions, buyer, wanted, job)


def hold_of(job: Job) -> Operation:
    """The operation that holds a job's credits; its agent's caps count. Made of what is stored, so always the same."""
    return Operation(
        organization_id=job.organization_id,
        kind=Kind.HOLD,
        scope=SYSTEM_SCOPE,
        key=f"job:{job.id}:hold",
        cause=Kind.HOLD.value,
        event_at=job.created_at,
        credits=job.credits,
        spender=job.agent_id,
        deadline=job.deadline + HOLD_GRACE,
    )


async def before(sessions: Sessions, buyer: Buyer, key: str, asked: bytes) -> Job | None:
    """The job that was ordered or planned under this key; none when there is none.

    Raises `HoldRefused` when its credits were not held, and `Refused(SPENDING_CONFLICT)` when it is of something else.
    """
    async with sessions() as session:
        job = await reading.by_key(session, buyer, key, asked)
    if job is not None and job.state == JobState.REFUSED:
        hold = hold_of(job)
        raise HoldRefused(hold, Posted(hold.id, Outcome(job.reason or ""), replayed=True), job)
    return job


def _job(buyer: Buyer, wanted: Order, state: JobState, *, now: datetime, next_try_at: datetime) -> Job:
    return Job(
        organization_id=buyer.organization_id,
        id=wanted.job_id or new_id(now),
        agent_id=buyer.agent_id,
        idempotency_key=wanted.key,
        fingerprint=wanted.asked,
        operation=wanted.operation,
        model_id=wanted.model_id,
        executor=wanted.executor,
        request=dict(wanted.request),
        price=wanted.price.stored(),
        units=wanted.units,
        credits=wanted.credits,
        state=state,
        deadline=now + wanted.lasting,
        next_try_at=next_try_at,
        created_at=now,
        updated_at=now,
    )


async def _store(sessions: Sessions, job: Job, hold: Operation, *, bounds: Bounds, now: datetime) -> Job:
    async with sessions() as session, session.begin():
        await _count(session, job, bounds.per_day, now)
        await _require_few_open(session, job.organization_id, bounds.open)
        session.add(Job(**job.model_dump()))
        await posting.post(session, [hold])
    return job


async def _count(session: AsyncSession, job: Job, jobs_per_day: int | None, now: datetime) -> None:
    """One more job on this day. Its row is locked until the job is stored, so the last one is ordered once."""
    today = {"organization_id": job.organization_id, "day": reading.day_of(now)}
    one = insert(JobDay).values(**today, jobs=1)
    more = one.on_conflict_do_update(
        index_elements=list(today),
        set_={"jobs": col(JobDay.jobs) + 1},
        where=col(JobDay.jobs) < jobs_per_day if jobs_per_day is not None else None,
    )
    if (await session.exec(more.returning(col(JobDay.jobs)))).first() is None:
        tomorrow = datetime.combine(reading.day_of(now) + timedelta(days=1), datetime.min.time(), UTC)
        raise DailyLimitReached(jobs_per_day or 0, tomorrow)


async def _require_few_open(session: AsyncSession, organization_id: UUID, most: int) -> None:
    """The day's row is locked, so orders of one organization look one after another."""
    query = select(func.count()).select_from(Job)
    under_way = query.where(col(Job.organization_id) == organization_id, col(Job.state).in_(OPEN))
    if (await session.exec(under_way)).one() >= most:
        raise Refused(Refusal.OPEN_JOBS_LIMIT_REACHED)


class DailyLimitReached(Refused):
    """As many jobs were ordered today as may be; there are new ones at `reset_at`."""

    def __init__(self, limit: int, reset_at: datetime) -> None:
        super().__init__(Refusal.DAILY_JOB_LIMIT_REACHED)
        self.limit = limit
        self.reset_at = reset_at


async def _store_alone(sessions: Sessions, buyer: Buyer, wanted: Order, job: Job) -> Job:
    try:
        async with sessions() as session, session.begin():
            session.add(job)
            if job.state == JobState.PLANNED:
                telling.planned(session, job)
    except IntegrityError:
        return await _first(sessions, buyer, wanted)
    return job


async def _first(sessions: Sessions, buyer: Buyer, wanted: Order) -> Job:
    """The job that took the key first. Raises as `before`."""
    job = await before(sessions, buyer, wanted.key, wanted.asked)
    if job is None:
        raise Refused(Refusal.SERVICE_UNAVAILABLE)
    return job
