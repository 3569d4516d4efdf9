"""Where the product wants to be told: made, changed, disabled and enabled by operators, each act recorded with it.

A secret is told twice at most: when the endpoint is made, and when the secret is rotated. The one before it signs too
for a grace, so that the receiver can take up the new one. What happens while an endpoint is disabled is not told to it,
and what waited for it has failed; a delivery can be replayed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, text, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import operator_actions
from billing.activity import EventType
from billing.database import Sessions
from billing.fresh import new_id
from billing.operator_actions import Act, Acting
from billing.outbound_tables import DeliveryState, WebhookDelivery, WebhookEndpoint
from billing.refusals import Refusal, Refused
from ledger import ids, statements
from outbound import signing
from outbound.guarding import Forbidden

PREFIX: Final = "whep"
ENABLED_MAX: Final = 20
"""Endpoints that are enabled at once: each event becomes a delivery for each of them that wants it."""
DESCRIPTION_LENGTH_MAX: Final = 255
GRACE: Final = timedelta(hours=24)
GRACE_MAX: Final = timedelta(days=7)
ENDED_MAX: Final = 1000
"""Deliveries that fail with their endpoint at once; the worker sees to the rest."""
ENDED: Final = "its endpoint was disabled"

GONE: Final = "gone"
FAILING: Final = "failing"
BY_OPERATOR: Final = "by an operator"

_COUNTING: Final = text("SELECT pg_advisory_xact_lock(hashtext('billing.webhook_endpoints'))")

Check = Callable[[str], None]
"""Returns when a URL could be called. Raises `Forbidden`."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint and its new secret, which is shown once. Older ones sign until `old_until`, if any does."""

    endpoint: WebhookEndpoint
    secret: str = field(repr=False)


def public_id(endpoint_id: UUID) -> str:
    """`whep_…`, as it is shown and asked for."""
    return ids.external(PREFIX, endpoint_id)


