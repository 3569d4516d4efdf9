"""Price and terms, asked for under a key: the same key and terms give the same quote, for ever. Moves no balance."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Actor, lock_organization
from billing.packs import METHODS, NotForSale, Offer, Price, Wanted, price
from billing.refusals import Refusal, Refused
from billing.tables import CreditQuote


def state(quote: CreditQuote, now: datetime) -> str:
    """`created`, `expired` or `succeeded` (paid)."""
    if quote.settled_at is not None:
        return "succeeded"
    return "expired" if quote.expires_at <= now else "created"


async def make(
    sessions: Sessions,
    actor: Actor,
    wanted: Wanted,
    *,
    idempotency_key: str,
    offer: Offer,
    live_money: bool,
    unavailable: str | None,
    now: datetime,
) -> CreditQuote:
    """The quote for what is wanted. A replay is answered before anything else, whatever has changed since.

    Raises `Refused` with CREDIT_QUOTE_CONFLICT, INVALID_ARGUMENTS (not for sale, or out of the method's limits) or
    PAYMENT_METHOD_UNAVAILABLE.
    """
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=now)
        existing = await _by_key(session, actor, idempotency_key)
        if existing is not None:
            if wanted_of(existing) != wanted:
                raise Refused(Refusal.CREDIT_QUOTE_CONFLICT)
            return existing
        priced = _priced(offer, wanted)
        if unavailable is not None:
            raise Refused(
                Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{wanted.payment_method} is not available: {unavailable}"
            )
        quote = CreditQuote(
            organization_id=actor.organization_id,
            id=new_id(now),
            agent_id=actor.agent_id,
            idempotency_key=idempotency_key,
            credits=priced.credits,
            pack_id=wanted.pack_id,
            price_cents=priced.cents,
            currency="USD",
            payment_method=wanted.payment_method,
            live_money=live_money,
            credits_expire_after_days=offer.credits_expire_after_days,
            refund_second_payment=offer.refund_second_payments,
            created_at=now,
            expires_at=now + offer.quote_ttl,
        )
        session.add(quote)
        return quote


def wanted_of(quote: CreditQuote) -> Wanted:
    """What the quote was asked for, to recognize it and to ask for it again."""
    return Wanted(None if quote.pack_id is not None else quote.credits, quote.pack_id, quote.payment_method)


def _priced(offer: Offer, wanted: Wanted) -> Price:
    try:
        found = price(offer, wanted)
    except NotForSale as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(error)) from None
    method = METHODS[wanted.payment_method]
    if not method.min_amount_cents <= found.cents <= method.max_amount_cents:
        raise Refused(
            Refusal.INVALID_ARGUMENTS,
            f"{method.method_id} takes payments from {method.min_amount_cents} to {method.max_amount_cents} cents; "
            f"this quote would be {found.cents} cents",
        )
    return found


async def _by_key(session: AsyncSession, actor: Actor, idempotency_key: str) -> CreditQuote | None:
    query = select(CreditQuote).where(
        col(CreditQuote.organization_id) == actor.organization_id,
        col(CreditQuote.agent_id) == actor.agent_id,
        col(CreditQuote.idempotency_key) == idempotency_key,
    )
    return (await session.exec(query)).first()


async def locked(session: AsyncSession, organization_id: UUID, quote_id: UUID) -> CreditQuote | None:
    """The quote, locked: first in the lock order before its attempts."""
    query = (
        select(CreditQuote)
        .where(col(CreditQuote.organization_id) == organization_id, col(CreditQuote.id) == quote_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.exec(query)).first()
