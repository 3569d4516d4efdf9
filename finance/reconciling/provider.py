"""What the provider's API says of the whole account: its lines, its payouts, and what those were made of.

The first look begins with the oldest line that stands here, each other one where the last ended, so that the looks
join: from the first moment on every line is known, and what is not among them the provider does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions, snapshot
from billing.reversal_tables import BalanceTransactionRow
from finance.reconciling import keeping
from finance.reconciling.files import StatementRefused
from finance.reconciling.stripe_report import OF_PAYOUTS, Told, checked
from finance.statement_tables import ReconciliationRun, StatementLine, StatementPayout
from rails.money import PayoutTold, StatementReader

WHERE: Final = "Stripe's list"
OVERLAP: Final = timedelta(days=1)
"""How much of the last look is looked at again: what was made then may not have been listed at once."""
PAYOUTS_OVERLAP: Final = timedelta(days=21)
"""Payouts change for so long: they arrive after days, and may come back after some more."""
FIRST_LOOK: Final = timedelta(days=31)
WINDOW: Final = timedelta(days=1)
WINDOWS_MAX: Final = 4000
SKEW: Final = timedelta(days=1)
"""How far the provider's clock may be ahead: nothing that stands here already may be missed at the end."""


@dataclass(frozen=True, slots=True)
class Covered:
    """From when on every line of the provider is known, up to what it had at `read_at` by our clock."""

    since: datetime
    read_at: datetime

    def as_json(self) -> dict[str, str]:
        """For the report of a run."""
        return {"since": self.since.isoformat(), "read_at": self.read_at.isoformat()}

    @classmethod
    def parse(cls, value: Any) -> Self | None:
        """What `as_json` made; none for none."""
        if value is None:
            return None
        return cls(datetime.fromisoformat(value["since"]), datetime.fromisoformat(value["read_at"]))


async def covered(session: AsyncSession) -> Covered | None:
    """What the newest run knew to be covered."""
    query = select(col(ReconciliationRun.report)["covered"]).order_by(col(ReconciliationRun.id).desc()).limit(1)
    return Covered.parse((await session.exec(query)).first())


async def read(sessions: Sessions, reader: StatementReader, *, now: datetime) -> Covered:
    """Read and keep all that is new at the provider; what is covered then.

    Raises `StatementRefused`, and what `StatementReader` raises; what was kept until then stays, and is read again.
    """
    async with snapshot(sessions) as session:
        before = await covered(session)
        first = await _first(session)
    since = before.since if before is not None else (first - OVERLAP if first is not None else now - FIRST_LOOK)
    start = before.read_at - OVERLAP if before is not None else since
    until = now + SKEW
    for _ in range(WINDOWS_MAX):
        if start >= until:
            break
        end = min(start + WINDOW, until)
        told = [checked(Told(line, None), WHERE) for line in await reader.told_lines(start, end)]
        async with sessions() as session, session.begin():
            await keeping.lock(session)
            await keeping.keep_lines(session, told, import_id=None, where=WHERE, now=now)
        start = end
    else:
        raise StatementRefused(f"{WHERE}: more than {WINDOWS_MAX} days would have to be read at once")
    payouts_since = before.read_at - PAYOUTS_OVERLAP if before is not None else since
    await _read_payouts(sessions, reader, await reader.told_payouts(payouts_since, until), now)
    return Covered(since, now)


async def _first(session: AsyncSession) -> datetime | None:
    query = select(func.min(col(BalanceTransactionRow.occurred_at))).where(col(BalanceTransactionRow.currency) == "usd")
    found: datetime | None = (await session.exec(query)).one()
    return found.astimezone(UTC) if found is not None else None


async def _read_payouts(sessions: Sessions, reader: StatementReader, told: Sequence[PayoutTold], now: datetime) -> None:
    """Oldest first: a line that came back with one payout goes out with a later one."""
    async with sessions() as session, session.begin():
        await keeping.lock(session)
        await keeping.keep_payouts(session, told, read_at=now)
    for payout in sorted(told, key=lambda one: (one.occurred_at, one.payout_id)):
        if not payout.tells_contents or await _is_told(sessions, payout):
            continue
        contents = await reader.told_contents(payout.payout_id)
        lines = [checked(Told(line, payout.payout_id), f"{WHERE} of {payout.payout_id}") for line in contents]
        async with sessions() as session, session.begin():
            await keeping.lock(session)
            await keeping.keep_lines(session, lines, import_id=None, where=WHERE, now=now)


async def _is_told(sessions: Sessions, payout: PayoutTold) -> bool:
    """Whether what it was made of is known, to the cent."""
    async with snapshot(sessions) as session:
        known = await session.get(StatementPayout, payout.payout_id)
        query = select(func.sum(col(StatementLine.net_cents))).where(
            col(StatementLine.payout_id) == payout.payout_id, col(StatementLine.category).not_in(OF_PAYOUTS)
        )
        found = (await session.exec(query)).one()
    return known is not None and payout.status == "paid" and found == payout.amount
