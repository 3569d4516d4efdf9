"""What became of a purchase: the quote, its attempt, its receipt and the balance, by any one of four references."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, or_, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import handoff
from billing.attempts import OPEN_STATES, AttemptState
from billing.refusals import Refusal, Refused
from billing.reversals.seen import NOTHING, Reversed, of_attempt
from billing.tables import CreditQuote, PaymentAttempt, ProviderRequestRow, Receipt
from ledger import ids, statements
from ledger.columns import one_of
from ledger.statements import Balance
from ledger.tables import OperationRow
from rails.rail import Action

REFERENCES = ("quote_id", "payment_attempt_id", "checkout_session_id", "receipt_id")


@dataclass(frozen=True, slots=True)
class Status:
    """Everything an agent may know of one purchase. `attempt` is the one that paid, else the newest."""

    quote: CreditQuote
    attempt: PaymentAttempt | None
    action: Action | None
    receipt: Receipt | None
    operation: OperationRow | None
    balance: Balance
    reversed: Reversed = NOTHING


async def by_reference(
    session: AsyncSession, organization_id: UUID, *, kind: str, reference: str, now: datetime
) -> Status:
    """The purchase that `reference` (one of `REFERENCES`) belongs to. Raises `Refused(NOT_FOUND)`, foreign ids too."""
    try:
        quote_id, attempt_id = await _resolve(session, organization_id, kind, reference)
    except (ids.MalformedId, LookupError):
        raise Refused(Refusal.NOT_FOUND, f"there is no such {kind.removesuffix('_id').replace('_', ' ')}") from None
    return await of_quote(session, organization_id, quote_id, attempt_id=attempt_id, now=now)


async def _resolve(session: AsyncSession, organization_id: UUID, kind: str, reference: str) -> tuple[UUID, UUID | None]:
    """The quote, and the attempt when the reference names one. Raises `LookupError` or `MalformedId`."""
    if kind == "quote_id":
        return ids.parse("quote", reference), None
    query: Any
    if kind == "receipt_id":
        query = select(Receipt.quote_id, Receipt.attempt_id).where(
            col(Receipt.organization_id) == organization_id, col(Receipt.id) == ids.parse("receipt", reference)
        )
    else:
        query = select(PaymentAttempt.quote_id, PaymentAttempt.id).where(
            col(PaymentAttempt.organization_id) == organization_id
        )
        if kind == "payment_attempt_id":
            query = query.where(col(PaymentAttempt.id) == ids.parse("payatt", reference))
        else:
            session_of = select(ProviderRequestRow.attempt_id).where(
                col(ProviderRequestRow.organization_id) == organization_id,
                col(ProviderRequestRow.external_id) == reference,
                col(ProviderRequestRow.action)["kind"].astext == "checkout",
            )
            query = query.where(col(PaymentAttempt.id).in_(session_of))
    row = (await session.exec(query)).first()
    if row is None:
        raise LookupError(reference)
    return row[0], row[1]


async def of_quote(
    session: AsyncSession, organization_id: UUID, quote_id: UUID, *, attempt_id: UUID | None, now: datetime
) -> Status:
    """The purchase of one quote, by its attempt `attempt_id` when given."""
    quote = await session.get(CreditQuote, (organization_id, quote_id))
    if quote is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such quote")
    attempt = await _attempt(session, quote, attempt_id)
    action = await handoff.current_action(session, attempt, quote) if attempt else None
    receipt = await _receipt(session, attempt) if attempt else None
    operation = await statements.operation(session, organization_id, receipt.operation_id) if receipt else None
    balance = await statements.balance(session, organization_id, now)
    found = await of_attempt(session, attempt, receipt) if attempt else NOTHING
    return Status(quote, attempt, action, receipt, operation, balance, found)


async def waiting(session: AsyncSession, organization_id: UUID, *, now: datetime) -> Status | None:
    """The organization's purchase that waits for money: one whose payment is on its way, or else the newest payable.

    None when there is none. One that is to be canceled, or of a quote that was paid otherwise, does not wait.
    """
    attempt, quote = PaymentAttempt, CreditQuote
    payable = (col(attempt.payable_until) > now) & col(attempt.cancel_requested_at).is_(None)
    on_its_way = col(attempt.state) == AttemptState.PROCESSING
    query = (
        select(attempt.quote_id, attempt.id)
        .join(
            quote,
            (col(quote.organization_id) == col(attempt.organization_id)) & (col(quote.id) == col(attempt.quote_id)),
        )
        .where(
            col(attempt.organization_id) == organization_id,
            # As text, so that the index of open attempts serves it whatever plan is made.
            text(one_of("payment_attempts.state", list(OPEN_STATES))),
            or_(on_its_way, payable),
            col(quote.settled_at).is_(None),
        )
        .order_by(on_its_way.desc(), col(attempt.id).desc())
        .limit(1)
    )
    found = (await session.exec(query)).first()
    if found is None:
        return None
    return await of_quote(session, organization_id, found[0], attempt_id=found[1], now=now)


async def buyable(
    session: AsyncSession,
    organization_id: UUID,
    agent_id: UUID,
    *,
    least: int,
    methods: Collection[str],
    lasting: timedelta,
    now: datetime,
) -> Status | None:
    """The agent's quote that can be bought now, on one of `methods`, and brings at least `least` credits.

    None when there is none. Of several it is the smallest. `lasting` is how long quotes stand: older ones are over.
    """
    quote, attempt = CreditQuote, PaymentAttempt
    is_bought = exists().where(
        col(attempt.organization_id) == col(quote.organization_id),
        col(attempt.quote_id) == col(quote.id),
        text(one_of("payment_attempts.state", list(OPEN_STATES))),
    )
    query = (
        select(quote.id)
        .where(
            col(quote.organization_id) == organization_id,
            col(quote.id) >= ids.uuid7(now - lasting, bytes(10)),
            col(quote.agent_id) == agent_id,
            col(quote.settled_at).is_(None),
            col(quote.expires_at) > now,
            col(quote.credits) >= least,
            col(quote.payment_method).in_(methods),
            ~is_bought,
        )
        .order_by(col(quote.credits), col(quote.id).desc())
        .limit(1)
    )
    quote_id = (await session.exec(query)).first()
    return await of_quote(session, organization_id, quote_id, attempt_id=None, now=now) if quote_id else None


async def _attempt(session: AsyncSession, quote: CreditQuote, attempt_id: UUID | None) -> PaymentAttempt | None:
    query = select(PaymentAttempt).where(
        col(PaymentAttempt.organization_id) == quote.organization_id, col(PaymentAttempt.quote_id) == quote.id
    )
    if attempt_id is not None:
        query = query.where(col(PaymentAttempt.id) == attempt_id)
    paid_first = (col(PaymentAttempt.state) == "succeeded").desc()
    return (await session.exec(query.order_by(paid_first, col(PaymentAttempt.id).desc()).limit(1))).first()


async def _receipt(session: AsyncSession, attempt: PaymentAttempt) -> Receipt | None:
    query = select(Receipt).where(
        col(Receipt.organization_id) == attempt.organization_id, col(Receipt.attempt_id) == attempt.id
    )
    return (await session.exec(query)).first()
