"""The rows of webhooks that we send to the product. `billing.subscriptions` says what happens to them."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel

from ledger.columns import Discreet, column, one_of, organization_key, time

SCHEMA = "billing"


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Tried for as long as is tried, or its endpoint has ended."""


class Priority(enum.IntEnum):
    """What is sent first to an endpoint, of what is due."""

    EARNED = 0
    """Money, finished work, and what an operator sends by hand."""
    FREE = 1
    """What costs its sender nothing, so that no flood of it delays the rest."""


class WebhookEndpoint(Discreet, table=True):
    """Where the product wants to be told. `types` are those of the activity registry, empty for all.

    `secret` signs, so it cannot be kept as a hash; while it is rotated, `old_secret` signs too, until `old_until`.
    `disabled_reason` says why nothing is sent any more; none while it is. `wants_since` is when it was made or enabled,
    or began to want spends: none from before are told. `failing_since` is the first failure since something was
    delivered.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("(old_secret IS NULL) = (old_until IS NULL)", name="old_secrets_end"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    url: str = column(Text)
    types: list[str] = column(ARRAY(Text))
    description: str = column(Text)
    secret: str = column(Text)
    old_secret: str | None = column(Text, null=True)
    old_until: datetime | None = time(null=True)
    disabled_reason: str | None = column(Text, null=True)
    wants_since: datetime = time()
    failing_since: datetime | None = time(null=True)
    created_at: datetime = time()
    updated_at: datetime = time()


class UntoldEvent(SQLModel, table=True):
    """An activity event that has not been spread to the endpoints yet; written in the event's own transaction."""

    __tablename__ = "untold_events"
    __table_args__: ClassVar[Any] = {"schema": SCHEMA}
    organization_id: UUID = organization_key()
    event_id: UUID = column(Uuid, key=True)


class ToldBook(SQLModel, table=True):
    """Up to which operation of a book its spends were spread to the endpoints."""

    __tablename__ = "told_books"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="told_book_of_an_organization"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    seq: int = column(BigInteger)


class WebhookDelivery(Discreet, table=True):
    """One event for one endpoint. `body` is what is signed and sent, the same each time.

    `event_id` is none for a test message, and an event that stands in the journal has its operation's id. A delivery
    that is replayed is the same one, so that its receiver can tell.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("endpoint_id", "organization_id", "event_id", name="one_delivery_per_event"),
        ForeignKeyConstraint(["endpoint_id"], ["billing.webhook_endpoints.id"], name="delivery_to_an_endpoint"),
        CheckConstraint(one_of("state", list(DeliveryState)), name="state_is_known"),
        CheckConstraint(f"priority BETWEEN {min(Priority)} AND {max(Priority)}", name="priority_is_known"),
        Index("deliveries_due", "endpoint_id", "priority", "next_try_at", postgresql_where=text("state = 'pending'")),
        Index("deliveries_of_endpoint", "endpoint_id", "id"),
        Index("deliveries_failed", "id", postgresql_where=text("state = 'failed'")),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    endpoint_id: UUID = column(Uuid)
    organization_id: UUID | None = column(Uuid, null=True)
    event_id: UUID | None = column(Uuid, null=True)
    type: str = column(Text)
    body: str = column(Text)
    state: str = column(Text)
    priority: int = column(SmallInteger, default="0")
    tries: int = column(Integer, default="0")
    next_try_at: datetime = time()
    last_status: int | None = column(Integer, null=True)
    last_error: str | None = column(Text, null=True)
    created_at: datetime = time()
    updated_at: datetime = time()
