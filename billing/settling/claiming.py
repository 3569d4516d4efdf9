"""A signed payment is bound to an attempt, before anything is sent anywhere: the claim.

Theory of operation
-------------------
A payment has been verified when it comes here. The claim is one transaction in which the settlement is stored and the
attempt becomes `processing`; who comes second with the same payment, at any process, is told whose it is. A top-up
without an account makes what it needs in the same transaction: organization, agent and token for a wallet that is new,
quote, attempt. The token is made here and nowhere later, for the one who claims: until then nobody but the payer, who
the payer gave it to, and the node that verified it can have seen the signed payment; afterwards it stands on the chain
for everybody to read.

A wallet that is known pays into the organization that was made for it, and gets no token for that: whoever presents
its payment may be a shop that passed our terms on as its own. It signs in instead (`billing.wallets`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import identity, purchases, quotes, requests
from billing.actions import object_id, stored
from billing.attempts import AttemptState, Happening, RequestState, after
from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Actor, Newcomer, lock_organization
from billing.packs import Pack
from billing.purchases import Place
from billing.refusals import Refusal, Refused
from billing.settlement_states import SettlementState
from billing.settling import records
from billing.settling.records import Key
from billing.settling_tables import PayerWallet, Settlement
from billing.tables import Agent, CreditQuote, PaymentAttempt, ProviderRequestRow
from ledger import posting
from ledger.ids import external
from ledger.operations import opening
from rails.rail import Action, Order, ProviderRequest
from rails.x402.terms import METHOD_ID, Requirement, SignedPayment

RUNTIME: Final = "x402"
"""What stands as the runtime of an agent that was made for a wallet."""
TRIES_MAX: Final = 3
UNDER_WAY_MAX: Final = 20
"""Payments of one wallet that may be under way together: each makes us ask the chain until it is decided."""

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Payable:
    """A payment that would settle, and what for. `digest`: the EIP-712 digest; `head_block`: the payment is not before.

    `balance`: what the payer has, in atomic units; none where no chain can be asked.
    """

    payment: SignedPayment
    requirement: Requirement
    digest: bytes
    head_block: int
    balance: int | None
    submitter: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A settlement that this call made. `token` is there when its organization is new, and is never shown again."""

    key: Key
    attempt_id: UUID
    quote_id: UUID
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """How a top-up is made into an order: the rail's own two steps, neither of which asks anybody anything."""

    prepare: Callable[[Order], ProviderRequest]
    start: Callable[[ProviderRequest], Awaitable[Action]]


class AlreadyClaimed(Exception):
    """The payment is known: it has this settlement, and nothing new was stored."""

    def __init__(self, settlement: Settlement) -> None:
        super().__init__(f"claimed as {settlement.id}")
        self.settlement = settlement


class _Raced(Exception):
    """Another claim came first; look again."""


async def claim(
    sessions: Sessions, actor: Actor, attempt_id: UUID, payable: Payable, *, lease: timedelta, now: datetime
) -> Claimed:
    """Bind a payment to an attempt of the actor's. `lease`: for how long the caller looks after it.

    Raises `AlreadyClaimed`, or `Refused`: NOT_FOUND, CREDIT_QUOTE_ALREADY_PAID, CREDIT_PURCHASE_IN_PROGRESS (another
    payment of the attempt is on its way), STATE_CONFLICT, PAYMENT_IDENTIFIER_CONFLICT.
    """

    async def once() -> Claimed:
        async with sessions() as session, session.begin():
            await _not_claimed(session, payable)
            await lock_organization(session, actor, now=now)
            await _not_claimed(session, payable)  # by one who held the lock, and may be asked the same
            attempt = await _claimable(session, actor, attempt_id, now)
            key = await _store(session, attempt, payable, lease=lease, now=now)
            return Claimed(key, attempt.id, attempt.quote_id)

    return await _until_first(once)


async def _claimable(session: AsyncSession, actor: Actor, attempt_id: UUID, now: datetime) -> PaymentAttempt:
    seen = await session.get(PaymentAttempt, (actor.organization_id, attempt_id))
    if seen is None or seen.method != METHOD_ID:
        raise Refused(Refusal.NOT_FOUND, "there is no such payment attempt")
    quote = await quotes.locked(session, actor.organization_id, seen.quote_id)
    attempt = await requests.locked_attempt(session, actor.organization_id, attempt_id)
    if quote is None or attempt is None:
        raise LookupError(f"attempt {attempt_id} has lost its quote")
    refused = obstacle(attempt, quote, now=now)
    if refused is not None:
        raise refused
    return attempt


