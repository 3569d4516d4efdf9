"""Reading stored rows for verification: over the driver, past the ORM, as plain values. It decides nothing.

Which columns a row has is taken from `ledger.tables`, so that a new column is compared or is missed loudly. Ids, times
and dates come as the bytes that PostgreSQL sends; those of projections are turned into numbers. Everything runs on one
connection, in the transaction of the session that it was asked of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Date, DateTime, Uuid, text
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.chain import OPENED_COLUMNS, OPERATION_COLUMNS
from ledger.operations import LANE
from ledger.tables import AccountRow, Book, HoldRow, LotOpeningRow, LotRow, OperationRow, SpenderRow, SpendRefundRow
from ledger.verification.effects import Charged
from ledger.verification.journal import Entry, Opened, number

ENTRIES_A_READ: Final = 5_000
BOOKS_A_READ: Final = 200
_OF_BOOK: Final = (AccountRow, LotOpeningRow, LotRow, HoldRow, SpenderRow, SpendRefundRow)

Row = dict[str, Any]


def _columns(table: type[SQLModel]) -> dict[str, Any]:
    return {column.name: column.type for column in SQLModel.metadata.tables[f"ledger.{table.__tablename__}"].columns}


def _sent(table: type[SQLModel], alias: str, names: Iterable[str]) -> str:
    """A select list: ids, times and dates in the binary form of PostgreSQL."""
    types = _columns(table)
    sends = {DateTime: "timestamptz_send", Uuid: "uuid_send", Date: "date_send"}
    return ", ".join(f"{sends.get(type(types[name]), '')}({alias}.{name}) AS {name}" for name in names)


def _all(table: type[SQLModel], alias: str) -> str:
    return _sent(table, alias, _columns(table))


def _times(table: type[SQLModel]) -> frozenset[str]:
    return frozenset(name for name, type_ in _columns(table).items() if isinstance(type_, DateTime | Date))


_TIMES: Final[dict[type[SQLModel], frozenset[str]]] = {table: _times(table) for table in (Book, *_OF_BOOK)}
_COUNTS: Final = ", ".join(
    f"(SELECT count(*) FROM ledger.{t.__tablename__} AS t WHERE t.lane = b.lane"  # noqa: S608
    f" AND t.organization_id = b.organization_id) AS {t.__tablename__}"
    for t in _OF_BOOK
)
_ENTRIES: Final = (
    f"SELECT {_sent(OperationRow, 'o', (*OPERATION_COLUMNS, 'hash'))}, {_sent(LotOpeningRow, 'l', OPENED_COLUMNS)}"  # noqa: S608
    " FROM ledger.operations AS o LEFT JOIN ledger.lot_openings AS l USING (lane, organization_id, seq)"
    f" WHERE o.lane = {LANE} AND %s ORDER BY o.organization_id, o.seq"
)
_BOOKS: Final = (
    f"SELECT {_all(Book, 'b')}, {_COUNTS} FROM ledger.books AS b WHERE b.lane = {LANE} AND %s"  # noqa: S608
    f" ORDER BY b.organization_id LIMIT {BOOKS_A_READ}"
)
_ACCOUNTS: Final = (
    f"SELECT {_all(AccountRow, 'a')} FROM ledger.accounts AS a WHERE a.lane = {LANE}"  # noqa: S608
    " AND a.organization_id = ANY ($1::uuid[]) ORDER BY a.organization_id, a.currency, a.code"
)
_CHARGED: Final = f"""
    SELECT uuid_send(o.id), uuid_send(o.organization_id), o.seq, uuid_send(h.spender),
           timestamptz_send(h.posted_at)
    FROM ledger.operations AS o
    JOIN ledger.operations AS h ON h.lane = o.lane AND h.id = CASE o.kind WHEN 'capture' THEN o.target ELSE o.id END
    WHERE o.lane = {LANE} AND o.id = ANY ($1::uuid[]) AND o.kind IN ('spend', 'capture') AND o.outcome = 'posted'
"""  # noqa: S608
_REFUNDS: Final = f"""
    SELECT uuid_send(r.organization_id), uuid_send(r.target), r.seq, r.lines, o.lines
    FROM ledger.operations AS r
    LEFT JOIN ledger.operations AS o ON o.lane = r.lane AND o.id = r.target AND o.organization_id = r.organization_id
    WHERE r.lane = {LANE} AND r.kind = 'spend_refund' AND r.outcome = 'posted' AND %s
    ORDER BY r.organization_id, r.target, r.seq
