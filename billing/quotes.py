"""Price and terms, asked for under a key: the same key and terms give the same quote, for ever. Moves no balance."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Actor, lock_organization
from billing.packs import METHODS, Offer, Terms
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
    terms: Terms,
    *,
    idempotency_key: str,
    offer: Offer,
    live_money: bool,
    unavailable: str | None,
    now: datetime,
) -> CreditQuote:
    """The quote for `terms`. A replay is answered before anything else, also when the method has become unavailable.

    Raises `Refused` with CREDIT_QUOTE_CONFLICT, INVALID_ARGUMENTS (out of the method's limits) or
    PAYMENT_METHOD_UNAVAILABLE.
    """
    async with sessions() as session, session.begin():
        await lock_organization(session, actor)
        existing = await _by_key(session, actor, idempotency_key)
        if existing is not None:
            if _terms_of(existing) != terms:
                raise Refused(Refusal.CREDIT_QUOTE_CONFLICT)
            return existing
        if unavailable is not None:
            raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{terms.payment_method} is not available: {unavailable}")
        _check_limits(terms)
        quote = CreditQuote(
            organization_id=actor.organization_id,
            id=new_id(now),
            agent_id=actor.agent_id,
            idempotency_key=idempotency_key,
            credits=terms.credits,
            pack_id=terms.pack_id,
            price_cents=terms.price_cents,
            currency="USD",
            payment_method=terms.payment_method,
            live_money=live_money,
            credits_expire_after_days=offer.credits_expire_after_days,
            created_at=now,
            expires_at=now + offer.quote_ttl,
        )
        session.add(quote)
        return quote


def _terms_of(quote: CreditQuote) -> Terms:
    return Terms(quote.credits, quote.price_cents, quote.pack_id, quote.payment_method)


def _check_limits(terms: Terms) -> None:
    method = METHODS[terms.payment_method]
    if not method.min_amount_cents <= terms.price_cents <= method.max_amount_cents:
        raise Refused(
            Refusal.INVALID_ARGUMENTS,
            f"{method.method_id} takes payments from {method.min_amount_cents} to {method.max_amount_cents} cents; "
            f"this quote would be {terms.price_cents} cents",
        )


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
