"""`POST /v1/spends` over 64 connections against one transaction a request: `python -m bench.http_spends`.

Both services run in a process of their own, on the same PostgreSQL; each connection sends its next spend when the last
was answered. *Spread* takes every agent's token in turn, *hot* always the same one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from bench.contenders.naive import Naive
from bench.measuring import books
from bench.measuring.claims import ratio
from bench.measuring.load import Pick, amounts, hot, uniform
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage
from bench.rounds import OURS, Turn
from bench.serving import processes
from bench.serving.client import Connection
from bench.serving.naive import PATH, token_hash

CONNECTIONS: Final = 64
AGENTS: Final = 200
AMOUNT_MAX: Final = 1_000
AS_FAST: Final = 0.9
"""Hot against spread: as fast, within what rounds differ anyway."""

Posted = tuple[int, bytes]


@dataclass(slots=True)
class Door:
    """A service that is spoken to, its agents' tokens, and connections to it that are free."""

    name: str
    tokens: list[str] = field(repr=False)
    free: list[Connection] = field(repr=False)
    checks: Callable[[int], Awaitable[list[str]]] = field(repr=False)
    """What does not fit, given how many spends were answered."""
    origin: str = OURS
    done: int = 0

    async def spend(self, book: int, credits_: int) -> int:
        """One request. Raises `RuntimeError` when it is not answered with a spend."""
        connection = self.free.pop()
        body = {"credits": credits_, "idempotency_key": books.new_key()}
        status, answer = await connection.post(PATH, body, self.tokens[book])
        self.free.append(connection)
        if status != 200 or not answer.startswith(b'{"ok":true'):
            raise RuntimeError(f"{self.name} answered {status}: {answer[:500].decode(errors='replace')}")
        self.done += 1
        return 1

    async def check(self) -> list[str]:
        """What does not fit in what it wrote."""
        return await self.checks(self.done)

    async def close(self) -> None:
        """Hang up."""
        for connection in self.free:
            await connection.close()


async def measure(stage: Stage, options: Options) -> Findings:
    """Both services, spread and hot, in turn."""
    agents = options.numbers["agents"]
    with ExitStack() as running:
        ours = await _purser(stage, running, agents)
        naive = await _naive(stage, running, agents)
        turns = [
            _turn(door, pick, options, name)
            for door in (ours, naive)
            for name, pick in (("spread", uniform(agents)), ("hot", hot()))
        ]
        found = await race(turns, options)
        spread, one, naive_spread, naive_one = found
        claims = [
            ratio(f"{spread.name} / {naive_spread.name}", spread, naive_spread, first=3),
            ratio(f"{one.name} / {naive_one.name}", one, naive_one, first=3),
            ratio("hot / spread", one, spread, first=AS_FAST),
        ]
        return Findings(found, claims, await settle(ours, naive))


def _turn(door: Door, pick: Pick, options: Options, name: str) -> Turn:
    amount = amounts(AMOUNT_MAX)
    return turn(door, lambda: door.spend(pick(), amount()), options, clients=CONNECTIONS, name=f"{door.name}, {name}")


async def _purser(stage: Stage, running: ExitStack, agents: int) -> Door:
    """The service with agents that have signed up, each in a book of its own with plenty."""
    urls = await stage.books("purser_http")
    port = running.enter_context(processes.purser(urls))
    await processes.answers(port)
    free = await _connections(port)
    signed_up = [await _sign_up(free[0], number) for number in range(agents)]
    kept = books.Kept.at(urls)
    found = [book for book, _ in signed_up]
    await books.fill_opened(kept.sessions, found)

    async def check(done: int) -> list[str]:
        problems = await books.problems(kept.sessions, spends=done)
        await kept.close()
        return problems

    return Door("Purser", [token for _, token in signed_up], free, check)


async def _naive(stage: Stage, running: ExitStack, agents: int) -> Door:
    """The naive service with as many books and tokens."""
    filled = await Naive.open(stage, books=agents)
    tokens = [f"token-{number}" for number in range(agents)]
    await filled.pool.executemany(
        "INSERT INTO tokens VALUES ($1, $2)", [(token_hash(token), book) for book, token in enumerate(tokens)]
    )
    port = running.enter_context(processes.naive(filled.url))
    await processes.answers(port)

    async def check(done: int) -> list[str]:
        filled.done = done
        problems = await filled.check()
        await filled.close()
        return problems

    return Door(filled.name, tokens, await _connections(port), check)


async def _connections(port: int) -> list[Connection]:
    return list(await asyncio.gather(*(Connection.open(processes.HOST, port) for _ in range(CONNECTIONS))))


async def _sign_up(connection: Connection, number: int) -> tuple[UUID, str]:
    """A new agent: its book and its token."""
    body = {"agent_name": f"bench-{number}", "runtime": "bench", "return_token": True}
    status, answer = await connection.post("/v1/agent-signups", body)
    data: dict[str, Any] = json.loads(answer)["data"]
    if status != 200:
        raise RuntimeError(f"a sign-up was answered {status}: {answer[:500].decode(errors='replace')}")
    return books.book_of(data["organization_id"]), str(data["token"])


ROW = Row(
    "http_spends",
    "HTTP POST /v1/spends, 64 connections",
    measure,
    {"agents": (AGENTS, "agents, each with a book of its own")},
)

if __name__ == "__main__":
    main(ROW)
