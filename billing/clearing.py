"""Fees and payouts: what the provider keeps of a payment, and what it sends to the bank.

Theory of operation
-------------------
The gross of a payment was posted with its grant; its fee comes later, with the charge's line of the balance. A payout
takes clearing to the bank, in the platform's book, and lists what it is made of. A line of a payment of ours is never
posted from there: the payment, refund or dispute that it belongs to is watched, so that it is read and posted by its
own road, and until then the payout is not complete. Lines of nobody's (the provider's own fees, payments that others
make in the same account) are posted to the platform, so that clearing over all books is explained to the cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import transactions, watching
from billing.catching_up import once_more
from billing.database import Sessions
from billing.judging import Judged, LetterLock, Verdict
from billing.requests import locked_attempt
from billing.reversal_tables import BalanceTransactionRow, PayoutRow
from billing.tables import ExternalPayment, Purpose
from ledger import posting
from ledger.operations import PLATFORM, Operation
from rails.money import BalanceTransaction, ChargeBooked, Contents, Incomprehensible, PayoutSeen

LINES_AT_ONCE: Final = 100
"""Lines of a payout that one transaction posts to the platform's book, so that it is never locked for long."""
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)
PAYOUT: Final = "payout"

_FOREIGN: Final = frozenset({
    "charge", "charge_failure", "refund", "refund_failure", "partial_capture_reversal", "dispute", "dispute_reversal",
})  # fmt: skip
"""Categories of payments. Source: https://docs.stripe.com/reports/reporting-categories."""
_COSTS: Final = frozenset({"fee", "network_cost", "tax", "platform_earning"})
_OWN: Final = frozenset({"payout", "payout_reversal"})
_WATCHED_AS: Final = {
    "charge": "payment_intent", "refund": "refund", "refund_failure": "refund", "dispute": "dispute",
    "dispute_reversal": "dispute",
}  # fmt: skip


async def apply(
    sessions: Sessions,
    fact: ChargeBooked | PayoutSeen,
    *,
    livemode: bool,
    now: datetime,
    letter: LetterLock | None = None,
) -> Judged:
    """Apply `fact`; the letter, if any, becomes done with the last of it.

    Raises only when something is broken; then nothing of a transaction stays.
    """
    return await once_more(sessions, lambda: _apply(sessions, fact, livemode=livemode, now=now, letter=letter))


async def _apply(
    sessions: Sessions, fact: ChargeBooked | PayoutSeen, *, livemode: bool, now: datetime, letter: LetterLock | None
) -> Judged:
    if fact.livemode is not livemode:
        return Judged(Verdict.PARKED, f"livemode is {fact.livemode}, this service runs with {livemode}")
    try:
        if isinstance(fact, ChargeBooked):
            return await _charge(sessions, fact, now=now, letter=letter)
        return await _payout(sessions, fact, now=now, letter=letter)
    except Incomprehensible as error:
        return Judged(Verdict.PARKED, str(error))


async def _charge(sessions: Sessions, fact: ChargeBooked, *, now: datetime, letter: LetterLock | None) -> Judged:
    async with sessions() as session, session.begin():
        if letter is not None and not await letter.lock(session):
            return Judged(Verdict.NOTHING_NEW, "the letter is done")
        payment = await session.get(ExternalPayment, (fact.payment_kind, fact.payment_id))
        operations: Sequence[Operation] = ()
        unknown = None
        # A payment that is not granted (yet) is watched from its grant on, so that no letter has to wait for it.
        if payment is None:
            unknown = f"no payment {fact.payment_id} has been granted"
        if payment is not None and fact.transaction is not None:
            await locked_attempt(session, payment.organization_id, payment.attempt_id)
            operations = await _fee(session, fact.transaction, payment, now)
            await watching.finish(session, fact.payment_kind, fact.payment_id, now=now)
        if letter is not None:
            await letter.done(session, now)
        if operations:
            await posting.post(session, operations)
        return Judged(Verdict.APPLIED if operations else Verdict.NOTHING_NEW, unknown)


async def _fee(
    session: AsyncSession, line: BalanceTransaction, payment: ExternalPayment, now: datetime
) -> Sequence[Operation]:
    if not await transactions.unknown(session, [line]):
        return ()
    if line.amount != payment.amount_cents:
        raise Incomprehensible(f"{line.transaction_id} is of {line.amount}, its payment of {payment.amount_cents}")
    owner = payment.organization_id if payment.purpose == Purpose.GRANTED else PLATFORM
    kept = transactions.keep(session, line, organization_id=owner, attempt_id=payment.attempt_id, account=None, now=now)
    return () if kept is None else (kept,)


