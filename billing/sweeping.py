"""Attempts that nobody came back for: each is looked at again until it has ended, whatever was lost on the way.

Theory of operation
-------------------
A payer who never acts, a letter that never came, an agent that wished to cancel while the provider was away: none of
them may leave an attempt open for ever, or a payment unknown. The worker asks for what is due and looks at each: what
still waits for its payer beyond its time (or was canceled, or belongs to a quote that another attempt has paid) is
closed at the provider; everything else that is open is read again, letter or no letter. A request without an answer is
pursued elsewhere (`pursuing`). To take an attempt is to put it at the end of the line, so that what cannot be ended
now holds up nobody, and two workers do not look twice; a few are looked at together, because a provider may hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import and_, false, func, or_
from sqlmodel import col, select

from billing import fulfillment
from billing.attempts import OPEN_STATES, AttemptState
from billing.database import Sessions
from billing.judging import Verdict
from billing.requests import Clock
from billing.tables import CreditQuote, PaymentAttempt
from rails.rail import Fact, Rail

SWEEP_MAX: Final = 20
TOGETHER_MAX: Final = 5
PAYABLE_GRACE: Final = timedelta(minutes=10)
"""A transfer that was sent in time may be seen late; closing waits that long."""
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)
WISH_AFTER: Final = timedelta(minutes=1)
"""The agent's own call ends what it wished to cancel; the sweep only helps when that call could not."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a person should know of a look, in words. `broken` is an error of ours, for its trace."""

    attempt_id: UUID
    reason: str
    broken: Exception | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep came to: how many attempts it `looked` at, and what a person should know of them."""

    looked: int
    told: Sequence[Swept]


async def sweep(
    sessions: Sessions,
    *,
    rails: Mapping[str, Rail],
    livemode: bool,
    clock: Clock,
    look_again_after: timedelta = LOOK_AGAIN_AFTER,
) -> Sweep:
    """Look at the attempts that are due, a bounded number at a time. What was looked at rests `look_again_after`."""
    due = await _due(sessions, now=clock(), look_again_after=look_again_after)
    few = asyncio.Semaphore(TOGETHER_MAX)

    async def swept(attempt: PaymentAttempt, *, over: bool) -> Swept | None:
        async with few:
            return await _sweep_one(sessions, attempt, rails, over=over, livemode=livemode, clock=clock)

    found = await asyncio.gather(*[swept(attempt, over=over) for attempt, over in due])
    return Sweep(len(due), [one for one in found if one is not None])


async def _due(
    sessions: Sessions, *, now: datetime, look_again_after: timedelta
) -> Sequence[tuple[PaymentAttempt, bool]]:
    """Those not looked at for longest first, taken by saying that they are looked at now.

    Each with whether it is over, so that nobody shall pay it any more.
    """
    state, looked_at = col(PaymentAttempt.state), col(PaymentAttempt.looked_at)
    wished = col(PaymentAttempt.cancel_requested_at) < now - WISH_AFTER
    over = or_(
        col(PaymentAttempt.payable_until) < now - PAYABLE_GRACE,
        col(CreditQuote.settled_at).is_not(None),
        func.coalesce(wished, false()),
    )
    query = (
        select(PaymentAttempt, over)
        .join(
            CreditQuote,
            (col(CreditQuote.organization_id) == col(PaymentAttempt.organization_id))
            & (col(CreditQuote.id) == col(PaymentAttempt.quote_id)),
        )
        .where(
            state.in_(OPEN_STATES),
            col(PaymentAttempt.object_id).is_not(None),
            or_(
                looked_at < now - look_again_after,
                and_(state == AttemptState.ACTION_REQUIRED, wished, looked_at < now - WISH_AFTER),
            ),
        )
        .order_by(looked_at)
        .limit(SWEEP_MAX)
        .with_for_update(of=PaymentAttempt, key_share=True, skip_locked=True)
    )
    async with sessions() as session, session.begin():
        taken = (await session.exec(query)).all()
        for attempt, _ in taken:
            attempt.looked_at = now
        return [(attempt, bool(is_over)) for attempt, is_over in taken]


async def _sweep_one(
    sessions: Sessions,
    attempt: PaymentAttempt,
    rails: Mapping[str, Rail],
    *,
    over: bool,
    livemode: bool,
    clock: Clock,
) -> Swept | None:
    try:
        reason = await _look(sessions, attempt, rails.get(attempt.method), over=over, livemode=livemode, clock=clock)
    except Exception as error:  # noqa: BLE001 - one attempt must not stop the sweep; the caller logs it
        return Swept(attempt.id, f"{type(error).__name__}: {error}", error)
    return Swept(attempt.id, reason) if reason is not None else None


async def _look(
    sessions: Sessions, attempt: PaymentAttempt, rail: Rail | None, *, over: bool, livemode: bool, clock: Clock
) -> str | None:
    """End the attempt if it can be ended; what a person should know. Raises what the rail raises."""
    if rail is None or attempt.object_id is None:
        return f"{attempt.method} is not configured here"
    if over and attempt.state == AttemptState.ACTION_REQUIRED:
        facts = await rail.close(attempt.object_id)
    else:
        facts = await rail.look(attempt.object_id)
    return await _apply(sessions, facts, livemode=livemode, clock=clock)


async def _apply(sessions: Sessions, facts: Sequence[Fact], *, livemode: bool, clock: Clock) -> str | None:
    parked = None
    for fact in facts:
        judged = await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())
        if judged.verdict is Verdict.PARKED:
            parked = judged.reason
    return parked
