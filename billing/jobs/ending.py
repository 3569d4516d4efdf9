"""What became of a job, written once, with the capture or the end of its hold in the same transaction.

Theory of operation
-------------------
Several may want to end a job at once: the request that ordered it, the worker, the executor's own call, an agent that
cancels, the clock. The job's row is locked first, and the time is looked at after that; whoever finds it open ends it,
whoever finds it ended is told how it ended, and nothing changes. So a result that comes after the deadline, or after a
cancellation, charges nothing: the credits went back, and the executor is told with `JOB_ENDED` that nobody pays for it.
The same result posted again is answered like the first time.

The books may refuse the capture. Credits that are frozen while their payment is questioned can be captured later: the
result is kept, its hold extended as far as holds go, and the worker tries again; what was made is shown when it is
charged. The first result that is kept is the one that counts. A hold that an operator has ended, or that the books have
let run out, pays for nothing: the job fails. Where an operator has captured part of a hold, the rest is charged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import once_more
from billing.database import Sessions
from billing.job_states import OPEN, JobReason, JobState, JobTurn, after
from billing.job_tables import Job
from billing.jobs import telling
from billing.pricing import price_of
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from ledger import posting, statements
from ledger.operations import HOLD_MAX, SYSTEM_SCOPE, Kind, Operation
from ledger.outcomes import Outcome, PostingRefused
from outbound.executor import Later, Made, NotMade

CAPTURE_AGAIN_AFTER: Final = timedelta(seconds=30)
TRIES_MAX: Final = 3
"""How often an ending begins anew because the hold changed while it was written."""

_GONE: Final = frozenset({Outcome.HOLD_EXPIRED, Outcome.HOLD_CLOSED, Outcome.HOLD_NOT_FOUND})


@dataclass(frozen=True, slots=True)
class JobKey:
    """Which job."""

    organization_id: UUID
    job_id: UUID


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a job is to end: made (with what), or not (with why)."""

    turn: JobTurn
    reason: JobReason | None = None
    message: str | None = None
    result: Mapping[str, Any] | None = None


async def complete(sessions: Sessions, key: JobKey, made: Made, *, clock: Clock) -> Job:
    """Charge for what was made: what it really costs, never more than is held. The job as it stands then.

    It is still open when its credits are frozen. Raises `Refused(JOB_ENDED)` when it had ended with something else, or
    when its deadline has passed, and `Refused(NOT_FOUND)`.
    """
    result = _stored(made)
    digest = _digest(result)
    job = await _end(sessions, key, _Ending(JobTurn.COMPLETED, result=result), clock=clock)
    if job.result_digest != digest or job.state not in {JobState.COMPLETED, *OPEN}:
        raise Refused(Refusal.JOB_ENDED)
    return job


async def charge_kept(sessions: Sessions, key: JobKey, *, clock: Clock) -> Job:
    """Try again to charge for a result that was kept. The job as it stands then."""
    return await _end(sessions, key, _Ending(JobTurn.COMPLETED), clock=clock)


async def fail(sessions: Sessions, key: JobKey, not_made: NotMade, *, clock: Clock) -> Job:
    """Give all credits back, because the work will not be done. Raises as `complete`."""
    reason = JobReason(not_made.cause.value)
    job = await _end(sessions, key, _Ending(JobTurn.FAILED, reason, not_made.message), clock=clock)
    if job.state != JobState.FAILED or job.reason != reason:
        raise Refused(Refusal.JOB_ENDED)
    return job


async def cancel(sessions: Sessions, key: JobKey, *, clock: Clock) -> Job:
    """Give all credits back, because the agent wants it no more. Raises `Refused`: JOB_ENDED, NOT_FOUND."""
    job = await _end(sessions, key, _Ending(JobTurn.CANCELED, JobReason.CANCELED), clock=clock)
    if job.state != JobState.CANCELED:
        raise Refused(Refusal.JOB_ENDED)
    return job


async def expire(sessions: Sessions, key: JobKey, *, clock: Clock) -> Job:
    """End a job whose deadline has passed; one whose deadline has not is left as it is."""
    async with sessions() as session, session.begin():
        job = await _locked(session, key)
        over = job.state in OPEN and job.result is None and clock() >= job.deadline
    return await _end(sessions, key, _LATE, clock=clock) if over else job


async def accept(sessions: Sessions, key: JobKey, _: Later, *, clock: Clock) -> Job:
    """The executor has taken the work on. The job as it stands then; one that has ended stays as it is."""
    async with sessions() as session, session.begin():
        job = await _locked(session, key)
        state = after(JobState(job.state), JobTurn.ACCEPTED)
        if state != job.state:
            job.state, job.next_try_at, job.updated_at = state, job.deadline, clock()
        return job


_LATE: Final = _Ending(
    JobTurn.FAILED, JobReason.DEADLINE_PASSED, "The deadline passed before a result came; nothing was charged."
)
_NO_HOLD: Final = _Ending(
    JobTurn.FAILED, JobReason.HOLD_ENDED, "The credits were no longer held when the result came; nothing was charged."
)


