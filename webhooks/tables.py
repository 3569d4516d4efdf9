"""The rows of the inbox."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Index, Integer, LargeBinary, Text, UniqueConstraint, Uuid, text
from sqlmodel import SQLModel

from ledger.columns import column, time

SCHEMA = "webhooks"
LETTER_STATES = ("pending", "done", "ignored", "parked")


class Letter(SQLModel, table=True):
    """A raw inbound message, kept as the bytes that were signed; unique on its source and the provider's event id.

    `paged`: the webhook has not brought it; it was found in the provider's own list of events.
    """

    __tablename__ = "letters"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("source", "provider_event_id", name="one_letter_per_event"),
        CheckConstraint(f"state IN {LETTER_STATES}", name="state_is_known"),
        Index("letters_waiting", "next_try_at", postgresql_where=text("state = 'pending'")),
        Index("letters_parked", "id", postgresql_where=text("state = 'parked'")),
        Index("letters_by_arrival", "paged", "id"),
        {"schema": SCHEMA},
    )
    id: UUID = column(Uuid, key=True)
    source: str = column(Text)
    provider_event_id: str = column(Text)
    type: str = column(Text)
    body: bytes = column(LargeBinary)
    state: str = column(Text, default="'pending'")
    reason: str | None = column(Text, null=True)
    tries: int = column(Integer, default="0")
    paged: bool = column(Boolean, default="false")
    next_try_at: datetime = time()
    received_at: datetime = time()
    done_at: datetime | None = time(null=True)


class EventCursor(SQLModel, table=True):
    """How far the provider's list of events was read into the inbox: everything before `read_through` is there."""

    __tablename__ = "event_cursors"
    __table_args__: ClassVar[Any] = ({"schema": SCHEMA},)
    source: str = column(Text, key=True)
    read_through: datetime = time()
    updated_at: datetime = time()
