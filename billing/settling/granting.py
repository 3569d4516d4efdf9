"""A payment that stands on the chain is granted, held for a person, or kept without a grant.

The settlement rides along as the letter does with other rails: locked first, and marked in the transaction of the
grant. So a payment whose grant was committed is settled, and one that is not settled has no grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import fulfillment, second_payments
from billing.attempts import AttemptState, Happening, after
from billing.catching_up import once_more
from billing.database import Sessions
from billing.judging import Judged, Verdict
from billing.requests import locked_attempt
from billing.settlement_states import ON_ITS_WAY, Turn
from billing.settlement_states import SettlementState as S
from billing.settling import nonces, records
from billing.settling.records import PAYMENT_KIND, Key, cents, key_of, payment_id
from billing.settling.sighting import Sighting
from billing.settling_tables import Settlement
from billing.tables import PaymentAttempt, ProviderRequestRow
from ledger import posting
from ledger.ids import external
from rails.rail import PaymentSettled
from rails.x402.terms import METHOD_ID

HELD: Final = "The payment arrived and is being looked at by a person."
KEPT: Final = "The payment arrived and is not granted; what was paid is kept until it is sent back."
UNPAID: Final = "The payment did not arrive and can no longer arrive; nothing was taken."
NEVER_SENT: Final = "The payment would not have gone through, and was not sent; nothing was taken."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Settling:
    """The settlement as fulfillment's letter: locked before everything else, done with the grant."""

    key: Key
    seen: Sighting

    async def lock(self, session: AsyncSession) -> bool:
        """Lock the settlement; False when its money has been dealt with."""
        row = await records.locked(session, self.key)
        return row.state not in {S.SETTLED, S.KEPT, S.VANISHED}

    async def done(self, session: AsyncSession, now: datetime) -> None:
        """Mark it settled, and where."""
        row = await records.locked(session, self.key)
        place(row, self.seen)
        records.move(row, Turn.GRANTED, now)
        row.final, row.next_try_at = False, now


def place(row: Settlement, seen: Sighting) -> None:
    """Remember where on the chain the payment stands."""
    row.transaction_hash, row.log_index = seen.transaction_hash, seen.log_index
    row.block_number, row.block_hash, row.paid_at = seen.block_number, seen.block_hash, seen.paid_at


async def fact_of(
    session: AsyncSession, row: Settlement, seen: Sighting, *, livemode: bool, now: datetime
) -> PaymentSettled:
    """What the chain says happened to the attempt. A block's time is not believed when it is ahead of ours."""
    attempt = await session.get_one(PaymentAttempt, (row.organization_id, row.attempt_id))
    request = await session.get_one(ProviderRequestRow, (row.organization_id, row.attempt_id, attempt.request_number))
    return PaymentSettled(
        method_id=METHOD_ID,
        attempt_id=external("payatt", row.attempt_id),
        provider_key=request.provider_key,
        object_id=request.external_id or "",
        livemode=livemode,
        occurred_at=min(seen.paid_at, now),
        payment_kind=PAYMENT_KIND,
        payment_id=payment_id(row),
        currency="usd",
        subtotal=cents(row),
        discount=0,
        tax=0,
        total=cents(row),
        details={"network": row.network, "transaction_hash": seen.transaction_hash, "payer": row.payer},
    )


async def grant(sessions: Sessions, row: Settlement, seen: Sighting, *, livemode: bool, now: datetime) -> Judged:
    """Grant what was paid, once. A payment that does not agree with its attempt is held for a person."""
    async with sessions() as session:
        fact = await fact_of(session, row, seen, livemode=livemode, now=now)
    key = key_of(row)
    judged = await fulfillment.apply(sessions, fact, livemode=livemode, now=now, letter=_Settling(key, seen))
    if judged.verdict in {Verdict.PARKED, Verdict.NOT_YET}:
        log.error("settlement_disagrees", attempt_id=fact.attempt_id, reason=judged.reason)
        await hold(sessions, key, seen, reason=judged.reason or HELD, now=now)
    return judged


async def hold(sessions: Sessions, key: Key, seen: Sighting, *, reason: str, now: datetime) -> None:
    """Let a person decide; nobody is asked for more meanwhile. `reason` is for operators only."""
    async with sessions() as session, session.begin():
        row = await records.locked(session, key)
        if records.move(row, Turn.HELD, now, reason=reason):
            attempt = await locked_attempt(session, row.organization_id, row.attempt_id)
            if attempt is not None:
                attempt.reason, attempt.updated_at = HELD, now
            log.error("payment_held", attempt_id=external("payatt", row.attempt_id), reason=reason)
        if row.state == S.HELD:
            place(row, seen)


async def keep(
    sessions: Sessions, row: Settlement, seen: Sighting, *, reason: str, livemode: bool, now: datetime
) -> None:
    """The money arrived and grants nothing: it stands unallocated until it is sent back. Once."""

    async def once() -> None:
        async with sessions() as session, session.begin():
            current = await records.locked(session, key_of(row))
            fact = await fact_of(session, current, seen, livemode=livemode, now=now)
            attempt = await locked_attempt(session, row.organization_id, row.attempt_id)
            if attempt is None or not records.move(current, Turn.REJECTED, now, reason=reason):
                return
            place(current, seen)
            _, operation = second_payments.unallocated(session, fact, attempt, now)
            attempt.state = after(AttemptState(attempt.state), Happening.FAILED)
            attempt.reason, attempt.updated_at = KEPT, now
            log.error("payment_kept", attempt_id=fact.attempt_id, payment_id=fact.payment_id, reason=reason)
            await posting.post(session, [operation])

    await once_more(sessions, once)


async def fail(
    sessions: Sessions, key: Key, *, reason: str, is_final: bool, now: datetime, was_handed_over: bool = False
) -> bool:
    """It is certain that nothing was paid, or (not `is_final`) that nothing was sent: the attempt ends.

    `reason` is shown to the payer; `was_handed_over`: the caller has given it to a facilitator, which said no. False
    when something may have been sent after all, by another process.
    """
    async with sessions() as session, session.begin():
        row = await records.locked(session, key)
        is_unsent = _is_unsent(row, was_handed_over=was_handed_over) and not await nonces.was_signed_for(session, key)
        if not is_final and not is_unsent:
            return False
        was_paid = row.state == S.VANISHED
        if not records.move(row, Turn.PROVEN_UNPAID, now, reason=reason) and row.state != S.FAILED:
            return True
        row.final = is_final
        attempt = await locked_attempt(session, row.organization_id, row.attempt_id)
        if attempt is None or was_paid:
            return True  # what had been granted has been taken back, and its attempt stays as it was
        state = after(AttemptState(attempt.state), Happening.FAILED)
        if state != attempt.state:
            attempt.state, attempt.reason, attempt.updated_at = state, reason, now
    return True


def _is_unsent(row: Settlement, *, was_handed_over: bool) -> bool:
    """Whether nobody else has sent it: it was sent nowhere; or handed over once, by the caller, and refused."""
    if not was_handed_over:
        return row.state == S.CLAIMED
    return row.state == S.SETTLING and row.handed_over == 1 and row.transaction_hash is None


async def seen(sessions: Sessions, key: Key, where: Sighting) -> None:
    """It stands in a block that is not final enough yet: nobody has to wait for its payer's balance any more.

    Not one that another process has dealt with meanwhile: where that stands is known better.
    """
    async with sessions() as session, session.begin():
        row = await records.locked(session, key)
        if row.state in ON_ITS_WAY:
            place(row, where)
