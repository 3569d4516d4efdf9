"""Events become deliveries: one for each endpoint that wants the type, exactly once.

An event leaves a mark in its own transaction (`activity.tell`); an event that was rolled back has none. Marks are
taken, their deliveries written and the marks deleted in one transaction, so whoever dies on the way has done nothing,
and two at once take different marks. A delivery is unique by endpoint and event besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import delete, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.activity import EventType
from billing.database import Sessions
from billing.fresh import new_id
from billing.outbound_tables import DeliveryState, Priority, UntoldEvent, WebhookDelivery, WebhookEndpoint
from billing.subscriptions import endpoints
from billing.tables import ActivityEvent
from ledger.ids import external

SPREAD_MAX: Final = 200
"""Events that one transaction spreads."""
FREE: Final = frozenset({EventType.JOB_PLANNED, EventType.FEEDBACK_CREATED})
"""What costs its sender nothing: anybody may make any number of them, so all else is sent before them."""

log = structlog.get_logger()

Render = Callable[[ActivityEvent], str]
"""The body of a message about an event, as JSON text."""


async def spread(sessions: Sessions, render: Render, *, now: datetime) -> int:
    """Make the deliveries of at most `SPREAD_MAX` events, the oldest first; of how many it did.

    What no enabled endpoint wants is told to nobody, also later.
    """
    async with sessions() as session, session.begin():
        events = await _take(session)
        if events:
            told = await endpoints.enabled_ones(session)
            await deliver(session, [(one, event) for event in events for one in told], render, now=now)
        return len(events)


async def deliver(
    session: AsyncSession, wanted: Iterable[tuple[WebhookEndpoint, ActivityEvent]], render: Render, *, now: datetime
) -> None:
    """Write a delivery for each endpoint and event of which it wants the type; those that are there stay."""
    bodies: dict[UUID, str | None] = {}
    rows = []
    for endpoint, event in wanted:
        if endpoints.wants(endpoint, event.type):
            if event.id not in bodies:
                bodies[event.id] = _rendered(event, render)
            if bodies[event.id] is not None:
                rows.append(_row(endpoint, event, bodies[event.id], now))
    if rows:
        once = insert(WebhookDelivery).on_conflict_do_nothing(constraint="one_delivery_per_event")
        await (await session.connection()).execute(once, rows)


def _rendered(event: ActivityEvent, render: Render) -> str | None:
    """The body of an event; none for one that has none, which must not keep all others from being told."""
    try:
        return render(event)
    except Exception:
        log.exception("event_not_told", event_id=external("evt", event.id), type=event.type)
        return None


def _row(endpoint: WebhookEndpoint, event: ActivityEvent, body: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(now),
        "endpoint_id": endpoint.id,
        "organization_id": event.organization_id,
        "event_id": event.id,
        "type": event.type,
        "body": body,
        "state": DeliveryState.PENDING,
        "priority": Priority.FREE if event.type in FREE else Priority.EARNED,
        "next_try_at": now,
        "created_at": now,
        "updated_at": now,
    }


async def _take(session: AsyncSession) -> Sequence[ActivityEvent]:
    """Events that were not told yet, which nobody else takes, and no marks of them any more."""
    marks = select(UntoldEvent).order_by(col(UntoldEvent.event_id)).limit(SPREAD_MAX).with_for_update(skip_locked=True)
    keys = [(one.organization_id, one.event_id) for one in (await session.exec(marks)).all()]
    if not keys:
        return []
    of_marks = tuple_(col(ActivityEvent.organization_id), col(ActivityEvent.id)).in_(keys)
    events = (await session.exec(select(ActivityEvent).where(of_marks).order_by(col(ActivityEvent.id)))).all()
    marked = tuple_(col(UntoldEvent.organization_id), col(UntoldEvent.event_id)).in_(keys)
    await session.exec(delete(UntoldEvent).where(marked).execution_options(synchronize_session=False))
    return events
