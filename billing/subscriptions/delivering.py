"""Deliveries are sent until they were heard: each endpoint by itself, so that a slow receiver delays nobody else.

Theory of operation
-------------------
A turn starts a task for each endpoint that has something due and none under way. The task takes some deliveries of its
endpoint by saying when the next may take them (`LEASE`), sends them beside each other, and writes down what became of
each, until nothing is due. What is free (`Priority`) waits until nothing else is due. Whoever dies on the way has
delayed them by the lease, and the receiver may get one again, under the same id. Two workers take different ones.

What became of a delivery is written behind its endpoint's lock where that may change: it is failing, or it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy import func, literal, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.outbound_tables import DeliveryState, Priority, WebhookDelivery, WebhookEndpoint
from billing.requests import Clock
from billing.subscriptions import endpoints
from billing.subscriptions.rules import FAILING_MAX, Heard, asked_wait, heard, said, wait_after
from ledger.ids import external
from outbound import signing
from outbound.door import Door, NotSent

PREFIX: Final = "msg"
TOGETHER_MAX: Final = 5
"""Deliveries of one endpoint that are sent beside each other."""
ROUNDS_MAX: Final = 100
"""How often a task takes more before the next turn has to start it again."""
LEASE: Final = timedelta(seconds=90)
"""For how long what was taken is nobody else's; longer than a call may take."""
WRITING_MAX: Final = 4
"""Connections to the database that all tasks of a process use at once."""

# Written into the statement: a plan that is kept for any state could not use the index of what is pending.
_PENDING: Final = col(WebhookDelivery.state) == literal(DeliveryState.PENDING, literal_execute=True)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sending:
    """One delivery on its way: what is sent where, and what signs it."""

    id: UUID
    endpoint_id: UUID
    url: str
    body: str = field(repr=False)
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back. `status` is none when nothing did; `error` is none for what was delivered."""

    heard: Heard
    status: int | None
    error: str | None
    asked_wait: timedelta = timedelta(0)


def public_id(delivery_id: UUID) -> str:
    """`msg_…`: the `webhook-id` of a delivery, the same each time it is sent."""
    return external(PREFIX, delivery_id)


class Courier:
    """Sends what is due. One for a worker; `close` it."""

    def __init__(self, sessions: Sessions, door: Door, *, clock: Clock) -> None:
        self._sessions = sessions
        self._door = door
        self._clock = clock
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._writing = asyncio.Semaphore(WRITING_MAX)

    async def turn(self) -> None:
        """Start what is due and not under way. Raises what a task has failed with since the last turn."""
        ended = [endpoint_id for endpoint_id, task in self._running.items() if task.done()]
        errors = [task.exception() for task in map(self._running.pop, ended)]
        for endpoint_id in await due(self._sessions, now=self._clock()):
            if endpoint_id not in self._running:
                self._running[endpoint_id] = asyncio.create_task(
                    self._serve(endpoint_id), name=f"webhooks-{external(endpoints.PREFIX, endpoint_id)}"
                )
        for error in errors:
            if error is not None:
                raise error

    async def settle(self) -> None:
        """Wait until all that is under way is done."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def close(self, *, within_s: int) -> None:
        """Let what is under way end within the time, and cut it off then: it will be sent again."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within_s)
        for task in self._running.values():
            task.cancel()
        await self.settle()
        self._running.clear()

    async def _serve(self, endpoint_id: UUID) -> None:
        for _ in range(ROUNDS_MAX):
            async with self._writing:
                taken = await take(self._sessions, endpoint_id, now=self._clock())
            if not taken:
                return
            done = await asyncio.gather(*[self._carry_out(one) for one in taken], return_exceptions=True)
            for error in done:
                if isinstance(error, BaseException):
                    raise error

    async def _carry_out(self, sending: Sending) -> None:
        outcome = await send(self._door, sending, clock=self._clock)
        async with self._writing:
            await write_down(self._sessions, sending, outcome, now=self._clock())


async def due(sessions: Sessions, *, now: datetime) -> list[UUID]:
    """The endpoints that have something due."""
    # The first entry of the index is asked for, and not whether one exists: that may read all that waits for later.
    first = select(func.min(col(WebhookDelivery.next_try_at))).where(
        col(WebhookDelivery.endpoint_id) == col(WebhookEndpoint.id), _PENDING
    )
    any_due = or_(*[first.where(col(WebhookDelivery.priority) == each).scalar_subquery() <= now for each in Priority])
    query = select(WebhookEndpoint.id).where(col(WebhookEndpoint.disabled_reason).is_(None), any_due)
    async with sessions() as session:
        return list((await session.exec(query.limit(endpoints.ENABLED_MAX))).all())


async def take(sessions: Sessions, endpoint_id: UUID, *, now: datetime) -> list[Sending]:
    """Deliveries of the endpoint that are due, by priority and then the oldest, taken for `LEASE`.

    `TOGETHER_MAX` at most; none once it is disabled.
    """
    async with sessions() as session, session.begin():
        endpoint = await session.get(WebhookEndpoint, endpoint_id)
        if endpoint is None or endpoint.disabled_reason is not None:
            return []
        found: list[WebhookDelivery] = []
        for priority in Priority:
            if len(found) < TOGETHER_MAX:
                found += await _due_of(session, endpoint_id, priority, now=now, limit=TOGETHER_MAX - len(found))
        for row in found:
            row.next_try_at = now + LEASE
        return [sending(endpoint, row, now=now) for row in found]


async def _due_of(
    session: AsyncSession, endpoint_id: UUID, priority: Priority, *, now: datetime, limit: int
) -> Sequence[WebhookDelivery]:
    """What is due of one priority, locked; what others have locked is left to them.

    One priority at a time: ordered by both, the index would be read through all of the first that waits for later.
    """
    query = select(WebhookDelivery).where(
        col(WebhookDelivery.endpoint_id) == endpoint_id,
        _PENDING,
        col(WebhookDelivery.priority) == priority,
        col(WebhookDelivery.next_try_at) <= now,
    )
    query = query.order_by(col(WebhookDelivery.next_try_at)).limit(limit).with_for_update(skip_locked=True)
    return (await session.exec(query)).all()


def sending(endpoint: WebhookEndpoint, row: WebhookDelivery, *, now: datetime) -> Sending:
    """What is sent for a delivery, signed with what signs now."""
    return Sending(row.id, endpoint.id, endpoint.url, row.body, endpoints.secrets_of(endpoint, now))


async def send(door: Door, one: Sending, *, clock: Clock) -> Outcome:
    """Send it once. Bounded by the door's time."""
    body = one.body.encode()
    try:
        reply = await door.post(one.url, body, signing.signed(one.secrets, public_id(one.id), clock(), body))
    except NotSent as error:
        return Outcome(Heard.FAILED, None, error.reason)
    what = heard(reply.status)
    if what is Heard.DELIVERED:
        return Outcome(what, reply.status, None)
    return Outcome(what, reply.status, said(reply.status), asked_wait(reply.status, reply.headers, clock()))


