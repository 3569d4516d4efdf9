"""A fact is applied: the only place where a payment becomes credits.

Theory of operation
-------------------
One transaction a fact, in the lock order of the service: letter → organization (shared) → quote → attempt → external
payment → books. Under
these locks the fact is judged (pure: the state machine, whether the money agrees), then external payment, receipt,
event and letter are written, and the books are posted, last. Whoever brings the fact — webhook, return page, status,
sweeper — comes through here, any number of times: the attempt knows its payment, the external payment is unique,
and the posting's key is the payment itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import activity, posting_rules, quotes, second_payments, watching
from billing.attempts import AttemptState, Happening, after
from billing.catching_up import once_more
from billing.database import Sessions
from billing.fresh import new_id
from billing.judging import Judged, LetterLock, Verdict
from billing.requests import locked_attempt
from billing.reversals import freezing
from billing.settlements import Allotment, Expected, allotment, disagreement
from billing.tables import CreditQuote, ExternalPayment, PaymentAttempt, ProviderRequestRow, Purpose, Receipt
from ledger import ids, posting
from ledger.operations import Kind, Operation
from ledger.outcomes import Posted
from rails.rail import (
    ActionExpired,
    ActionOpen,
    Fact,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    Unaccountable,
)

UNDER_REVIEW: Final = "A payment arrived that does not agree with the quote; a person is looking at it."
FEE_COMES_LATER: Final = "payment_intent"
FEE_AFTER: Final = timedelta(minutes=5)
"""When a payment is read for its fee if no letter brings it. Stripe books it up to an hour later."""


async def apply(
    sessions: Sessions, fact: Fact, *, livemode: bool, now: datetime, letter: LetterLock | None = None
) -> Judged:
    """Apply `fact` once. `letter` is given with the last fact of a letter and becomes done in the same transaction.

    Raises only when something is broken; then nothing of the transaction stays.
    """
    return await once_more(sessions, lambda: _apply(sessions, fact, livemode=livemode, now=now, letter=letter))


async def _apply(sessions: Sessions, fact: Fact, *, livemode: bool, now: datetime, letter: LetterLock | None) -> Judged:
    async with sessions() as session, session.begin():
        if letter is not None and not await letter.lock(session):
            return Judged(Verdict.NOTHING_NEW, "the letter is done")
        found = await _locked(session, fact)
        if isinstance(found, Judged):
            return found
        quote, attempt = found
        request = await _asked_by(session, attempt, fact)
        if request is None or request.external_id not in {None, fact.object_id}:
            return Judged(Verdict.PARKED, f"{fact.object_id} was not asked for by {fact.attempt_id}")
        if request.number == attempt.request_number or isinstance(fact, PaymentSettled | Unaccountable):
            judged, operations = await _judge(session, fact, quote, attempt, livemode=livemode, now=now)
        else:
            # Only its money counts. Its other news must not end an attempt that has been opened again since.
            judged, operations = Judged(Verdict.NOTHING_NEW, "about an object that was replaced"), ()
        if judged.verdict is Verdict.PARKED:
            _wait_for_a_person(attempt, now)
            return judged
        if letter is not None:
            await letter.done(session, now)
        if operations:
            _fresh(await posting.post(session, operations))
        return judged


def _wait_for_a_person(attempt: PaymentAttempt, now: datetime) -> None:
    """Money arrived that cannot be granted as it is. Until a person has looked, nobody is asked for more of it."""
    state = after(AttemptState(attempt.state), Happening.PROCESSING)
    if state == AttemptState.PROCESSING and attempt.reason != UNDER_REVIEW:
        attempt.state, attempt.reason, attempt.updated_at = state, UNDER_REVIEW, now


def _fresh(posted: Sequence[Posted]) -> None:
    """A replay here would leave a receipt whose operation is not in the journal; the external payment rules it out."""
    if any(one.replayed for one in posted):
        raise RuntimeError("a payment was posted before it was known")


async def _locked(session: AsyncSession, fact: Fact) -> tuple[CreditQuote, PaymentAttempt] | Judged:
    """The quote and attempt that a fact is about, locked in this order; or why there are none."""
    try:
        attempt_id = ids.parse("payatt", fact.attempt_id)
    except ids.MalformedId:
        return Judged(Verdict.PARKED, f"{fact.attempt_id} is not an attempt of ours")
    unlocked = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
    if unlocked is None:
        return Judged(Verdict.NOT_YET, f"there is no attempt {fact.attempt_id}")
    await freezing.is_stopped(session, unlocked.organization_id)  # locked before the quote, asked for with the grant
    quote = await quotes.locked(session, unlocked.organization_id, unlocked.quote_id)
    attempt = await locked_attempt(session, unlocked.organization_id, attempt_id)
    if quote is None or attempt is None:
        raise LookupError(f"attempt {fact.attempt_id} has lost its quote")
    return quote, attempt


async def _asked_by(session: AsyncSession, attempt: PaymentAttempt, fact: Fact) -> ProviderRequestRow | None:
    """The attempt's request that made the fact's object; none when none of its requests did."""
    query = select(ProviderRequestRow).where(
        col(ProviderRequestRow.organization_id) == attempt.organization_id,
        col(ProviderRequestRow.attempt_id) == attempt.id,
        col(ProviderRequestRow.provider_key) == fact.provider_key,
    )
    return (await session.exec(query)).first() if attempt.method == fact.method_id else None


async def _judge(
    session: AsyncSession, fact: Fact, quote: CreditQuote, attempt: PaymentAttempt, *, livemode: bool, now: datetime
) -> tuple[Judged, Sequence[Operation]]:
    match fact:
        case PaymentSettled():
            return await _settle(session, fact, quote, attempt, livemode=livemode, now=now)
        case Unaccountable():
            return Judged(Verdict.PARKED, fact.reason), ()
        case ActionOpen() if attempt.object_id is None:
            # Our own call has not stored its answer yet; it will, or its repetition will, with the action in it.
            return Judged(Verdict.NOTHING_NEW), ()
        case ActionOpen() | PaymentProcessing() | PaymentFailed() | ActionExpired():
            return _move(attempt, fact, now), ()
    raise TypeError(f"no rule for {type(fact).__name__}")


def _happening(attempt: PaymentAttempt, fact: Fact) -> Happening:
    match fact:
        case ActionOpen():
            return Happening.OPENED
        case PaymentProcessing():
            return Happening.PROCESSING
        case PaymentFailed():
            return Happening.FAILED
    return Happening.CANCELED if attempt.cancel_requested_at else Happening.EXPIRED


def _move(attempt: PaymentAttempt, fact: Fact, now: datetime) -> Judged:
    state = after(AttemptState(attempt.state), _happening(attempt, fact))
    if state == attempt.state:
        return Judged(Verdict.NOTHING_NEW)
    attempt.state, attempt.updated_at = state, now
    attempt.reason = fact.reason if isinstance(fact, PaymentFailed | PaymentProcessing) else None
    attempt.object_id = attempt.object_id or fact.object_id
    return Judged(Verdict.APPLIED)


async def _settle(
    session: AsyncSession,
    fact: PaymentSettled,
    quote: CreditQuote,
    attempt: PaymentAttempt,
    *,
    livemode: bool,
    now: datetime,
) -> tuple[Judged, Sequence[Operation]]:
    known = await session.get(ExternalPayment, (fact.payment_kind, fact.payment_id))
    if known is not None and known.attempt_id == attempt.id:
        return Judged(Verdict.NOTHING_NEW, f"this payment is known and {known.purpose}"), ()
    if known is not None:
        return Judged(Verdict.PARKED, f"{fact.payment_id} has paid another attempt"), ()
    expected = Expected(quote.price_cents, quote.currency, livemode, quote.credits)
    why_not = disagreement(fact, expected)
    if why_not is not None:
        return Judged(Verdict.PARKED, why_not), ()
    if fact.payment_kind == FEE_COMES_LATER:
        await watching.watch(session, fact.payment_kind, fact.payment_id, now=now, after=FEE_AFTER)
    if quote.settled_at is None:
        granted = _grant(session, fact, quote, attempt, allotted=allotment(fact, expected), now=now)
        return Judged(Verdict.APPLIED), await _frozen_if_stopped(session, granted, now)
    if fact.total:
        kept = await second_payments.keep(session, fact, quote, attempt, now)
        return Judged(Verdict.APPLIED, second_payments.REASON), (kept,)
    second_payments.end(attempt, now, reason=None)
    return Judged(Verdict.NOTHING_NEW, "nothing was paid for a quote that has been paid"), ()


async def _frozen_if_stopped(session: AsyncSession, granted: Operation, now: datetime) -> Sequence[Operation]:
    """Real money is honoured also for an organization that an operator has stopped; what it bought is stopped too."""
    if granted.lot is None or not await freezing.is_stopped(session, granted.organization_id):
        return (granted,)
    return granted, freezing.freezing(granted.organization_id, granted.id, Kind.FREEZE, at=now)


def _grant(
    session: AsyncSession,
    fact: PaymentSettled,
    quote: CreditQuote,
    attempt: PaymentAttempt,
    *,
    allotted: Allotment,
    now: datetime,
) -> Operation:
    # Who pays nothing has no charge, and so no time of it: his page is only as old as it is.
    settled_at = fact.occurred_at if fact.total else now
    granted = posting_rules.purchase(
        fact,
        organization_id=attempt.organization_id,
        allotted=allotted,
        expire_after_days=quote.credits_expire_after_days,
        settled_at=settled_at,
    )
    session.add(
        ExternalPayment(
            kind=fact.payment_kind,
            external_id=fact.payment_id,
            organization_id=attempt.organization_id,
            attempt_id=attempt.id,
            purpose=Purpose.GRANTED,
            amount_cents=fact.total,
            operation_id=granted.id,
            created_at=now,
        )
    )
    receipt = _receipt(fact, quote, attempt, granted, allotted=allotted, now=now)
    session.add(receipt)
    activity.payment_backed_granted(session, quote, receipt, now)
    attempt.state = after(AttemptState(attempt.state), Happening.SETTLED)
    attempt.object_id, attempt.reason, attempt.updated_at = fact.object_id, None, now
    quote.settled_at = settled_at
    return granted


def _receipt(
    fact: PaymentSettled,
    quote: CreditQuote,
    attempt: PaymentAttempt,
    granted: Operation,
    *,
    allotted: Allotment,
    now: datetime,
) -> Receipt:
    settled_at = granted.event_at or now
    return Receipt(
        organization_id=attempt.organization_id,
        id=new_id(now),
        attempt_id=attempt.id,
        quote_id=quote.id,
        operation_id=granted.id,
        credits=allotted.credits,
        subtotal_cents=fact.total if fact.any_amount else fact.subtotal,
        discount_cents=fact.discount,
        tax_cents=fact.tax,
        total_cents=fact.total,
        currency=quote.currency,
        late=settled_at > quote.expires_at,
        details={**fact.details, **_another_amount(fact, quote, allotted)},
        settled_at=settled_at,
        created_at=now,
    )


def _another_amount(fact: PaymentSettled, quote: CreditQuote, allotted: Allotment) -> dict[str, int]:
    """What a receipt says of a payer who sent more or less than was asked for."""
    if not fact.any_amount or fact.total == quote.price_cents:
        return {}
    return {
        "requested_cents": quote.price_cents,
        "received_cents": fact.total,
        "remainder_cents": allotted.remainder_cents,
        "credits_quoted": quote.credits,
    }
