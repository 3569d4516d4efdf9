"""The credit statement of one organization: what it had, each operation that moved it, and what it had then.

`available` are credits in the wallet, frozen ones too; `held` those that open holds reserve. Whole credits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final
from uuid import UUID

from finance.exporting.cells import csv_rows, moment, safe
from finance.exporting.counting import Counted
from finance.exporting.reading import Posted, Reading
from finance.exporting.trial_balance import Standing
from ledger.ids import external

COLUMNS: Final = (
    "row", "operation_id", "seq", "posted_at", "event_at", "accounting_date", "kind", "cause", "available_change",
    "held_change", "available_after", "held_after",
)  # fmt: skip
WALLET: Final = "wallet"
HELD: Final = "held"


def change(operation: Posted, code: str) -> int:
    """By how many credits an operation changed an account whose normal side is the debit."""
    return sum(one.amount * ((one.debit == code) - (one.credit == code)) for one in operation.transfers())


def edge(name: str, available: int, held: int) -> list[object]:
    """The first row, or the last."""
    return [name, *[None] * (len(COLUMNS) - 3), available, held]


async def chunks(organization_id: UUID, reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The statement as CSV, in the order of the journal, between an opening and a closing row."""
    before = Standing.of(await reading.moved(organization_id)).opening
    available, held = before[WALLET], before[HELD]
    yield csv_rows([COLUMNS, edge("opening", available, held)])
    async for operations in reading.operations(organization_id):
        rows: list[Iterable[object]] = []
        for one in operations:
            changes = change(one, WALLET), change(one, HELD)
            if any(changes):
                available, held = available + changes[0], held + changes[1]
                rows.append([
                    "operation", external("op", one.id), one.seq, moment(one.posted_at), moment(one.event_at),
                    one.accounting_date.isoformat(), one.kind, safe(one.cause), *changes, available, held,
                ])  # fmt: skip
        counted.rows += len(rows)
        yield csv_rows([list(row) for row in rows])
    yield csv_rows([edge("closing", available, held)])
