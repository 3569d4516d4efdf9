"""The rows of reconciling: what others say of our money, and where it is not what stands here."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

from finance.tables import SCHEMA
from ledger.columns import column, one_of, time


class Imported(SQLModel, table=True):
    """A file that was taken over, once: the same content again changes nothing. Insert-only."""

    __tablename__ = "imports"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("kind", "digest", name="one_import_per_content"),
        CheckConstraint(one_of("kind", ["stripe_itemized", "bank"]), name="kind_is_known"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    kind: str = column(Text)
    name: str = column(Text)
    digest: bytes = column(LargeBinary)
    lines: int = column(BigInteger)
    holder: str = column(Text)
    created_at: datetime = time()


class StatementLine(SQLModel, table=True):
    """A line of the provider's balance as the provider itself tells it, by its API or in its report.

    The line of ours is `billing.balance_transactions`. What the provider told once it never changes; only the payout
    that took a line becomes known later.
    """

    __tablename__ = "statement_lines"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("amount_cents - fee_cents = net_cents", name="gross_less_fee_is_net"),
        Index("statement_lines_of_payout", "payout_id", postgresql_where=text("payout_id IS NOT NULL")),
        {"schema": SCHEMA},
    )
    id: str = column(Text, key=True)
    category: str = column(Text)
    amount_cents: int = column(BigInteger)
    fee_cents: int = column(BigInteger)
    net_cents: int = column(BigInteger)
    currency: str = column(Text)
    source_id: str | None = column(Text, null=True)
    payout_id: str | None = column(Text, null=True)
    import_id: UUID | None = column(Uuid, null=True)
    occurred_at: datetime = time()
    created_at: datetime = time()


class StatementPayout(SQLModel, table=True):
    """A payout as the provider tells it now, with the day on which the bank should have it."""

    __tablename__ = "statement_payouts"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    id: str = column(Text, key=True)
    amount_cents: int = column(BigInteger)
    currency: str = column(Text)
    status: str = column(Text)
    automatic: bool = column(Boolean)
    reconciliation_status: str = column(Text)
    arrives_on: date = column(Date)
    occurred_at: datetime = time()
    read_at: datetime = time()


class BankLine(SQLModel, table=True):
    """A line of the bank's statement that came in a file. `known_as` is the payout or trade that it was found to be.

    `digest` is over its content and how often that content came before in the same file, so that a line which two
    files have is one.
    """

    __tablename__ = "bank_lines"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("digest", name="one_row_per_bank_line"),
        Index("one_bank_line_per_booking", "known_as", unique=True, postgresql_where=text("known_as IS NOT NULL")),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    import_id: UUID = column(Uuid)
    digest: bytes = column(LargeBinary)
    booked_on: date = column(Date)
    amount_cents: int = column(BigInteger)
    currency: str = column(Text)
    description: str = column(Text)
    reference: str = column(Text)
    known_as: str | None = column(Text, null=True)
    created_at: datetime = time()


class ChainTransfer(SQLModel, table=True):
    """A transfer of USDC into or out of a treasury, as the chain's log has it in a block that is final.

    `amount` in atomic units, above 0; `incoming` says which way. One between two treasuries of ours stands here twice.
    """

    __tablename__ = "chain_transfers"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        {"schema": SCHEMA},
    )
    network: str = column(Text, key=True)
    transaction_hash: str = column(Text, key=True)
    log_index: int = column(BigInteger, key=True)
    treasury: str = column(Text, key=True)
    block_number: int = column(BigInteger)
    incoming: bool = column(Boolean)
    amount: int = column(BigInteger)
    occurred_at: datetime = time()
    created_at: datetime = time()


class TreasuryReading(SQLModel, table=True):
    """What a treasury held at a pinned block, and how far its transfers were read. Insert-only."""

    __tablename__ = "treasury_readings"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    network: str = column(Text, key=True)
    treasury: str = column(Text, key=True)
    block_number: int = column(BigInteger, key=True)
    block_hash: str = column(Text)
    balance: int = column(BigInteger)
    block_at: datetime = time()
    created_at: datetime = time()


class Finding(enum.StrEnum):
    """What is wrong with a line: nobody here knows it, nobody there, or the two say different things."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    DIFFERENT = "different"


class ExceptionState(enum.StrEnum):
    """`gone`: a later run found nothing wrong any more. `proposed` waits for a second key holder."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    PROPOSED = "proposed"
    RESOLVED = "resolved"
    GONE = "gone"


class ReconciliationException(SQLModel, table=True):
    """One line that does not fit, once for ever: found again it is the same row.

    `amount` is signed, in minor units of `currency` (USDC: atomic units), what is missing or too much here.
    `here` and `there` are what each side says, for a person. An adjustment is what was proposed: debit, credit, cents.
    `opened_at` is when it became open for the last time; numbers that change do not open what is open.
    """

    __tablename__ = "exceptions"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("source", "subject", name="one_exception_per_subject"),
        CheckConstraint(one_of("finding", list(Finding)), name="finding_is_known"),
        CheckConstraint(one_of("state", list(ExceptionState)), name="state_is_known"),
        CheckConstraint("state <> 'resolved' OR reason IS NOT NULL", name="resolved_with_a_reason"),
        Index("exceptions_by_state", "state", "id"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    source: str = column(Text)
    subject: str = column(Text)
    finding: str = column(Text)
    organization_id: UUID | None = column(Uuid, null=True)
    amount: int = column(BigInteger)
    currency: str = column(Text)
    here: dict[str, Any] = column(JSONB)
    there: dict[str, Any] = column(JSONB)
    state: str = column(Text)
    reason: str | None = column(Text, null=True)
    adjustment: dict[str, Any] | None = column(JSONB, null=True)
    holder: str | None = column(Text, null=True)
    holder_key: UUID | None = column(Uuid, null=True)
    approver: str | None = column(Text, null=True)
    approver_key: UUID | None = column(Uuid, null=True)
    operation_id: UUID | None = column(Uuid, null=True)
    occurred_at: datetime = time()
    first_seen_at: datetime = time()
    opened_at: datetime = time()
    last_seen_at: datetime = time()
    updated_at: datetime = time()


class ReconciliationRun(SQLModel, table=True):
    """One comparison of everything, with its counts and every exception that stood then. Insert-only."""

    __tablename__ = "reconciliations"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    id: UUID = column(Uuid, key=True)
    holder: str = column(Text)
    report: dict[str, Any] = column(JSONB)
    created_at: datetime = time()
