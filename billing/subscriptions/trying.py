"""Operators send: a test message, and a delivery once more."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlmodel import col, select

from billing import operator_actions
from billing.database import Sessions
from billing.fresh import new_id
from billing.operator_actions import Act, Acting
from billing.outbound_tables import DeliveryState, Priority, WebhookDelivery, WebhookEndpoint
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from billing.subscriptions import delivering, endpoints, listing
from outbound.door import Door

TEST_TYPE: Final = "purser.test"


async def store_test(
    sessions: Sessions, endpoint_id: UUID, *, body: str, by: Acting, reason: str, now: datetime
) -> WebhookDelivery:
    """A test message for an endpoint, enabled or not, which `send_test` is to send now. It is tried once.

    Raises `Refused(NOT_FOUND)`.
    """
    async with sessions() as session, session.begin():
        endpoint = await endpoints.locked(session, endpoint_id)
        row = WebhookDelivery(
            id=new_id(now),
            endpoint_id=endpoint.id,
            type=TEST_TYPE,
            body=body,
            state=DeliveryState.PENDING,
            priority=Priority.EARNED,
            tries=0,
            next_try_at=now + delivering.LEASE,
            created_at=now,
            updated_at=now,
        )
        session.add(row)
        await operator_actions.record(
            session,
            by,
            Act.TEST_WEBHOOK_ENDPOINT,
            organization_id=None,
            subject=endpoints.public_id(endpoint_id),
            details={"delivery_id": delivering.public_id(row.id)},
            reason=reason,
            now=now,
        )
        return row


async def send_test(sessions: Sessions, door: Door, delivery_id: UUID, *, clock: Clock) -> WebhookDelivery:
    """Send a stored test message once; what came of it. Bounded by the door's time. Raises `Refused(NOT_FOUND)`."""
    async with sessions() as session:
        row = await listing.delivery(session, delivery_id)
        endpoint = await session.get_one(WebhookEndpoint, row.endpoint_id)
        one = delivering.sending(endpoint, row, now=clock())
    outcome = await delivering.send(door, one, clock=clock)
    await delivering.write_down(sessions, one, outcome, now=clock())
    async with sessions() as session:
        return await listing.delivery(session, delivery_id)


async def replay(sessions: Sessions, delivery_id: UUID, *, by: Acting, reason: str, now: datetime) -> WebhookDelivery:
    """Send a delivery again at once, whatever became of it, under the same id and with all its tries before it.

    Raises `Refused`: NOT_FOUND, STATE_CONFLICT while its endpoint is disabled.
    """
    async with sessions() as session, session.begin():
        found = await listing.delivery(session, delivery_id)
        endpoint = await endpoints.locked(session, found.endpoint_id)
        if endpoint.disabled_reason is not None:
            raise Refused(Refusal.STATE_CONFLICT, f"its endpoint is disabled: {endpoint.disabled_reason}")
        query = select(WebhookDelivery).where(col(WebhookDelivery.id) == delivery_id).with_for_update()
        row = (await session.exec(query.execution_options(populate_existing=True))).one()
        before = {"state": row.state, "tries": row.tries, "last_status": row.last_status, "last_error": row.last_error}
        row.state, row.tries, row.next_try_at, row.updated_at = DeliveryState.PENDING, 0, now, now
        await operator_actions.record(
            session,
            by,
            Act.REPLAY_WEBHOOK,
            organization_id=None,
            subject=delivering.public_id(delivery_id),
            details=before,
            reason=reason,
            now=now,
        )
        return row
