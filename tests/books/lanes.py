"""What the tests of lanes on PostgreSQL share: a lane as the service makes it, books with credits, and a last look."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from api.wiring import async_url
from billing.database import Sessions, connector, engine
from ledger.lane import Lane, LaneFull, OutcomeUnknown
from ledger.operations import Kind, Operation, opening
from ledger.outcomes import Outcome, Posted
from tests.books.books import AT, grant, new_id, post, problems
from tests.unit.fake_books import Meter

CREDITS = 1_000_000
AGENT = UUID(int=0xA9E27)
INSIST_MAX = 200


@asynccontextmanager
async def lane_on(url: str, meter: Meter | None = None, **options: Any) -> AsyncIterator[Lane]:
    """A lane of the run role, with the service's own time-outs."""
    on = engine(async_url(url))
    async with Lane(connector(on), meter or Meter(), **options) as lane:
        yield lane
    await on.dispose()


async def new_books(books: Sessions, number: int, *, credits_: int = CREDITS) -> list[UUID]:
    """Books with a paid grant each."""
    ids = [new_id() for _ in range(number)]
    await post(books, *(opening(organization_id=book, event_at=AT) for book in ids))
    await post(books, *(grant(book, "first", credits_) for book in ids))
    return ids


def spend(book: UUID, key: str, credits_: int = 1, **changes: Any) -> Operation:
    return Operation(book, Kind.SPEND, AGENT, key, "job", credits=credits_, **changes)


def hold(book: UUID, key: str, credits_: int, *, at: Any) -> Operation:
    return Operation(book, Kind.HOLD, AGENT, key, "job", credits=credits_, deadline=at + timedelta(hours=1))


async def insist(lane: Lane, operations: Sequence[Operation]) -> list[Posted]:
    """What a caller does: the same under the same keys until there is an answer."""
    for _ in range(INSIST_MAX):
        try:
            return await lane.post_all(operations)
        except (OutcomeUnknown, LaneFull):
            await asyncio.sleep(0.05)
    raise AssertionError("no answer")


def essence(answer: Posted) -> tuple[Any, ...]:
    """What every answer under one key must have in common."""
    return (
        answer.operation_id, answer.outcome, answer.seq, answer.posted_at, answer.accounting_date,
        answer.available_after, answer.held_after, answer.paid_after,
    )  # fmt: skip


async def deadlocks(owner_url: str) -> int:
    """In this database since it was made: in others of the server other tests may want some."""
    connection = await asyncpg.connect(owner_url)
    try:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def spent_as_asked(books: Sessions, owner: Any, asked: Sequence[Operation]) -> None:
    """Every key stands in the journal once, the sums are those of the journal, and `verify` finds nothing."""
    spent = Counter[UUID]()
    for operation in {operation.id: operation for operation in asked}.values():
        spent[operation.organization_id] += operation.credits if operation.kind is Kind.SPEND else 0
    ids = list({operation.id for operation in asked})
    stored = await owner.connection.fetch("SELECT id, outcome FROM ledger.operations WHERE id = ANY ($1)", ids)
    assert sorted(row["id"] for row in stored) == sorted(ids)
    assert {row["outcome"] for row in stored} == {Outcome.POSTED}
    sums = await owner.connection.fetch(
        "SELECT organization_id, consumed FROM ledger.books WHERE organization_id = ANY ($1)", list(spent)
    )
    assert {row["organization_id"]: row["consumed"] for row in sums} == dict(spent)
    for book in spent:
        assert await problems(books, book) == []
