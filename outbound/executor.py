"""What an executor of jobs promises. Pure.

An executor is asked with `perform` as often as needed until it has answered; it does the work of one job id once, and
answers a repetition with the same. What it has taken on it finishes, or fails, by a call of its own before the
deadline.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Work:
    """One job to carry out. Ids are in their outside form; `credits` is the most that may be charged for it."""

    job_id: str
    organization_id: str
    agent_id: str
    operation: str
    model_id: str
    request: Mapping[str, Any]
    units: int
    credits: int
    deadline: datetime


@dataclass(frozen=True, slots=True)
class Made:
    """The work is done. `assets` are JSON objects with at least an `asset_id`.

    `units` is how many were made, none for all; `cost_micro_usd` what the provider took, none when nobody knows.
    """

    assets: Sequence[Mapping[str, Any]] = ()
    units: int | None = None
    cost_micro_usd: int | None = None


class Cause(enum.StrEnum):
    """Why work was not done."""

    PROVIDER_FAILURE = "provider_failure"
    CONTENT_POLICY = "content_policy"
    ARTIFACT_STORAGE = "artifact_storage"


@dataclass(frozen=True, slots=True)
class NotMade:
    """The work will not be done. `message` is for the agent."""

    cause: Cause
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """The work was taken on; its result will be posted."""


class NotReached(Exception):
    """The executor could not be asked, or its answer says nothing: ask again."""


class Executor(Protocol):
    """Carries out jobs."""

    async def perform(self, work: Work) -> Made | NotMade | Later:
        """Do the work, or take it on. Bounded in time. Raises `NotReached`."""