def obstacle(attempt: PaymentAttempt, quote: CreditQuote, *, now: datetime) -> Refused | None:
    """Why no payment is taken for the attempt, nor asked for; none when one is. Pure."""
    recovery = {"payment_attempt_id": external("payatt", attempt.id)}
    if quote.settled_at is not None:
        return Refused(Refusal.CREDIT_QUOTE_ALREADY_PAID)
    if attempt.state == AttemptState.PROCESSING:
        return Refused(Refusal.CREDIT_PURCHASE_IN_PROGRESS, recovery=recovery)
    if attempt.state != AttemptState.ACTION_REQUIRED or attempt.cancel_requested_at or attempt.payable_until <= now:
        message = "this attempt can no longer be paid; nothing was taken"
        return Refused(Refusal.STATE_CONFLICT, message, recovery=recovery)
    return None


async def claim_top_up(
    sessions: Sessions,
    actor: Actor | None,
    pack: Pack,
    payable: Payable,
    *,
    request: Request,
    place: Place,
    live_money: bool,
    lease: timedelta,
    now: datetime,
) -> Claimed:
    """Store what a payment without a quote buys, and bind the payment to it.

    For the actor's organization, else for the wallet's own. Raises `AlreadyClaimed`, or `Refused`: AUTH_REQUIRED,
    PAYMENT_IDENTIFIER_CONFLICT.
    """

    async def once() -> Claimed:
        async with sessions() as session, session.begin():
            await _not_claimed(session, payable)
            buyer, token, is_new = await _buyer(session, actor, payable, now)
            quote = _quote(buyer, pack, payable, place, live_money=live_money, now=now)
            session.add(quote)
            await _flush(session)
            attempt = purchases.new_attempt(buyer, quote, quote.idempotency_key, place.offer, now)
            prepared = request.prepare(purchases.order(attempt, quote, place, now))
            await _ask(session, attempt, prepared, await request.start(prepared), now)
            key = await _store(session, attempt, payable, lease=lease, now=now)
            if is_new:
                await posting.post(session, [opening(organization_id=buyer.organization_id, event_at=now)])
            return Claimed(key, attempt.id, quote.id, token)

    return await _until_first(once)


def top_up_key(digest: bytes) -> str:
    """The key of what a payment without a quote buys: the payment itself, because it buys once."""
    return f"{RUNTIME}:{digest.hex()}"


async def _until_first(once: Callable[[], Awaitable[Done]]) -> Done:
    """`once`, again when another claim committed meanwhile: the second look finds what came first."""
    for _ in range(TRIES_MAX):
        try:
            return await once()
        except _Raced:
            continue
    raise Refused(Refusal.SERVICE_UNAVAILABLE)


async def _not_claimed(session: AsyncSession, payable: Payable) -> None:
    signed, requirement = payable.payment.authorization, payable.requirement
    found = await records.find(
        session, network=requirement.network, asset=requirement.asset, payer=signed.from_, nonce=signed.nonce
    )
    if found is not None:
        session.expunge(found)  # the transaction ends by the exception, which would take its values back
        raise AlreadyClaimed(found)
    identifier = payable.payment.payment_identifier
    if identifier is None:
        return
    query = select(Settlement.id).where(
        col(Settlement.network) == requirement.network,
        col(Settlement.payer) == signed.from_,
        col(Settlement.payment_identifier) == identifier,
    )
    if (await session.exec(query)).first() is not None:
        raise Refused(Refusal.PAYMENT_IDENTIFIER_CONFLICT)


async def _buyer(
    session: AsyncSession, actor: Actor | None, payable: Payable, now: datetime
) -> tuple[identity.Buyer, str | None, bool]:
    """Who buys, with the token and whether the organization is new: the actor, the wallet's agent, or a new one."""
    if actor is not None:
        await lock_organization(session, actor, now=now)
        return identity.Buyer(actor.organization_id, actor.agent_id), None, False
    network, payer = payable.requirement.network, payable.payment.authorization.from_
    wallet = await session.get(PayerWallet, (network, payer))
    if wallet is not None:
        await identity.lock(session, wallet.organization_id, now)
        agent = await session.get_one(Agent, (wallet.organization_id, wallet.agent_id))
        if agent.revoked_at is not None:
            # Nobody could reach what it buys: signing in is refused to it too.
            raise Refused(Refusal.PAYER_REFUSED, "this wallet's agent was revoked; pay with an agent's token")
        return identity.Buyer(wallet.organization_id, wallet.agent_id), None, False
    agent, token = await identity.found(session, Newcomer(f"wallet {payer}", RUNTIME), now=now)
    session.add(
        PayerWallet(
            network=network,
            address=payer,
            organization_id=agent.organization_id,
            agent_id=agent.id,
            founded=True,
            created_at=now,
        )
    )
    await _flush(session)
    return identity.Buyer(agent.organization_id, agent.id), token, True


