"""The rows about money that moved after a payment settled, and about the operators who had a hand in it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from billing.attempts import RequestState
from ledger.columns import column, one_of, organization_key, time

SCHEMA = "billing"


class ReversalKind(enum.StrEnum):
    """What may take a payment back. A warning only freezes; a reorganization is the chain's doing."""

    REFUND = "refund"
    DISPUTE = "dispute"
    WARNING = "fraud_warning"
    REORGANIZATION = "reorganization"


GONE_BACK: Final = (ReversalKind.REFUND, ReversalKind.REORGANIZATION)
"""Reversals whose money is with the payer again."""


def _of_attempt(name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["organization_id", "attempt_id"],
        ["billing.payment_attempts.organization_id", "billing.payment_attempts.id"],
        name=name,
    )


class PaymentReversal(SQLModel, table=True):
    """A refund, a dispute or a warning, as it was last read. Guarded by its attempt's lock.

    `live_cents` counts towards what is taken back; `lost` says that a dispute was decided against us; `told` is the
    last that the activity feed said of it.
    """

    __tablename__ = "payment_reversals"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("kind", "external_id", name="one_row_per_reversal"),
        _of_attempt("reversal_of_an_attempt"),
        CheckConstraint(one_of("kind", list(ReversalKind)), name="kind_is_known"),
        CheckConstraint("live_cents BETWEEN 0 AND amount_cents", name="live_is_within_amount"),
        Index("reversals_of_attempt", "organization_id", "attempt_id"),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    kind: str = column(Text)
    external_id: str = column(Text)
    attempt_id: UUID = column(Uuid)
    payment_kind: str = column(Text)
    payment_id: str = column(Text)
    amount_cents: int = column(BigInteger)
    live_cents: int = column(BigInteger)
    lost: bool = column(Boolean)
    status: str = column(Text)
    reason: str | None = column(Text, null=True)
    told: str | None = column(Text, null=True)
    details: dict[str, Any] = column(JSONB)
    occurred_at: datetime = time()
    read_at: datetime = time()
    created_at: datetime = time()
    updated_at: datetime = time()


class ReversalStanding(SQLModel, table=True):
    """What has been posted against one payment, so that only the difference is posted. Guarded by the attempt."""

    __tablename__ = "reversal_standings"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["payment_kind", "payment_id"],
            ["billing.external_payments.kind", "billing.external_payments.external_id"],
            name="standing_of_a_payment",
        ),
        CheckConstraint(
            "credits_reversed >= 0 AND credits_written_off >= 0 AND refunded_cents >= 0 AND lost_cents >= 0"
            " AND disputed_cents >= 0",
            name="nothing_is_negative",
        ),
        {"schema": SCHEMA},
    )
    payment_kind: str = column(Text, key=True)
    payment_id: str = column(Text, key=True)
    organization_id: UUID = column(Uuid)
    attempt_id: UUID = column(Uuid)
    credits_reversed: int = column(BigInteger, default="0")
    credits_written_off: int = column(BigInteger, default="0")
    refunded_cents: int = column(BigInteger, default="0")
    lost_cents: int = column(BigInteger, default="0")
    disputed_cents: int = column(BigInteger, default="0")
    written_off_cents: int = column(BigInteger, default="0")
    frozen: bool = column(Boolean, default="false")
    number: int = column(Integer, default="0")
    updated_at: datetime = time()


class BalanceTransactionRow(SQLModel, table=True):
    """A line of the provider's balance that has been posted. Its primary key is why it is posted once.

    `organization_id` is whose book it stands in: the platform's when it belongs to nobody.
    """

    __tablename__ = "balance_transactions"
    __table_args__: ClassVar[Any] = (
        Index("transactions_of_payout", "payout_id", postgresql_where=text("payout_id IS NOT NULL")),
        Index("transactions_of_attempt", "organization_id", "attempt_id"),
        {"schema": SCHEMA},
    )
    id: str = column(Text, key=True)
    organization_id: UUID = column(Uuid)
    attempt_id: UUID | None = column(Uuid, null=True)
    source_id: str | None = column(Text, null=True)
    category: str = column(Text)
    amount_cents: int = column(BigInteger)
    fee_cents: int = column(BigInteger)
    net_cents: int = column(BigInteger)
    currency: str = column(Text)
    payout_id: str | None = column(Text, null=True)
    operation_id: UUID | None = column(Uuid, null=True)
    occurred_at: datetime = time()
    created_at: datetime = time()