async def _payout(sessions: Sessions, fact: PayoutSeen, *, now: datetime, letter: LetterLock | None) -> Judged:
    contents = fact.contents or ()
    nobodys = (*fact.own, *(one.transaction for one in contents if one.payment_id is None))
    # A payout lists its own line among its contents.
    lines = [(line, _account(line)) for line in {line.transaction_id: line for line in nobodys}.values()]
    changed = False
    for start in range(0, len(lines), LINES_AT_ONCE):
        changed |= await _platform(sessions, lines[start : start + LINES_AT_ONCE], fact, now)
    missing = False
    for start in range(0, len(contents), LINES_AT_ONCE):
        missing |= await _assign(sessions, fact, contents[start : start + LINES_AT_ONCE], now)
    async with sessions() as session, session.begin():
        if letter is not None and not await letter.lock(session):
            return Judged(Verdict.NOTHING_NEW, "the letter is done")
        # A manual payout never tells what it was made of, nor does one that failed: the next one has its lines.
        told = fact.contents is not None or not fact.automatic or fact.status in {"failed", "canceled"}
        await _store(session, fact, complete=told and not missing, now=now)
        if letter is not None:
            await letter.done(session, now)
    return Judged(Verdict.APPLIED if changed else Verdict.NOTHING_NEW)


def _account(line: BalanceTransaction) -> str:
    """What stands against clearing in the platform's book. Raises `Incomprehensible` for a category without a rule."""
    if line.category in _OWN:
        return "bank"
    if line.category in _FOREIGN:
        return "unallocated_deposits"
    if line.category in _COSTS:
        return "fees"
    raise Incomprehensible(f"{line.transaction_id} is a {line.category}, and these books have no rule for that")


async def _platform(
    sessions: Sessions, lines: Sequence[tuple[BalanceTransaction, str]], fact: PayoutSeen, now: datetime
) -> bool:
    """Post those lines that are not known yet to the platform's book; whether there were any."""
    async with sessions() as session, session.begin():
        fresh = {line.transaction_id for line in await transactions.unknown(session, [line for line, _ in lines])}
        kept = [
            transactions.keep(
                session,
                line,
                organization_id=PLATFORM,
                attempt_id=None,
                account=account,
                now=now,
                payout_id=fact.payout_id,
            )
            for line, account in lines
            if line.transaction_id in fresh
        ]
        operations = [operation for operation in kept if operation is not None]
        if operations:
            await session.flush()
            await posting.post(session, operations)
        return bool(fresh)


async def _assign(sessions: Sessions, fact: PayoutSeen, contents: Sequence[Contents], now: datetime) -> bool:
    """Say of each line which payout took it; whether lines of ours are missing, whose objects are now watched."""
    async with sessions() as session, session.begin():
        return await _assign_in(session, fact, contents, now)


async def _assign_in(session: AsyncSession, fact: PayoutSeen, contents: Sequence[Contents], now: datetime) -> bool:
    by_id = {one.transaction.transaction_id: one for one in contents}
    query = select(BalanceTransactionRow.id).where(col(BalanceTransactionRow.id).in_(by_id))
    known = set((await session.exec(query)).all())
    await session.exec(
        update(BalanceTransactionRow)
        .where(col(BalanceTransactionRow.id).in_(known), col(BalanceTransactionRow.payout_id).is_(None))
        .values(payout_id=fact.payout_id)
    )
    missing = [one for transaction_id, one in by_id.items() if transaction_id not in known]
    for kind, external_id in dict.fromkeys(map(_object_of, missing)):
        await watching.watch(session, kind, external_id, now=now, after=timedelta())
    return bool(missing)


def _object_of(line: Contents) -> tuple[str, str]:
    """What is read again so that the line of ours is posted: kind and id of the object."""
    kind = _WATCHED_AS.get(line.transaction.category)
    external_id = line.payment_id if kind == "payment_intent" else line.transaction.source_id
    if kind is None or external_id is None:
        raise Incomprehensible(
            f"{line.transaction.transaction_id} is a {line.transaction.category} of a payment, without a rule"
        )
    return kind, external_id


async def _store(session: AsyncSession, fact: PayoutSeen, *, complete: bool, now: datetime) -> None:
    row = await session.get(PayoutRow, fact.payout_id, with_for_update={"key_share": True})
    if row is None:
        row = PayoutRow(
            id=fact.payout_id,
            amount_cents=fact.amount,
            currency=fact.currency,
            status=fact.status,
            automatic=fact.automatic,
            complete=complete,
            occurred_at=fact.occurred_at,
            read_at=fact.read_at,
            created_at=now,
            updated_at=now,
        )
        session.add(row)
    elif fact.read_at > row.read_at:
        row.status, row.read_at, row.updated_at = fact.status, fact.read_at, now
    row.complete = row.complete or complete
    if row.complete:
        await watching.finish(session, PAYOUT, fact.payout_id, now=now)
    else:
        await watching.watch(session, PAYOUT, fact.payout_id, now=now, after=LOOK_AGAIN_AFTER)
