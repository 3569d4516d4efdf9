"""What is done with deliveries that nobody waits for: old ones are thrown away, those of ended endpoints fail."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlmodel import col, select

from billing.database import Sessions
from billing.outbound_tables import DeliveryState, WebhookDelivery, WebhookEndpoint
from billing.subscriptions import endpoints
from ledger.ids import uuid7

PRUNED_MAX: Final = 1000
_EARLIEST: Final = bytes(10)


async def prune(sessions: Sessions, *, keep: timedelta, now: datetime) -> int:
    """Throw away deliveries made longer than `keep` ago that do not wait, `PRUNED_MAX` at most; how many."""
    old = (
        select(WebhookDelivery.id)
        .where(
            col(WebhookDelivery.id) < uuid7(now - keep, _EARLIEST),
            col(WebhookDelivery.state) != DeliveryState.PENDING,
        )
        .order_by(col(WebhookDelivery.id))
        .limit(PRUNED_MAX)
        .with_for_update(skip_locked=True)
    )
    async with sessions() as session, session.begin():
        found = (await session.exec(old)).all()
        gone = delete(WebhookDelivery).where(col(WebhookDelivery.id).in_(found))
        await session.exec(gone.execution_options(synchronize_session=False))
        return len(found)


async def fail_ended(sessions: Sessions, *, now: datetime) -> int:
    """Fail what still waits for one endpoint that is disabled, `ENDED_MAX` deliveries at most; how many."""
    waits = (
        select(WebhookDelivery.id)
        .where(
            col(WebhookDelivery.endpoint_id) == col(WebhookEndpoint.id),
            col(WebhookDelivery.state) == DeliveryState.PENDING,
        )
        .exists()
    )
    query = select(WebhookEndpoint.id).where(col(WebhookEndpoint.disabled_reason).is_not(None), waits).limit(1)
    async with sessions() as session, session.begin():
        endpoint_id = (await session.exec(query)).first()
        if endpoint_id is None:
            return 0
        endpoint = await endpoints.locked(session, endpoint_id)
        return await endpoints.fail_waiting(session, endpoint_id, now=now) if endpoint.disabled_reason else 0
