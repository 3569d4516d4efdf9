"""A month of business in the books, without a provider: payments, use, reversals, and a clock that is told the time.

What providers would say is drawn; what is posted for it comes from the rules of billing, so that money and credits
move together as they do in the service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text

from api.wiring import async_url
from billing.database import Sessions, sessions
from billing.reversals import rules
from billing.reversals.rules import Live, Posted, Terms
from finance.periods import midnight
from ledger import posting
from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer, opening
from ledger.outcomes import Outcome
from tests.service import Database
from tests.warm import engine_of

FIRST = datetime(2026, 10, 1, 8, tzinfo=UTC)
AGENT = UUID(int=0xA1)
BOOKS = tuple(UUID(int=(0xB0 + n) << 120) for n in range(3))

_CLOCK = """
CREATE TABLE IF NOT EXISTS public.clock (at timestamptz);
TRUNCATE public.clock; INSERT INTO public.clock VALUES (now());
GRANT SELECT ON public.clock TO PUBLIC;
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS 'SELECT at FROM public.clock'
"""
_EMPTY = """
SET session_replication_role = replica;
TRUNCATE ledger.operations, ledger.lot_openings, ledger.books, ledger.accounts, ledger.lots, ledger.holds,
         ledger.spenders, ledger.spend_refunds, finance.folded_books, finance.lot_days, finance.recognitions,
         finance.recognized_days, finance.closes, finance.watermarks, finance.watermark_books, finance.exceptions,
         finance.reconciliations;
