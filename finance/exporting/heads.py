"""The books of the watermark: the number and the hash of the last operation that counts, as its digest takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from finance.exporting.cells import csv_rows, organization
from finance.exporting.counting import Counted
from finance.exporting.reading import Reading

COLUMNS: Final = ("organization_id", "seq", "head")
_HEADS: Final = """
    SELECT w.organization_id, w.seq, w.head FROM finance.watermark_books AS w
    WHERE w.watermark_id = :watermark ORDER BY w.organization_id"""


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """Heads as CSV, by organization: each can be told to `purser verify --head`."""
    yield csv_rows([COLUMNS])
    async for found in reading.parts(_HEADS):
        counted.rows += len(found)
        yield csv_rows([organization(book), seq, head.hex()] for book, seq, head in found)
