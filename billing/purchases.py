"""Buying a quote: ① store the attempt and its request, ② ask the rail outside any transaction, ③ store the action.

Nothing here changes a balance. The same key gives the same attempt; a quote has at most one open attempt and is paid at
most once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import quotes, requests
from billing.attempts import OPEN_STATES, AttemptState
from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Actor, Buyer, lock_organization
from billing.packs import METHODS, Offer
from billing.refusals import Refusal, Refused
from billing.requests import Clock, RequestId
from billing.tables import CreditQuote, PaymentAttempt
from ledger.ids import external
from ledger.money import usd
from rails.rail import Order, OutcomeUnknown, ProviderRefused, ProviderRequest, Rail, RailUnavailable

REQUESTS_MAX: Final = 50
"""How many requests one attempt may have; with pages of an hour this is never reached in an attempt's day."""
SESSION_MIN: Final = timedelta(minutes=60)
"""Stripe wants a session to live 30 minutes at least from when the request arrives (Checkout Session API). The rest is
for a request whose answer is lost: its bytes stay the same, so it must still be valid when it is sent again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the service stands in the world: its public address, and what it sells."""

    public_url: str
    offer: Offer

    def handoff_url(self, attempt_id: UUID) -> str:
        """The short link for humans."""
        return f"{self.public_url}/pay/{external('payatt', attempt_id)}"


def order(attempt: PaymentAttempt, quote: CreditQuote, place: Place, now: datetime) -> Order:
    """What the rail is asked for with the attempt's current request. A hosted page lives shorter than its attempt."""
    payable_until = attempt.payable_until
    if METHODS[attempt.method].requires_browser:
        payable_until = max(min(now + place.offer.checkout_session_ttl, payable_until), now + SESSION_MIN)
    return Order(
        organization_id=external("org", attempt.organization_id),
        quote_id=external("quote", quote.id),
        attempt_id=external("payatt", attempt.id),
        number=attempt.request_number,
        price=usd(quote.price_cents),
        credits=quote.credits,
        description=f"{quote.credits} credits",
        payable_until=payable_until,
        handoff_url=place.handoff_url(attempt.id),
    )


async def buy(
    sessions: Sessions,
    actor: Actor,
    *,
    quote_id: UUID,
    idempotency_key: str,
    rail: Rail,
    unavailable: str | None,
    place: Place,
    clock: Clock,
) -> UUID:
    """The id of the attempt that pays the quote on `rail`; its action is known when this returns.

    Raises `Refused`: NOT_FOUND, CREDIT_PURCHASE_CONFLICT, CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH,
    CREDIT_QUOTE_ALREADY_PAID, CREDIT_PURCHASE_IN_PROGRESS, CREDIT_QUOTE_EXPIRED, PAYMENT_METHOD_UNAVAILABLE,
    PAYMENT_PROVIDER_REFUSED or PAYMENT_OUTCOME_UNKNOWN. After the last, and after PAYMENT_METHOD_UNAVAILABLE, the
    same key goes on where this call stopped.
    """
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=clock())
        attempt = await _by_key(session, actor, idempotency_key)
        if attempt is not None:
            if attempt.quote_id != quote_id or attempt.method != rail.method_id:
                raise Refused(Refusal.CREDIT_PURCHASE_CONFLICT)
            quote = await session.get_one(CreditQuote, (attempt.organization_id, attempt.quote_id))
            if quote.settled_at is not None and attempt.state in OPEN_STATES:
                raise Refused(Refusal.CREDIT_QUOTE_ALREADY_PAID)
        else:
            quote = await _payable_quote(session, actor, quote_id, rail.method_id, clock())
            if unavailable is not None:
                raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{rail.method_id} is not available: {unavailable}")
            attempt = new_attempt(actor, quote, idempotency_key, place.offer, clock())
            await _store(session, attempt, rail.prepare(order(attempt, quote, place, clock())), clock())
    await ask(sessions, rail, attempt, clock=clock)
    return attempt.id