SET session_replication_role = origin;
"""


@dataclass
class Payment:
    """A granted payment, and what was posted against it."""

    terms: Terms
    posted: Posted = field(default_factory=Posted)
    live: Live = field(default_factory=lambda: Live(0, 0, 0))


@dataclass
class Month:
    """Books, a clock, and short words for what happens in them."""

    owner: Any
    books: Sessions
    now: datetime = FIRST
    payments: list[Payment] = field(default_factory=list)
    spends: list[Operation] = field(default_factory=list)
    holds: list[Operation] = field(default_factory=list)
    _keys: Any = field(default_factory=count)

    async def begin_anew(self, books: Sequence[UUID] = BOOKS) -> None:
        await self.owner.execute(_EMPTY)
        self.payments, self.spends, self.holds = [], [], []
        await self.set_clock(FIRST)
        platform = UUID("00000000-0000-7000-8000-000000000000")
        for book in (platform, *books):
            await self.post(opening(organization_id=book, event_at=FIRST))

    async def set_clock(self, now: datetime) -> None:
        self.now = now
        await self.owner.execute("UPDATE public.clock SET at = $1", now)

    async def wait(self, **passed: float) -> None:
        await self.set_clock(self.now + timedelta(**passed))

    async def wait_for_midnight(self) -> None:
        """All that fell due has its day behind it."""
        await self.set_clock(midnight(self.now.date() + timedelta(days=1)))

    async def post(self, *operations: Operation) -> list[Outcome]:
        """Post them in one call, all that is due first; the outcomes."""
        async with self.books() as session, session.begin():
            return [answer.outcome for answer in await posting.post(session, operations)]

    def new(self, book: UUID, kind: Kind, *, scope: UUID = AGENT, **content: Any) -> Operation:
        return Operation(book, kind, scope, f"k{next(self._keys)}", "test", **content)

    async def pay(
        self, book: UUID, credits_: int, basis: int, *, tax: int = 0, remainder: int = 0, days: int | None = None,
        event_at: datetime | None = None,
    ) -> Payment:  # fmt: skip
        """A payment settles and is granted."""
        at = event_at or self.now
        shares = (("deferred_revenue", basis), ("sales_tax_payable", tax), ("deposit_remainder", remainder))
        expires_at = None if days is None else self.now + timedelta(days=days)
        grant = self.new(
            book, Kind.GRANT, scope=SYSTEM_SCOPE, event_at=at,
            transfers=tuple(Transfer("stripe_clearing", account, usd(cents)) for account, cents in shares if cents),
            lot=LotOpening(LotCause.PAID, credits_, usd(basis), expires_at),
        )  # fmt: skip
        assert await self.post(grant) == [Outcome.POSTED]
        terms = Terms(
            book, f"payment_intent:pi_{grant.key}", grant.id, credits_, basis + tax + remainder, tax, remainder
        )
        self.payments.append(Payment(terms))
        return self.payments[-1]

    async def gift(self, book: UUID, credits_: int, days: int | None = None) -> None:
        expires_at = None if days is None else self.now + timedelta(days=days)
        lot = LotOpening(LotCause.PROMOTIONAL, credits_, None, expires_at)
        await self.post(self.new(book, Kind.GRANT, scope=SYSTEM_SCOPE, lot=lot))

    async def spend(self, book: UUID, credits_: int) -> Outcome:
        operation = self.new(book, Kind.SPEND, credits=credits_)
        [outcome] = await self.post(operation)
        self.spends += [operation] if outcome is Outcome.POSTED else []
        return outcome

    async def hold(self, book: UUID, credits_: int, **lasts: float) -> Outcome:
        operation = self.new(book, Kind.HOLD, credits=credits_, deadline=self.now + timedelta(**lasts))
        [outcome] = await self.post(operation)
        self.holds += [operation] if outcome is Outcome.POSTED else []
        return outcome

    async def capture(self, hold: Operation, credits_: int, *, final: bool = True) -> Outcome:
        capture = self.new(hold.organization_id, Kind.CAPTURE, target=hold.id, credits=credits_, final=final)
        [outcome] = await self.post(capture)
        self.spends += [capture] if outcome is Outcome.POSTED else []
        return outcome

    async def give_back(self, spent: Operation, credits_: int) -> Outcome:
        refund = self.new(spent.organization_id, Kind.SPEND_REFUND, target=spent.id, credits=credits_)
        return (await self.post(refund))[0]

    async def reverse(
        self, payment: Payment, *, refunds: int = 0, disputes: int = 0, lost: int = 0, at: datetime | None = None
    ) -> None:
        """All reversals of the payment come to so many cents now."""
        payment.live = Live(refunds, disputes, lost)
        posted, operations = rules.difference(
            payment.terms, payment.posted, payment.live, cause="test", at=at or self.now
        )
        if operations:
            assert set(await self.post(*operations)) == {Outcome.POSTED}
        payment.posted = posted

    async def write_off(self, payment: Payment, credits_: int) -> None:
        posted, operations = rules.written_off(payment.terms, payment.posted, credits_, cause="test", at=self.now)
        assert set(await self.post(*operations)) == {Outcome.POSTED}
        payment.posted = posted

    async def owed(self, payment: Payment) -> int:
        return int(
            await self.owner.fetchval(
                "SELECT l.owed FROM ledger.lots l JOIN ledger.lot_openings g USING (lane, organization_id, lot)"
                " JOIN ledger.operations o ON o.organization_id = g.organization_id AND o.seq = g.seq WHERE o.id = $1",
                payment.terms.grant_id,
            )
        )

    async def account(self, code: str, book: UUID | None = None) -> int:
        """The balance of an account on its normal side, in one book or over all of them."""
        return int(
            await self.owner.fetchval(
                "SELECT coalesce(sum((a.debits - a.credits) * CASE c.side WHEN 'debit' THEN 1 ELSE -1 END), 0)"
                " FROM ledger.accounts a JOIN ledger.chart c USING (code, currency)"
                " WHERE a.code = $1 AND ($2::uuid IS NULL OR a.organization_id = $2)",
                code, book,
            )
        )  # fmt: skip

    async def left(self, book: UUID) -> int:
        """Credits in the wallet of a book, as it was last posted."""
        return int(await self.owner.fetchval("SELECT wallet FROM ledger.books WHERE organization_id = $1", book))

    @property
    def yesterday(self) -> date:
        return self.now.date() - timedelta(days=1)


@asynccontextmanager
async def month_on(database: Database) -> AsyncIterator[Month]:
    """Empty books on a database that nobody else uses."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(_CLOCK)
    on = engine_of(async_url(database.run_url), "finance")
    month = Month(owner, sessions(on))
    try:
        await month.begin_anew()
        yield month
    finally:
        await owner.close()
        await on.dispose()


async def scalars(books: Sessions, query: str, **known: Any) -> list[Any]:
    """The first column of what a statement of the run role gives."""
    async with books() as session:
        return [row[0] for row in await (await session.connection()).execute(text(query), known)]
