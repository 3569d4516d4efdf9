"""The human's link to an attempt: forward to the provider's page, open a next one, or say what happened.

A page of the provider's expires before its attempt does. The next page is made only after the provider confirms that
the last one expired, under the lock of quote and attempt: two browsers and a link-preview bot get the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import fulfillment, purchases, quotes, requests
from billing.actions import loaded
from billing.attempts import AttemptState, Happening, after
from billing.database import Sessions
from billing.packs import METHODS
from billing.purchases import Place
from billing.refusals import Refusal, Refused
from billing.requests import Clock
from billing.tables import CreditQuote, PaymentAttempt, ProviderRequestRow, Receipt
from rails.rail import Action, CheckoutAction, ProviderRefused, Rail, RailUnavailable


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visitor of the link may see: nothing of the organization, no balance.

    `action` is there while something is due; `busy` says that the provider could not be asked and a reload may help.
    """

    attempt: PaymentAttempt
    quote: CreditQuote
    action: Action | None
    receipt: Receipt | None
    busy: bool = False


async def look(session: AsyncSession, attempt_id: UUID) -> Visit:
    """The attempt as it stands; asks nobody and changes nothing. Raises `Refused(NOT_FOUND)`."""
    attempt = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
    if attempt is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such payment")
    quote = await session.get_one(CreditQuote, (attempt.organization_id, attempt.quote_id))
    receipt_query = select(Receipt).where(
        col(Receipt.organization_id) == attempt.organization_id, col(Receipt.attempt_id) == attempt_id
    )
    receipt = (await session.exec(receipt_query)).first()
    return Visit(attempt, quote, await current_action(session, attempt, quote), receipt)


async def current_action(session: AsyncSession, attempt: PaymentAttempt, quote: CreditQuote) -> Action | None:
    """What the payer must do now; none unless the attempt waits for the payer.

    Nobody is asked to pay what is to be canceled, or a quote that has been paid: the sweep will close it.
    """
    ending = attempt.cancel_requested_at is not None or quote.settled_at is not None
    if attempt.state != AttemptState.ACTION_REQUIRED or ending:
        return None
    key = (attempt.organization_id, attempt.id, attempt.request_number)
    row = await session.get(ProviderRequestRow, key)
    return loaded(row.action) if row and row.action else None


async def visit(
    sessions: Sessions, attempt_id: UUID, *, rails: Mapping[str, Rail], livemode: bool, place: Place, clock: Clock
) -> Visit:
    """`look`, after doing what stands between the payer and the next step. Raises `Refused(NOT_FOUND)`."""
    async with sessions() as session:
        seen = await look(session, attempt_id)
    rail = rails.get(seen.attempt.method)
    try:
        if rail is not None:
            await _advance(sessions, seen, rail, livemode=livemode, place=place, clock=clock)
    except (Refused, RailUnavailable, ProviderRefused):
        async with sessions() as session:
            return _without_stale_action(await look(session, attempt_id), clock())
    async with sessions() as session:
        return await look(session, attempt_id)


def _without_stale_action(seen: Visit, now: datetime) -> Visit:
    """What can be shown although the provider could not be asked: another visitor may have got the answer meanwhile."""
    stale = isinstance(seen.action, CheckoutAction) and seen.action.expires_at <= now
    if stale or seen.attempt.state == AttemptState.CREATED:
        return replace(seen, action=None, busy=True)
    return seen


async def _advance(sessions: Sessions, seen: Visit, rail: Rail, *, livemode: bool, place: Place, clock: Clock) -> None:
    attempt = seen.attempt
    if attempt.state == AttemptState.CREATED:
        await purchases.ask(sessions, rail, attempt, clock=clock)
        return
    if isinstance(seen.action, CheckoutAction) and seen.action.expires_at <= clock():
        facts = await rail.look(seen.action.session_id)
        for fact in facts:
            await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())
        async with sessions() as session:
            attempt = (await look(session, attempt.id)).attempt
    if attempt.state == AttemptState.EXPIRED and METHODS[attempt.method].requires_browser:
        reopened = await _reopen(sessions, attempt, rail, place=place, now=clock())
        if reopened is not None:
            await purchases.ask(sessions, rail, reopened, clock=clock)


async def _reopen(
    sessions: Sessions, attempt: PaymentAttempt, rail: Rail, *, place: Place, now: datetime
) -> PaymentAttempt | None:
    """Store the next request of an expired attempt; none when it may not be paid any more."""
    async with sessions() as session, session.begin():
        quote = await quotes.locked(session, attempt.organization_id, attempt.quote_id)
        locked = await requests.locked_attempt(session, attempt.organization_id, attempt.id)
        if quote is None or locked is None:
            raise LookupError(f"attempt {attempt.id} has lost its quote")
        if locked.state != AttemptState.EXPIRED:
            return locked
        if not purchases.may_be_asked_anew(locked, quote, now):
            return None
        if await purchases.open_attempt(session, quote) is not None:
            return None
        locked.state = after(AttemptState.EXPIRED, Happening.REOPENED)
        await purchases.ask_anew(session, locked, quote, rail, place=place, now=now)
        return locked