class PayoutRow(SQLModel, table=True):
    """A payout as it was last read. `complete`: its contents are known and posted, or will never be told."""

    __tablename__ = "payouts"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    id: str = column(Text, key=True)
    amount_cents: int = column(BigInteger)
    currency: str = column(Text)
    status: str = column(Text)
    automatic: bool = column(Boolean)
    complete: bool = column(Boolean)
    occurred_at: datetime = time()
    read_at: datetime = time()
    created_at: datetime = time()
    updated_at: datetime = time()


class WatchedObject(SQLModel, table=True):
    """An object of the provider that is not final: it is read again when its time comes, letter or no letter."""

    __tablename__ = "watched_objects"
    __table_args__: ClassVar[Any] = (
        Index("objects_to_look_at", "next_look_at", postgresql_where=text("done_at IS NULL")),
        {"schema": SCHEMA},
    )
    kind: str = column(Text, key=True)
    external_id: str = column(Text, key=True)
    looks: int = column(Integer, default="0")
    next_look_at: datetime = time()
    created_at: datetime = time()
    done_at: datetime | None = time(null=True)


class RefundRequest(SQLModel, table=True):
    """A refund that we ask the provider for, stored before it is sent and sent again unchanged until it is answered.

    Its exact parameters are made, and stored, before it is sent for the first time.
    `asked_by` is the operator key; the nil UUID is the command line or the service itself.
    """

    __tablename__ = "refund_requests"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("id", name="one_refund_per_id"),
        UniqueConstraint("provider_key", name="one_refund_per_provider_key"),
        UniqueConstraint("asked_by", "idempotency_key", name="one_refund_per_key"),
        _of_attempt("refund_of_an_attempt"),
        CheckConstraint(one_of("state", list(RequestState)), name="state_is_known"),
        CheckConstraint("amount_cents > 0", name="refund_of_something"),
        Index(
            "refunds_unanswered",
            "next_try_at",
            postgresql_where=text(one_of("state", [RequestState.STORED, RequestState.UNKNOWN])),
        ),
        {"schema": SCHEMA},
    )
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    attempt_id: UUID = column(Uuid)
    payment_kind: str = column(Text)
    payment_id: str = column(Text)
    amount_cents: int = column(BigInteger)
    reason: str = column(Text)
    asked_by: UUID = column(Uuid)
    idempotency_key: str = column(Text)
    provider_key: str = column(Text)
    parameters: str | None = column(Text, null=True)
    api_version: str | None = column(Text, null=True)
    state: str = column(Text)
    error: str | None = column(Text, null=True)
    refund_id: str | None = column(Text, null=True)
    tries: int = column(Integer, default="0")
    next_try_at: datetime = time()
    created_at: datetime = time()
    answered_at: datetime | None = time(null=True)


class OperatorAction(SQLModel, table=True):
    """What an operator did, by whom and why. Insert-only. `key_id` is none for the command line."""

    __tablename__ = "operator_actions"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("key_id", "idempotency_key", name="one_action_per_key"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    key_id: UUID | None = column(Uuid, null=True)
    holder: str = column(Text)
    idempotency_key: str | None = column(Text, null=True)
    action: str = column(Text)
    organization_id: UUID | None = column(Uuid, null=True)
    subject: str = column(Text)
    reason: str = column(Text)
    details: dict[str, Any] = column(JSONB)
    created_at: datetime = time()
