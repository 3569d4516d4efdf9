"""A book as a table that balances, and the verification of the books and of what billing says of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from uuid import UUID

from rich.markup import escape
from rich.table import Table
from sqlalchemy import text

from api.command_line.console import console, visible
from api.reasons import CannotGoOn
from api.wiring import House
from billing import proofs
from billing.database import snapshot
from billing.proving import Problem
from finance import proving
from finance.reconciling import proving as adjustments
from ledger import ids, statements, verification
from ledger.chart import BY_CODE
from ledger.money import Currency, Money
from ledger.operations import LANE, PLATFORM
from ledger.statements import TrialRow
from ledger.tables import Book
from ledger.verification import Mismatch, Progress, Published

PLATFORM_NAME: Final = "org_platform"
TOLD_EVERY: Final = 250_000
"""Operations between two lines of progress where there is no terminal."""
PROBLEMS_MAX: Final = 200
"""Of proofs that do not agree. Who has so many of them needs no longer list."""


@dataclass(frozen=True)
class Verified:
    """How many books were verified, what does not fit in them, and what of billing does not agree."""

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


def parse_heads(heads: Sequence[str], *, of: UUID | None) -> Published:
    """Heads that were published, each as `org_…=<hex>@<seq>`: of any organization, or of `of` only.

    Raises `CannotGoOn` for one that is written otherwise.
    """
    published: dict[UUID, dict[int, bytes]] = {}
    for head in heads:
        parts = _HEAD.fullmatch(head)
        if parts is None:
            raise CannotGoOn(f"{head} is not a head; it is org_…=<64 hex digits>@<seq>.", exit_code=2)
        organization, digest, seq = parts.groups()
        whose = parse_organization(organization)
        if of not in {None, whose}:
            raise CannotGoOn(f"{head} is a head of another organization than the one to verify.", exit_code=2)
        published.setdefault(whose, {})[int(seq)] = bytes.fromhex(digest)
    return published


_HEAD: Final = re.compile(r"(\w+)=([0-9a-fA-F]{64})@([1-9]\d{0,17})", re.ASCII)


def tell(found: Verified) -> bool:
    """Print what a verification found; whether all of it fits."""
    out = console()
    for one in found.mismatches:
        whose = organization_name(one.organization_id)
        out.print(f"[bold red]WRONG[/] {whose} {escape(visible(f'{one.place}: {one.problem}'))}")
    if not found.mismatches:
        number = f"{found.count} {'book' if found.count == 1 else 'books'}"
        out.print(f"{number} verified: journal, balances, lots and hash chain agree.")
    for problem in found.problems:
        whose = organization_name(problem.organization_id)
        out.print(f"[bold red]WRONG[/] {whose} {problem.check}: {escape(visible(problem.detail))}")
    if not found.problems:
        out.print("proofs agree: payments, grants, receipts, succeeded attempts, and revenue.")
    return not found.mismatches and not found.problems


@contextmanager
def progress_told() -> Iterator[Progress]:
    """Says on standard error how far a verification is: at once on a terminal, else every `TOLD_EVERY` operations."""
    out, began, told = console(complaints=True), time.monotonic(), 0

    def said(books: int, operations: int) -> str:
        rate = operations / max(time.monotonic() - began, 0.001)
        return f"{books:,} books, {operations:,} operations, {rate:,.0f} operations/s"

    def now_and_then(books: int, operations: int) -> None:
        nonlocal told
        if operations - told >= TOLD_EVERY:
            told = operations
            out.print(said(books, operations))

    if not out.is_terminal:
        yield now_and_then
        return
    with out.status("reading the journal") as status:
        yield lambda books, operations: status.update(said(books, operations))


async def verify(
    house: House, organization_id: UUID | None, *, published: Published | None = None, progress: Progress | None = None
) -> Verified:
    """Verify the books, all of them or one, and then billing's proofs. All of it sees one moment."""
    async with snapshot(house.sessions) as session:
        # Replaying a long journal takes longer than a request may, and only this transaction waits for it.
        connection = await session.connection()
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        done = await verification.verify(session, organization_id, published=published, progress=progress)
        problems = await proofs.problems(session, organization_id, limit=PROBLEMS_MAX)
        problems += await proving.problems(session, organization_id=organization_id, limit=PROBLEMS_MAX)
        problems += await adjustments.problems(session, limit=PROBLEMS_MAX)
        return Verified(done.books, done.mismatches, problems)
