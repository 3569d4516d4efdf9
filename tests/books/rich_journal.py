"""One book with every kind of operation: holds of several lots, reversals in all states, expiries, caps, refusals.

Credits are granted with a priority of their own each, so that every spend and hold burns the lot that is meant.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from billing.database import Sessions
from ledger import posting
from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Caps, Kind, LotCause, LotOpening, Operation, Transfer, opening
from ledger.outcomes import Outcome, Posted
from tests.books.books import Owner, new_id

START = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
AGENT = UUID(int=7)
OTHER_AGENT = UUID(int=8)


class Journal:
    """Posts to one book, one operation a call, at the time that it is told."""

    def __init__(self, books: Sessions, owner: Owner) -> None:
        self.books, self.owner = books, owner
        self.book = new_id()
        self.at = START
        self._keys = 0

    async def post(self, *operations: Operation, outcomes: tuple[Outcome, ...] = (Outcome.POSTED,)) -> list[Posted]:
        async with (
            self.owner.clock_at(f"'{self.at.isoformat()}'::timestamptz"),
            self.books() as session,
            session.begin(),
        ):
            posted = await posting.post(session, operations)
        assert tuple(one.outcome for one in posted) == outcomes, operations
        return posted

    def make(self, kind: Kind, scope: UUID = SYSTEM_SCOPE, **values: Any) -> Operation:
        self._keys += 1
        return Operation(
            self.book, **{"kind": kind, "scope": scope, "key": f"k{self._keys}", "cause": "test", **values}
        )

    async def do(self, kind: Kind, scope: UUID = SYSTEM_SCOPE, **values: Any) -> Operation:
        operation = self.make(kind, scope, **values)
        await self.post(operation)
        return operation

    async def grant(
        self, credits_: int, priority: int, *, cause: LotCause = LotCause.PAID, hours: int | None = None
    ) -> Operation:
        basis = usd(credits_) if cause is LotCause.PAID else None
        transfers = (Transfer("stripe_clearing", "deferred_revenue", usd(credits_)),) if basis else ()
        lot = LotOpening(cause, credits_, basis, START + timedelta(hours=hours) if hours else None, priority)
        return await self.do(Kind.GRANT, transfers=transfers, lot=lot)

    async def spend(self, credits_: int, spender: UUID | None = AGENT) -> Operation:
        return await self.do(Kind.SPEND, AGENT, credits=credits_, spender=spender)

    async def hold(self, credits_: int, hours: int, spender: UUID | None = AGENT) -> Operation:
        deadline = START + timedelta(hours=hours)
        return await self.do(Kind.HOLD, AGENT, credits=credits_, spender=spender, deadline=deadline)

    async def capture(self, hold: Operation, credits_: int, *, final: bool = True) -> Operation:
        return await self.do(Kind.CAPTURE, AGENT, target=hold.id, credits=credits_, final=final, spender=AGENT)

    async def void(self, hold: Operation) -> Operation:
        return await self.do(Kind.VOID, AGENT, target=hold.id)


async def write(books: Sessions, owner: Owner) -> UUID:
    """Write it all; the book."""
    journal = Journal(books, owner)
    await journal.post(opening(organization_id=journal.book, event_at=START))
    base = await journal.grant(5000, 100)
    await spending(journal)
    await holding(journal)
    await reversing(journal)
    await expiring(journal)
    await giving_up(journal)
    await closing(journal, base)
    return journal.book


async def spending(journal: Journal) -> None:
    for _ in range(2):
        await journal.grant(50, 10, cause=LotCause.PROMOTIONAL, hours=24)
    caps = Caps(per_spend=1000, per_hour=1500, per_day=2000, per_month=3000, total=9000)
    await journal.do(Kind.SET_CAPS, spender=AGENT, caps=caps)
    await journal.do(Kind.SET_CAPS, spender=OTHER_AGENT, caps=Caps(paused=True))
    of_two_lots = await journal.spend(120)
    await journal.post(journal.make(Kind.SPEND, AGENT, credits=1001, spender=AGENT), outcomes=(Outcome.CAP_EXCEEDED,))
    short = journal.make(Kind.SPEND, AGENT, credits=10**9)
    await journal.post(short, outcomes=(Outcome.NOT_ENOUGH_CREDITS,))
    group = [journal.make(Kind.SPEND, AGENT, credits=n, group=1) for n in (5, 10**9)]
    await journal.post(*group, outcomes=(Outcome.GROUP_REFUSED, Outcome.NOT_ENOUGH_CREDITS))
    await journal.do(Kind.SPEND_REFUND, target=of_two_lots.id, credits=30)
    await journal.do(Kind.SPEND_REFUND, target=of_two_lots.id, credits=40)


async def holding(journal: Journal) -> None:
    await journal.grant(30, 1, cause=LotCause.CORRECTION)
    of_several = await journal.hold(140, 5)
    captured = await journal.capture(of_several, 35, final=False)
    await journal.do(Kind.EXTEND, AGENT, target=of_several.id, deadline=START + timedelta(hours=6))
    await journal.capture(of_several, 50)
    await journal.do(Kind.SPEND_REFUND, target=captured.id, credits=33)
    await journal.void(await journal.hold(60, 7, None))
    await journal.hold(60, 1)
    journal.at += timedelta(hours=2)
    await journal.spend(3)


async def reversing(journal: Journal) -> None:
    reversed_ = await journal.grant(100, 0)
    spent = await journal.spend(30)
    held = await journal.hold(40, 9)
    await journal.do(Kind.CLAW_BACK, target=reversed_.id, credits=80)
    await journal.capture(held, 15, final=False)
    await journal.do(Kind.REINSTATE, target=reversed_.id, credits=20)
    await journal.do(Kind.REINSTATE, target=reversed_.id, credits=8)
    await journal.void(held)
    after = await journal.grant(90, 2)
    await journal.do(Kind.CLAW_BACK, target=reversed_.id, credits=15)
    await journal.do(Kind.SPEND_REFUND, target=spent.id, credits=6)
    await journal.do(Kind.SETTLE_OWED, credits=4)
    for kind in (Kind.FREEZE, Kind.FREEZE, Kind.UNFREEZE, Kind.FREEZE):
        await journal.do(kind, target=after.id)
    frozen_spend = await journal.spend(11)
    await journal.do(Kind.UNFREEZE, target=after.id)
    await journal.do(Kind.REINSTATE, target=reversed_.id, credits=12)
    await journal.do(Kind.SPEND_REFUND, target=frozen_spend.id, credits=11)


async def expiring(journal: Journal) -> None:
    expires = await journal.grant(60, 0, hours=4)
    taken = await journal.grant(25, 3, hours=4)
    debt = await journal.grant(10, 0)
    spent = await journal.spend(17)
    held = await journal.hold(20, 8)
    await journal.do(Kind.CLAW_BACK, target=taken.id, credits=25)
    await journal.do(Kind.CLAW_BACK, target=debt.id, credits=4)
    await journal.grant(7, 0, hours=4)
    journal.at = START + timedelta(hours=5)
    await journal.do(Kind.SPEND_REFUND, target=spent.id, credits=13)
    await journal.do(Kind.CLAW_BACK, target=expires.id, credits=40)
    await journal.do(Kind.REINSTATE, target=expires.id, credits=28)
    await journal.do(Kind.REINSTATE, target=taken.id, credits=20)
    await journal.do(Kind.REINSTATE, target=debt.id, credits=4)
    await journal.capture(held, 3)


async def giving_up(journal: Journal) -> None:
    """A debt is written off in two parts, and lots that nobody paid for are frozen with something in them."""
    debt = await journal.grant(12, -1)
    spent = await journal.spend(12)
    await journal.do(Kind.CLAW_BACK, target=debt.id, credits=12)
    await journal.do(Kind.WRITE_OFF, target=debt.id, credits=5)
    await journal.do(Kind.SPEND_REFUND, target=spent.id, credits=4)
    await journal.do(Kind.WRITE_OFF, target=debt.id, credits=2)
    for cause in (LotCause.PROMOTIONAL, LotCause.CORRECTION):
        frozen = await journal.grant(8, -1, cause=cause, hours=30)
        await journal.spend(3)
        await journal.do(Kind.FREEZE, target=frozen.id)
        await journal.spend(2)
    await journal.do(Kind.UNFREEZE, target=frozen.id)


async def closing(journal: Journal, base: Operation) -> None:
    journal.at = START + timedelta(days=2)
    await journal.spend(4)
    await journal.do(Kind.CLOSE, deadline=START.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2))
    await journal.do(Kind.REOPEN, deadline=START.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1))
    await journal.do(Kind.CLOSE, deadline=START.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2))
    await journal.do(Kind.SPEND, AGENT, credits=5, event_at=START)
    await journal.do(Kind.CLAW_BACK, target=base.id, credits=7)
    fee, disputed = Transfer("stripe_fees", "stripe_clearing", usd(31)), Transfer("disputes", "stripe_clearing", usd(9))
    await journal.do(Kind.MONEY, transfers=(fee, disputed))
    await journal.hold(21, 60)
