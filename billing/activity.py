"""What we say happened, written in the transaction of what it tells. The registry of types is closed."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.fresh import new_id
from billing.outbound_tables import UntoldEvent
from billing.tables import ActivityEvent, CreditQuote, PaymentAttempt, Receipt
from ledger.ids import external


class EventType(enum.StrEnum):
    """The types of the public contract that this service writes. Anything else would be a bug."""

    JOB_COMPLETED = "job.completed"
    JOB_PLANNED = "job.planned"
    ASSET_CREATED = "asset.created"
    USAGE_CREDIT_CONSUMED = "usage.credit_consumed"
    FEEDBACK_CREATED = "feedback.created"
    CHECKOUT_SESSION_CREATED = "payment.checkout_session.created"
    PAYMENT_BACKED_GRANTED = "credits.payment_backed_granted"
    PAYMENT_BACKED_REFUNDED = "credits.payment_backed_refunded"
    PAYMENT_BACKED_DISPUTED = "credits.payment_backed_disputed"
    PAYMENT_BACKED_REINSTATED = "credits.payment_backed_reinstated"
    PAYMENT_BACKED_REVERSAL_PENDING = "credits.payment_backed_reversal_pending"
    PAYMENT_BACKED_REVERSAL_REJECTED = "credits.payment_backed_reversal_rejected"


NEVER_WRITTEN: Final = ("asset.uploaded", "feedback.github_queue.processed")
"""Types of the public contract for things that do not happen here. Asking for them is no mistake."""

TYPES: Final = (*[each.value for each in EventType], *NEVER_WRITTEN)
"""The whole registry."""


@dataclass(frozen=True, slots=True)
class Told:
    """What events of one type say: `subject` is the link that they are about, `links` are all that they may have."""

    when: str
    subject: str
    links: tuple[str, ...]


_PURCHASE: Final = ("quote_id", "payment_attempt_id", "receipt_id", "credit_event_id")
_REVERSAL: Final = (*_PURCHASE, "payment_reversal_id")
_JOB: Final = ("job_id", "asset_ids", "usage_event_id")

TOLD: Final[Mapping[EventType, Told]] = {
    EventType.JOB_COMPLETED: Told("a job has ended: made, failed or canceled; `status` says which", "job_id", _JOB),
    EventType.JOB_PLANNED: Told("a job was priced only (`dry_run`)", "job_id", _JOB),
    EventType.ASSET_CREATED: Told("a job has made something", "asset_ids", _JOB),
    EventType.USAGE_CREDIT_CONSUMED: Told(
        "credits were spent, captured from a hold (`succeeded`), or given back (`refunded`, below zero)",
        "usage_event_id",
        (
            "usage_event_id",
            "operation_id",
            "credit_event_id",
            "agent_id",
            "hold_id",
            "job_id",
            "refunded_operation_id",
        ),
    ),
    EventType.FEEDBACK_CREATED: Told("an agent told us something", "feedback_id", ("feedback_id",)),
    EventType.CHECKOUT_SESSION_CREATED: Told(
        "a hosted page was made that a human can pay",
        "payment_attempt_id",
        ("quote_id", "payment_attempt_id", "checkout_session_id"),
    ),
    EventType.PAYMENT_BACKED_GRANTED: Told("a settled payment became credits", "receipt_id", _PURCHASE),
    EventType.PAYMENT_BACKED_REFUNDED: Told("a payment was refunded", "payment_reversal_id", _REVERSAL),
    EventType.PAYMENT_BACKED_DISPUTED: Told(
        "a payment is disputed, or the dispute is lost", "payment_reversal_id", _REVERSAL
    ),
    EventType.PAYMENT_BACKED_REINSTATED: Told("a dispute was won", "payment_reversal_id", _REVERSAL),
    EventType.PAYMENT_BACKED_REVERSAL_PENDING: Told("a reversal may come", "payment_reversal_id", _REVERSAL),
    EventType.PAYMENT_BACKED_REVERSAL_REJECTED: Told("a reversal did not come", "payment_reversal_id", _REVERSAL),
}
"""The one table of what stands in events. `docs/activity.md` shows it; events are found by what they link."""

_OWN: Final = {
    "quote": "quote_id",
    "payatt": "payment_attempt_id",
    "receipt": "receipt_id",
    "credit_event": "credit_event_id",
    "payrev": "payment_reversal_id",
    "job": "job_id",
    "usage": "usage_event_id",
    "sig": "feedback_id",
}
"""Which link holds our own ids, by their prefix."""


def tell(session: AsyncSession, event: ActivityEvent) -> None:
    """Write an event, and that the product's endpoints have not been told of it yet."""
    session.add(event)
    session.add(UntoldEvent(organization_id=event.organization_id, event_id=event.id))


