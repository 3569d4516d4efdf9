"""The rows of billing. Every tenant key and foreign key begins with the organization.

Proof (`receipts`, `external_payments`) and history (`activity_events`) are
insert-only for the run role; `migrations/versions/0001_grants.sql` says who may do what.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
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

from billing.attempts import OPEN_STATES, AttemptState, RequestState
from ledger.columns import Discreet, column, one_of, organization_key, time

SCHEMA = "billing"


class Purpose(enum.StrEnum):
    """What became of a real payment."""

    GRANTED = "granted"
    UNALLOCATED = "unallocated"


def _of_agent(name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", "agent_id"], ["billing.agents.organization_id", "billing.agents.id"], name=name
    )


class Organization(SQLModel, table=True):
    """Whose book it is. Its row lock orders signing up again, inviting and quoting.

    `touched_at` is when tokens were last ended, so that a request that waited for the lock does not act in the past.
    `frozen_at` is since when an operator lets nothing of it be spent.
    """

    __tablename__ = "organizations"
    __table_args__: ClassVar[Any] = (
        Index("organizations_stopped", "id", postgresql_where=text("frozen_at IS NOT NULL")),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    created_at: datetime = time()
    touched_at: datetime | None = time(null=True)
    frozen_at: datetime | None = time(null=True)


class Agent(Discreet, table=True):
    """Who buys and spends. `contact` is personal data: it stands here and nowhere else.

    `limited_at` is when an operator last set caps or a pause that stand; none when no operator limits it.
    """

    __tablename__ = "agents"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="agent_belongs_to_organization"),
        Index("agents_by_contact", "contact"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    name: str = column(Text)
    runtime: str = column(Text)
    contact: str | None = column(Text, null=True)
    discovery_source: str | None = column(Text, null=True)
    created_at: datetime = time()
    revoked_at: datetime | None = time(null=True)
    limited_at: datetime | None = time(null=True)


class AgentToken(SQLModel, table=True):
    """A bearer token: its id is public, its secret is kept as a hash only."""

    __tablename__ = "agent_tokens"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_token_per_id"),
        _of_agent("token_belongs_to_agent"),
        CheckConstraint("octet_length(secret_hash) = 32", name="hash_is_sha256"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID = column(Uuid)
    secret_hash: bytes = column(LargeBinary)
    created_at: datetime = time()
    revoked_at: datetime | None = time(null=True)


class CreditQuote(SQLModel, table=True):
    """Price and terms. Amounts in cents; `credits_expire_after_days` counts from settlement, none means never.

    `refund_second_payment`: what is paid for the quote once more is sent back; otherwise it is kept for an operator.
    `settled_at` is the one column that ever changes; buying and granting lock the row, so that a quote is paid once.
    """

    __tablename__ = "credit_quotes"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("organization_id", "agent_id", "idempotency_key", name="one_quote_per_key"),
        _of_agent("quote_belongs_to_agent"),
        CheckConstraint("credits > 0", name="credits_positive"),
        CheckConstraint("price_cents > 0", name="price_positive"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID = column(Uuid)
    idempotency_key: str = column(Text)
    credits: int = column(BigInteger)
    pack_id: str | None = column(Text, null=True)
    price_cents: int = column(BigInteger)
    currency: str = column(Text)
    payment_method: str = column(Text)
    live_money: bool = column(Boolean)
    credits_expire_after_days: int | None = column(Integer, null=True)
    refund_second_payment: bool = column(Boolean, default="false")
    created_at: datetime = time()
    expires_at: datetime = time()
    settled_at: datetime | None = time(null=True)


class PaymentAttempt(SQLModel, table=True):
    """One try to pay a quote on one rail. `object_id` is the provider's object that the payer is asked to pay now.

    `looked_at` is when the provider was last asked about it without being prompted, whatever came of that.
    """

    __tablename__ = "payment_attempts"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_attempt_per_id"),
        UniqueConstraint("organization_id", "agent_id", "idempotency_key", name="one_attempt_per_key"),
        ForeignKeyConstraint(
            ["organization_id", "quote_id"],
            ["billing.credit_quotes.organization_id", "billing.credit_quotes.id"],
            name="attempt_pays_a_quote",
        ),
        _of_agent("attempt_belongs_to_agent"),
        CheckConstraint(one_of("state", list(AttemptState)), name="state_is_known"),
        Index(
            "one_open_attempt_per_quote",
            "organization_id",
            "quote_id",
            unique=True,
            postgresql_where=text(one_of("state", list(OPEN_STATES))),
        ),
        Index("attempts_by_object", "object_id"),
        Index(
            "attempts_open",
            "looked_at",
            postgresql_where=text(one_of("state", list(OPEN_STATES))),
        ),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    agent_id: UUID = column(Uuid)
    quote_id: UUID = column(Uuid)
    idempotency_key: str = column(Text)
    method: str = column(Text)
    state: str = column(Text)
    reason: str | None = column(Text, null=True)
    request_number: int = column(Integer)
    object_id: str | None = column(Text, null=True)
    cancel_requested_at: datetime | None = time(null=True)
    payable_until: datetime = time()
    created_at: datetime = time()
    updated_at: datetime = time()
    looked_at: datetime = time()


class ProviderRequestRow(SQLModel, table=True):
    """A request to a provider, stored before it is sent and sent again unchanged while its outcome is not known.

    `action` is the answer: what the payer must do, with the provider's ids.
    """

    __tablename__ = "provider_requests"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("provider_key", name="one_request_per_provider_key"),
        ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["billing.payment_attempts.organization_id", "billing.payment_attempts.id"],
            name="request_belongs_to_attempt",
        ),
        CheckConstraint(one_of("state", list(RequestState)), name="state_is_known"),
        Index(
            "requests_unanswered",
            "next_try_at",
            postgresql_where=text(one_of("state", [RequestState.STORED, RequestState.UNKNOWN])),
        ),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    attempt_id: UUID = column(Uuid, key=True)
    number: int = column(Integer, key=True)
    provider_key: str = column(Text)
    parameters: str = column(Text)
    api_version: str = column(Text)
    state: str = column(Text)
    error: str | None = column(Text, null=True)
    external_id: str | None = column(Text, null=True)
    action: dict[str, Any] | None = column(JSONB, null=True)
    tries: int = column(Integer, default="0")
    next_try_at: datetime = time()
    created_at: datetime = time()
    answered_at: datetime | None = time(null=True)


class ExternalPayment(SQLModel, table=True):
    """One real payment. Its primary key is why a payment grants once, whichever of its letters comes first.

    `purpose`: it was granted, or it is unallocated: real money that could not be granted, kept on the platform.
    `amount_cents` is what was paid, tax included.
    """

    __tablename__ = "external_payments"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["billing.payment_attempts.organization_id", "billing.payment_attempts.id"],
            name="payment_of_an_attempt",
        ),
        CheckConstraint(one_of("purpose", list(Purpose)), name="purpose_is_known"),
        Index("payments_of_attempt", "organization_id", "attempt_id"),
        Index("payments_unallocated", "created_at", postgresql_where=text("purpose = 'unallocated'")),
        {"schema": SCHEMA},
    )
    kind: str = column(Text, key=True)
    external_id: str = column(Text, key=True)
    organization_id: UUID = column(Uuid)
    attempt_id: UUID = column(Uuid)
    purpose: str = column(Text)
    amount_cents: int = column(BigInteger)
    operation_id: UUID = column(Uuid)
    created_at: datetime = time()


class Receipt(SQLModel, table=True):
    """Proof that an attempt settled. Amounts in cents. Journal position and balances are joined from the operation."""

    __tablename__ = "receipts"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("organization_id", "attempt_id", name="one_receipt_per_attempt"),
        ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["billing.payment_attempts.organization_id", "billing.payment_attempts.id"],
            name="receipt_of_an_attempt",
        ),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    attempt_id: UUID = column(Uuid)
    quote_id: UUID = column(Uuid)
    operation_id: UUID = column(Uuid)
    credits: int = column(BigInteger)
    subtotal_cents: int = column(BigInteger)
    discount_cents: int = column(BigInteger)
    tax_cents: int = column(BigInteger)
    total_cents: int = column(BigInteger)
    currency: str = column(Text)
    late: bool = column(Boolean)
    details: dict[str, Any] = column(JSONB)
    settled_at: datetime = time()
    created_at: datetime = time()


class ActivityEvent(SQLModel, table=True):
    """What we say happened, written in the transaction of what it tells. `links` hold ids in their outside form."""

    __tablename__ = "activity_events"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(["organization_id"], ["billing.organizations.id"], name="event_of_an_organization"),
        Index(
            "activity_events_by_link",
            "links",
            postgresql_using="gin",
            postgresql_ops={"links": "jsonb_path_ops"},
            postgresql_with={"fastupdate": "off"},
        ),
        Index("activity_events_by_type", "organization_id", "type", "id"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    type: str = column(Text)
    occurred_at: datetime = time()
    summary: str = column(Text)
    operation: str | None = column(Text, null=True)
    subject_type: str = column(Text)
    subject_id: str = column(Text)
    status: str = column(Text)
    links: dict[str, Any] = column(JSONB)
    cost: dict[str, Any] | None = column(JSONB, null=True)
