"""One run: read what the provider says, compare everything in one snapshot, bring the list of exceptions up to it.

Only sources that could be looked at count: without a statement of the provider nothing is missing there, and without
one of the bank no payout and no trade is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions, snapshot
from billing.fresh import new_id
from billing.requests import Clock
from finance.reconciling import at_bank, clearing, comparing, keeping, listing, pairing, provider, reading
from finance.reconciling.found import Compared
from finance.reconciling.pairing import Paired
from finance.reconciling.provider import Covered
from finance.statement_tables import (
    ExceptionState,
    Finding,
    ReconciliationException,
    ReconciliationRun,
    StatementLine,
)
from rails.money import StatementReader

TIMEOUT_S: Final = 900
"""For a statement that compares all of a long history, and for whoever waits with its list meanwhile."""
REPORTED_MAX: Final = 2_000
"""Exceptions in the report of a run, first those that stand; of more, it says how many."""
RESOLVED_WITHIN: Final = timedelta(days=100)
"""How long a report tells what was resolved: for a month that is closed two months after its end."""

_READ_TO: Final = text("""
    SELECT DISTINCT ON (network, treasury) network, treasury, block_number, block_at
    FROM finance.treasury_readings ORDER BY network, treasury, block_number DESC""")

Looking: TypeAlias = Callable[[AsyncSession], Awaitable[Sequence[Compared]]]
"""Another comparison, in the snapshot of the run: of the chain."""


async def reconcile(
    sessions: Sessions,
    *,
    reader: StatementReader | None,
    others: Sequence[Looking] = (),
    bank_days: int,
    holder: str,
    clock: Clock,
) -> ReconciliationRun:
    """Compare everything; the run with its report. Without a `reader` with what is known of the provider already.

    A payout should be at the bank `bank_days` days after the provider's day of arrival, the money of a sale or purchase
    as many after its day. Raises `StatementRefused`, `TooMuchIsWrong`, and what the reader raises: then there is no
    run, and the list is as it was.

    A run is as of when it began, which its report has as `as_of`, and is created when it is written: from the one to
    the other may be long, and whoever takes `keeping.lock` sees every run that was created before.
    """
    now = clock()
    read = await provider.read(sessions, reader, now=now) if reader is not None else None
    async with sessions() as session, session.begin():
        await _bounded(session)
        await keeping.lock(session)
        covered = read or await provider.covered(session)
        async with snapshot(sessions) as before:
            await _bounded(before)
            compared, paired, report = await _compared(before, covered, bank_days=bank_days, now=now)
            for look in others:
                compared += await look(before)
            report["chain"] = await _chain(before)
        if paired is not None:
            await at_bank.keep_pairs(session, paired)
        written = await listing.write(session, compared, now=now)
        report |= {
            "as_of": now.isoformat(),
            "covered": covered.as_json() if covered is not None else None,
            "sources": {one.source: one.counts() for one in compared},
            "opened": written.opened,
            "gone": written.gone,
            **await _standing(session, now),
        }
        written_at = clock()
        run = ReconciliationRun(id=new_id(written_at), holder=holder, report=report, created_at=written_at)
        session.add(run)
        return run


async def _bounded(session: AsyncSession) -> None:
    connection = await session.connection()
    for wait in ("statement_timeout", "idle_in_transaction_session_timeout"):
        await connection.execute(text(f"SET LOCAL {wait} = '{TIMEOUT_S}s'"))


async def _compared(
    session: AsyncSession, covered: Covered | None, *, bank_days: int, now: datetime
) -> tuple[list[Compared], Paired | None, dict[str, Any]]:
    """What was found, what the lines of the bank are, and what of the report is known then."""
    compared: list[Compared] = []
    sides = await reading.payouts(session, covered)
    charged, uncharged = await reading.payments(session, covered)
    unpaid = await reading.unpaid(session)
    if covered is not None or await _has_lines(session):
        payouts = comparing.payouts(sides)
        missing = frozenset(one.subject for one in payouts.found if one.finding is not Finding.DIFFERENT)
        fit, wrong = await reading.lines(session, covered)
        lines, unexplained = comparing.lines(wrong, uncharged, matched=fit, payouts_missing=missing)
        compared += [lines, comparing.payments(unexplained, unpaid, matched=charged), payouts]
    waiting = sum(one.amount for one in uncharged) - sum(line.amount for _, line, _ in unpaid)
    account = await clearing.read(session, waiting=waiting, now=now)
    compared.append(account.compared(now))
    paired = None
    lines_of_bank = await at_bank.lines(session)
    from_day = at_bank.first_day(lines_of_bank)
    if from_day is not None:
        expected = [*comparing.expected(sides), *await at_bank.trades(session)]
        paired = pairing.pair(expected, lines_of_bank, within_days=bank_days, today=now.date())
        at_bank_found = comparing.bank(
            paired,
            today=now.date(),
            from_day=from_day,
            within_days=bank_days,
            came_back=comparing.came_back(sides),
        )
        compared.append(at_bank_found)
    return compared, paired, {"clearing": [account.told()]}


async def _has_lines(session: AsyncSession) -> bool:
    return (await session.exec(select(col(StatementLine.id)).limit(1))).first() is not None


async def _chain(session: AsyncSession) -> list[dict[str, Any]]:
    """As of which block each treasury was compared: the last that was read."""
    rows = await (await session.connection()).execute(_READ_TO)
    return [
        {
            "network": one.network,
            "treasury": one.treasury,
            "block_number": one.block_number,
            "block_at": one.block_at.astimezone(UTC).isoformat(),
        }
        for one in rows
    ]


async def _standing(session: AsyncSession, now: datetime) -> dict[str, Any]:
    """The exceptions that stand, those that were resolved lately, and how many more there are of each.

    Without reasons, which people wrote: a report never changes, and what somebody wrote may have to.
    """
    state, updated_at = col(ReconciliationException.state), col(ReconciliationException.updated_at)
    since = now - RESOLVED_WITHIN
    standing = await listing.listed(session, limit=REPORTED_MAX)
    resolved = await listing.lately_resolved(session, since=since, limit=REPORTED_MAX - len(standing))
    return {
        "exceptions": [_told(one, now) for one in standing],
        "more_exceptions": await _count(session, state.in_(listing.STANDING)) - len(standing),
        "resolved": [_told(one, now) for one in resolved],
        "more_resolved": await _count(session, state == ExceptionState.RESOLVED, updated_at >= since) - len(resolved),
    }


async def _count(session: AsyncSession, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(ReconciliationException).where(*conditions)
    return (await session.exec(query)).one()


def _told(one: ReconciliationException, now: datetime) -> dict[str, Any]:
    return {
        "exception_id": listing.public_id(one.id),
        "source": one.source,
        "subject": one.subject,
        "finding": one.finding,
        "state": one.state,
        "amount": one.amount,
        "currency": one.currency,
        "occurred_at": one.occurred_at.astimezone(UTC).isoformat(),
        "age_days": listing.age_days(one, now),
    }