async def ask(sessions: Sessions, rail: Rail, attempt: PaymentAttempt, *, clock: Clock) -> None:
    """Carry out the attempt's current request while the attempt waits for it; rail errors become refusals."""
    if attempt.state != AttemptState.CREATED:
        if attempt.state == AttemptState.FAILED and attempt.object_id is None and attempt.request_number == 1:
            raise _provider_refused(attempt.reason)
        return
    request_id = RequestId(attempt.organization_id, attempt.id, attempt.request_number)
    try:
        await requests.carry_out(sessions, rail, request_id, clock=clock)
    except OutcomeUnknown as error:
        raise Refused(Refusal.PAYMENT_OUTCOME_UNKNOWN) from error
    except RailUnavailable as error:
        raise Refused(
            Refusal.PAYMENT_METHOD_UNAVAILABLE,
            "the payment provider did not take the request; the same request may be sent again",
        ) from error
    except ProviderRefused as error:
        raise _provider_refused(str(error)) from error


def _provider_refused(reason: str | None) -> Refused:
    return Refused(Refusal.PAYMENT_PROVIDER_REFUSED, f"the payment provider refused: {reason}")


async def _by_key(session: AsyncSession, actor: Actor, idempotency_key: str) -> PaymentAttempt | None:
    query = select(PaymentAttempt).where(
        col(PaymentAttempt.organization_id) == actor.organization_id,
        col(PaymentAttempt.agent_id) == actor.agent_id,
        col(PaymentAttempt.idempotency_key) == idempotency_key,
    )
    return (await session.exec(query)).first()


async def _payable_quote(
    session: AsyncSession, actor: Actor, quote_id: UUID, method_id: str, now: datetime
) -> CreditQuote:
    """The quote, locked, if a new attempt may be made for it."""
    quote = await quotes.locked(session, actor.organization_id, quote_id)
    if quote is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such quote")
    if quote.payment_method != method_id:
        raise Refused(
            Refusal.CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH,
            f"the quote was made for {quote.payment_method}",
            recovery={"accepted_payment_method": quote.payment_method},
        )
    if quote.settled_at is not None:
        raise Refused(Refusal.CREDIT_QUOTE_ALREADY_PAID)
    other = await open_attempt(session, quote)
    if other is not None:
        raise Refused(
            Refusal.CREDIT_PURCHASE_IN_PROGRESS, recovery={"payment_attempt_id": external("payatt", other.id)}
        )
    if quote.expires_at <= now:
        raise Refused(Refusal.CREDIT_QUOTE_EXPIRED)
    return quote


async def open_attempt(session: AsyncSession, quote: CreditQuote) -> PaymentAttempt | None:
    """The quote's open attempt; the quote's lock is held, so none can appear meanwhile."""
    query = select(PaymentAttempt).where(
        col(PaymentAttempt.organization_id) == quote.organization_id,
        col(PaymentAttempt.quote_id) == quote.id,
        col(PaymentAttempt.state).in_(OPEN_STATES),
    )
    return (await session.exec(query)).first()


def new_attempt(
    buyer: Actor | Buyer, quote: CreditQuote, idempotency_key: str, offer: Offer, now: datetime
) -> PaymentAttempt:
    """An attempt to pay `quote` whose first request is not stored yet."""
    return PaymentAttempt(
        organization_id=buyer.organization_id,
        id=new_id(now),
        agent_id=buyer.agent_id,
        quote_id=quote.id,
        idempotency_key=idempotency_key,
        method=quote.payment_method,
        state=AttemptState.CREATED,
        request_number=1,
        payable_until=now + offer.attempt_ttl,
        created_at=now,
        updated_at=now,
        looked_at=now,
    )


async def ask_anew(
    session: AsyncSession, attempt: PaymentAttempt, quote: CreditQuote, rail: Rail, *, place: Place, now: datetime
) -> None:
    """Store the next request of an attempt whose last one has no object that can be paid. Both are locked.

    Nothing is sent: `ask` does that, or the worker.
    """
    attempt.request_number, attempt.object_id, attempt.updated_at = attempt.request_number + 1, None, now
    await session.flush()
    requests.store(session, attempt, rail.prepare(order(attempt, quote, place, now)), now)


def may_be_asked_anew(attempt: PaymentAttempt, quote: CreditQuote, now: datetime) -> bool:
    """Whether the attempt may still be paid by another object than it had."""
    return quote.settled_at is None and attempt.payable_until > now and attempt.request_number < REQUESTS_MAX


async def _store(session: AsyncSession, attempt: PaymentAttempt, request: ProviderRequest, now: datetime) -> None:
    session.add(attempt)
    try:
        await session.flush()
    except IntegrityError as error:  # one_open_attempt_per_quote: the constraint has the last word
        raise Refused(Refusal.CREDIT_PURCHASE_IN_PROGRESS) from error
    requests.store(session, attempt, request, now)