def parsed(endpoint_id: str) -> UUID:
    """The id inside `whep_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(PREFIX, endpoint_id)
    except ids.MalformedId:
        raise _not_found() from None


def wants(endpoint: WebhookEndpoint, type_: str) -> bool:
    """Whether the endpoint wants to be told of this type."""
    return not endpoint.types or type_ in endpoint.types


def secrets_of(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    """What signs for the endpoint now, the newest first."""
    in_grace = endpoint.old_secret is not None and endpoint.old_until is not None and now < endpoint.old_until
    return [endpoint.secret, *([endpoint.old_secret] if in_grace and endpoint.old_secret is not None else [])]


async def make(
    sessions: Sessions,
    *,
    url: str,
    types: Iterable[str],
    description: str,
    check: Check,
    by: Acting,
    reason: str,
    now: datetime,
) -> NewSecret:
    """An endpoint that is told from now on, and its secret.

    Raises `Refused`: INVALID_ARGUMENTS for a URL or type that cannot be, STATE_CONFLICT when there are enough.
    """
    wanted = _known(types)
    _checked(url, check)
    secret = signing.new_secret()
    endpoint = WebhookEndpoint(
        id=new_id(now),
        url=url,
        types=wanted,
        description=description,
        secret=secret,
        wants_since=now,
        created_at=now,
        updated_at=now,
    )
    async with sessions() as session, session.begin():
        await _leave_room(session)
        endpoint.wants_since = await statements.posting_time(session)
        session.add(endpoint)
        details = {"endpoint_id": public_id(endpoint.id), "types": wanted, "description": description}
        await operator_actions.record(
            session,
            by,
            Act.MAKE_WEBHOOK_ENDPOINT,
            organization_id=None,
            subject=url,
            reason=reason,
            details=details,
            now=now,
        )
    return NewSecret(endpoint, secret)


async def change(
    sessions: Sessions,
    endpoint_id: UUID,
    *,
    url: str | None,
    types: Sequence[str] | None,
    description: str | None,
    check: Check,
    by: Acting,
    reason: str,
    now: datetime,
) -> WebhookEndpoint:
    """Change what is not none. What waits for the endpoint is sent to the new URL.

    Raises `Refused`: INVALID_ARGUMENTS for a URL or type that cannot be, NOT_FOUND.
    """
    wanted = None if types is None else _known(types)
    if url is not None:
        _checked(url, check)

    async def changed(session: AsyncSession, endpoint: WebhookEndpoint) -> Mapping[str, Any]:
        before = {"url": endpoint.url, "types": endpoint.types, "description": endpoint.description}
        wanted_spends = wants(endpoint, EventType.USAGE_CREDIT_CONSUMED)
        endpoint.url = endpoint.url if url is None else url
        endpoint.types = endpoint.types if wanted is None else wanted
        endpoint.description = endpoint.description if description is None else description
        if not wanted_spends and wants(endpoint, EventType.USAGE_CREDIT_CONSUMED):
            endpoint.wants_since = await statements.posting_time(session)
        after = {"url": endpoint.url, "types": endpoint.types, "description": endpoint.description}
        return {"before": before, "after": after}

    return await _act(sessions, endpoint_id, Act.CHANGE_WEBHOOK_ENDPOINT, changed, by=by, reason=reason, now=now)


async def rotate(
    sessions: Sessions, endpoint_id: UUID, *, grace: timedelta, by: Acting, reason: str, now: datetime
) -> NewSecret:
    """A new secret; the one before signs too for `grace`, 0 to `GRACE_MAX`, and those before that no more.

    Raises `Refused`: INVALID_ARGUMENTS for another grace, NOT_FOUND.
    """
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"the grace is 0 to {GRACE_MAX.total_seconds():.0f} seconds")
    secret = signing.new_secret()

    async def rotated(_: AsyncSession, endpoint: WebhookEndpoint) -> Mapping[str, Any]:
        endpoint.old_secret, endpoint.old_until = (endpoint.secret, now + grace) if grace else (None, None)
        endpoint.secret = secret
        return {"grace_seconds": int(grace.total_seconds())}

    act = Act.ROTATE_WEBHOOK_SECRET
    return NewSecret(await _act(sessions, endpoint_id, act, rotated, by=by, reason=reason, now=now), secret)


async def enable(sessions: Sessions, endpoint_id: UUID, *, by: Acting, reason: str, now: datetime) -> WebhookEndpoint:
    """Tell the endpoint again, from now on. Enabling one that is enabled changes nothing.

    Raises `Refused`: NOT_FOUND, STATE_CONFLICT when as many are enabled as may be.
    """

    async def enabled(session: AsyncSession, endpoint: WebhookEndpoint) -> Mapping[str, Any]:
        before = {"disabled_reason": endpoint.disabled_reason}
        if endpoint.disabled_reason is not None:
            await _leave_room(session)
            endpoint.disabled_reason, endpoint.failing_since = None, None
            endpoint.wants_since = await statements.posting_time(session)
        return before

    return await _act(sessions, endpoint_id, Act.ENABLE_WEBHOOK_ENDPOINT, enabled, by=by, reason=reason, now=now)


async def disable(sessions: Sessions, endpoint_id: UUID, *, by: Acting, reason: str, now: datetime) -> WebhookEndpoint:
    """Tell the endpoint nothing more; what waits for it fails. Raises `Refused(NOT_FOUND)`."""

    async def disabled(session: AsyncSession, endpoint: WebhookEndpoint) -> Mapping[str, Any]:
        before = {"disabled_reason": endpoint.disabled_reason}
        await end(session, endpoint, BY_OPERATOR, now=now)
        return before

    return await _act(sessions, endpoint_id, Act.DISABLE_WEBHOOK_ENDPOINT, disabled, by=by, reason=reason, now=now)


async def end(session: AsyncSession, endpoint: WebhookEndpoint, why: str, *, now: datetime) -> None:
    """Disable an endpoint, whose row is locked, and let what waits for it fail."""
    endpoint.disabled_reason, endpoint.updated_at = why, now
    await session.flush()
    await fail_waiting(session, endpoint.id, now=now)


async def fail_waiting(session: AsyncSession, endpoint_id: UUID, *, now: datetime) -> int:
    """Fail what waits for an endpoint that is disabled, `ENDED_MAX` deliveries at most; how many."""
    waiting = (
        select(WebhookDelivery.id)
        .where(col(WebhookDelivery.endpoint_id) == endpoint_id, col(WebhookDelivery.state) == DeliveryState.PENDING)
        .limit(ENDED_MAX)
    )
    failed = (
        update(WebhookDelivery)
        .where(col(WebhookDelivery.id).in_(waiting), col(WebhookDelivery.state) == DeliveryState.PENDING)
        .values(
            state=DeliveryState.FAILED,
            last_error=func.coalesce(col(WebhookDelivery.last_error), ENDED),
            updated_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    return int((await session.exec(failed)).rowcount)


async def locked(session: AsyncSession, endpoint_id: UUID) -> WebhookEndpoint:
    """The endpoint, locked. Raises `Refused(NOT_FOUND)`."""
    query = select(WebhookEndpoint).where(col(WebhookEndpoint.id) == endpoint_id).with_for_update(key_share=True)
    endpoint = (await session.exec(query.execution_options(populate_existing=True))).first()
    if endpoint is None:
        raise _not_found()
    return endpoint


async def enabled_ones(session: AsyncSession) -> Sequence[WebhookEndpoint]:
    """The endpoints that are told."""
    query = select(WebhookEndpoint).where(col(WebhookEndpoint.disabled_reason).is_(None))
    return (await session.exec(query.order_by(col(WebhookEndpoint.id)).limit(ENABLED_MAX))).all()


async def _act(
    sessions: Sessions,
    endpoint_id: UUID,
    act: Act,
    do: Callable[[AsyncSession, WebhookEndpoint], Any],
    *,
    by: Acting,
    reason: str,
    now: datetime,
) -> WebhookEndpoint:
    """Do something to an endpoint and record it; what `do` gives stands in the record."""
    async with sessions() as session, session.begin():
        endpoint = await locked(session, endpoint_id)
        details = await do(session, endpoint)
        endpoint.updated_at = now
        await operator_actions.record(
            session,
            by,
            act,
            organization_id=None,
            subject=public_id(endpoint_id),
            reason=reason,
            details=details,
            now=now,
        )
        return endpoint


async def _leave_room(session: AsyncSession) -> None:
    """Let one more be enabled, by one at a time. Raises `Refused(STATE_CONFLICT)`."""
    await (await session.connection()).execute(_COUNTING)
    if len(await enabled_ones(session)) >= ENABLED_MAX:
        raise Refused(
            Refusal.STATE_CONFLICT, f"{ENABLED_MAX} webhook endpoints are enabled, which is as many as may be"
        )


def _known(types: Iterable[str]) -> list[str]:
    """The types once each and in the order of the registry."""
    wanted = set(types)
    unknown = sorted(wanted - set(EventType))
    if unknown:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"types may have {', '.join(EventType)}; none stands for all")
    return [type_.value for type_ in EventType if type_ in wanted]


def _checked(url: str, check: Check) -> None:
    try:
        check(url)
    except Forbidden as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"url: {error}") from None


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such webhook endpoint")
