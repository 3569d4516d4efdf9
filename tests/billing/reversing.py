"""Reversals without a provider: a payment that was granted, and what would be read of its refunds and disputes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlmodel import col, select

from billing import facts
from billing.judging import Judged
from billing.reversal_tables import PaymentReversal, ReversalStanding
from billing.tables import ActivityEvent
from ledger import posting, statements
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome
from ledger.statements import Balance
from rails.money import BalanceTransaction, ChargeBooked, DisputeSeen, FraudWarned, RefundSeen
from tests.billing.conftest import Buyer

_numbers = itertools.count(1)


@dataclass
class Paid:
    """A payment of 5.00 for 500 credits (or as told), granted; every fact about it has another reading time."""

    buyer: Buyer
    attempt_id: UUID
    payment_id: str
    total: int
    tax: int
    read: int = field(default=0)

    async def apply(self, fact: Any) -> Judged:
        return await facts.apply(self.buyer.house.sessions, fact, livemode=False, now=self.buyer.house.clock())

    def common(self) -> dict[str, Any]:
        self.read += 1
        return {
            "livemode": False, "occurred_at": datetime.now(UTC),
            "read_at": datetime.now(UTC) + timedelta(seconds=self.read), "payment_kind": "payment_intent",
            "payment_id": self.payment_id,
        }  # fmt: skip

    def refund(self, name: str, amount: int, status: str = "succeeded", *, lines: int = 1) -> RefundSeen:
        """A refund; `lines` of the balance: it went out (1), and came back (2)."""
        refund_id = f"re_{name}_{self.payment_id}"
        booked = (
            line(f"{refund_id}_out", "refund", -amount, 0, refund_id),
            line(f"{refund_id}_back", "refund_failure", amount, 0, refund_id),
        )[:lines]
        return RefundSeen(
            **self.common(), refund_id=refund_id, amount=amount, currency="usd", status=status, request_key=None,
            details={}, transactions=booked,
        )  # fmt: skip

    def dispute(self, name: str, amount: int, status: str, *, lines: int = 1) -> DisputeSeen:
        """A dispute; `lines` of the balance: none moved, it was withdrawn (1), it was reinstated (2)."""
        dispute_id = f"dp_{name}_{self.payment_id}"
        booked = (
            line(f"{dispute_id}_out", "dispute", -amount, 1500, dispute_id),
            line(f"{dispute_id}_back", "dispute_reversal", amount, 0, dispute_id),
        )[:lines]
        return DisputeSeen(
            **self.common(), dispute_id=dispute_id, amount=amount, currency="usd", status=status, reason="fraudulent",
            transactions=booked,
        )  # fmt: skip

    def warning(self) -> FraudWarned:
        return FraudWarned(**self.common(), warning_id=f"issfr_{self.payment_id}", reason="misc")

    def charge(self, fee: int | None) -> ChargeBooked:
        booked = None if fee is None else line(f"txn_{self.payment_id}", "charge", self.total, fee, "ch_1")
        return ChargeBooked(**self.common(), transaction=booked)

    async def balance(self) -> Balance:
        async with self.buyer.house.sessions() as session:
            return await statements.balance(session, self.buyer.actor.organization_id, self.buyer.house.clock())

    async def accounts(self) -> dict[str, int]:
        """Money accounts of the organization that are not zero, in cents on their own side."""
        async with self.buyer.house.sessions() as session:
            rows = await statements.trial_balance(session, self.buyer.actor.organization_id)
        return {row.code: row.balance for row in rows if row.currency == "USD" and row.balance}

    async def standing(self) -> ReversalStanding:
        async with self.buyer.house.sessions() as session:
            return await session.get_one(ReversalStanding, ("payment_intent", self.payment_id))

    async def reversals(self) -> list[PaymentReversal]:
        async with self.buyer.house.sessions() as session:
            query = select(PaymentReversal).where(col(PaymentReversal.payment_id) == self.payment_id)
            return list((await session.exec(query.order_by(col(PaymentReversal.id)))).all())

    async def told(self) -> list[tuple[str, str, int]]:
        """What the feed said of the reversals, oldest first: type, status, credits."""
        async with self.buyer.house.sessions() as session:
            query = select(ActivityEvent).where(
                col(ActivityEvent.organization_id) == self.buyer.actor.organization_id,
                col(ActivityEvent.subject_type) == "payment_reversal",
            )
            events = (await session.exec(query.order_by(col(ActivityEvent.id)))).all()
        return [(event.type.removeprefix("credits.payment_backed_"), event.status, (event.cost or {})["credits"])
                for event in events]  # fmt: skip

    async def post(self, kind: Kind, credits_: int = 0, **fields: Any) -> UUID:
        """A spend, hold, capture or void of the organization; the operation's id. It must go through."""
        operation = Operation(
            self.buyer.actor.organization_id, kind, fields.pop("scope", self.buyer.actor.agent_id),
            f"op{next(_numbers)}", "test", credits=credits_, **fields,
        )  # fmt: skip
        async with self.buyer.house.sessions() as session, session.begin():
            [answer] = await posting.post(session, [operation])
        assert answer.outcome is Outcome.POSTED, answer
        return operation.id

    async def spend(self, credits_: int) -> UUID:
        return await self.post(Kind.SPEND, credits_)

    async def hold(self, credits_: int) -> UUID:
        return await self.post(Kind.HOLD, credits_, deadline=datetime.now(UTC) + timedelta(days=1))


def line(name: str, category: str, amount: int, fee: int, source: str) -> BalanceTransaction:
    return BalanceTransaction(
        transaction_id=name, category=category, amount=amount, fee=fee, net=amount - fee, currency="usd",
        source_id=source, occurred_at=datetime.now(UTC),
    )  # fmt: skip


async def paid(buyer: Buyer, *, credits_: int = 500, tax: int = 0, name: str = "q") -> Paid:
    """Buy and have it granted."""
    quote_id = await buyer.quote(name, credits_=credits_)
    attempt_id = await buyer.buy(quote_id, f"buy {name}")
    payment_id = f"pi_{attempt_id.hex}"
    fact = await buyer.settled(attempt_id, price=credits_, payment_id=payment_id, tax=tax, total=credits_ + tax)
    judged = await buyer.apply(fact)
    assert judged.verdict == "applied", judged
    return Paid(buyer, attempt_id, payment_id, credits_ + tax, tax)