async def write_down(sessions: Sessions, one: Sending, outcome: Outcome, *, now: datetime) -> None:
    """Write down what became of a delivery, and what follows for its endpoint."""
    async with sessions() as session, session.begin():
        ended, given_up = None, False
        if outcome.heard is Heard.DELIVERED:
            well = update(WebhookEndpoint).where(
                col(WebhookEndpoint.id) == one.endpoint_id, col(WebhookEndpoint.failing_since).is_not(None)
            )
            await session.exec(well.values(failing_since=None).execution_options(synchronize_session=False))
        else:
            endpoint = await endpoints.locked(session, one.endpoint_id)
            ended = _ends(endpoint, outcome, now)
        row = await session.get(WebhookDelivery, one.id, with_for_update=True)
        if row is not None:
            waited = row.state == DeliveryState.PENDING
            _note(row, outcome, now)
            given_up = waited and row.state == DeliveryState.FAILED
        if ended is not None:
            await endpoints.end(session, endpoint, ended, now=now)
    if ended is not None:
        log.error("webhook_endpoint_disabled", endpoint=endpoints.public_id(one.endpoint_id), reason=ended)
    elif given_up:
        log.error("webhook_given_up", delivery=public_id(one.id), endpoint=endpoints.public_id(one.endpoint_id))


def _ends(endpoint: WebhookEndpoint, outcome: Outcome, now: datetime) -> str | None:
    """Why a failure ends its endpoint, whose row is locked; none when it does not."""
    if endpoint.disabled_reason is not None:
        return None
    if outcome.heard is Heard.GONE:
        return endpoints.GONE
    endpoint.failing_since = endpoint.failing_since or now
    return endpoints.FAILING if now - endpoint.failing_since >= FAILING_MAX else None


def _note(row: WebhookDelivery, outcome: Outcome, now: datetime) -> None:
    """What came of a try. What was delivered stays so, whatever a slower try comes back with."""
    if row.state == DeliveryState.DELIVERED:
        return
    row.tries += 1
    row.last_status, row.last_error, row.updated_at = outcome.status, outcome.error, now
    if outcome.heard is Heard.DELIVERED:
        row.state = DeliveryState.DELIVERED
        return
    wait = wait_after(row.tries, row.id, outcome.asked_wait) if row.event_id is not None else None
    if wait is None or row.state == DeliveryState.FAILED:
        row.state = DeliveryState.FAILED
    else:
        row.next_try_at = now + wait
