"""The rows of the books. Journal tables are insert-only; projections are written by the posting function alone.

All keys begin with `lane`: a batch never crosses one. The function `ledger.post_v1` and the triggers on the journal
stand beside `migrations/versions/0001_posting.sql`. An operation is one row: its transfers are in it (`lines`), so
that neither can be without the other, and the views `ledger.transfers` and `ledger.entries` show them one by one. No
index is there that the number taken under the book's lock makes needless (docs/decisions/0010).
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel

from ledger.columns import column, organization_key, time

SCHEMA = "ledger"

ROOM_TO_CHANGE: Any = {"postgresql_with": {"fillfactor": 40}}
"""Rows that every spend changes find room on their own page, so that no index has to be told."""


class ChartRow(SQLModel, table=True):
    """The chart of accounts as data. `number` is how the lines of an operation name an account."""

    __tablename__ = "chart"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("number", name="one_account_per_number"),
        CheckConstraint("side IN ('debit', 'credit')", name="side_is_debit_or_credit"),
        {"schema": SCHEMA},
    )
    code: str = column(Text, key=True)
    currency: str = column(Text, key=True)
    side: str = column(Text)
    number: int = column(SmallInteger)


class Book(SQLModel, table=True):
    """Projection: everything of one organization; the unit of locking, hashing and isolation.

    Its credit accounts stand here and not in `accounts`, because every operation changes some of them and locks this
    row anyway. `frozen` and `paid` are parts of `wallet`; `next_due_at` is never later than the next deadline in the
    book.
    """

    __tablename__ = "books"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(
            "issued = wallet + held + consumed + expired + clawed_back", name="every_issued_credit_is_somewhere"
        ),
        CheckConstraint(
            "wallet >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0",
            name="no_account_below_its_floor",
        ),
        CheckConstraint("frozen >= 0 AND paid >= 0 AND owed >= 0", name="no_part_negative"),
        {"schema": SCHEMA, **ROOM_TO_CHANGE},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    last_seq: int = column(BigInteger, default="0")
    last_lot: int = column(Integer, default="0")
    last_posted_at: datetime | None = time(null=True)
    head: bytes = column(LargeBinary, default=r"'\x'::bytea")
    closed_through: date | None = column(Date, null=True)
    next_due_at: datetime | None = time(null=True)
    issued: int = column(BigInteger, default="0")
    wallet: int = column(BigInteger, default="0")
    held: int = column(BigInteger, default="0")
    consumed: int = column(BigInteger, default="0")
    expired: int = column(BigInteger, default="0")
    clawed_back: int = column(BigInteger, default="0")
    frozen: int = column(BigInteger, default="0")
    paid: int = column(BigInteger, default="0")
    owed: int = column(BigInteger, default="0")


class OperationRow(SQLModel, table=True):
    """Journal: one accepted or frozen request in a book, with its transfers.

    `id` is made from (organization, scope, key), so that its uniqueness is that of the key; it stands first in its
    index, so that no plan made on an empty table can look for it through another one. `lines` are six numbers a
    transfer: debit account, credit account, lot (0 for none), amount, and both balances after it. `target` is the
    hold, the operation or the grant that this one is about; `terms` is canonical JSON of what no line shows.
    `event_at` is NULL for what happened when it was posted. Columns
    stand in the order of their alignment: a spend is 16 bytes smaller so.
    """

    __tablename__ = "operations"
    __table_args__: ClassVar[Any] = (
        PrimaryKeyConstraint("lane", "organization_id", "seq"),
        UniqueConstraint("id", "lane", name="one_outcome_per_key"),
        CheckConstraint("seq > 0", name="seq_positive"),
        CheckConstraint("octet_length(fingerprint) = 16", name="fingerprint_is_16_bytes"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        {"schema": SCHEMA},
    )
    seq: int = column(BigInteger, key=True)
    event_at: datetime | None = time(null=True)
    posted_at: datetime = time()
    available_after: int = column(BigInteger)
    held_after: int = column(BigInteger)
    paid_after: int = column(BigInteger)
    accounting_date: date = column(Date)
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid)
    scope: UUID = column(Uuid)
    spender: UUID | None = column(Uuid, null=True)
    target: UUID | None = column(Uuid, null=True)
    kind: str = column(Text)
    outcome: str = column(Text)
    cause: str = column(Text)
    key: str = column(Text)
    fingerprint: bytes = column(LargeBinary)
    hash: bytes = column(LargeBinary)
    lines: list[int] = column(ARRAY(BigInteger))
    terms: str | None = column(Text, null=True)

    @property
    def happened_at(self) -> datetime:
        """When it happened in the world."""
        return self.event_at or self.posted_at


class LotOpeningRow(SQLModel, table=True):
    """Journal: the terms of a lot, in the operation that opened it."""

    __tablename__ = "lot_openings"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("lane", "organization_id", "seq", name="one_lot_per_operation"),
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


class AccountRow(SQLModel, table=True):
    """Projection: posted sums of one money account; `version` counts the transfers that touched it."""

    __tablename__ = "accounts"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["code", "currency"], ["ledger.chart.code", "ledger.chart.currency"], name="account_is_in_the_chart"
        ),
        CheckConstraint("debits >= 0 AND credits >= 0", name="posted_sums_not_negative"),
        CheckConstraint("currency <> 'CREDIT'", name="credits_stand_in_the_book"),
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
    """Projection: what is left of a lot and where the rest went.

    `reversed` is how much of its payment was taken back: `taken` from the wallet or from what had expired
    (`taken_expired`), `held_reversed` marked in open holds, `owed` because it was spent, `settled` out of other lots
    (`settled_lots`, `settled_amounts`, in the order of settling). `reissued` is
    what expired and came back in another lot.
    """

    __tablename__ = "lots"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(
            "credits = remaining + held + consumed + expired + clawed_back", name="every_credit_is_somewhere"
        ),
        CheckConstraint(
            "remaining >= 0 AND held >= 0 AND consumed >= 0 AND expired >= 0 AND clawed_back >= 0",
            name="no_part_negative",
        ),
        CheckConstraint("open = (remaining > 0)", name="open_while_something_remains"),
        CheckConstraint(
            "reversed = taken + held_reversed + owed + settled AND reversed <= credits",
            name="never_more_taken_than_reversed",
        ),
        CheckConstraint(
            "taken >= taken_expired AND taken_expired >= 0 AND held_reversed >= 0 AND held_reversed <= held"
            " AND owed >= 0 AND settled >= 0 AND reissued >= 0",
            name="no_reversal_negative",
        ),
        Index(
            "lots_in_burn_order", "lane", "organization_id", "priority", "expires_at", "lot",
            postgresql_where=text("open AND NOT frozen"),
        ),
        Index(
            "lots_by_expiry", "lane", "organization_id", "expires_at", "lot",
            postgresql_where=text("open AND expires_at IS NOT NULL"),
        ),
        Index("lots_with_owed", "lane", "organization_id", "lot", postgresql_where=text("owed > 0")),
        {"schema": SCHEMA, **ROOM_TO_CHANGE},
    )  # fmt: skip
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
    open: bool = column(Boolean)
    frozen: bool = column(Boolean, default="false")
    expires_at: datetime | None = time(null=True)
    priority: int = column(SmallInteger)
    reversed: int = column(BigInteger, default="0")
    taken: int = column(BigInteger, default="0")
    taken_expired: int = column(BigInteger, default="0")
    held_reversed: int = column(BigInteger, default="0")
    owed: int = column(BigInteger, default="0")
    settled: int = column(BigInteger, default="0")
    reissued: int = column(BigInteger, default="0")
    settled_lots: list[int] = column(ARRAY(Integer), default="'{}'::integer[]")
    settled_amounts: list[int] = column(ARRAY(BigInteger), default="'{}'::bigint[]")


class HoldRow(SQLModel, table=True):
    """Projection: what is left of a hold, by lot in the order of burning. Its id is that of the operation that made it.

    `maker` is the scope that made it, `spender` whose caps it was charged to, `made_at` the time it was charged at.
    `ended` says how it was closed: captured, voided or expired.
    """

    __tablename__ = "holds"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("remaining >= 0 AND reversed >= 0 AND reversed <= remaining", name="hold_not_overdrawn"),
        CheckConstraint("open = (remaining > 0) AND open = (ended IS NULL)", name="open_while_something_remains"),
        CheckConstraint("ended IN ('captured', 'voided', 'expired')", name="ending_is_known"),
        Index(
            "holds_by_deadline", "lane", "organization_id", "deadline", "id", postgresql_where=text("open")
        ),
        {"schema": SCHEMA},
    )  # fmt: skip
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    maker: UUID = column(Uuid)
    spender: UUID | None = column(Uuid, null=True)
    credits: int = column(BigInteger)
    remaining: int = column(BigInteger)
    reversed: int = column(BigInteger, default="0")
    made_at: datetime = time()
    deadline: datetime = time()
    lots: list[int] = column(ARRAY(Integer))
    amounts: list[int] = column(ARRAY(BigInteger))
    reversed_amounts: list[int] = column(ARRAY(BigInteger))
    open: bool = column(Boolean, default="true")
    ended: str | None = column(Text, null=True)


class SpenderRow(SQLModel, table=True):
    """Projection: the caps of a spender (none: no limit) and what it used in the windows that it was last charged in.

    Counting begins when the first cap is set. Windows begin on the UTC hour, day and month.
    """

    __tablename__ = "spenders"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(
            "per_spend >= 0 AND per_hour >= 0 AND per_day >= 0 AND per_month >= 0 AND total >= 0",
            name="cap_not_negative",
        ),
        CheckConstraint(
            "hour_used >= 0 AND day_used >= 0 AND month_used >= 0 AND total_used >= 0", name="used_not_negative"
        ),
        {"schema": SCHEMA},
    )
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    spender: UUID = column(Uuid, key=True)
    per_spend: int | None = column(BigInteger, null=True)
    per_hour: int | None = column(BigInteger, null=True)
    per_day: int | None = column(BigInteger, null=True)
    per_month: int | None = column(BigInteger, null=True)
    total: int | None = column(BigInteger, null=True)
    paused: bool = column(Boolean, default="false")
    since: datetime = time()
    hour_start: datetime = time()
    hour_used: int = column(BigInteger, default="0")
    day_start: datetime = time()
    day_used: int = column(BigInteger, default="0")
    month_start: datetime = time()
    month_used: int = column(BigInteger, default="0")
    total_used: int = column(BigInteger, default="0")


class SpendRefundRow(SQLModel, table=True):
    """Projection: what was given back of a spend or a capture, by its lines."""

    __tablename__ = "spend_refunds"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    lane: int = column(SmallInteger, key=True)
    organization_id: UUID = organization_key()
    id: UUID = column(Uuid, key=True)
    amounts: list[int] = column(ARRAY(BigInteger))
