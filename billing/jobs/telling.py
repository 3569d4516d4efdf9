"""What the activity feed says of a job. Its charge stands in the journal, where the feed finds it by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from billing import activity
from billing.activity import EventType
from billing.fresh import new_id
from billing.job_states import JobState
from billing.job_tables import Job
from billing.tables import ActivityEvent
from ledger.ids import external

ASSETS_TOLD_MAX: Final = 20
"""Assets of one job that get an event of their own; all of them stand in the job's."""

_SUMMARIES: Final = {
    JobState.COMPLETED: "The job was completed; {charged} credits were charged for it.",
    JobState.FAILED: "The job failed; nothing was charged for it.",
    JobState.CANCELED: "The job was canceled; nothing was charged for it.",
}


def planned(session: AsyncSession, job: Job) -> None:
    """A job was priced, and nothing else."""
    _tell(
        session,
        job,
        EventType.JOB_PLANNED,
        f"A job was planned; it would cost {job.credits} credits at most.",
        job.created_at,
        cost={"credits": 0, "planned_credits": job.credits},
    )


def ended(session: AsyncSession, job: Job, now: datetime) -> None:
    """A job has ended, however it did; its assets are there."""
    summary = _SUMMARIES[JobState(job.state)].format(charged=job.charged)
    _tell(session, job, EventType.JOB_COMPLETED, summary, now, cost={"credits": job.charged or 0})
    for asset_id in asset_ids(job)[:ASSETS_TOLD_MAX]:
        _tell(session, job, EventType.ASSET_CREATED, "An asset was made.", now, asset_id=asset_id)


def asset_ids(job: Job) -> list[str]:
    """The ids of what was made and charged for."""
    return [asset["asset_id"] for asset in job.assets]


def _tell(
    session: AsyncSession,
    job: Job,
    type_: EventType,
    summary: str,
    now: datetime,
    *,
    cost: dict[str, Any] | None = None,
    asset_id: str | None = None,
) -> None:
    job_id = external("job", job.id)
    charged = {"usage_event_id": external("usage", job.capture_id)} if job.capture_id is not None else {}
    activity.tell(
        session,
        ActivityEvent(
            organization_id=job.organization_id,
            id=new_id(now),
            type=type_,
            occurred_at=now,
            summary=summary,
            operation=job.operation,
            subject_type="job" if asset_id is None else "asset",
            subject_id=asset_id or job_id,
            status=job.state,
            links={"job_id": job_id, "asset_ids": [asset_id] if asset_id is not None else asset_ids(job), **charged},
            cost=cost,
        ),
    )