async def _end(sessions: Sessions, key: JobKey, ending: _Ending, *, clock: Clock) -> Job:
    """End an open job so, unless its deadline has passed; a job that has ended is left as it is."""
    made = ending.turn is JobTurn.COMPLETED
    for _ in range(TRIES_MAX):
        try:
            return await once_more(sessions, partial(_end_once, sessions, key, ending, clock=clock))
        except PostingRefused as error:
            outcome = error.posted.outcome
        if outcome is Outcome.HOLD_FROZEN and made:
            try:
                return await once_more(sessions, partial(_keep, sessions, key, ending.result, clock=clock))
            except PostingRefused as error:
                outcome = error.posted.outcome
        if outcome in _GONE:
            return await _end_unheld(sessions, key, _NO_HOLD if made else ending, clock=clock)
    raise Refused(Refusal.SERVICE_UNAVAILABLE)


async def _end_once(sessions: Sessions, key: JobKey, ending: _Ending, *, clock: Clock) -> Job:
    async with sessions() as session, session.begin():
        job = await _locked(session, key)
        now = clock()
        made = ending.turn is JobTurn.COMPLETED
        if made:
            ending = replace(ending, result=job.result or ending.result)
        if job.state not in OPEN or made is not (job.result is not None or ending.result is not None):
            return job  # it has ended, or it is made already and only waits to be charged
        if job.result is None and now >= job.deadline:
            ending = _LATE
        hold = await statements.hold(session, job.organization_id, job.hold_id) if job.hold_id is not None else None
        left = hold.remaining if hold is not None else 0
        _write(job, ending, charged=_charge(job, ending, left), now=now)
        operation = _capture(job) if job.charged else _void(job)
        job.capture_id = operation.id if job.charged else None
        telling.ended(session, job, now)
        await posting.post(session, [operation])
        return job


async def _end_unheld(sessions: Sessions, key: JobKey, ending: _Ending, *, clock: Clock) -> Job:
    """The same where the books hold nothing any more, so there is nothing to post."""
    async with sessions() as session, session.begin():
        job = await _locked(session, key)
        if job.state in OPEN:
            now = clock()
            if job.result is not None:
                ending = _NO_HOLD
            elif now >= job.deadline and ending is not _NO_HOLD:
                ending = _LATE
            _write(job, ending, charged=0, now=now)
            telling.ended(session, job, now)
        return job


async def _keep(sessions: Sessions, key: JobKey, result: Mapping[str, Any] | None, *, clock: Clock) -> Job:
    """Keep the result of a job whose credits are frozen, and hold them on, to charge for it as soon as they are free.

    `result` is none for one that is kept already.
    """
    async with sessions() as session, session.begin():
        job = await _locked(session, key)
        if job.state not in OPEN:
            return job
        now = clock()
        job.next_try_at = now + CAPTURE_AGAIN_AFTER
        if job.result is None and result is not None:
            job.state, job.updated_at = JobState.RUNNING, now
            job.result, job.result_digest = dict(result), _digest(result)
            hold = await statements.hold(session, job.organization_id, job.hold_id or job.id)
            await posting.post(session, [_extended(job, hold.made_at)] if hold is not None else [])
        return job


def _write(job: Job, ending: _Ending, *, charged: int, now: datetime) -> None:
    job.state = after(JobState(job.state), ending.turn)
    job.reason = ending.reason
    job.message = ending.message
    if ending.result is not None and job.result is None:
        job.result, job.result_digest = dict(ending.result), _digest(ending.result)
    job.charged = charged
    job.ended_at = job.updated_at = now


def _charge(job: Job, ending: _Ending, left: int) -> int:
    """What is charged for it: what it costs by its price, at most what is left of the hold."""
    if ending.result is None:
        return 0
    units = ending.result["units"] if ending.result["units"] is not None else job.units
    return min(price_of(job.price).credits_for(units, ending.result["cost_micro_usd"]), left) if units else 0


def _capture(job: Job) -> Operation:
    return Operation(
        organization_id=job.organization_id,
        kind=Kind.CAPTURE,
        scope=SYSTEM_SCOPE,
        key=f"job:{job.id}:capture",
        cause=Kind.CAPTURE.value,
        credits=job.charged or 0,
        target=job.hold_id,
    )


def _void(job: Job) -> Operation:
    return Operation(
        organization_id=job.organization_id,
        kind=Kind.VOID,
        scope=SYSTEM_SCOPE,
        key=f"job:{job.id}:void",
        cause=Kind.VOID.value,
        target=job.hold_id,
    )


def _extended(job: Job, made_at: datetime) -> Operation:
    """The hold, for as long as holds may last."""
    return Operation(
        organization_id=job.organization_id,
        kind=Kind.EXTEND,
        scope=SYSTEM_SCOPE,
        key=f"job:{job.id}:extend",
        cause=Kind.EXTEND.value,
        target=job.hold_id,
        deadline=made_at + HOLD_MAX,
    )


def _stored(made: Made) -> dict[str, Any]:
    return {
        "assets": [dict(asset) for asset in made.assets],
        "units": made.units,
        "cost_micro_usd": made.cost_micro_usd,
    }


def _digest(result: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(result, sort_keys=True, separators=(",", ":")).encode()).digest()


async def _locked(session: AsyncSession, key: JobKey) -> Job:
    job = await session.get(Job, (key.organization_id, key.job_id), populate_existing=True, with_for_update=True)
    if job is None or job.state == JobState.REFUSED:
        raise Refused(Refusal.NOT_FOUND, "there is no such job")
    return job
