"""A refund that we ask for: previewed, stored, sent, and then like any other refund, by its letter or by reading it
again.

Theory of operation
-------------------
What may still be refunded is judged under the attempt's lock, with what is already asked for counted, and the request
is stored with its exact bytes and key before anything is sent. `carry_out` sends it outside any transaction; a lost
answer is sent for again, byte for byte, while the provider keeps the key, and afterwards looked for among the
payment's refunds. Nothing here moves credits: the refund's own reading does (`applying`), so there is one road only.
Of a payment on chain "sent" means prepared for the treasury, which signs it elsewhere: it is read until it was seen.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import watching
from billing.attempts import RequestState
from billing.database import Sessions
from billing.fresh import new_id
from billing.operator_actions import Act, Acting, record
from billing.posting_rules import ON_CHAIN
from billing.refusals import Refusal, Refused
from billing.requests import CALLS_OVER, REPLAY_WINDOW, Clock, locked_attempt, retry_after
from billing.reversal_tables import PaymentReversal, RefundRequest
from billing.reversals import rules, standing
from billing.reversals.lots import with_lot
from billing.reversals.standing import Standing
from billing.tables import ExternalPayment, PaymentAttempt, Purpose
from ledger.ids import external
from ledger.operations import LANE, SYSTEM_SCOPE
from ledger.tables import LotRow, OperationRow
from rails.money import Refunder, RefundOrder
from rails.rail import OutcomeStored, ProviderRefused, ProviderRequest, RailUnavailable

PREFIX: Final = "refund"
DUE_MAX: Final = 20
READ_AFTER: Final = timedelta(minutes=1)
"""When a refund of ours is read if no letter brings it."""
WAITING: Final = (RequestState.STORED, RequestState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a refund would do, were it made now. Cents of the payment; credits of its lot, in the order of taking.

    No credits are taken for a payment that was kept without a grant.
    """

    organization_id: UUID
    attempt_id: UUID
    payment_kind: str
    payment_id: str
    paid_cents: int
    refundable_cents: int
    amount_cents: int
    credits: int = 0
    credits_unspent: int = 0
    credits_held: int = 0
    credits_expired: int = 0
    credits_owed: int = 0


async def preview(session: AsyncSession, attempt_id: UUID, *, amount_cents: int | None, now: datetime) -> Preview:
    """What refunding `amount_cents` (all that is left, when none) of an attempt would do. Changes nothing.

    Of a payment that was granted or, if none was, of one that was kept. Raises `Refused`: NOT_FOUND when nothing was
    paid, AMOUNT_EXCEEDS_REST.
    """
    attempt, payment = await _paid(session, attempt_id)
    rest = await refundable(session, payment)
    without_credits = Preview(
        organization_id=payment.organization_id,
        attempt_id=attempt.id,
        payment_kind=payment.kind,
        payment_id=payment.external_id,
        paid_cents=payment.amount_cents,
        refundable_cents=rest,
        amount_cents=_amount(rest, amount_cents),
    )
    if payment.purpose != Purpose.GRANTED:
        return without_credits
    return await _with_credits(session, await standing.unlocked(session, payment, attempt, now), without_credits)


async def payment_kind(session: AsyncSession, attempt_id: UUID) -> str:
    """The kind of the payment that a refund of the attempt would send back. Raises `Refused(NOT_FOUND)`."""
    _, payment = await _paid(session, attempt_id)
    return payment.kind


async def _paid(session: AsyncSession, attempt_id: UUID) -> tuple[PaymentAttempt, ExternalPayment]:
    found = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
    payment = await standing.payment_to_refund(session, found) if found else None
    if found is None or payment is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such attempt with a payment")
    return found, payment


async def _with_credits(session: AsyncSession, stands: Standing, found: Preview) -> Preview:
    live = await standing.live(session, stands.payment)
    waiting = stands.payment.amount_cents - found.refundable_cents - live.cents
    target = rules.credits_target(stands.terms, live.cents + waiting + found.amount_cents)
    credits_ = max(0, target - stands.posted.credits_reversed)
    lot = await _lot(session, stands)
    unspent = min(credits_, lot.remaining)
    held = min(credits_ - unspent, lot.held - lot.held_reversed)
    expired = min(credits_ - unspent - held, lot.expired - lot.reissued)
    return replace(
        found,
        credits=credits_,
        credits_unspent=unspent,
        credits_held=held,
        credits_expired=expired,
        credits_owed=credits_ - unspent - held - expired,
    )


