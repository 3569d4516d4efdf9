"""The roll-forward of deferred revenue, by organization and in total, in cents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from finance import roll_forward
from finance.exporting.cells import csv_rows, decimal, organization
from finance.exporting.counting import Counted
from finance.exporting.reading import ROWS_A_READ, Reading
from finance.roll_forward import RollForward
from ledger.money import Currency

AMOUNTS: Final = ("opening", "sold", "consumed", "expired", "refunded", "disputed", "adjusted", "closing")
COLUMNS: Final = ("organization_id", *(f"{name}_cents" for name in AMOUNTS), *AMOUNTS)
"""Opening + sold − consumed − expired − refunded − disputed + adjusted = closing, in every row."""


def row(found: RollForward) -> list[object]:
    """One organization, or `total`, in the order of `COLUMNS`."""
    cents = [getattr(found, name) for name in AMOUNTS]
    whose = "total" if found.organization_id is None else organization(found.organization_id)
    return [whose, *cents, *(decimal(amount, Currency.USD.scale) for amount in cents)]


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The roll-forward as CSV, the total last."""
    yield csv_rows([COLUMNS])
    part: list[list[object]] = []
    async for found in roll_forward.rows(reading.session, reading.marked.period, reading.marked.id):
        part.append(row(found))
        counted.rows += 1
        if len(part) == ROWS_A_READ:
            yield csv_rows(part)
            part.clear()
    yield csv_rows(part)
