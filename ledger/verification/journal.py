"""The rows of the journal as they are read to be followed: ids, times and dates as the bytes that PostgreSQL sends.

So nothing is lost or refused on the way (a tampered time may be one that Python cannot hold), and hashing takes them as
they are. Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

COLUMNS_A_LINE: Final = 6
"""Debit account, credit account, lot, amount, and both balances after it."""


class Opened(NamedTuple):
    """The columns of a lot opening; its time as PostgreSQL sends it."""

    lot: int
    cause: str
    credits: int
    basis_amount: int | None
    basis_currency: str | None
    expires_at: bytes | None
    priority: int


class Entry(NamedTuple):
    """The columns of an operation; ids, times and the date as PostgreSQL sends them. And the lot that it opened."""

    lane: int
    organization_id: bytes
    seq: int
    id: bytes
    kind: str
    scope: bytes
    key: str
    fingerprint: bytes
    outcome: str
    cause: str
    spender: bytes | None
    target: bytes | None
    event_at: bytes | None
    posted_at: bytes
    accounting_date: bytes
    available_after: int
    held_after: int
    paid_after: int
    lines: list[int]
    terms: str | None
    hash: bytes
    opened: Opened | None


class Charged(NamedTuple):
    """Whose windows a spend was charged to, and when. A capture's are those of its hold."""

    spender: bytes | None
    at: int


def number(sent: bytes) -> int:
    """Microseconds since 2000 of a time, days since 2000 of a date."""
    return int.from_bytes(sent, "big", signed=True)
