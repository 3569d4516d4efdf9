"""A job's next turn: its executor is asked until it has answered or the deadline has passed.

A turn is taken by whoever moves `next_try_at` on: the worker for what is due, and for a while whoever ordered the job.
Two that turn one job at once do it no harm: the executor does the work of one job once, and a job ends once. What an
executor cannot be asked for is tried again with back-off; what it has taken on is waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_
from sqlalchemy import select as any_select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import col, select

from billing.database import Sessions
from billing.job_states import OPEN, JobState
from billing.job_tables import Job
from billing.jobs import ending, reading
from billing.jobs.ending import JobKey
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from ledger.ids import external
from outbound.executor import Executor, Later, Made, NotMade, NotReached, Work

TAKE_MAX: Final = 20
LEASE: Final = timedelta(seconds=60)
"""For how long a job that was taken is nobody else's; longer than an executor may take to answer."""
AGAIN_AFTER: Final = timedelta(seconds=1)
AGAIN_AFTER_MAX: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Desk:
    """What turns are made with. `executors` are by the name that stands in a job."""

    sessions: Sessions
    executors: Mapping[str, Executor]
    clock: Clock


async def take_due(sessions: Sessions, *, now: datetime) -> Sequence[JobKey]:
    """Jobs that are due and need no executor for their next turn, taken for `LEASE`."""
    due = or_(col(Job.state) == JobState.RUNNING, col(Job.deadline) <= now)
    query = select(Job).where(col(Job.state).in_(OPEN), col(Job.next_try_at) <= now, due)
    return await _take(sessions, query.order_by(col(Job.next_try_at)).limit(TAKE_MAX), now)


async def take_orders(sessions: Sessions, *, most: int, busy: Iterable[UUID] = (), now: datetime) -> Sequence[JobKey]:
    """At most `most` jobs that are due and that their executor is to be asked for, taken for `LEASE`.

    One of each organization, the longest waiting first, and none of those that are `busy`.
    """
    due = (
        any_select(col(Job.organization_id), col(Job.id))
        .where(
            col(Job.state) == JobState.QUEUED,
            col(Job.next_try_at) <= now,
            col(Job.deadline) > now,
            col(Job.organization_id).not_in(list(busy)),
        )
        .ext(distinct_on(col(Job.organization_id)))
        .order_by(col(Job.organization_id), col(Job.next_try_at))
        .subquery()
    )
    of_due = (col(Job.organization_id) == due.c.organization_id) & (col(Job.id) == due.c.id)
    query = select(Job).join(due, of_due).where(col(Job.state) == JobState.QUEUED, col(Job.next_try_at) <= now)
    return await _take(sessions, query.order_by(col(Job.next_try_at)).limit(most), now)


async def _take(sessions: Sessions, query: Any, now: datetime) -> Sequence[JobKey]:
    async with sessions() as session, session.begin():
        due = (await session.exec(query.with_for_update(of=Job, skip_locked=True))).all()
        for job in due:
            job.next_try_at = now + LEASE
        return [JobKey(job.organization_id, job.id) for job in due]


async def turn(desk: Desk, key: JobKey) -> Job:
    """Do what can be done for a job now. The job as it stands then; one that waits or has ended is left as it is.

    Raises `NotReached` when the executor could not be asked, after saying when to ask again.
    """
    job = await ending.expire(desk.sessions, key, clock=desk.clock)
    if job.state not in OPEN:
        return job
    if job.result is not None:
        return await ending.charge_kept(desk.sessions, key, clock=desk.clock)
    if job.state != JobState.QUEUED:
        return await _rest(desk, key, job.deadline)
    try:
        answer = await _executor(desk, job).perform(work_of(job))
    except NotReached:
        await _rest(desk, key, _next_try(job, desk.clock()), tried=True)
        raise
    return await _apply(desk, key, answer)


def _executor(desk: Desk, job: Job) -> Executor:
    executor = desk.executors.get(job.executor)
    if executor is None:
        raise NotReached(f"the executor {job.executor} is not configured here")
    return executor


def work_of(job: Job) -> Work:
    """What the executor is told."""
    return Work(
        job_id=external("job", job.id),
        organization_id=external("org", job.organization_id),
        agent_id=external("agt", job.agent_id),
        operation=job.operation,
        model_id=job.model_id,
        request=job.request,
        units=job.units,
        credits=job.credits,
        deadline=job.deadline,
    )


async def _apply(desk: Desk, key: JobKey, answer: Made | NotMade | Later) -> Job:
    """The job after its executor's answer; the job as it had ended when that came too late."""
    try:
        match answer:
            case Made():
                return await ending.complete(desk.sessions, key, answer, clock=desk.clock)
            case NotMade():
                return await ending.fail(desk.sessions, key, answer, clock=desk.clock)
            case Later():
                return await ending.accept(desk.sessions, key, answer, clock=desk.clock)
    except Refused as refused:
        if refused.refusal is not Refusal.JOB_ENDED:
            raise
    async with desk.sessions() as session:
        return await reading.by_id(session, key.organization_id, key.job_id)


def _next_try(job: Job, now: datetime) -> datetime:
    doubled: timedelta = AGAIN_AFTER * 2 ** min(job.tries, 10)
    return min(now + min(doubled, AGAIN_AFTER_MAX), job.deadline)


async def _rest(desk: Desk, key: JobKey, until: datetime, *, tried: bool = False) -> Job:
    """Look at the job again at `until`, if it is still open."""
    async with desk.sessions() as session, session.begin():
        job = await session.get_one(
            Job, (key.organization_id, key.job_id), populate_existing=True, with_for_update=True
        )
        if job.state in OPEN and job.result is None:
            job.next_try_at = until
            job.tries += tried
        return job
