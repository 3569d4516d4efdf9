"""The way most services do it: one transaction a request, over a pool.

BEGIN, SELECT … FOR UPDATE, INSERT, UPDATE, COMMIT.

It keeps its promises too: no balance below zero, one spend a key, durable when answered.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Self

import asyncpg

from bench.measuring.stage import Stage
from bench.rounds import OURS

CONNECTIONS: Final = 20
COMMAND_TIMEOUT_S: Final = 60
CREDITS: Final = 10**15

SCHEMA: Final = """
    CREATE TABLE books (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    CREATE TABLE tokens (hash bytea PRIMARY KEY, book bigint NOT NULL REFERENCES books);
    CREATE TABLE spends (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      book bigint NOT NULL REFERENCES books,
      key text NOT NULL,
      credits bigint NOT NULL CHECK (credits > 0),
      balance_after bigint NOT NULL,
      created_at timestamptz NOT NULL DEFAULT now(),
      UNIQUE (book, key)
    )"""


async def pool_of(url: str) -> Any:
    """Its connections."""
    return await asyncpg.create_pool(
        url, ssl=False, min_size=CONNECTIONS, max_size=CONNECTIONS, command_timeout=COMMAND_TIMEOUT_S
    )


async def spend(connection: Any, book: int, credits_: int, key: str) -> int | None:
    """Spend in a transaction of its own; the balance after it, none when there is not enough."""
    async with connection.transaction():
        balance = await connection.fetchval("SELECT balance FROM books WHERE id = $1 FOR UPDATE", book)
        if balance < credits_:
            return None
        after = int(balance - credits_)
        await connection.execute(
            "INSERT INTO spends (book, key, credits, balance_after) VALUES ($1, $2, $3, $4)", book, key, credits_, after
        )
        await connection.execute("UPDATE books SET balance = $2 WHERE id = $1", book, after)
    return after


async def wrong(pool: Any, done: int) -> list[str]:
    """What does not fit: a balance that is not what its spends say, and spends that are not there."""
    off = await pool.fetchval(
        """SELECT count(*) FROM books WHERE balance <> $1 -
           (SELECT coalesce(sum(credits), 0) FROM spends WHERE book = books.id)""",
        CREDITS,
    )
    found = await pool.fetchval("SELECT count(*) FROM spends")
    problems = [f"{off} balances do not follow from their spends"] if off else []
    return problems + ([f"{found} spends, and {done} were answered"] if found != done else [])


@dataclass(slots=True)
class Naive:
    """Its database, with books that have plenty."""

    url: str = field(repr=False)
    pool: Any = field(repr=False)
    name: str = "one transaction a request"
    origin: str = OURS
    done: int = 0
    _keys: count[int] = field(default_factory=count)
    _run: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    async def open(cls, stage: Stage, *, books: int) -> Self:
        """Make the database and its books."""
        url = stage.empty(f"naive_{books}")
        pool = await pool_of(url)
        await pool.execute(SCHEMA)
        await pool.execute("INSERT INTO books SELECT n, $1 FROM generate_series(0, $2 - 1) AS n", CREDITS, books)
        return cls(url, pool)

    async def spend(self, book: int, credits_: int) -> int:
        """One request."""
        async with self.pool.acquire() as connection:
            after = await spend(connection, book, credits_, f"{self._run}:{next(self._keys)}")
        if after is None:
            raise RuntimeError(f"book {book} has nothing left; the bench gave it too little")
        self.done += 1
        return 1

    async def check(self) -> list[str]:
        """What does not fit."""
        return await wrong(self.pool, self.done)

    async def close(self) -> None:
        """Give the connections back."""
        await self.pool.close()