async def refundable(session: AsyncSession, payment: ExternalPayment) -> int:
    """Cents of a payment that nothing has taken back and nobody has asked back yet."""
    query = select(func.coalesce(func.sum(RefundRequest.amount_cents), 0)).where(
        col(RefundRequest.organization_id) == payment.organization_id,
        col(RefundRequest.payment_id) == payment.external_id,
        col(RefundRequest.state).in_([*WAITING, RequestState.ANSWERED]),
        ~select(PaymentReversal.id)
        .where(
            col(PaymentReversal.organization_id) == col(RefundRequest.organization_id),
            col(PaymentReversal.external_id) == col(RefundRequest.refund_id),
        )
        .exists(),
    )
    asked = int((await session.exec(query)).one())
    return max(0, payment.amount_cents - (await standing.live(session, payment)).cents - asked)


def _amount(rest: int, wanted: int | None) -> int:
    amount = rest if wanted is None else wanted
    if not 0 < amount <= rest:
        raise Refused(Refusal.AMOUNT_EXCEEDS_REST, f"{rest} cents can be refunded", recovery={"refundable_cents": rest})
    return amount


async def _lot(session: AsyncSession, stands: Standing) -> LotRow:
    query = with_lot(select(LotRow).select_from(OperationRow)).where(
        col(OperationRow.lane) == LANE,
        col(OperationRow.organization_id) == stands.payment.organization_id,
        col(OperationRow.id) == stands.terms.grant_id,
    )
    lot: LotRow = (await session.exec(query)).one()
    return lot


async def ask(
    sessions: Sessions,
    *,
    attempt_id: UUID,
    amount_cents: int | None,
    reason: str,
    by: Acting,
    idempotency_key: str,
    now: datetime,
) -> RefundRequest:
    """Store an operator's refund of an attempt's payment; the same key gives the same request for ever.

    Raises `Refused`: NOT_FOUND, AMOUNT_EXCEEDS_REST, SPENDING_CONFLICT when the key was used for another refund.
    """
    asked_by = by.key_id or SYSTEM_SCOPE
    async with sessions() as session, session.begin():
        found = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
        attempt = found and await locked_attempt(session, found.organization_id, attempt_id)
        if attempt is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such attempt")
        before = await _by_key(session, asked_by, idempotency_key)
        if before is not None:
            same = (before.attempt_id, before.reason) == (attempt_id, reason)
            if not same or amount_cents not in {None, before.amount_cents}:
                raise Refused(Refusal.SPENDING_CONFLICT)
            return before
        payment = await standing.payment_to_refund(session, attempt)
        if payment is None:
            raise Refused(Refusal.NOT_FOUND, "nothing was paid for this attempt")
        amount = _amount(await refundable(session, payment), amount_cents)
        row = await store(
            session, payment=payment, amount_cents=amount, reason=reason, asked_by=asked_by,
            idempotency_key=idempotency_key, now=now,
        )  # fmt: skip
        await record(
            session,
            by,
            Act.REFUND,
            organization_id=attempt.organization_id,
            subject=external("payatt", attempt_id),
            reason=reason,
            details={"refund_request": external(PREFIX, row.id), "amount_cents": amount},
            now=now,
        )
        return row


async def asked_before(session: AsyncSession, by: Acting, key: str) -> RefundRequest | None:
    """What `by` asked for under the key, if anything: asking again with it makes no new refund."""
    return await _by_key(session, by.key_id or SYSTEM_SCOPE, key)


async def _by_key(session: AsyncSession, asked_by: UUID, key: str) -> RefundRequest | None:
    query = select(RefundRequest).where(
        col(RefundRequest.asked_by) == asked_by,
        col(RefundRequest.idempotency_key) == key,
    )
    return (await session.exec(query)).first()


