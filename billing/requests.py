"""Sending a stored request to a provider, and recording what came of it.

Theory of operation
-------------------
A request is stored, with its exact parameters and its provider key, in the transaction that makes the attempt (or
opens it again). `carry_out` sends it **outside any transaction** and stores the answer in another. Between the two the
process may die, the answer may be lost, two processes may send at once: every repetition sends the same bytes
under the same key, so the provider makes one object and tells it each time. `unknown` says that it was sent and that
nobody knows what became of it. After `REPLAY_WINDOW` the provider may have forgotten the key; then nothing is sent,
and `pursuing` looks among the provider's objects for what became of it.

An answer that comes late finds an attempt that may have gone on: it changes nothing that came after it, and an object
that nobody waits for any more is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import activity
from billing.actions import object_id, stored
from billing.attempts import AttemptState, Happening, RequestState, after
from billing.database import Sessions
from billing.packs import METHODS
from billing.tables import PaymentAttempt, ProviderRequestRow
from rails.rail import (
    Action,
    CheckoutAction,
    Found,
    OutcomeUnknown,
    ProviderRefused,
    ProviderRequest,
    Rail,
    RailUnavailable,
)

Clock = Callable[[], datetime]

REPLAY_WINDOW: Final = timedelta(hours=23)
"""Stripe keeps idempotency keys for at least 24 hours. Source: Stripe API reference, Idempotent requests."""
CALLS_OVER: Final = timedelta(minutes=5)
"""No call that was begun within the window lasts that much longer: a time-out ends it."""
LATE_AFTER: Final = timedelta(minutes=25)
"""A page is asked for with an hour ahead of it at least, of which Stripe wants half when the request comes."""
FIRST_RETRY: Final = timedelta(seconds=60)
RETRY_MAX: Final = timedelta(minutes=15)
DUE_MAX: Final = 20


_SETTLED: Final = frozenset({RequestState.ANSWERED, RequestState.REFUSED})
_OVER: Final = frozenset({AttemptState.EXPIRED, AttemptState.FAILED, AttemptState.CANCELED})


class TooOld(OutcomeUnknown):
    """The provider may have forgotten the key, so that sending again could make a second object."""


class TooLate(RailUnavailable):
    """The provider refused a page whose end had come too near while the request could not be delivered.

    It has certainly not been made; the worker asks for another one.
    """


@dataclass(frozen=True, slots=True)
class RequestId:
    """Which request: the `number`-th of an attempt."""

    organization_id: UUID
    attempt_id: UUID
    number: int


def store(session: AsyncSession, attempt: PaymentAttempt, request: ProviderRequest, now: datetime) -> None:
    """Put a request beside its attempt, before anything is sent."""
    session.add(
        ProviderRequestRow(
            organization_id=attempt.organization_id,
            attempt_id=attempt.id,
            number=attempt.request_number,
            provider_key=request.provider_key,
            parameters=request.parameters,
            api_version=request.api_version,
            state=RequestState.STORED,
            next_try_at=now + FIRST_RETRY,
            created_at=now,
        )
    )


async def carry_out(sessions: Sessions, rail: Rail, request_id: RequestId, *, clock: Clock) -> None:
    """Send the request unless its outcome is known, and record the answer.

    Raises `OutcomeUnknown`, `RailUnavailable` or `ProviderRefused` after recording it, and their kinds: `TooOld`
    (nothing was sent), `OutcomeStored` and `TooLate`, after which sending again is of no use.
    """
    row = await read(sessions, request_id)
    if row.state in _SETTLED:
        return
    if clock() - row.created_at > REPLAY_WINDOW:
        raise TooOld(f"{row.provider_key} is older than the provider keeps keys")
    try:
        action = await rail.start(ProviderRequest(row.provider_key, row.parameters, row.api_version))
    except OutcomeUnknown as error:
        await record_failure(sessions, request_id, RequestState.UNKNOWN, error, clock())
        raise
    except RailUnavailable as error:
        await record_failure(sessions, request_id, RequestState(row.state), error, clock())
        raise
    except ProviderRefused as error:
        if METHODS[rail.method_id].requires_browser and clock() - row.created_at > LATE_AFTER:
            await record_failure(sessions, request_id, RequestState(row.state), error, clock(), wait=timedelta())
            raise TooLate(str(error)) from error
        await _record_refusal(sessions, request_id, error, clock())
        raise
    except Exception as error:
        # A bug in reading the answer says nothing about what was done; and it must not be sent for at every turn.
        await record_failure(sessions, request_id, RequestState.UNKNOWN, error, clock())
        raise
    await keep(sessions, rail, request_id, Found(object_id(action), action), clock=clock)


async def keep(sessions: Sessions, rail: Rail, request_id: RequestId, found: Found, *, clock: Clock) -> None:
    """Record what the request made, however that was learned, and close it when nobody waits for it any more."""
    is_waited_for = await record_found(sessions, request_id, found, clock())
    if found.action is not None and not is_waited_for:
        with suppress(OutcomeUnknown, RailUnavailable, ProviderRefused):
            await rail.close(found.object_id)


async def read(sessions: Sessions, request_id: RequestId) -> ProviderRequestRow:
    """The request as it stands. Raises `LookupError`."""
    async with sessions() as session:
        return await _row(session, request_id)


async def _row(session: AsyncSession, request_id: RequestId) -> ProviderRequestRow:
    key = (request_id.organization_id, request_id.attempt_id, request_id.number)
    row = await session.get(ProviderRequestRow, key, populate_existing=True)
    if row is None:
        raise LookupError(f"attempt {request_id.attempt_id} has no request {request_id.number}")
    return row


async def locked_attempt(session: AsyncSession, organization_id: UUID, attempt_id: UUID) -> PaymentAttempt | None:
    """The attempt, locked: behind its quote in the lock order, before its external payment."""
    query = (
        select(PaymentAttempt)
        .where(col(PaymentAttempt.organization_id) == organization_id, col(PaymentAttempt.id) == attempt_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(query)).first()


async def both_locked(session: AsyncSession, request_id: RequestId) -> tuple[PaymentAttempt, ProviderRequestRow]:
    """The attempt, locked, and its request: the attempt's lock guards its requests too."""
    attempt = await locked_attempt(session, request_id.organization_id, request_id.attempt_id)
    if attempt is None:
        raise LookupError(f"there is no attempt {request_id.attempt_id}")
    return attempt, await _row(session, request_id)


