"""Purser's books through their hot path: each request is a spend made in Python and posted by a lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from uuid import UUID

from sqlalchemy import text

from api.wiring import async_url
from bench.measuring import books
from bench.measuring.books import Kept
from bench.measuring.load import Pick
from bench.measuring.stage import BooksUrls, Stage
from bench.rounds import OURS
from billing.database import Sessions, connector, engine
from ledger.lane import Lane
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome, Posted

AGENT: Final = UUID("018f0000-0000-7000-8000-00000000a6e7")
"""Who spends: the scope of every key."""
AMOUNT_MAX: Final = 1_000

_SIZES: Final = text("""
    SELECT c.relname, pg_total_relation_size(c.oid) AS bytes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'ledger' AND c.relkind = 'r' ORDER BY c.relname""")


@dataclass(slots=True)
class Ours:
    """Filled books in a database of their own, and a lane that posts to them."""

    name: str
    urls: BooksUrls
    books: list[UUID] = field(repr=False)
    lane: Lane = field(repr=False)
    kept: Kept = field(repr=False)
    meter: Meter
    origin: str = OURS
    done: int = 0
    """Spends that were answered as posted; `check` looks for as many in the journal."""

    @classmethod
    async def open(cls, stage: Stage, *, books_: int, database: str = "purser", name: str = "Purser") -> Self:
        """Make the database and `books_` books with plenty in one lot each."""
        urls = await stage.books(database)
        found = books.new_books(books_)
        ours = await cls._attach(name, urls, found)
        await books.fill(ours.sessions, found)
        return ours

    @classmethod
    async def copy(cls, stage: Stage, of: Self, *, template: str, database: str) -> Self:
        """A copy of the database `template`, which `of` made and has closed."""
        found = await cls._attach(database, await stage.books(database, template=template), of.books)
        found.done = of.done
        return found

    @classmethod
    async def _attach(cls, name: str, urls: BooksUrls, found: list[UUID]) -> Self:
        meter = Meter()
        return cls(name, urls, found, await open_lane(urls, meter), Kept.at(urls), meter)

    def operation(self, book: int, credits_: int) -> Operation:
        """A spend that nobody has asked for yet."""
        return Operation(self.books[book], Kind.SPEND, AGENT, books.new_key(), "bench", credits=credits_)

    async def spend(self, book: int, credits_: int) -> int:
        """One request."""
        self._take([await self.lane.post(self.operation(book, credits_))])
        return 1

    async def spend_batch(self, pick: Pick, amount: Pick, items: int) -> int:
        """One batch of `items` requests."""
        answers = await self.lane.post_all([self.operation(pick(), amount()) for _ in range(items)])
        self._take(answers)
        return items

    @property
    def sessions(self) -> Sessions:
        """As billing has them, for grants and for looking."""
        return self.kept.sessions

    async def sizes(self) -> dict[str, int]:
        """Bytes of each table of the books, indexes included."""
        async with self.sessions() as session:
            connection = await session.connection()
            return {row.relname: int(row.bytes) for row in await connection.execute(_SIZES)}

    async def check(self) -> list[str]:
        """What `verify` finds, batches that failed, and answered spends that are missing."""
        broken = [f"the lane broke: {why}" for why in self.meter.broken[:1]]
        return broken + await books.problems(self.sessions, spends=self.done)

    async def close(self) -> None:
        """Give the connections back."""
        await close_lane(self.lane)
        await self.kept.close()

    def _take(self, answers: Sequence[Posted]) -> None:
        for answer in answers:
            if answer.outcome is not Outcome.POSTED:
                raise RuntimeError(f"a spend was answered {answer.outcome}; the bench measures spends that are posted")
        self.done += len(answers)


@dataclass(slots=True)
class Meter:
    """Counts what the lane tells of itself."""

    batches: int = 0
    operations: int = 0
    given_back: int = 0
    broken: list[str] = field(default_factory=list)

    def queued(self, depth: int) -> None:
        """Not counted."""

    def sent(self, size: int, seconds: float) -> None:  # noqa: ARG002 - the bench takes times at the caller
        """A batch was answered."""
        self.batches += 1
        self.operations += size

    def gave_back(self, number: int) -> None:
        """Operations of busy books went back into the queue."""
        self.given_back += number

    def waited(self, seconds: float) -> None:
        """Not counted."""

    def broke(self, why: str) -> None:
        """A batch failed: in a bench, that is a fault."""
        self.broken.append(why)

    def told(self) -> str:
        """For the notes of a row."""
        mean = self.operations / max(self.batches, 1)
        return f"The lane sent {mean:,.1f} operations a call on average, and gave {self.given_back:,} back."


async def open_lane(urls: BooksUrls, meter: Meter) -> Lane:
    """A lane as the role that may only post, started."""
    return await Lane(connector(engine(async_url(urls.run))), meter).__aenter__()


async def close_lane(lane: Lane) -> None:
    """Let it finish and give its connections back."""
    await lane.__aexit__(None, None, None)
