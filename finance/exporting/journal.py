"""The journal: one row for each transfer of the period, as CSV and as JSON lines, with the hashes that prove it.

Columns never change their names or places; a new one goes to the end. `amount` is in minor units and `amount_decimal`
the same in whole units; `hash_prev` is empty for the first operation of a book. By accounting date, book and number.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

from finance.exporting.cells import csv_rows, decimal, moment, organization, safe
from finance.exporting.counting import Counted
from finance.exporting.reading import Posted, Reading
from ledger.ids import external

COLUMNS: Final = (
    "operation_id", "organization_id", "seq", "line", "posted_at", "event_at", "accounting_date", "period", "kind",
    "cause", "key", "debit", "credit", "amount", "amount_decimal", "currency", "lot", "target", "hash_prev", "hash",
)  # fmt: skip
_OF_STRANGERS: Final = (COLUMNS.index("cause"), COLUMNS.index("key"))


def rows_of(operation: Posted, period: str) -> Iterator[list[Any]]:
    """A row for each transfer of an operation, in the order of `COLUMNS`, as it stands in JSON."""
    of_all: list[Any] = [
        external("op", operation.id), organization(operation.organization_id), operation.seq, 0,
        moment(operation.posted_at), moment(operation.event_at), operation.accounting_date.isoformat(), period,
        operation.kind, operation.cause, operation.key,
    ]  # fmt: skip
    behind = [
        external("op", operation.target) if operation.target is not None else None,
        operation.hash_prev.hex() if operation.hash_prev is not None else None,
        operation.hash.hex(),
    ]
    for line, debit, credit, currency, scale, amount, lot in operation.transfers():
        row = [*of_all, debit, credit, amount, decimal(amount, scale), currency, lot, *behind]
        row[3] = line
        yield row


def as_csv(rows: Iterable[list[Any]]) -> bytes:
    """Rows as CSV; texts that came from outside cannot be formulas."""
    return csv_rows([_neutralized(row) for row in rows])


def as_jsonl(rows: Iterable[list[Any]]) -> bytes:
    """Rows as JSON objects, one a line, with the columns in their order."""
    return "".join(f"{_JSON.encode(dict(zip(COLUMNS, row, strict=True)))}\n" for row in rows).encode()


_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _neutralized(row: list[Any]) -> list[Any]:
    for at in _OF_STRANGERS:
        row[at] = safe(row[at])
    return row


async def csv_chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The journal as CSV."""
    yield csv_rows([COLUMNS])
    async for rows in _parts(reading, counted):
        yield as_csv(rows)


async def jsonl_chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The journal as JSON lines."""
    async for rows in _parts(reading, counted):
        yield as_jsonl(rows)


async def _parts(reading: Reading, counted: Counted) -> AsyncIterator[list[list[Any]]]:
    period, amount, currency = reading.marked.period.name, COLUMNS.index("amount"), COLUMNS.index("currency")
    async for operations in reading.operations():
        rows = [row for operation in operations for row in rows_of(operation, period)]
        for row in rows:
            counted.moved(row[currency], row[amount])
        counted.rows += len(rows)
        yield rows
