"""One bounded, blocking question to a server, for code that supervises and prepares rather than serves."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 60.0


async def _ask(url: str, statement: str, arguments: tuple[object, ...]) -> list[tuple[Any, ...]]:
    # ssl=False: the wheel's PostgreSQL is built without TLS, and loopback needs none.
    connection = await asyncpg.connect(
        url, ssl=False, timeout=CONNECT_TIMEOUT_S, command_timeout=STATEMENT_TIMEOUT_S, statement_cache_size=0
    )
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


def ask(url: str, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    """The rows of one statement, on a connection of its own. Errors are asyncpg's, OSError and TimeoutError."""
    return _run_blocking(_ask(url, statement, arguments))


def _run_blocking(work: Coroutine[Any, Any, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Await `work` in a thread of its own, so that a caller whose thread already runs an event loop may ask too."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres-question") as thread:
        return thread.submit(asyncio.run, work).result()
