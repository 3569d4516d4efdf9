"""The state machine of a metered job, as a table. Pure.

Theory of operation
-------------------
A job is *queued* (its credits are held; no executor has taken it yet), perhaps *running* (the executor will answer
later), and ends *completed* (made and charged), *failed* or *canceled* (nothing charged, all credits back). What was
only priced is *planned* and never changes; what was refused for want of credits is *refused*, so that its key is
answered with that for ever. Who ends a job first has ended it: what comes later changes nothing and charges nothing.
`docs/job-states.md` is drawn from this table.
"""

from __future__ import annotations

import enum
from typing import Final


class JobState(enum.StrEnum):
    """Where a job stands. The value stands in the database and, `refused` excepted, in answers."""

    PLANNED = "planned"
    REFUSED = "refused"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class JobTurn(enum.StrEnum):
    """What can happen to a job."""

    ACCEPTED = "accepted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class JobReason(enum.StrEnum):
    """Why a job ended without being made."""

    PROVIDER_FAILURE = "provider_failure"
    CONTENT_POLICY = "content_policy"
    ARTIFACT_STORAGE = "artifact_storage"
    DEADLINE_PASSED = "deadline_passed"
    HOLD_ENDED = "hold_ended"
    CANCELED = "canceled"


_S, _T = JobState, JobTurn

TRANSITIONS: Final = {
    (_S.QUEUED, _T.ACCEPTED): _S.RUNNING,
    (_S.QUEUED, _T.COMPLETED): _S.COMPLETED,
    (_S.QUEUED, _T.FAILED): _S.FAILED,
    (_S.QUEUED, _T.CANCELED): _S.CANCELED,
    (_S.RUNNING, _T.COMPLETED): _S.COMPLETED,
    (_S.RUNNING, _T.FAILED): _S.FAILED,
    (_S.RUNNING, _T.CANCELED): _S.CANCELED,
}
"""Every change of state there is. What does not stand here leaves the job as it is."""

OPEN: Final = (_S.QUEUED, _S.RUNNING)
"""Credits are held for the job."""


def after(state: JobState, turn: JobTurn) -> JobState:
    """The state after `turn`; the same state when it changes nothing."""
    return TRANSITIONS.get((state, turn), state)