async def store(
    session: AsyncSession,
    *,
    payment: ExternalPayment,
    amount_cents: int,
    reason: str,
    asked_by: UUID,
    idempotency_key: str,
    now: datetime,
) -> RefundRequest:
    """Put a request beside its payment, under the attempt's lock, before anything is sent. The worker sends it."""
    request_id = new_id(now)
    row = RefundRequest(
        organization_id=payment.organization_id,
        id=request_id,
        attempt_id=payment.attempt_id,
        payment_kind=payment.kind,
        payment_id=payment.external_id,
        amount_cents=amount_cents,
        reason=reason,
        asked_by=asked_by,
        idempotency_key=idempotency_key,
        provider_key=f"refund:{external('payatt', payment.attempt_id)}:{external(PREFIX, request_id)}",
        state=RequestState.STORED,
        next_try_at=now,
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def due(sessions: Sessions, *, on_chain: bool, now: datetime) -> list[RefundRequest]:
    """Requests that must be sent, again or for the first time: by the treasury (`on_chain`), or by the provider."""
    by_treasury = col(RefundRequest.payment_kind).in_(ON_CHAIN)
    query = (
        select(RefundRequest)
        .where(
            col(RefundRequest.state).in_(WAITING),
            col(RefundRequest.next_try_at) <= now,
            by_treasury if on_chain else ~by_treasury,
        )
        .order_by(col(RefundRequest.next_try_at))
        .limit(DUE_MAX)
    )
    async with sessions() as session:
        return list((await session.exec(query)).all())


async def carry_out(sessions: Sessions, refunder: Refunder, request: RefundRequest, *, clock: Clock) -> str | None:
    """Send the request unless its outcome is known; the refund's id, none when the provider refused it.

    Raises `OutcomeUnknown` or `RailUnavailable` after recording it: it is sent again when its time comes.
    """
    current = await _current(sessions, request)
    if current.state not in WAITING:
        return current.refund_id
    try:
        prepared = await _prepared(sessions, refunder, current)
        refund_id = await _outcome(refunder, current, prepared, clock())
    except ProviderRefused as error:
        await _record(sessions, current, RequestState.REFUSED, clock(), error=str(error))
        return None
    except RailUnavailable as error:
        await _record(sessions, current, RequestState(current.state), clock(), error=str(error))
        raise
    except Exception as error:  # `OutcomeUnknown`, or a bug in reading the answer: it says nothing of what was done
        await _record(sessions, current, RequestState.UNKNOWN, clock(), error=str(error))
        raise
    await _record(sessions, current, RequestState.ANSWERED, clock(), refund_id=refund_id)
    return refund_id


async def _outcome(refunder: Refunder, request: RefundRequest, prepared: ProviderRequest, now: datetime) -> str:
    """The refund's id: by sending, or, where sending tells nothing more, by looking among the payment's refunds."""
    age = now - request.created_at
    if REPLAY_WINDOW < age <= REPLAY_WINDOW + CALLS_OVER:
        raise RailUnavailable("a last call may still be under way; its refund is looked for afterwards")
    if age <= REPLAY_WINDOW:
        with suppress(OutcomeStored):
            return await refunder.start_refund(prepared)
    try:
        found = await refunder.find_refund(request.payment_id, prepared)
    except ProviderRefused as error:
        raise RailUnavailable(f"the payment's refunds could not be read: {error}") from error
    if found is None:
        raise ProviderRefused(code="never_made", message="the provider never made this refund; ask for it again")
    return found


async def _current(sessions: Sessions, request: RefundRequest) -> RefundRequest:
    async with sessions() as session:
        return await session.get_one(RefundRequest, (request.organization_id, request.id))


async def answered(
    session: AsyncSession, payment: ExternalPayment, provider_key: str, refund_id: str, *, now: datetime
) -> None:
    """A refund was read that a request of ours made: that is its answer, whatever came of the call."""
    query = select(RefundRequest).where(
        col(RefundRequest.organization_id) == payment.organization_id,
        col(RefundRequest.attempt_id) == payment.attempt_id,
        col(RefundRequest.provider_key) == provider_key,
        col(RefundRequest.state) != RequestState.ANSWERED,
    )
    row = (await session.exec(query)).first()
    if row is not None:
        row.state, row.error, row.refund_id, row.answered_at = RequestState.ANSWERED, None, refund_id, now


def order(request: RefundRequest) -> RefundOrder:
    """What is asked of who refunds."""
    return RefundOrder(
        organization_id=external("org", request.organization_id),
        attempt_id=external("payatt", request.attempt_id),
        provider_key=request.provider_key,
        payment_id=request.payment_id,
        amount=request.amount_cents,
    )


async def _prepared(sessions: Sessions, refunder: Refunder, request: RefundRequest) -> ProviderRequest:
    """The exact request, made and stored before it is first sent."""
    async with sessions() as session, session.begin():
        await locked_attempt(session, request.organization_id, request.attempt_id)
        row = await session.get_one(RefundRequest, (request.organization_id, request.id))
        made = refunder.prepare_refund(order(row))
        if row.parameters is None or row.api_version is None:
            row.parameters, row.api_version = made.parameters, made.api_version
        elif row.api_version == made.api_version and row.parameters != made.parameters:
            # Who can write this table must not thereby give away the provider's money.
            raise ProviderRefused(code="not_ours", message="the stored request is not the one that the refund makes")
        return ProviderRequest(row.provider_key, row.parameters, row.api_version)


async def _record(
    sessions: Sessions,
    request: RefundRequest,
    state: RequestState,
    now: datetime,
    *,
    error: str | None = None,
    refund_id: str | None = None,
) -> None:
    async with sessions() as session, session.begin():
        await locked_attempt(session, request.organization_id, request.attempt_id)
        row = await session.get_one(RefundRequest, (request.organization_id, request.id), populate_existing=True)
        if row.state not in WAITING and not (refund_id and row.state == RequestState.REFUSED):
            return  # an answer is worth more than a refusal: that it was never made was said too early
        row.state, row.error, row.refund_id = state, error, refund_id
        if refund_id is not None:
            await watching.watch(session, "refund", refund_id, now=now, after=READ_AFTER)
        if state in WAITING:
            row.tries += 1
            row.next_try_at = now + retry_after(row.tries)
        else:
            row.answered_at = now