"""  # noqa: S608
_REFUNDED: Final = (
    f"SELECT {_all(SpendRefundRow, 'r')} FROM ledger.spend_refunds AS r WHERE r.lane = {LANE} AND %s"  # noqa: S608
    " ORDER BY r.organization_id, r.id"
)
_UNEXPLAINED: Final[dict[type[SQLModel], str]] = {
    LotOpeningRow: "NOT EXISTS (SELECT FROM ledger.operations AS o WHERE o.lane = t.lane"
    " AND o.organization_id = t.organization_id AND o.seq = t.seq)",
    LotRow: "NOT EXISTS (SELECT FROM ledger.lot_openings AS o WHERE o.lane = t.lane"
    " AND o.organization_id = t.organization_id AND o.lot = t.lot)",
    HoldRow: "NOT EXISTS (SELECT FROM ledger.operations AS o WHERE o.lane = t.lane AND o.id = t.id"
    " AND o.organization_id = t.organization_id AND o.kind = 'hold' AND o.outcome = 'posted')",
    SpenderRow: "NOT EXISTS (SELECT FROM ledger.operations AS o WHERE o.lane = t.lane AND o.spender = t.spender"
    " AND o.organization_id = t.organization_id AND o.kind = 'set_caps')",
}
_KEYS: Final[dict[type[SQLModel], str]] = {LotOpeningRow: "lot", LotRow: "lot", HoldRow: "id", SpenderRow: "spender"}
UNEXPLAINED_NAMED: Final = 5


class Stored:
    """The rows of the books, on the connection of a session."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @classmethod
    async def of(cls, session: AsyncSession) -> Self:
        """Within the session's transaction, which begins here if it has not begun."""
        connection = await session.connection()
        await connection.execute(text("SELECT 1"))  # SQLAlchemy sends BEGIN with its own first statement only
        return cls((await connection.get_raw_connection()).driver_connection)

    async def books(self, organization_id: UUID | None) -> AsyncIterator[Row]:
        """Books in the order of their ids; `rows` says how many rows each has by table, `accounts` are its accounts."""
        condition, given = _narrowed("b", organization_id)
        while page := [_row(Book, record) for record in await self._connection.fetch(_BOOKS % condition, *given)]:
            ids = [UUID(bytes=book["organization_id"]) for book in page]
            accounts: dict[bytes, list[Row]] = {book["organization_id"]: [] for book in page}
            for record in await self._connection.fetch(_ACCOUNTS, ids):
                accounts[record["organization_id"]].append(_row(AccountRow, record))
            for book in page:
                book["rows"] = {table.__tablename__: book.pop(table.__tablename__) for table in _OF_BOOK}
                book["accounts"] = accounts[book["organization_id"]]
                yield book
            if len(page) < BOOKS_A_READ:
                return
            condition, given = "b.organization_id > $1", [ids[-1]]

    async def entries(self, organization_id: UUID | None) -> AsyncIterator[list[Entry]]:
        """The journal of one book or of all, by book and seq, read piece by piece through a cursor of the server."""
        condition, given = _narrowed("o", organization_id)
        cursor = await self._connection.cursor(_ENTRIES % condition, *given)
        while records := await cursor.fetch(ENTRIES_A_READ):
            yield [_entry(record) for record in records]

    async def rows(self, table: type[SQLModel], wanted: Sequence[tuple[bytes, Any]]) -> dict[tuple[bytes, Any], Row]:
        """Rows of lots, holds or spenders by (organization, key)."""
        if not wanted:
            return {}
        key = _KEYS[table]
        type_ = "integer" if key == "lot" else "uuid"
        records = await self._connection.fetch(
            f"SELECT {_all(table, 't')} FROM unnest($1::uuid[], $2::{type_}[]) AS w (organization_id, key)"  # noqa: S608
            f" JOIN ledger.{table.__tablename__} AS t ON t.lane = {LANE} AND t.organization_id = w.organization_id"
            f" AND t.{key} = w.key",
            [UUID(bytes=organization_id) for organization_id, _ in wanted],
            [one if type_ == "integer" else UUID(bytes=one) for _, one in wanted],
        )
        found = [(record["organization_id"], _row(table, record)) for record in records]
        return {(organization_id, row[key]): row for organization_id, row in found}

    async def charged(self, refunds: Sequence[Entry]) -> dict[tuple[bytes, int], Charged]:
        """Whose windows the spends were charged to that `refunds` give back, and when; by book and seq of the refund.

        A spend that does not stand in the same book, before its refund, is left out.
        """
        if not refunds:
            return {}
        ids = {entry.target for entry in refunds if entry.target is not None}
        records = await self._connection.fetch(_CHARGED, [UUID(bytes=one) for one in ids])
        found = {record[0]: record for record in records}
        charged = {}
        for entry in refunds:
            _, book, seq, spender, at = found.get(entry.target, (None, None, 0, None, b""))
            if book == entry.organization_id and seq < entry.seq:
                charged[book, entry.seq] = Charged(spender, number(at))
        return charged

    async def refunds(self, organization_id: UUID | None) -> AsyncIterator[tuple[bytes, bytes, int, list[int], Any]]:
        """Refunds of spends by book, spend and seq: their lines, and those of the spend (none: it is not there)."""
        condition, given = _narrowed("r", organization_id)
        async for record in self._connection.cursor(_REFUNDS % condition, *given, prefetch=ENTRIES_A_READ):
            yield tuple(record)

    async def refunded(self, organization_id: UUID | None) -> AsyncIterator[tuple[bytes, bytes, list[int]]]:
        """The rows of `spend_refunds`, by book and spend."""
        condition, given = _narrowed("r", organization_id)
        async for record in self._connection.cursor(_REFUNDED % condition, *given, prefetch=ENTRIES_A_READ):
            yield record["organization_id"], record["id"], record["amounts"]

    async def unexplained(self, table: type[SQLModel], organization_id: bytes) -> list[Any]:
        """The keys of a few rows of a book that no journal row explains."""
        records = await self._connection.fetch(
            f"SELECT {_sent(table, 't', [_KEYS[table]])} FROM ledger.{table.__tablename__} AS t"  # noqa: S608
            f" WHERE t.lane = {LANE} AND t.organization_id = $1 AND {_UNEXPLAINED[table]}"
            f" ORDER BY 1 LIMIT {UNEXPLAINED_NAMED}",
            UUID(bytes=organization_id),
        )
        return [record[0] for record in records]

    async def astray(self) -> list[tuple[str, bytes]]:
        """Tables with rows of an organization that has no book, or of another lane, and a few of those."""
        found = []
        for table in (Book, OperationRow, *_OF_BOOK):
            name = table.__tablename__
            records = await self._connection.fetch(
                f"SELECT DISTINCT uuid_send(t.organization_id) FROM ledger.{name} AS t WHERE t.lane <> {LANE}"  # noqa: S608
                " OR NOT EXISTS (SELECT FROM ledger.books AS b WHERE b.lane = t.lane"
                f" AND b.organization_id = t.organization_id) ORDER BY 1 LIMIT {UNEXPLAINED_NAMED}"
            )
            found += [(str(name), record[0]) for record in records]
        return found

    async def chart(self) -> set[tuple[str, str, str, int]]:
        """The chart of accounts as the database has it: code, currency, side, number."""
        records = await self._connection.fetch("SELECT code, currency, side, number FROM ledger.chart")
        return {tuple(record) for record in records}


def _narrowed(alias: str, organization_id: UUID | None) -> tuple[str, list[Any]]:
    return ("true", []) if organization_id is None else (f"{alias}.organization_id = $1", [organization_id])


def _row(table: type[SQLModel], record: Any) -> Row:
    row = dict(record)
    del row["lane"]
    if table is not Book:
        del row["organization_id"]
    for name in _TIMES[table]:
        if row[name] is not None:
            row[name] = number(row[name])
    return row


def _entry(record: Any) -> Entry:
    opened = Opened._make(record[_OPENED_AT:]) if record[_OPENED_AT] is not None else None
    return Entry._make((*record[:_OPENED_AT], opened))


_OPENED_AT: Final = len(OPERATION_COLUMNS) + 1
