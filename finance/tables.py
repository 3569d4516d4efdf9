"""The rows of finance: what of revenue is recognized, what is closed, and what was marked for exports.

Only journal rows prove anything: what stands here can be made from them again, or says who did what.
"""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Date, Index, LargeBinary, Text, Uuid, text
from sqlmodel import SQLModel

from ledger.columns import column, one_of, organization_key, time

SCHEMA: Final = "finance"


class FoldedBook(SQLModel, table=True):
    """How far a book was read: every operation up to `seq` stands in `lot_days`. Locked by whoever recognizes.

    `recognized_through` is the last day whose revenue is posted; what comes to an earlier day later counts on the next.
    """

    __tablename__ = "folded_books"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    organization_id: UUID = organization_key()
    seq: int = column(BigInteger, default="0")
    recognized_through: date | None = column(Date, null=True)
    updated_at: datetime = time()


class LotDay(SQLModel, table=True):
    """What one day did to a paid lot: changes, in credits and cents, which add up over the days.

    `given` settled what was owed for other lots, `settled` was owed for this one and came from others; `taken_cents` is
    what refunds, disputes and losses moved out of `deferred_revenue` for it, less what was written off.
    """

    __tablename__ = "lot_days"
    __table_args__: ClassVar[Any] = (Index("lots_of_day", "organization_id", "day"), {"schema": SCHEMA})
    organization_id: UUID = organization_key()
    lot: int = column(BigInteger, key=True)
    day: date = column(Date, key=True)
    consumed: int = column(BigInteger, default="0")
    expired: int = column(BigInteger, default="0")
    given: int = column(BigInteger, default="0")
    reversed: int = column(BigInteger, default="0")
    owed: int = column(BigInteger, default="0")
    settled: int = column(BigInteger, default="0")
    taken_cents: int = column(BigInteger, default="0")


class Recognition(SQLModel, table=True):
    """What was recognized of one book on one day, in cents, and the operation that posted it. Insert-only."""

    __tablename__ = "recognitions"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    organization_id: UUID = organization_key()
    day: date = column(Date, key=True)
    operation_id: UUID | None = column(Uuid, null=True)
    usage_cents: int = column(BigInteger)
    breakage_cents: int = column(BigInteger)
    receivable_cents: int = column(BigInteger)
    loss_cents: int = column(BigInteger)
    created_at: datetime = time()


class RecognizedDay(SQLModel, table=True):
    """A day through which every book was recognized once it was over; what came late counts later. Insert-only."""

    __tablename__ = "recognized_days"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    day: date = column(Date, key=True)


class CloseState(enum.StrEnum):
    """How far a close is. A sealed one that was opened again is `reopened`, and stays as a trace."""

    WALKING = "walking"
    SEALED = "sealed"
    REOPENING = "reopening"
    REOPENED = "reopened"


class Close(SQLModel, table=True):
    """One closing of a period, a UTC month such as `2026-10`. `seal` is the hash of its watermark."""

    __tablename__ = "closes"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(one_of("state", list(CloseState)), name="state_is_known"),
        CheckConstraint("(state = 'walking') = (seal IS NULL)", name="sealed_when_walked"),
        Index("one_close_per_period", "period", unique=True, postgresql_where=text("state <> 'reopened'")),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    period: str = column(Text)
    first_day: date = column(Date)
    last_day: date = column(Date)
    state: str = column(Text)
    holder: str = column(Text)
    reason: str = column(Text)
    books: int = column(BigInteger, default="0")
    seal: bytes | None = column(LargeBinary, null=True)
    started_at: datetime = time()
    sealed_at: datetime | None = time(null=True)
    reopened_at: datetime | None = time(null=True)
    reopened_by: str | None = column(Text, null=True)
    reopen_reason: str | None = column(Text, null=True)


class Watermark(SQLModel, table=True):
    """Up to where the journal counts: the last operation of each book. A seal has the id of its close.

    `digest` is sha256 over the sorted list (`finance.watermarks.digest_of`). Insert-only.
    """

    __tablename__ = "watermarks"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    id: UUID = column(Uuid, key=True)
    is_seal: bool = column(Boolean)
    books: int = column(BigInteger)
    digest: bytes = column(LargeBinary)
    created_at: datetime = time()


class WatermarkBook(SQLModel, table=True):
    """One book of a watermark: the number and the hash of its last operation that counts. Insert-only."""

    __tablename__ = "watermark_books"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    watermark_id: UUID = column(Uuid, key=True)
    organization_id: UUID = column(Uuid, key=True)
    seq: int = column(BigInteger)
    head: bytes = column(LargeBinary)


class Export(SQLModel, table=True):
    """An export that somebody asked for. It has the id of its watermark, which may be a seal. Insert-only.

    `reconciliation_id` is the run whose exceptions are exported with it: the newest when it was made; none before any.
    """

    __tablename__ = "exports"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    id: UUID = column(Uuid, key=True)
    period: str = column(Text)
    holder: str = column(Text)
    reconciliation_id: UUID | None = column(Uuid, null=True)
    created_at: datetime = time()