def retry_after(tries: int) -> timedelta:
    """How long to wait after the `tries`-th failure: doubling, bounded."""
    doubled: timedelta = FIRST_RETRY * 2 ** min(tries, 10)
    return min(doubled, RETRY_MAX)


async def record_failure(
    sessions: Sessions,
    request_id: RequestId,
    state: RequestState,
    error: Exception,
    now: datetime,
    *,
    wait: timedelta | None = None,
) -> None:
    """Note why the outcome is still not known, and when the next try is due: after `wait`, else with back-off."""
    async with sessions() as session, session.begin():
        _, row = await both_locked(session, request_id)
        if row.state not in _SETTLED:
            # What was unknown once stays unknown: this try's failure says nothing about the one before.
            row.state = RequestState.UNKNOWN if row.state == RequestState.UNKNOWN else state
            row.error = str(error)
            row.tries += 1
            # Who asks again before the worker's own try is due must not put it off: it is the worker that finds out.
            next_try_at = now + (retry_after(row.tries) if wait is None else wait)
            row.next_try_at = next_try_at if row.next_try_at <= now else min(row.next_try_at, next_try_at)


async def _record_refusal(sessions: Sessions, request_id: RequestId, error: ProviderRefused, now: datetime) -> None:
    async with sessions() as session, session.begin():
        attempt, row = await both_locked(session, request_id)
        if row.state in _SETTLED:
            return
        row.state, row.error, row.answered_at = RequestState.REFUSED, str(error), now
        if attempt.request_number == row.number:
            _move(attempt, Happening.FAILED, now, reason=str(error))


async def record_found(sessions: Sessions, request_id: RequestId, found: Found, now: datetime) -> bool:
    """Store the answer. False when nobody waits for the object: the attempt has ended, or asked anew."""
    async with sessions() as session, session.begin():
        attempt, row = await both_locked(session, request_id)
        if row.state == RequestState.ANSWERED:
            return True
        row.state, row.error, row.answered_at = RequestState.ANSWERED, None, now
        row.action, row.external_id = _kept(found.action), found.object_id
        is_current = attempt.request_number == row.number
        if is_current:
            attempt.object_id = row.external_id
            if found.action is not None:
                _move(attempt, Happening.OPENED, now, reason=None)
        if isinstance(found.action, CheckoutAction):
            activity.checkout_session_created(session, attempt, found.object_id, now)
        return is_current and attempt.state not in _OVER


def _kept(action: Action | None) -> dict[str, Any] | None:
    return stored(action) if action is not None else None


def _move(attempt: PaymentAttempt, happening: Happening, now: datetime, *, reason: str | None) -> None:
    state = after(AttemptState(attempt.state), happening)
    if state != attempt.state:
        attempt.state, attempt.reason, attempt.updated_at = state, reason, now


async def due(sessions: Sessions, methods: Collection[str], *, now: datetime) -> list[tuple[str, RequestId]]:
    """Requests of these methods whose outcome should be known by now, with their methods: the worker pursues them.

    Not those whose key is only just too old: a call that was begun in time may still be under way.
    """
    query = (
        select(PaymentAttempt.method, ProviderRequestRow)
        .join(
            PaymentAttempt,
            (col(PaymentAttempt.organization_id) == col(ProviderRequestRow.organization_id))
            & (col(PaymentAttempt.id) == col(ProviderRequestRow.attempt_id)),
        )
        .where(
            col(PaymentAttempt.method).in_(methods),
            col(ProviderRequestRow.state).in_([RequestState.STORED, RequestState.UNKNOWN]),
            col(ProviderRequestRow.next_try_at) <= now,
            or_(
                col(ProviderRequestRow.created_at) > now - REPLAY_WINDOW,
                col(ProviderRequestRow.created_at) < now - REPLAY_WINDOW - CALLS_OVER,
            ),
        )
        .order_by(col(ProviderRequestRow.next_try_at))
        .limit(DUE_MAX)
    )
    async with sessions() as session:
        rows = (await session.exec(query)).all()
    return [(method, RequestId(row.organization_id, row.attempt_id, row.number)) for method, row in rows]
