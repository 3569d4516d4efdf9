"""The rows of metered jobs. `billing.jobs` says what happens to them; `docs/job-states.md` has the states."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from billing.job_states import OPEN, JobReason, JobState
from ledger.columns import Discreet, column, one_of, organization_key, time

SCHEMA = "billing"


class Job(Discreet, table=True):
    """One job. `fingerprint` is the SHA-256 of what was asked, so that a key is never used for two things.

    `request` is what the executor is told, `price` how it was priced (`billing.pricing`), `credits` what is held: the
    most that it may cost. `result` is what the executor made, `result_digest` tells a repeated result from another,
    `charged` is what was captured, by the operation `capture_id`. `next_try_at` is when the worker looks at it again.
    """

    __tablename__ = "jobs"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("organization_id", "agent_id", "idempotency_key", name="one_job_per_key"),
        UniqueConstraint("id", name="one_job_per_id"),
        ForeignKeyConstraint(
            ["organization_id", "agent_id"],
            ["billing.agents.organization_id", "billing.agents.id"],
            name="job_belongs_to_agent",
        ),
        CheckConstraint(one_of("state", list(JobState)), name="state_is_known"),
        CheckConstraint(one_of("reason", list(JobReason)) + " OR state = 'refused'", name="reason_is_known"),
        CheckConstraint("credits > 0 AND units > 0", name="job_of_something"),
        CheckConstraint("charged BETWEEN 0 AND credits", name="never_charged_above_the_hold"),
        Index("jobs_to_look_at", "next_try_at", postgresql_where=text(one_of("state", list(OPEN)))),
        Index("jobs_under_way", "organization_id", postgresql_where=text(one_of("state", list(OPEN)))),
        Index("jobs_by_asset", text("(result -> 'assets') jsonb_path_ops"), postgresql_using="gin"),
        Index("jobs_by_capture", "organization_id", "capture_id", postgresql_where=text("capture_id IS NOT NULL")),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID = column(Uuid)
    idempotency_key: str = column(Text)
    fingerprint: bytes = column(LargeBinary)
    operation: str = column(Text)
    model_id: str = column(Text)
    executor: str = column(Text)
    request: dict[str, Any] = column(JSONB)
    price: dict[str, Any] = column(JSONB)
    units: int = column(Integer)
    credits: int = column(BigInteger)
    state: str = column(Text)
    reason: str | None = column(Text, null=True)
    message: str | None = column(Text, null=True)
    hold_id: UUID | None = column(Uuid, null=True)
    deadline: datetime = time()
    result: dict[str, Any] | None = column(JSONB, null=True)
    result_digest: bytes | None = column(LargeBinary, null=True)
    charged: int | None = column(BigInteger, null=True)
    capture_id: UUID | None = column(Uuid, null=True)
    tries: int = column(Integer, default="0")
    next_try_at: datetime = time()
    created_at: datetime = time()
    updated_at: datetime = time()
    ended_at: datetime | None = time(null=True)

    @property
    def assets(self) -> list[dict[str, Any]]:
        """What was made. Until it is charged, and when it never is, it is nobody's."""
        made = self.result if self.state == JobState.COMPLETED else None
        return list((made or {}).get("assets", ()))


class JobDay(SQLModel, table=True):
    """How many jobs an organization has ordered on a UTC day. Its row orders those that ask for the last one."""

    __tablename__ = "job_days"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="day_of_an_organization"),
        CheckConstraint("jobs > 0", name="days_with_jobs_only"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    day: date = column(Date, key=True)
    jobs: int = column(Integer)
