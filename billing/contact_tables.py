"""The rows of what people have to do with organizations: feedback, and the humans that own one.

Contacts are personal data: they stand here and in `agents`, and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from ledger.columns import Discreet, column, organization_key, time

SCHEMA = "billing"


class Feedback(Discreet, table=True):
    """What an agent told us. `said` is its body as it was checked; `dedupe_key` makes it once per agent."""

    __tablename__ = "feedback"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("organization_id", "agent_id", "dedupe_key", name="one_feedback_per_key"),
        ForeignKeyConstraint(
            ["organization_id", "agent_id"],
            ["billing.agents.organization_id", "billing.agents.id"],
            name="feedback_of_an_agent",
        ),
        Index("feedback_by_time", "id"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID = column(Uuid)
    dedupe_key: str | None = column(Text, null=True)
    said: dict[str, Any] = column(JSONB)
    created_at: datetime = time()


class ClaimRequest(Discreet, table=True):
    """A link that lets its reader own an organization, or come back to it. Its secret is kept as a hash and used once.

    It is sent to `contact`; whoever opens it has shown to read what is sent there. `agent_id` is who asked for it; none
    when somebody signed in. `used_at` also ends a link that was not used: another one was asked for, or an operator
    ended the ownership. `failed_at`: it was perhaps not sent, and counts as a try alone.
    """

    __tablename__ = "claim_requests"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_claim_request_per_id"),
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="claim_of_an_organization"),
        CheckConstraint("octet_length(secret_hash) = 32", name="hash_is_sha256"),
        ForeignKeyConstraint(
            ["organization_id", "agent_id"],
            ["billing.agents.organization_id", "billing.agents.id"],
            name="claim_asked_by_an_agent",
        ),
        Index("claim_requests_by_contact", "contact", "created_at"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID | None = column(Uuid, null=True)
    contact: str = column(Text)
    secret_hash: bytes = column(LargeBinary)
    created_at: datetime = time()
    expires_at: datetime = time()
    used_at: datetime | None = time(null=True)
    failed_at: datetime | None = time(null=True)


class Owner(Discreet, table=True):
    """The human that owns an organization: one, and whoever claims first. It may be ended by an operator."""

    __tablename__ = "owners"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="owner_of_an_organization"),
        Index("one_owner_at_a_time", "organization_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("owners_by_contact", "contact"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    contact: str = column(Text)
    claimed_at: datetime = time()
    ended_at: datetime | None = time(null=True)


class OwnerSession(Discreet, table=True):
    """A browser in which an owner has opened a link. Its secret is kept as a hash."""

    __tablename__ = "owner_sessions"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_owner_session_per_id"),
        ForeignKeyConstraint(
            ["organization_id", "owner_id"],
            ["billing.owners.organization_id", "billing.owners.id"],
            name="session_of_an_owner",
        ),
        CheckConstraint("octet_length(secret_hash) = 32", name="hash_is_sha256"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    owner_id: UUID = column(Uuid)
    secret_hash: bytes = column(LargeBinary)
    created_at: datetime = time()
    expires_at: datetime = time()
    ended_at: datetime | None = time(null=True)
