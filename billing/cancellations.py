"""Ending an attempt on the agent's word, while nobody has paid it.

The provider has the last word. The wish is stored first; then the provider's object is closed; what the provider says
afterwards (expired, or paid after all) is a fact like any other. When the provider cannot be asked, the wish stays,
nothing is shown to a payer any more, and `sweeping` closes the object later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from billing import fulfillment, purchases, requests
from billing.attempts import AttemptState, Happening, after
from billing.database import Sessions
from billing.identity import Actor
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from billing.tables import PaymentAttempt
from rails.rail import OutcomeUnknown, ProviderRefused, Rail, RailUnavailable


async def cancel(
    sessions: Sessions, actor: Actor, attempt_id: UUID, *, rails: Mapping[str, Rail], livemode: bool, clock: Clock
) -> None:
    """Cancel the attempt. Repeating it changes nothing.

    Raises `Refused`: NOT_FOUND, PAYMENT_ATTEMPT_ALREADY_PAID, PAYMENT_ATTEMPT_NOT_CANCELABLE (a payment is on its
    way), PAYMENT_METHOD_UNAVAILABLE or PAYMENT_OUTCOME_UNKNOWN (the provider could not be asked: try again),
    PAYMENT_PROVIDER_REFUSED.
    """
    attempt = await _wish(sessions, actor.organization_id, attempt_id, clock())
    rail = rails.get(attempt.method)
    if rail is None:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE)
    if attempt.state == AttemptState.CREATED:
        try:
            await purchases.ask(sessions, rail, attempt, clock=clock)
        except Refused as refused:
            if refused.refusal is not Refusal.PAYMENT_PROVIDER_REFUSED:
                raise  # what the provider refused has ended, which is what was wished
        attempt = await _read(sessions, actor.organization_id, attempt_id)
    if attempt.state == AttemptState.ACTION_REQUIRED:
        await _close(sessions, attempt, rail, livemode=livemode, clock=clock)
        attempt = await _read(sessions, actor.organization_id, attempt_id)
    _check_ended(attempt)


async def _wish(sessions: Sessions, organization_id: UUID, attempt_id: UUID, now: datetime) -> PaymentAttempt:
    async with sessions() as session, session.begin():
        attempt = await requests.locked_attempt(session, organization_id, attempt_id)
        if attempt is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such payment attempt")
        if attempt.state == AttemptState.EXPIRED:
            # Nothing is open at the provider; this only keeps the link from opening it again.
            attempt.state, attempt.updated_at = after(AttemptState.EXPIRED, Happening.CANCELED), now
        if attempt.state in {AttemptState.CREATED, AttemptState.ACTION_REQUIRED}:
            attempt.cancel_requested_at = attempt.cancel_requested_at or now
        return attempt


async def _read(sessions: Sessions, organization_id: UUID, attempt_id: UUID) -> PaymentAttempt:
    async with sessions() as session:
        return await session.get_one(PaymentAttempt, (organization_id, attempt_id))


async def _close(sessions: Sessions, attempt: PaymentAttempt, rail: Rail, *, livemode: bool, clock: Clock) -> None:
    if attempt.object_id is None:
        raise LookupError(f"attempt {attempt.id} waits for its payer without an object")
    try:
        facts = await rail.close(attempt.object_id)
    except RailUnavailable as error:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, "the payment provider could not be asked") from error
    except OutcomeUnknown as error:
        raise Refused(Refusal.PAYMENT_OUTCOME_UNKNOWN) from error
    except ProviderRefused as error:
        raise Refused(Refusal.PAYMENT_PROVIDER_REFUSED, f"the payment provider refused: {error}") from error
    for fact in facts:
        await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())


def _check_ended(attempt: PaymentAttempt) -> None:
    if attempt.state == AttemptState.SUCCEEDED:
        raise Refused(Refusal.PAYMENT_ATTEMPT_ALREADY_PAID)
    if attempt.state not in {AttemptState.CANCELED, AttemptState.EXPIRED, AttemptState.FAILED}:
        raise Refused(Refusal.PAYMENT_ATTEMPT_NOT_CANCELABLE)
