"""A database with a clock that stands still until told, connections of the run role, and the oracle beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from api.wiring import async_url
from billing.database import Sessions, engine, sessions
from ledger.operations import LANE, SYSTEM_SCOPE, Kind, Operation
from ledger.outcomes import Posted
from ledger.posting import ANSWER, answers_of, columns_of, posting_order
from tests.books.books import problems
from tests.model import linearizing
from tests.model.oracle import Books
from tests.model.rows import assert_invariants, assert_same, expected, stored
from tests.service import Database

START = datetime(2027, 3, 30, 22, 0, tzinfo=UTC)
"""A day and two hours before a month ends, so that all windows end while tests run."""

_ARRAYS = ", ".join(f"${n}" for n in range(1, 17))
POST = f"SELECT {ANSWER} FROM ledger.post_v1({_ARRAYS})"
_CLOCK = """
CREATE TABLE IF NOT EXISTS public.clock (at timestamptz NOT NULL);
TRUNCATE public.clock;
INSERT INTO public.clock VALUES ('-infinity');
GRANT SELECT ON public.clock TO PUBLIC;
CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM public.clock';
"""
_EMPTY = """
SET session_replication_role = replica;
TRUNCATE ledger.operations, ledger.lot_openings, ledger.books, ledger.accounts, ledger.lots, ledger.holds,
         ledger.spenders, ledger.spend_refunds;
SET session_replication_role = origin;
"""


async def send(connection: Any, operations: Sequence[Operation], *, wait: bool = True) -> list[Posted]:
    """One call of the posting function, a transaction of its own."""
    order = posting_order(operations)
    rows = await connection.fetch(POST, LANE, *columns_of(operations[n] for n in order), wait)
    return answers_of(operations, order, rows)


def agree(operations: Sequence[Operation], answers: Sequence[Posted], oracles: Sequence[Posted]) -> None:
    """Fails with the first answer that is not the oracle's."""
    for operation, answer, oracle in zip(operations, answers, oracles, strict=True):
        assert answer == oracle, f"{operation}:\n{answer}\n{oracle} is the oracle's"


@dataclass
class World:
    """The database, and what the oracle thinks of it."""

    owner: Any
    connections: list[Any]
    books: Sessions
    now: datetime = START
    oracle: Books = field(default_factory=Books)
    checked: dict[UUID, int] = field(default_factory=dict)

    async def begin_anew(self) -> None:
        """No books, and the time of the beginning."""
        await self.owner.execute(_EMPTY)
        self.oracle, self.checked = Books(), {}
        await self.set_clock(START)

    async def set_clock(self, now: datetime) -> None:
        self.now = now
        await self.owner.execute("UPDATE public.clock SET at = $1", now)

    async def post(self, *operations: Operation) -> list[Posted]:
        """Post one batch; the answers, which are the oracle's."""
        answers = await send(self.connections[0], operations)
        agree(operations, answers, self.oracle.post(operations, self.now))
        return answers

    async def post_at_once(self, histories: Sequence[Sequence[Sequence[Operation]]]) -> None:
        """Each connection posts its batches one after the other, all at once; some serialization explains it."""
        calls: list[linearizing.Call] = []

        async def client(connection: Any, batches: Sequence[Sequence[Operation]]) -> None:
            for batch in batches:
                sent_at = asyncio.get_running_loop().time()
                answers = await send(connection, batch)
                calls.append(linearizing.Call(batch, answers, sent_at, asyncio.get_running_loop().time()))

        pairs = zip(self.connections, histories, strict=False)
        await asyncio.gather(*(client(connection, batches) for connection, batches in pairs))
        explained = linearizing.explain(self.oracle, calls, self.now)
        assert explained is not None, f"no serialization explains {calls}"
        self.oracle = explained
        for (
            organization_id
        ) in self.oracle.books:  # a call without a trace may or may not have come after what is due by now
            await self.catch_up(organization_id)

    async def close_through(self, organization_id: UUID, day: date, *, kind: Kind = Kind.CLOSE) -> None:
        """Close the book through `day`, or open all behind it again; answered like the oracle, refusals too."""
        first_open = datetime.combine(day + timedelta(days=1), time(), UTC)
        await self.post(
            Operation(organization_id, kind, SYSTEM_SCOPE, f"{kind}-{uuid4()}", "a month is over", deadline=first_open)
        )

    async def catch_up(self, organization_id: UUID) -> bool:
        more = await self.owner.fetchval("SELECT ledger.catch_up_v1(0::smallint, $1)", organization_id)
        assert more == self.oracle.catch_up(organization_id, self.now)
        return bool(more)

    async def check(self) -> None:
        """Every book is what the oracle says, every row and every new line of the journal, and the invariants hold."""
        for organization_id, book in self.oracle.books.items():
            seq = self.checked.get(organization_id, 0)
            rows = await stored(self.owner, organization_id, after_seq=seq)
            assert_same(rows, expected(book, after_seq=seq))
            assert_invariants(rows)
            self.checked[organization_id] = len(book.journal)
            due_at = await self.owner.fetchval(
                "SELECT next_due_at FROM ledger.books WHERE organization_id = $1", organization_id
            )
            times = [hold.deadline for hold in book.open_holds()]
            times += [lot.opening.expires_at for lot in book.lots if lot.remaining and lot.opening.expires_at]
            assert not times or (due_at is not None and due_at <= min(times))

    async def verify(self) -> None:
        """The journal alone says the same."""
        for organization_id in self.oracle.books:
            assert await problems(self.books, organization_id) == []

    async def rows(self, organization_id: UUID) -> dict[str, Any]:
        return await stored(self.owner, organization_id)


@asynccontextmanager
async def world_on(database: Database, *, connections: int = 1) -> AsyncIterator[World]:
    """A world on a database that nobody else uses."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(_CLOCK)
    posting = [await asyncpg.connect(database.run_url) for _ in range(connections)]
    on = engine(async_url(database.run_url), connections_max=2)
    world = World(owner, posting, sessions(on))
    try:
        await world.begin_anew()
        yield world
    finally:
        for connection in (owner, *posting):
            await connection.close()
        await on.dispose()
