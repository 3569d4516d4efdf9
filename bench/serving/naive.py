"""The naive service: `python -m bench.serving.naive PORT PARENT`, one transaction a request.

Litestar, granian with one worker, asyncpg: what ours runs on. A token is looked up in the database for each request,
the body is checked by pydantic, and the answer is small. It writes no log, and has no rate limits.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.server.mp import MPServer
from litestar import Litestar, Request, post
from litestar.datastructures import State
from pydantic import BaseModel, Field

from bench.contenders import naive
from sandbox.parent import die_with_parent

DATABASE: Final = "PURSER_BENCH_NAIVE_DATABASE"
PATH: Final = "/v1/spends"


class Spend(BaseModel, extra="forbid"):
    """What a request says."""

    credits: int = Field(gt=0)
    idempotency_key: str = Field(min_length=1, max_length=255)


@post(PATH, status_code=200)
async def spends(request: Request[Any, Any, State], data: Spend, state: State) -> dict[str, Any]:
    """Spend, if there is enough."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    async with state.pool.acquire() as connection:
        book = await connection.fetchval("SELECT book FROM tokens WHERE hash = $1", token_hash(token))
        if book is None:
            return {"ok": False, "error": "unauthorized"}
        after = await naive.spend(connection, book, data.credits, data.idempotency_key)
    return {"ok": after is not None, "balance": after}


def token_hash(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def create_app() -> Litestar:
    """The service; its database is named in the environment, because granian makes it in a process of its own."""

    @asynccontextmanager
    async def pool(app: Litestar) -> AsyncIterator[None]:
        app.state.pool = await naive.pool_of(os.environ[DATABASE])
        try:
            yield
        finally:
            await app.state.pool.close()

    return Litestar([spends], lifespan=[pool], openapi_config=None)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]))
    MPServer(
        "bench.serving.naive:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        workers=1,
        websockets=False,
        log_enabled=False,
    ).serve()
