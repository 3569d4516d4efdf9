"""A refund, a dispute or a warning as it was read becomes the difference to what has been posted.

Theory of operation
-------------------
One transaction a fact, in the lock order of the service: letter → organization (shared) → attempt → its reversals →
books. The row of the reversal takes what is newer in the fact; lines of the provider's balance that are not known yet
are kept and posted under their own ids; then `rules` says what all reversals of the payment come to, and only the
difference to what was posted is posted. It does not matter which letter comes first, twice or never, nor whether a
reading was stale: lines are only ever added, a refund's status only moves up, and a dispute's is taken from the
reading that began last. A payment that was never granted (`unallocated`) has only money, in the platform's book.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import transactions, watching
from billing.catching_up import once_more
from billing.database import Sessions
from billing.fresh import new_id
from billing.judging import Judged, LetterLock, Verdict
from billing.requests import locked_attempt
from billing.reversal_tables import BalanceTransactionRow, PaymentReversal, ReversalKind
from billing.reversals import freezing, refunding, rules, standing
from billing.reversals.rules import Told
from billing.reversals.standing import Standing
from billing.reversals.telling import Taken, tell
from billing.tables import ExternalPayment, Purpose
from ledger import posting
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, Operation
from rails.money import DisputeSeen, FraudWarned, Incomprehensible, RefundSeen

Reversal: TypeAlias = RefundSeen | DisputeSeen | FraudWarned

LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)

_ENDED_WELL: Final = frozenset({Told.REINSTATED, Told.REJECTED})
_CREDITS: Final = frozenset({Kind.CLAW_BACK, Kind.REINSTATE, Kind.FREEZE, Kind.UNFREEZE})


async def apply(
    sessions: Sessions, fact: Reversal, *, livemode: bool, now: datetime, letter: LetterLock | None = None
) -> Judged:
    """Apply `fact`; the letter, if any, becomes done in the same transaction.

    Raises only when something is broken; then nothing stays.
    """
    return await once_more(sessions, lambda: _apply(sessions, fact, livemode=livemode, now=now, letter=letter))


async def _apply(
    sessions: Sessions, fact: Reversal, *, livemode: bool, now: datetime, letter: LetterLock | None
) -> Judged:
    try:
        async with sessions() as session, session.begin():
            if letter is not None and not await letter.lock(session):
                return Judged(Verdict.NOTHING_NEW, "the letter is done")
            judged, operations = await _judge(session, fact, livemode=livemode, now=now)
            if judged.verdict in {Verdict.PARKED, Verdict.NOT_YET}:
                return judged
            if letter is not None:
                await letter.done(session, now)
            if operations:
                await posting.post(session, operations)
            return judged
    except Incomprehensible as error:
        return Judged(Verdict.PARKED, str(error))


async def _judge(
    session: AsyncSession, fact: Reversal, *, livemode: bool, now: datetime
) -> tuple[Judged, Sequence[Operation]]:
    payment = await standing.of_payment(session, fact.payment_kind, fact.payment_id)
    if payment is None:
        return Judged(Verdict.NOT_YET, f"no payment {fact.payment_id} has been granted"), ()
    if fact.livemode is not livemode:
        return Judged(Verdict.PARKED, f"livemode is {fact.livemode}, this service runs with {livemode}"), ()
    stopped = await freezing.is_stopped(session, payment.organization_id)
    if await locked_attempt(session, payment.organization_id, payment.attempt_id) is None:
        raise LookupError(f"payment {fact.payment_id} has lost its attempt")
    row = await _row(session, fact, payment, now)
    if row.payment_id != fact.payment_id:
        return Judged(Verdict.PARKED, f"{row.external_id} was about {row.payment_id} before"), ()
    operations = await _take_over(session, row, fact, payment, now)
    if payment.purpose == Purpose.GRANTED:
        operations += await _difference(session, row, fact, payment, stopped=stopped, now=now)
    if isinstance(fact, RefundSeen) and fact.request_key is not None:
        await refunding.answered(session, payment, fact.request_key, fact.refund_id, now=now)
    await _watch(session, row, now)
    return Judged(Verdict.APPLIED if operations else Verdict.NOTHING_NEW), operations


def _kind_and_id(fact: Reversal) -> tuple[ReversalKind, str]:
    match fact:
        case RefundSeen():
            kind = ReversalKind.REORGANIZATION if fact.is_reorganization else ReversalKind.REFUND
            return kind, fact.refund_id
        case DisputeSeen():
            return ReversalKind.DISPUTE, fact.dispute_id
        case FraudWarned():
            return ReversalKind.WARNING, fact.warning_id


async def _row(session: AsyncSession, fact: Reversal, payment: ExternalPayment, now: datetime) -> PaymentReversal:
    """The reversal's row; a new one says nothing yet, so that whatever the fact says is newer."""
    kind, external_id = _kind_and_id(fact)
    query = (
        select(PaymentReversal)
        .where(col(PaymentReversal.kind) == kind, col(PaymentReversal.external_id) == external_id)
        .execution_options(populate_existing=True)
    )
    found = (await session.exec(query)).first()
    if found is not None:
        return found
    row = PaymentReversal(
        organization_id=payment.organization_id,
        id=new_id(now),
        kind=kind,
        external_id=external_id,
        attempt_id=payment.attempt_id,
        payment_kind=payment.kind,
        payment_id=payment.external_id,
        amount_cents=0 if isinstance(fact, FraudWarned) else fact.amount,
        live_cents=0,
        lost=False,
        status="unread",
        reason=fact.reason if isinstance(fact, DisputeSeen | FraudWarned) else None,
        details={},
        occurred_at=fact.occurred_at,
        read_at=fact.occurred_at,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    return row


async def _take_over(
    session: AsyncSession, row: PaymentReversal, fact: Reversal, payment: ExternalPayment, now: datetime
) -> list[Operation]:
    """What is newer in the fact goes into the row; lines of the balance that were not known are kept, to be posted."""
    if isinstance(fact, FraudWarned):
        row.status = "open"
        return []
    _check(fact)
    kept = [
        transactions.keep(
            session,
            line,
            organization_id=PLATFORM if payment.purpose == Purpose.UNALLOCATED else payment.organization_id,
            attempt_id=payment.attempt_id,
            account=_against(fact, payment),
            now=now,
            source_id=row.external_id,
        )
        for line in await transactions.unknown(session, fact.transactions)
    ]
    if isinstance(fact, RefundSeen):
        _take_over_refund(row, fact, now)
    else:
        await session.flush()
        await _take_over_dispute(session, row, fact, now)
    return [operation for operation in kept if operation is not None]


def _check(fact: RefundSeen | DisputeSeen) -> None:
    if fact.currency != "usd" or fact.amount < 0:
        raise Incomprehensible(f"a reversal of {fact.amount} {fact.currency}: these books are kept in usd")
    if isinstance(fact, RefundSeen) and fact.status not in rules.REFUND_RANK:
        raise Incomprehensible(f"refund {fact.refund_id} is {fact.status}")


def _against(fact: RefundSeen | DisputeSeen, payment: ExternalPayment) -> str:
    if payment.purpose == Purpose.UNALLOCATED:
        return "unallocated_deposits"
    return "refunds_payable" if isinstance(fact, RefundSeen) else "disputes"


def _take_over_refund(row: PaymentReversal, fact: RefundSeen, now: datetime) -> None:
    known = rules.REFUND_RANK.get(row.status, -1)
    if rules.REFUND_RANK[fact.status] < known:
        return
    details = {**row.details, **fact.details}
    if (row.status, row.details) == (fact.status, details):
        return
    row.status, row.details, row.updated_at = fact.status, details, now
    row.live_cents = row.amount_cents if fact.status in rules.REFUND_LIVE else 0
    row.read_at = max(row.read_at, fact.read_at)


async def _take_over_dispute(session: AsyncSession, row: PaymentReversal, fact: DisputeSeen, now: datetime) -> None:
    query = select(func.coalesce(func.sum(BalanceTransactionRow.amount_cents), 0)).where(
        col(BalanceTransactionRow.source_id) == row.external_id
    )
    withdrawn = max(0, -int((await session.exec(query)).one()))
    if row.status == "unread" or fact.read_at > row.read_at:
        row.status, row.reason, row.read_at, row.updated_at = fact.status, fact.reason, fact.read_at, now
        row.lost = fact.status == "lost" or (row.lost and fact.status.startswith("appeal_"))
    row.amount_cents = max(row.amount_cents, withdrawn)
    row.live_cents = withdrawn
    row.lost = row.lost and withdrawn > 0


async def _difference(
    session: AsyncSession,
    row: PaymentReversal,
    fact: Reversal,
    payment: ExternalPayment,
    *,
    stopped: bool,
    now: datetime,
) -> Sequence[Operation]:
    """What is to be posted for all reversals of the payment, and what the feed says of this one."""
    found = await standing.locked(session, payment, now)
    session.add(found.row)
    cause = f"{row.kind} {row.external_id}"
    posted, operations = rules.difference(
        found.terms, found.posted, await standing.live(session, payment), cause=cause, at=fact.occurred_at
    )
    told = _told(row)
    taken = _taken(operations, posted.credits_reversed - found.row.credits_reversed)
    freezes = await _freezes(session, found, row, told)
    thawing = _freezing(found, posted.number + 1, freezes=freezes, cause=cause, at=fact.occurred_at)
    if freezes is False and stopped:
        thawing = ()  # its own reason has gone, the operator's has not
    if operations or freezes is not None:
        found.write(replace(posted, number=posted.number + len(thawing)), now)
    tell(session, row, told, taken, attempt=found.attempt, receipt=found.receipt, now=now)
    return (*operations, *thawing)


def _taken(operations: Sequence[Operation], credits_: int) -> Taken:
    moving = [operation.id for operation in operations if operation.kind in _CREDITS]
    return Taken(credits_, moving[0] if moving else None)


def _told(row: PaymentReversal) -> Told:
    match row.kind:
        case ReversalKind.REFUND | ReversalKind.REORGANIZATION:
            return rules.refund_told(row.status)
        case ReversalKind.DISPUTE:
            return rules.dispute_told(row.status, row.live_cents, row.told)
    return Told.PENDING


async def _freezes(session: AsyncSession, found: Standing, row: PaymentReversal, told: Told) -> bool | None:
    """Whether the news freezes the payment's credits (a warning) or frees them (a dispute that ended for us).

    None when it does neither. A warning that came before a dispute which has ended well is no news any more; one that
    came after it is.
    """
    if row.told == told:
        return None
    if row.kind == ReversalKind.WARNING and not found.row.frozen:
        ended = select(PaymentReversal.id).where(
            col(PaymentReversal.organization_id) == row.organization_id,
            col(PaymentReversal.payment_id) == row.payment_id,
            col(PaymentReversal.kind) == ReversalKind.DISPUTE,
            col(PaymentReversal.told).in_(_ENDED_WELL),
            col(PaymentReversal.occurred_at) > row.occurred_at,
        )
        return True if (await session.exec(ended)).first() is None else None
    if row.kind == ReversalKind.DISPUTE and told in _ENDED_WELL and found.row.frozen:
        return False
    return None


def _freezing(found: Standing, number: int, *, freezes: bool | None, cause: str, at: datetime) -> Sequence[Operation]:
    if freezes is None:
        return ()
    found.row.frozen = freezes
    kind = Kind.FREEZE if freezes else Kind.UNFREEZE
    return (
        Operation(
            organization_id=found.terms.organization_id,
            kind=kind,
            scope=SYSTEM_SCOPE,
            key=f"{kind}:{found.terms.payment}:{number}",
            event_at=at,
            cause=cause,
            target=found.terms.grant_id,
        ),
    )


async def _watch(session: AsyncSession, row: PaymentReversal, now: datetime) -> None:
    """Until the provider has said its last word, it is asked again without a letter."""
    if row.kind in {ReversalKind.WARNING, ReversalKind.REORGANIZATION}:
        return  # nobody has to be asked: a warning has no end, and the settlement itself is watched
    # A dispute that ended for us has given its money back only when its line of the balance says so.
    waits = row.kind == ReversalKind.DISPUTE and row.status != "lost" and row.live_cents > 0
    if row.status in rules.FINAL and not waits:
        await watching.finish(session, row.kind, row.external_id, now=now)
    else:
        await watching.watch(session, row.kind, row.external_id, now=now, after=LOOK_AGAIN_AFTER)
