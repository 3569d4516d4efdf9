"""The rows of the books. Journal tables are insert-only; projections are written by the posting function alone.

All keys begin with `lane, organization_id`: a posting never crosses a book. The function `ledger.post_v1` and the
triggers on the journal stand in `migrations/versions/0001_books.sql`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlmodel import SQLModel

from ledger.columns import column, organization_key, time

SCHEMA = "ledger"


class ChartRow(SQLModel, table=True):
    """The chart of accounts as data, so that a foreign key can hold every account to it."""

    __tablename__ = "chart"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("side IN ('debit', 'credit')", name="side_is_debit_or_credit"),
        {"schema": SCHEMA},
    )
    code: str = column(Text, key=True)
    currency: str = column(Text, key=True)
    side: str = column(Text)
    floored: bool = column(Boolean)


class Book(SQLModel, table=True):
    """Projection: everything of one organization; the unit of locking, hashing and isolation."""

    __tablename__ = "books"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    last_seq: int = column(BigInteger, default="0")
    last_lot: int = column(Integer, default="0")
    last_posted_at: datetime | None = time(null=True)
    head: bytes = column(LargeBinary, default=r"'\x'::bytea")
    closed_through: date | None = column(Date, null=True)


class OperationRow(SQLModel, table=True):
    """Journal: one accepted or frozen request in a book."""

    __tablename__ = "operations"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("lane", "organization_id", "scope", "key", name="one_outcome_per_key"),
        UniqueConstraint("lane", "organization_id", "id", name="one_operation_per_id"),
        CheckConstraint("seq > 0", name="seq_positive"),
        CheckConstraint("octet_length(fingerprint) = 16", name="fingerprint_is_16_bytes"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    seq: int = column(BigInteger, key=True)
    id: UUID = column(Uuid)
    kind: str = column(Text)
    scope: str = column(Text)
    key: str = column(Text)
    fingerprint: bytes = column(LargeBinary)
    outcome: str = column(Text)
    cause: str = column(Text)
    spender: UUID | None = column(Uuid, null=True)
    event_at: datetime = time()
    posted_at: datetime = time()
    accounting_date: date = column(Date)
    available_after: int = column(BigInteger)
    held_after: int = column(BigInteger)
    terms: str | None = column(Text, null=True)
    hash: bytes = column(LargeBinary)


class TransferRow(SQLModel, table=True):
    """Journal: one debit, one credit, one amount, with both accounts' balances after it (on their normal side)."""

    __tablename__ = "transfers"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["lane", "organization_id", "seq"],
            ["ledger.operations.lane", "ledger.operations.organization_id", "ledger.operations.seq"],
            name="transfer_belongs_to_operation",
        ),
        CheckConstraint("amount > 0", name="amount_positive"),
        CheckConstraint("debit <> credit", name="two_different_accounts"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    seq: int = column(BigInteger, key=True)
    line: int = column(SmallInteger, key=True)
    debit: str = column(Text)
    credit: str = column(Text)
    currency: str = column(Text)
    amount: int = column(BigInteger)
    lot: int | None = column(Integer, null=True)
    debit_after: int = column(BigInteger)
    credit_after: int = column(BigInteger)


class LotOpeningRow(SQLModel, table=True):
    """Journal: the terms of a lot, in the operation that opened it."""

    __tablename__ = "lot_openings"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["lane", "organization_id", "seq"],
            ["ledger.operations.lane", "ledger.operations.organization_id", "ledger.operations.seq"],
            name="lot_belongs_to_operation",
        ),
        CheckConstraint("credits > 0", name="lot_has_credits"),
        CheckConstraint("(cause = 'paid') = (basis_amount IS NOT NULL)", name="paid_lot_has_basis"),
        CheckConstraint("(basis_amount IS NULL) = (basis_currency IS NULL)", name="basis_has_currency"),
        CheckConstraint("basis_amount >= 0", name="basis_not_negative"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    lot: int = column(Integer, key=True)
    seq: int = column(BigInteger)
    cause: str = column(Text)
    credits: int = column(BigInteger)
    basis_amount: int | None = column(BigInteger, null=True)
    basis_currency: str | None = column(Text, null=True)
    expires_at: datetime | None = time(null=True)
    priority: int = column(SmallInteger)


class HoldOpeningRow(SQLModel, table=True):
    """Journal: the terms of a hold, in the operation that made it."""

    __tablename__ = "hold_openings"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["lane", "organization_id", "seq"],
            ["ledger.operations.lane", "ledger.operations.organization_id", "ledger.operations.seq"],
            name="hold_belongs_to_operation",
        ),
        CheckConstraint("credits > 0", name="hold_has_credits"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    seq: int = column(BigInteger)
    spender: UUID | None = column(Uuid, null=True)
    credits: int = column(BigInteger)
    deadline: datetime = time()


class AccountRow(SQLModel, table=True):
    """Projection: posted sums of one account; `version` counts the transfers that touched it."""

    __tablename__ = "accounts"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["code", "currency"], ["ledger.chart.code", "ledger.chart.currency"], name="account_is_in_the_chart"
        ),
        CheckConstraint("debits >= 0 AND credits >= 0", name="posted_sums_not_negative"),
        CheckConstraint(
            "code NOT IN ('wallet', 'held', 'consumed', 'expired', 'clawed_back') OR debits >= credits",
            name="no_account_below_its_floor",
        ),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    code: str = column(Text, key=True)
    currency: str = column(Text, key=True)
    debits: int = column(BigInteger, default="0")
    credits: int = column(BigInteger, default="0")
    version: int = column(BigInteger, default="0")


class LotRow(SQLModel, table=True):
    """Projection: what is left of a lot and where the rest went."""

    __tablename__ = "lots"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["lane", "organization_id", "lot"],
            ["ledger.lot_openings.lane", "ledger.lot_openings.organization_id", "ledger.lot_openings.lot"],
            name="lot_has_an_opening",
        ),
        CheckConstraint(
            "credits = remaining + held + consumed + expired + clawed_back", name="every_credit_is_somewhere"
        ),
        CheckConstraint(
            "remaining >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0",
            name="no_part_negative",
        ),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    lot: int = column(Integer, key=True)
    cause: str = column(Text)
    credits: int = column(BigInteger)
    remaining: int = column(BigInteger)
    held: int = column(BigInteger, default="0")
    consumed: int = column(BigInteger, default="0")
    expired: int = column(BigInteger, default="0")
    clawed_back: int = column(BigInteger, default="0")
    frozen: bool = column(Boolean, default="false")
    expires_at: datetime | None = time(null=True)
    priority: int = column(SmallInteger)


class HoldRow(SQLModel, table=True):
    """Projection: what is left of a hold."""

    __tablename__ = "holds"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["lane", "organization_id", "id"],
            ["ledger.hold_openings.lane", "ledger.hold_openings.organization_id", "ledger.hold_openings.id"],
            name="hold_has_an_opening",
        ),
        CheckConstraint("remaining >= 0 AND reversed >= 0 AND reversed <= remaining", name="hold_not_overdrawn"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    remaining: int = column(BigInteger)
    reversed: int = column(BigInteger, default="0")
    deadline: datetime = time()


class CapCounterRow(SQLModel, table=True):
    """Projection: what a spender has used of one window of its cap."""

    __tablename__ = "cap_counters"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("used >= 0", name="used_not_negative"),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    spender: UUID = column(Uuid, key=True)
    span: str = column(CHAR(1), key=True)
    starts_at: datetime = column(DateTime(timezone=True), key=True)
    used: int = column(BigInteger, default="0")
