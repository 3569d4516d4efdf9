"""Endpoints and deliveries as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute, defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.outbound_tables import WebhookDelivery, WebhookEndpoint
from billing.refusals import Refusal, Refused
from billing.subscriptions import delivering
from ledger import ids


async def endpoint_page(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[WebhookEndpoint]:
    """Endpoints, newest first, disabled ones included, from behind `before`."""
    query = select(WebhookEndpoint)
    if before is not None:
        query = query.where(col(WebhookEndpoint.id) < before)
    return (await session.exec(query.order_by(col(WebhookEndpoint.id).desc()).limit(limit))).all()


async def endpoint(session: AsyncSession, endpoint_id: UUID) -> WebhookEndpoint:
    """One endpoint. Raises `Refused(NOT_FOUND)`."""
    found = await session.get(WebhookEndpoint, endpoint_id)
    if found is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such webhook endpoint")
    return found


async def deliveries(
    session: AsyncSession, *, endpoint_id: UUID | None, state: str | None, before: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Deliveries, newest first, from behind `before`, without their bodies."""
    query = select(WebhookDelivery).options(defer(cast("InstrumentedAttribute[str]", WebhookDelivery.body)))
    if endpoint_id is not None:
        query = query.where(col(WebhookDelivery.endpoint_id) == endpoint_id)
    if state is not None:
        query = query.where(col(WebhookDelivery.state) == state)
    if before is not None:
        query = query.where(col(WebhookDelivery.id) < before)
    return (await session.exec(query.order_by(col(WebhookDelivery.id).desc()).limit(limit))).all()


async def delivery(session: AsyncSession, delivery_id: UUID) -> WebhookDelivery:
    """One delivery with its body. Raises `Refused(NOT_FOUND)`."""
    found = await session.get(WebhookDelivery, delivery_id)
    if found is None:
        raise _no_delivery()
    return found


def parsed(delivery_id: str) -> UUID:
    """The id inside `msg_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(delivering.PREFIX, delivery_id)
    except ids.MalformedId:
        raise _no_delivery() from None


def _no_delivery() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such webhook delivery")
