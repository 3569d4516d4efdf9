"""Receipts as statements that can be signed: of a payment that settled, and of a job that was charged.

A receipt is asked for again after years, and must then say the same. So it names the head of the book right after its
own operation (`seq`, and `head`, the hash of the journal up to it), which never changes, and not the head of today. Who
keeps a receipt thereby holds a proof against a journal that is rewritten later: `purser verify --head` takes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.activity import EventType
from billing.job_tables import Job
from billing.refusals import Refusal, Refused
from billing.tables import ActivityEvent, CreditQuote, PaymentAttempt, Receipt
from finance.receipt_signing import FORMAT
from ledger import ids, statements
from ledger.ids import external
from ledger.tables import OperationRow

PREFIX: Final = "receipt"


def parsed(receipt_id: str) -> UUID:
    """The id inside `receipt_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(PREFIX, receipt_id)
    except ids.MalformedId:
        raise _not_found() from None


async def statement(session: AsyncSession, organization_id: UUID, receipt_id: UUID) -> dict[str, Any]:
    """What the receipt states, the same whenever it is asked for (`receipt_signing.FIELDS`).

    Raises `Refused(NOT_FOUND)`, also for receipts of other organizations.
    """
    receipt = await session.get(Receipt, (organization_id, receipt_id))
    if receipt is not None:
        return await _of_payment(session, receipt)
    job = await session.get(Job, (organization_id, receipt_id))
    if job is None or job.capture_id is None or job.charged is None:
        raise _not_found()
    capture = await _operation(session, organization_id, job.capture_id)
    return {
        **_common("job", organization_id, receipt_id, job.charged, capture),
        "job_id": external("job", job.id),
        "charged_at": _at(capture.posted_at),
    }


async def organization_of(session: AsyncSession, receipt_id: UUID) -> UUID:
    """Whose a receipt is, for an operator who only has its id. Each look is one of an index.

    Raises `Refused(NOT_FOUND)`.
    """
    # Receipts are kept by organization. The one event that told of a receipt was written with it, stays, and is found
    # by what it links. Without a limit: with one, the planner hopes to meet the event soon, and walks through them all.
    granted = select(ActivityEvent.organization_id).where(
        col(ActivityEvent.type) == EventType.PAYMENT_BACKED_GRANTED,
        col(ActivityEvent.links).contains({"receipt_id": external(PREFIX, receipt_id)}),
    )
    job = select(Job.organization_id).where(col(Job.id) == receipt_id)
    for query in (granted, job):
        found = (await session.exec(query)).first()
        if found is not None:
            return found
    raise _not_found()


async def _of_payment(session: AsyncSession, receipt: Receipt) -> dict[str, Any]:
    organization_id = receipt.organization_id
    attempt = await session.get_one(PaymentAttempt, (organization_id, receipt.attempt_id))
    quote = await session.get_one(CreditQuote, (organization_id, receipt.quote_id))
    grant = await _operation(session, organization_id, receipt.operation_id)
    return {
        **_common("payment", organization_id, receipt.id, receipt.credits, grant),
        "payment_attempt_id": external("payatt", receipt.attempt_id),
        "quote_id": external("quote", receipt.quote_id),
        "subtotal_cents": receipt.subtotal_cents,
        "discount_cents": receipt.discount_cents,
        "tax_cents": receipt.tax_cents,
        "amount_cents": receipt.total_cents,
        "currency": receipt.currency,
        "payment_method": attempt.method,
        "live_money": quote.live_money,
        "late": receipt.late,
        "settled_at": _at(receipt.settled_at),
        "created_at": _at(receipt.created_at),
    }


def _common(
    kind: str, organization_id: UUID, receipt_id: UUID, credits_: int, operation: OperationRow
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": kind,
        "receipt_id": external(PREFIX, receipt_id),
        "organization_id": external("org", organization_id),
        "credits": credits_,
        "journal": {
            "operation_id": external("op", operation.id),
            "seq": operation.seq,
            "head": operation.hash.hex(),
        },
    }


async def _operation(session: AsyncSession, organization_id: UUID, operation_id: UUID) -> OperationRow:
    found = await statements.operation(session, organization_id, operation_id)
    if found is None:
        raise LookupError(f"operation {operation_id} of a receipt is gone")
    return found


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such receipt")
