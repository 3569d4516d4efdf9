"""Grants into the books, fsync on: `python -m bench.posting`. What a purchase costs in the database, without HTTP."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import migrations
from api.postgres.server import running
from api.wiring import async_url
from bench.rounds import compare
from billing.database import Sessions, engine, sessions
from ledger import ids, posting
from ledger.money import usd
from ledger.operations import Kind, LotCause, LotOpening, Operation, Transfer, credits_granted, opening

BOOKS = 50
GRANTS = 400


def new_id() -> UUID:
    """A new time-ordered id."""
    return ids.uuid7(datetime.now(UTC), secrets.token_bytes(10))


def grant(book: UUID) -> Operation:
    """A purchase of 500 credits."""
    return Operation(
        id=new_id(),
        organization_id=book,
        kind=Kind.GRANT,
        scope="system",
        key=secrets.token_hex(16),
        event_at=datetime.now(UTC),
        cause="bench",
        transfers=(credits_granted(500), Transfer("stripe_clearing", "deferred_revenue", usd(500))),
        lot=LotOpening(LotCause.PAID, 500, usd(500), None),
    )


async def post(books: Sessions, operations: list[Operation]) -> int:
    """One transaction."""
    async with books() as session, session.begin():
        return len(await posting.post(session, operations))


async def measure(url: str) -> str:
    """One at a time, sixteen at a time, and in batches."""
    on = engine(async_url(url))
    books = sessions(on)
    found = [new_id() for _ in range(BOOKS)]
    await post(books, [opening(id=new_id(), organization_id=book, event_at=datetime.now(UTC)) for book in found])

    async def one_client(count: int) -> int:
        return sum([await post(books, [grant(secrets.choice(found))]) for _ in range(count)])

    async def sixteen_clients() -> int:
        return sum(await asyncio.gather(*(one_client(GRANTS // 16) for _ in range(16))))

    async def batches() -> int:
        return sum(
            [await post(books, [grant(secrets.choice(found)) for _ in range(100)]) for _ in range(GRANTS // 100)]
        )

    try:
        return await compare(
            {
                "one grant a transaction, 1 client": lambda: one_client(GRANTS // 4),
                "one grant a transaction, 16 clients": sixteen_clients,
                "100 grants a transaction, 1 client": batches,
            },
            base="one grant a transaction, 1 client",
        )
    finally:
        await on.dispose()


def main() -> None:
    """Measure on a fresh embedded PostgreSQL and print the table."""
    with tempfile.TemporaryDirectory(prefix="purser-bench-") as folder, running(Path(folder) / "postgres") as server:
        migrations.upgrade(async_url(server.url()))
        print(asyncio.run(measure(server.url())))


if __name__ == "__main__":
    main()