def checkout_session_created(session: AsyncSession, attempt: PaymentAttempt, session_id: str, now: datetime) -> None:
    """A hosted page was made for an attempt."""
    tell(
        session,
        ActivityEvent(
            organization_id=attempt.organization_id,
            id=new_id(now),
            type=EventType.CHECKOUT_SESSION_CREATED,
            occurred_at=now,
            summary="A Stripe Checkout session was created; a human can pay it.",
            operation="credits.buy",
            subject_type="payment_attempt",
            subject_id=external("payatt", attempt.id),
            status="action_required",
            links={
                "quote_id": external("quote", attempt.quote_id),
                "payment_attempt_id": external("payatt", attempt.id),
                "checkout_session_id": session_id,
            },
        ),
    )


def payment_backed_granted(session: AsyncSession, quote: CreditQuote, receipt: Receipt, now: datetime) -> None:
    """A settled payment became credits."""
    tell(
        session,
        ActivityEvent(
            organization_id=receipt.organization_id,
            id=new_id(now),
            type=EventType.PAYMENT_BACKED_GRANTED,
            occurred_at=now,
            summary=f"{receipt.credits} credits were granted for "
            + ("a settled payment." if receipt.total_cents else "a promotion of the whole price."),
            operation="credits.buy",
            subject_type="receipt",
            subject_id=external("receipt", receipt.id),
            status="succeeded",
            links={
                "quote_id": external("quote", quote.id),
                "payment_attempt_id": external("payatt", receipt.attempt_id),
                "receipt_id": external("receipt", receipt.id),
                "credit_event_id": external("credit_event", receipt.operation_id),
            },
            cost={"credits": receipt.credits, "amount_cents": receipt.total_cents, "currency": receipt.currency},
        ),
    )


def containing(reference: str) -> list[dict[str, Any]]:
    """The links that events have which name `reference`: any one of these.

    What begins like none of our ids is a provider's or an executor's. An operation has two names here, and so has the
    receipt of a job.
    """
    prefix, _, tail = reference.rpartition("_")
    if prefix in {"op", "usage", "credit_event"}:
        return [{"usage_event_id": f"usage_{tail}"}, {"credit_event_id": f"credit_event_{tail}"}]
    if prefix == "receipt":
        return [{"receipt_id": reference}, {"job_id": f"job_{tail}"}]
    found: list[dict[str, Any]] = [{_OWN[prefix]: reference}] if prefix in _OWN else []
    return [*found, {"checkout_session_id": reference}, {"asset_ids": [reference]}]


async def events(
    session: AsyncSession,
    organization_id: UUID,
    *,
    before: UUID,
    limit: int,
    type_: str | None = None,
    reference: str | None = None,
) -> Sequence[ActivityEvent]:
    """The organization's written events with an id below `before`, newest first, perhaps only some of them."""
    mine = col(ActivityEvent.organization_id) == organization_id
    query = select(ActivityEvent).where(mine, col(ActivityEvent.id) < before)
    if type_ is not None:
        query = query.where(col(ActivityEvent.type) == type_)
    if reference is not None:
        # First those that name it, by their index: else the planner would rather walk through all of a history, in
        # the hope of soon having enough of them.
        naming = or_(*[col(ActivityEvent.links).contains(links) for links in containing(reference)])
        named = select(ActivityEvent.id).where(mine, naming).cte("named").prefix_with("MATERIALIZED")
        query = query.where(col(ActivityEvent.id).in_(select(named.c.id)))
    return (await session.exec(query.order_by(col(ActivityEvent.id).desc()).limit(limit))).all()


async def by_id(session: AsyncSession, organization_id: UUID, event_id: UUID) -> ActivityEvent | None:
    """One event of the organization."""
    return await session.get(ActivityEvent, (organization_id, event_id))
