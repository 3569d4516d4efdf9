"""The receipts of the period: what was paid, by whom, by which method, and the operation that granted it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from finance.exporting.cells import csv_rows, decimal, moment, organization, safe
from finance.exporting.counting import Counted
from finance.exporting.reading import Reading
from ledger.ids import external
from ledger.money import Currency

COLUMNS: Final = (
    "receipt_id", "organization_id", "payment_attempt_id", "quote_id", "operation_id", "seq", "accounting_date",
    "settled_at", "method", "credits", "subtotal_cents", "discount_cents", "tax_cents", "total_cents", "total",
    "currency", "late",
)  # fmt: skip
_RECEIPTS: Final = """
    SELECT r.id, r.organization_id, r.attempt_id, r.quote_id, r.operation_id, o.seq, o.accounting_date, r.settled_at,
           a.method, r.credits, r.subtotal_cents, r.discount_cents, r.tax_cents, r.total_cents, r.currency, r.late
    FROM finance.watermark_books AS w
    JOIN billing.receipts AS r ON r.organization_id = w.organization_id
    JOIN billing.payment_attempts AS a ON a.organization_id = r.organization_id AND a.id = r.attempt_id
    JOIN ledger.operations AS o ON o.lane = :lane AND o.id = r.operation_id AND o.organization_id = r.organization_id
    WHERE w.watermark_id = :watermark AND o.seq <= w.seq AND o.accounting_date BETWEEN :first AND :last
    ORDER BY o.accounting_date, o.organization_id, o.seq"""


class Paid(NamedTuple):
    """A receipt with its operation. Amounts in cents."""

    id: UUID
    organization_id: UUID
    attempt_id: UUID
    quote_id: UUID
    operation_id: UUID
    seq: int
    accounting_date: date
    settled_at: datetime
    method: str
    credits: int
    subtotal_cents: int
    discount_cents: int
    tax_cents: int
    total_cents: int
    currency: str
    late: bool


def row(paid: Paid) -> list[object]:
    """A receipt in the order of `COLUMNS`."""
    return [
        external("receipt", paid.id), organization(paid.organization_id), external("payatt", paid.attempt_id),
        external("quote", paid.quote_id), external("op", paid.operation_id), paid.seq, paid.accounting_date.isoformat(),
        moment(paid.settled_at), safe(paid.method), paid.credits, paid.subtotal_cents, paid.discount_cents,
        paid.tax_cents, paid.total_cents, decimal(paid.total_cents, Currency.USD.scale), safe(paid.currency.upper()),
        "true" if paid.late else "false",
    ]  # fmt: skip


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """Receipts as CSV, by accounting date, book and number."""
    yield csv_rows([COLUMNS])
    async for found in reading.parts(_RECEIPTS):
        counted.rows += len(found)
        yield csv_rows(row(Paid._make(one)) for one in found)
