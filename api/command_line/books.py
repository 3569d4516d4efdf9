"""A book as a table that balances, and the verification of the books and of what billing says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from uuid import UUID

from rich.table import Table
from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.reasons import CannotGoOn
from api.wiring import House
from billing import proofs
from billing.database import snapshot
from billing.proofs import Problem
from ledger import ids, statements, verification
from ledger.chart import BY_CODE
from ledger.money import Currency, Money
from ledger.operations import LANE, PLATFORM
from ledger.statements import TrialRow
from ledger.tables import Book
from ledger.verification import Mismatch

PLATFORM_NAME: Final = "org_platform"
BOOKS_PER_PAGE: Final = 200
PROBLEMS_MAX: Final = 200
"""Of proofs that do not agree. Who has so many of them needs no longer list."""


@dataclass(frozen=True)
class Verified:
    """How many books were verified, every row of them that does not fit, and what of billing does not agree."""

    count: int
    mismatches: list[Mismatch]
    problems: list[Problem]


def parse_organization(name: str) -> UUID:
    """The organization's id inside `org_…`, or the platform's. Raises `CannotGoOn`."""
    if name == PLATFORM_NAME:
        return PLATFORM
    try:
        return ids.parse("org", name)
    except ids.MalformedId:
        raise CannotGoOn(f"{name} is not an organization's id (org_… or {PLATFORM_NAME}).", exit_code=2) from None


def organization_name(organization_id: UUID) -> str:
    """`org_…` as agents see it."""
    return PLATFORM_NAME if organization_id == PLATFORM else ids.external("org", organization_id)


async def trial_balance(house: House, organization_id: UUID) -> list[TrialRow]:
    """The accounts of one book. Raises `CannotGoOn` when there is no such book."""
    async with snapshot(house.sessions) as session:
        if await session.get(Book, (LANE, organization_id)) is None:
            raise CannotGoOn(f"There is no book of {organization_name(organization_id)}.")
        return await statements.trial_balance(session, organization_id)


def table(name: str, rows: Sequence[TrialRow]) -> Table:
    """The trial balance with a total for each currency; debits and credits of a total are the same number."""
    drawn = Table(title=f"The books of {name}", title_justify="left", caption_justify="left")
    drawn.add_column("account")
    drawn.add_column("what it holds")
    for heading in ("debits", "credits", "balance"):
        drawn.add_column(heading, justify="right")
    for currency, of_currency in groupby(rows, key=lambda row: row.currency):
        accounts = list(of_currency)
        drawn.add_section()
        for row in accounts:
            drawn.add_row(
                row.code, BY_CODE[row.code].meaning, *(_amount(one, currency) for one in (row.debits, row.credits)),
                f"{_amount(row.balance, currency)} {'Dr' if row.side == 'debit' else 'Cr'}",
            )  # fmt: skip
        debits, credits_ = sum(row.debits for row in accounts), sum(row.credits for row in accounts)
        verdict = "balanced" if debits == credits_ else "DOES NOT BALANCE"
        drawn.add_section()
        drawn.add_row(
            f"total {currency}", "", _amount(debits, currency), _amount(credits_, currency), verdict, style="bold"
        )
    drawn.caption = None if rows else "nothing was posted yet"
    return drawn


def _amount(minor: int, currency: str) -> str:
    return Money(minor, Currency(currency)).decimal()


async def verify(house: House, organization_id: UUID | None) -> Verified:
    """Verify the books, all of them or one, and then billing's proofs. All of it sees one moment."""
    async with snapshot(house.sessions) as session:
        # Replaying a long journal takes longer than a request may, and only this transaction waits for it.
        connection = await session.connection()
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        if organization_id is not None:
            count, mismatches = 1, await verification.verify_book(session, organization_id)
        else:
            count, mismatches = await _verify_all(session)
        return Verified(count, mismatches, await proofs.problems(session, organization_id, limit=PROBLEMS_MAX))


async def _verify_all(session: AsyncSession) -> tuple[int, list[Mismatch]]:
    count, mismatches, last = 0, list[Mismatch](), None
    while page := await _page(session, last):
        for one in page:
            mismatches += await verification.verify_book(session, one)
            session.expunge_all()  # a book's rows need not be remembered
        count, last = count + len(page), page[-1]
    return count, mismatches


async def _page(session: AsyncSession, last: UUID | None) -> Sequence[UUID]:
    query = select(Book.organization_id).where(col(Book.lane) == LANE)
    if last is not None:
        query = query.where(col(Book.organization_id) > last)
    return (await session.exec(query.order_by(col(Book.organization_id)).limit(BOOKS_PER_PAGE))).all()
