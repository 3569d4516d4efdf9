"""What exports read: the operations of a period under a watermark, streamed out of one snapshot of the database.

Theory of operation. The set of operations is fixed by the watermark: those of each book up to the number that is kept
for it, told apart by their accounting date into what came before the period and what is in it. Later postings have
later numbers, so the set never grows, and whoever reads it again reads the same. Rows come through a cursor of the
server, a part at a time, in an order that is total; sorting is the server's work and spills to its disk. Sums by day
are few (days × pairs of accounts) and are made by the server too, once a reading: so what is asserted about the rows
that are streamed was not added up from them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions, snapshot
from finance.exporting.marks import Marked
from ledger.chart import BY_NUMBER
from ledger.operations import LANE

ROWS_A_READ: Final = 1_000
STATEMENT_S_MAX: Final = 3_600
"""How long the server may sort before the first row comes."""
READER_S_MAX: Final = 600
"""How long who takes an export may wait before taking more of it."""
SORTING_MB: Final = 64

_WAITS: Final = (
    f"SET LOCAL statement_timeout = '{STATEMENT_S_MAX}s'",
    f"SET LOCAL idle_in_transaction_session_timeout = '{READER_S_MAX}s'",
    f"SET LOCAL work_mem = '{SORTING_MB}MB'",
)
_OF_MARK: Final = """
    FROM finance.watermark_books AS w
    JOIN ledger.operations AS o ON o.lane = :lane AND o.organization_id = w.organization_id AND o.seq <= w.seq
    %s
    WHERE w.watermark_id = :watermark AND o.accounting_date <= :last AND cardinality(o.lines) > 0"""
_OPERATIONS: Final = (
    "SELECT o.accounting_date, o.organization_id, o.seq, o.id, o.posted_at, coalesce(o.event_at, o.posted_at), o.kind,"
    " o.cause, o.key, o.target, o.lines, previous.hash, o.hash"
    + _OF_MARK
    % """LEFT JOIN ledger.operations AS previous
      ON previous.lane = :lane AND previous.organization_id = o.organization_id AND previous.seq = o.seq - 1"""
    + " AND o.accounting_date >= :first"
)
_IN_ORDER: Final = " ORDER BY o.accounting_date, o.organization_id, o.seq"
_OF_ONE: Final = " AND w.organization_id = :organization"
_MOVED: Final = (
    "SELECT CASE WHEN o.accounting_date >= :first THEN o.accounting_date END, o.lines[n.at + 1], o.lines[n.at + 2],"
    " sum(o.lines[n.at + 4])"
    + _OF_MARK
    % "CROSS JOIN LATERAL generate_series(0, cardinality(o.lines) - 1, 6) AS n (at)"
)
_BY_DAY: Final = " GROUP BY 1, 2, 3 ORDER BY 1 NULLS FIRST, 2, 3"


class Transfer(NamedTuple):
    """One line of an operation. `amount` is in minor units of `currency`, which has `scale` decimal digits."""

    line: int
    debit: str
    credit: str
    currency: str
    scale: int
    amount: int
    lot: int | None


class Posted(NamedTuple):
    """An operation with transfers. `lines` are six numbers each, as in `ledger.tables.OperationRow`."""

    accounting_date: date
    organization_id: UUID
    seq: int
    id: UUID
    posted_at: datetime
    event_at: datetime
    kind: str
    cause: str
    key: str
    target: UUID | None
    lines: Sequence[int]
    hash_prev: bytes | None
    hash: bytes

    def transfers(self) -> list[Transfer]:
        """Its lines, in order."""
        found, lines = [], self.lines
        for at in range(0, len(lines), 6):
            code, currency, scale = _ACCOUNTS[lines[at]]
            lot, amount = lines[at + 2] or None, lines[at + 3]
            found.append(Transfer(at // 6, code, _ACCOUNTS[lines[at + 1]][0], currency, scale, amount, lot))
        return found


class Moved(NamedTuple):
    """What all transfers between two accounts came to: on one day, or before the period (`day` none). Minor units."""

    day: date | None
    debit: str
    credit: str
    currency: str
    amount: int


_ACCOUNTS: Final = {n: (a.code, a.currency.value, a.currency.scale) for n, a in BY_NUMBER.items()}


@dataclass(slots=True)
class Reading:
    """A period under a watermark, in a session whose reads all see one moment."""

    session: AsyncSession
    marked: Marked
    _sums: list[Moved] | None = field(default=None, repr=False)

    async def operations(self, organization_id: UUID | None = None) -> AsyncIterator[list[Posted]]:
        """Operations of the period with transfers, of one book or of all, by accounting date, book and number."""
        one = _OF_ONE if organization_id is not None else ""
        async for rows in self.parts(_OPERATIONS + one + _IN_ORDER, organization_id):
            yield [Posted._make(row) for row in rows]

    async def moved(self, organization_id: UUID | None = None) -> list[Moved]:
        """What moved between which accounts, before the period and on each of its days, in one book or in all."""
        if organization_id is None and self._sums is not None:
            return self._sums
        one = _OF_ONE if organization_id is not None else ""
        found = [
            Moved(day, _ACCOUNTS[debit][0], _ACCOUNTS[credit][0], _ACCOUNTS[debit][1], int(amount))
            async for rows in self.parts(_MOVED + one + _BY_DAY, organization_id)
            for day, debit, credit, amount in rows
        ]
        if organization_id is None:
            self._sums = found
        return found

    async def parts(self, query: str, organization_id: UUID | None = None) -> AsyncIterator[Sequence[Any]]:
        """The rows of a query that may name `:lane`, `:watermark`, `:first`, `:last` and, with one, `:organization`."""
        known: dict[str, Any] = {
            "lane": LANE,
            "watermark": self.marked.id,
            "first": self.marked.period.first_day,
            "last": self.marked.period.last_day,
        }
        if organization_id is not None:
            known["organization"] = organization_id
        named = {name: value for name, value in known.items() if f":{name}" in query}
        connection = await self.session.connection()
        async with connection.stream(text(query), named, execution_options={"yield_per": ROWS_A_READ}) as found:
            async for rows in found.partitions(ROWS_A_READ):
                yield rows


@asynccontextmanager
async def reading(sessions: Sessions, marked: Marked) -> AsyncIterator[Reading]:
    """Read one export: a transaction that only reads, and whose waits have the bounds of this module."""
    async with snapshot(sessions) as session:
        connection = await session.connection()
        for wait in _WAITS:
            await connection.execute(text(wait))
        yield Reading(session, marked)
