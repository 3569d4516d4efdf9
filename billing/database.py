"""How billing reaches PostgreSQL: sessions over asyncpg, with every wait bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

Sessions = async_sessionmaker[AsyncSession]

CONNECTIONS_MAX: Final = 20
CONNECT_TIMEOUT_S: Final = 5
POOL_TIMEOUT_S: Final = 5
ANSWER_TIMEOUT_S: Final = 15
"""For a server that has vanished and cannot enforce its own time-outs; longer than any of those."""
_WAITS: Final = {
    "lock_timeout": "4000",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "15000",
    "timezone": "UTC",
    "application_name": "purser",
}
_OPTIONS: Final = frozenset({"host", "port", "user", "password", "database", "ssl", "target_session_attrs"})
"""What of a URL the driver itself understands."""


def engine(
    url: str, *, connections_max: int = CONNECTIONS_MAX, answer_timeout_s: int | None = ANSWER_TIMEOUT_S
) -> AsyncEngine:
    """An engine for the run role's `url` (`postgresql+asyncpg://…`). The caller disposes it.

    Without `answer_timeout_s` a statement may take as long as the server lets it.
    """
    return create_async_engine(
        url,
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": answer_timeout_s,
            "server_settings": _WAITS,
        },
        hide_parameters=True,
    )


def connector(on: AsyncEngine) -> Callable[[], Awaitable[Any]]:
    """What opens one raw connection to the same database, for the lane: sessions are too slow for the hot path."""
    options = {key: value for key, value in on.dialect.create_connect_args(on.url)[1].items() if key in _OPTIONS}

    async def connect() -> Any:
        return await asyncpg.connect(**options, timeout=CONNECT_TIMEOUT_S, server_settings=_WAITS)

    return connect


def sessions(on: AsyncEngine) -> Sessions:
    """Sessions whose rows stay readable after the transaction."""
    return async_sessionmaker(on, class_=AsyncSession, expire_on_commit=False)


@asynccontextmanager
async def snapshot(of: Sessions) -> AsyncIterator[AsyncSession]:
    """A session whose reads all see the database at one moment; it writes nothing."""
    async with of() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
        yield session