def _quote(
    buyer: identity.Buyer, pack: Pack, payable: Payable, place: Place, *, live_money: bool, now: datetime
) -> CreditQuote:
    return CreditQuote(
        organization_id=buyer.organization_id,
        id=new_id(now),
        agent_id=buyer.agent_id,
        idempotency_key=top_up_key(payable.digest),
        credits=pack.credits,
        pack_id=pack.pack_id,
        price_cents=pack.price_cents,
        currency="USD",
        payment_method=METHOD_ID,
        live_money=live_money,
        credits_expire_after_days=place.offer.credits_expire_after_days,
        refund_second_payment=place.offer.refund_second_payments,
        created_at=now,
        expires_at=now + place.offer.quote_ttl,
    )


async def _ask(
    session: AsyncSession, attempt: PaymentAttempt, prepared: ProviderRequest, action: Action, now: datetime
) -> None:
    """The attempt with its request and its action, as a purchase makes them."""
    attempt.state, attempt.object_id = after(AttemptState.CREATED, Happening.OPENED), object_id(action)
    session.add(attempt)
    await session.flush()
    session.add(
        ProviderRequestRow(
            organization_id=attempt.organization_id,
            attempt_id=attempt.id,
            number=attempt.request_number,
            provider_key=prepared.provider_key,
            parameters=prepared.parameters,
            api_version=prepared.api_version,
            state=RequestState.ANSWERED,
            external_id=attempt.object_id,
            action=stored(action),
            next_try_at=now,
            created_at=now,
            answered_at=now,
        )
    )


async def _covered(session: AsyncSession, payable: Payable, now: datetime) -> None:
    """The payer has enough for this and for all of its payments that are under way, which are not too many.

    One that had a dollar could otherwise make us look after any number of payments of it. Claims of one payer wait here
    for each other. Raises `Refused(PAYER_BUSY)`.
    """
    signed, requirement = payable.payment.authorization, payable.requirement
    named = f"{requirement.network}:{signed.from_}"
    await session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(named, 0))))
    await _not_claimed(session, payable)
    under_way = select(func.count(), func.coalesce(func.sum(col(Settlement.amount_atomic)), 0)).where(
        col(Settlement.network) == requirement.network,
        col(Settlement.payer) == signed.from_,
        col(Settlement.state).in_([SettlementState.CLAIMED, SettlementState.SETTLING, SettlementState.UNKNOWN]),
        col(Settlement.valid_before) > int(now.timestamp()),  # a later one takes nothing any more,
        col(Settlement.block_number).is_(None),  # and one that stands in a block has taken it
    )
    number, atomic = (await session.exec(under_way)).one()
    is_covered = payable.balance is None or payable.balance >= int(atomic) + signed.value
    if number >= UNDER_WAY_MAX or not is_covered:
        raise Refused(Refusal.PAYER_BUSY)


async def _store(
    session: AsyncSession, attempt: PaymentAttempt, payable: Payable, *, lease: timedelta, now: datetime
) -> Key:
    """Store the settlement of a locked attempt, which waits for the chain from now on. Raises `_Raced`."""
    signed, requirement = payable.payment.authorization, payable.requirement
    await _covered(session, payable, now)
    settlement_id = new_id(now)
    attempt.state, attempt.reason, attempt.updated_at = (
        after(AttemptState(attempt.state), Happening.PROCESSING),
        None,
        now,
    )
    session.add(
        Settlement(
            organization_id=attempt.organization_id,
            id=settlement_id,
            attempt_id=attempt.id,
            network=requirement.network,
            asset=requirement.asset,
            payer=signed.from_,
            nonce=signed.nonce,
            digest=payable.digest,
            signature=payable.payment.signature,
            pay_to=signed.to,
            amount_atomic=signed.value,
            valid_after=signed.valid_after,
            valid_before=signed.valid_before,
            payment_identifier=payable.payment.payment_identifier,
            submitter=payable.submitter,
            state=SettlementState.CLAIMED,
            from_block=payable.head_block,
            next_try_at=now + lease,
            created_at=now,
            updated_at=now,
        )
    )
    await _flush(session)
    return Key(attempt.organization_id, settlement_id)


async def _flush(session: AsyncSession) -> None:
    """The constraints have the last word: one settlement per authorization, wallet, identifier and open attempt.

    Of a wallet that another claim has just made known, the first to be twice is the quote.
    """
    try:
        await session.flush()
    except IntegrityError as error:
        raise _Raced from error
