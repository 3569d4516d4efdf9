"""Attempts that nobody came back for: each is looked at again until it has ended, whatever was lost on the way.

Theory of operation
-------------------
A payer who never acts, a letter that never came, an agent that wished to cancel while the provider was away: none of
them may leave an attempt open for ever. The worker asks for what is due and looks at each: what still waits for its
payer beyond its time (or was canceled, or belongs to a quote that another attempt has paid) is closed at the provider;
what is processing is read again; what the provider never answered is given up once no key and no object of it can be
alive. What cannot be ended now goes to the end of the line, so that it does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import and_, or_
from sqlmodel import col, select

from billing import fulfillment, requests
from billing.attempts import OPEN_STATES, AttemptState, Happening, RequestState, after
from billing.database import Sessions
from billing.judging import Verdict
from billing.requests import Clock, RequestId
from billing.tables import CreditQuote, PaymentAttempt, ProviderRequestRow
from rails.rail import Fact, Rail

SWEEP_MAX: Final = 20
PAYABLE_GRACE: Final = timedelta(minutes=10)
"""A transfer that was sent in time may be seen late; closing waits that long."""
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)
WISH_AFTER: Final = timedelta(minutes=1)
"""The agent's own call ends what it wished to cancel; the sweep only helps when that call could not."""
GIVEN_UP_AFTER: Final = timedelta(hours=25)
"""No key is kept and no hosted page lives that long, and nobody was ever told where to pay."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a look could not end, in words for an operator. `broken` is an error of ours, for its trace."""

    attempt_id: UUID
    reason: str
    broken: Exception | None = None


async def sweep(sessions: Sessions, *, rails: Mapping[str, Rail], livemode: bool, clock: Clock) -> list[Swept]:
    """Look at the attempts that are due, a bounded number at a time; those that need a person's eye or another try."""
    unfinished = []
    for attempt in await _due(sessions, now=clock()):
        try:
            reason = await _look(sessions, attempt, rails.get(attempt.method), livemode=livemode, clock=clock)
        except Exception as error:  # noqa: BLE001 - one attempt must not stop the sweep; the caller logs it
            unfinished.append(Swept(attempt.id, f"{type(error).__name__}: {error}", error))
        else:
            if reason is not None:
                unfinished.append(Swept(attempt.id, reason))
        await _to_the_end(sessions, attempt, clock())
    return unfinished


async def _due(sessions: Sessions, *, now: datetime) -> Sequence[PaymentAttempt]:
    """Those not looked at for longest first."""
    state, wish = col(PaymentAttempt.state), col(PaymentAttempt.cancel_requested_at)
    rested = col(PaymentAttempt.updated_at) < now - LOOK_AGAIN_AFTER
    over = or_(col(PaymentAttempt.payable_until) < now - PAYABLE_GRACE, col(CreditQuote.settled_at).is_not(None))
    wished = and_(wish < now - WISH_AFTER, col(PaymentAttempt.updated_at) < now - WISH_AFTER)
    query = (
        select(PaymentAttempt)
        .join(
            CreditQuote,
            (col(CreditQuote.organization_id) == col(PaymentAttempt.organization_id))
            & (col(CreditQuote.id) == col(PaymentAttempt.quote_id)),
        )
        .join(
            ProviderRequestRow,
            (col(ProviderRequestRow.organization_id) == col(PaymentAttempt.organization_id))
            & (col(ProviderRequestRow.attempt_id) == col(PaymentAttempt.id))
            & (col(ProviderRequestRow.number) == col(PaymentAttempt.request_number)),
        )
        .where(
            state.in_(OPEN_STATES),
            or_(
                and_(state == AttemptState.ACTION_REQUIRED, or_(and_(rested, over), wished)),
                and_(state == AttemptState.PROCESSING, rested),
                and_(
                    state == AttemptState.CREATED,
                    rested,
                    col(ProviderRequestRow.created_at) < now - GIVEN_UP_AFTER,
                ),
            ),
        )
        .order_by(col(PaymentAttempt.updated_at))
        .limit(SWEEP_MAX)
    )
    async with sessions() as session:
        return (await session.exec(query)).all()


async def _look(
    sessions: Sessions, attempt: PaymentAttempt, rail: Rail | None, *, livemode: bool, clock: Clock
) -> str | None:
    """End the attempt if it can be ended; why not, if not. Raises what the rail raises."""
    if attempt.state == AttemptState.CREATED:
        await _give_up(sessions, attempt, clock())
        return "the provider never answered, and nobody was told where to pay: given up"
    if rail is None or attempt.object_id is None:
        return f"{attempt.method} is not configured here"
    if attempt.state == AttemptState.PROCESSING:
        facts = await rail.look(attempt.object_id)
    else:
        facts = await rail.close(attempt.object_id)
    return await _apply(sessions, facts, livemode=livemode, clock=clock)


async def _apply(sessions: Sessions, facts: Sequence[Fact], *, livemode: bool, clock: Clock) -> str | None:
    parked = None
    for fact in facts:
        judged = await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())
        if judged.verdict is Verdict.PARKED:
            parked = judged.reason
    return parked


async def _give_up(sessions: Sessions, attempt: PaymentAttempt, now: datetime) -> None:
    request_id = RequestId(attempt.organization_id, attempt.id, attempt.request_number)
    async with sessions() as session, session.begin():
        locked, row = await requests.both_locked(session, request_id)
        if row.state in {RequestState.STORED, RequestState.UNKNOWN} and locked.state == AttemptState.CREATED:
            row.state, row.error, row.answered_at = RequestState.REFUSED, "never answered", now
            locked.state = after(AttemptState.CREATED, Happening.FAILED)
            locked.reason, locked.updated_at = "the payment provider never answered", now


async def _to_the_end(sessions: Sessions, attempt: PaymentAttempt, now: datetime) -> None:
    async with sessions() as session, session.begin():
        locked = await requests.locked_attempt(session, attempt.organization_id, attempt.id)
        if locked is not None and locked.state in OPEN_STATES:
            locked.updated_at = now
