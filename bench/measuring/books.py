"""The books of a run: opened and filled before the clock runs, and verified after it.

Everything that knows how operations are made stands here and in `bench.contenders.ours`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from typing import Final, Self
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, select

from api.wiring import async_url
from bench.measuring.stage import BooksUrls
from billing.database import Sessions, engine, sessions, snapshot
from ledger import ids, posting, verification
from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer, opening
from ledger.outcomes import Outcome
from ledger.tables import OperationRow

CREDITS: Final = 10**12
"""What each book is given at first: nobody runs short."""
PURCHASE_CREDITS: Final = 500
PROBLEMS_TOLD: Final = 10
"""More of what does not fit says nothing new."""

_SPENDS: Final = (
    select(func.count())
    .select_from(OperationRow)
    .where(col(OperationRow.kind) == Kind.SPEND.value, col(OperationRow.outcome) == Outcome.POSTED.value)
)
_keys = count()
_run = secrets.token_hex(8)


def new_key() -> str:
    """A key that nobody has used."""
    return f"{_run}:{next(_keys)}"


def new_books(number: int) -> list[UUID]:
    """The ids of books to come."""
    return [ids.uuid7(datetime.now(UTC), secrets.token_bytes(10)) for _ in range(number)]


def purchase(book: UUID, credits_: int = PURCHASE_CREDITS) -> Operation:
    """A paid grant, with what the provider owes us for it: one cent a credit."""
    lot = LotOpening(LotCause.PAID, credits_, usd(credits_), None)
    return _grant(book, lot, (Transfer("stripe_clearing", "deferred_revenue", usd(credits_)),))


def correction(book: UUID, credits_: int, expires_at: datetime | None) -> Operation:
    """A grant that nobody paid, as a lot of its own."""
    return _grant(book, LotOpening(LotCause.CORRECTION, credits_, None, expires_at))


def _grant(book: UUID, lot: LotOpening, transfers: tuple[Transfer, ...] = ()) -> Operation:
    moment = datetime.now(UTC)
    return Operation(book, Kind.GRANT, SYSTEM_SCOPE, new_key(), "bench", moment, transfers=transfers, lot=lot)


@dataclass(frozen=True, slots=True)
class Kept:
    """Sessions of a database of books, and the connections behind them."""

    engine: AsyncEngine = field(repr=False)
    sessions: Sessions = field(repr=False)

    @classmethod
    def at(cls, urls: BooksUrls) -> Self:
        """As the role that may post and read."""
        connections = engine(async_url(urls.run))
        return cls(connections, sessions(connections))

    async def close(self) -> None:
        """Give the connections back."""
        await self.engine.dispose()


def book_of(organization_id: str) -> UUID:
    """The book of an organization, by its id outside."""
    return ids.parse("org", organization_id)


async def post(on: Sessions, operations: Sequence[Operation]) -> None:
    """Post in one transaction, as billing does. Raises `PostingRefused` for what is refused."""
    async with on() as session, session.begin():
        await posting.post(session, operations)


async def post_all(on: Sessions, operations: Iterable[Operation]) -> None:
    """Post any number, in transactions of the largest size."""
    for some in _batches(operations, posting.OPERATIONS_MAX):
        await post(on, some)


async def fill(on: Sessions, books: Sequence[UUID]) -> None:
    """Open the books, each with one lot that lasts."""
    await post_all(on, (opening(organization_id=book, event_at=datetime.now(UTC)) for book in books))
    await fill_opened(on, books)


async def fill_opened(on: Sessions, books: Sequence[UUID]) -> None:
    """Give books that are there one lot each."""
    await post_all(on, (correction(book, CREDITS, None) for book in books))


async def problems(on: Sessions, *, spends: int) -> list[str]:
    """What `verify` finds in all books, the first few of it; and spends that were answered and are not there."""
    async with on() as session:
        kept = (await session.exec(_SPENDS)).one()
    found = [f"{kept:,} spends are in the journal, and {spends:,} were answered"] if kept != spends else []
    async with snapshot(on) as session:
        await (await session.connection()).execute(text("SET LOCAL statement_timeout = 0"))
        verified = await verification.verify(session, None)
    found += [f"{one.place} {one.problem}" for one in verified.mismatches]
    return found[:PROBLEMS_TOLD]


def _batches(operations: Iterable[Operation], size: int) -> Iterator[list[Operation]]:
    rest = iter(operations)
    while some := list(islice(rest, size)):
        yield some
