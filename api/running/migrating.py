"""Bringing a database to the newest schema, and the login that serves into its role.

Two processes may try at once: an advisory lock lets one work and the other find it done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import NullPool, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

import migrations
from api.reasons import CannotGoOn, unreachable
from api.wiring import async_url
from billing.database import CONNECT_TIMEOUT_S

STATEMENT_TIMEOUT_S: Final = 120
LOCK: Final = 0x707572736572
"""The advisory lock of whoever changes the schema; "purser", so nobody else's in a database of ours."""


@dataclass(frozen=True)
class Migrated:
    """The revisions before (none: empty) and after, and, if it could not be done, the statement that is left to run."""

    before: str | None
    after: str
    left_to_do: str | None


async def migrate(*, migrate_url: str, run_url: str) -> Migrated:
    """Migrate to the newest revision; repeating it changes nothing. Raises `CannotGoOn`."""
    login = make_url(async_url(run_url)).username or ""
    url = async_url(migrate_url, "PURSER_MIGRATE_URL")
    try:
        async with _connected(url) as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
            before = await _revision(connection)
            if before is not None and not migrations.known(before):
                raise CannotGoOn(
                    f"The database is at schema {before}, which this version does not know. Use the version that made "
                    "it, or another database; an embedded one is new when its folder (.purser) is moved away."
                )
            # In a thread: Alembic is not asynchronous, and its environment runs a loop of its own.
            await asyncio.to_thread(migrations.upgrade, url)
            return Migrated(before, migrations.newest(), await _join(connection, login))
    except (SQLAlchemyError, OSError) as error:
        raise unreachable("PURSER_MIGRATE_URL", error) from error


async def revision(url: str) -> str | None:
    """The revision of a database; none before the first migration. Errors are SQLAlchemy's and OSError."""
    async with _connected(async_url(url)) as connection:
        return await _revision(connection)


async def require_newest(url: str) -> None:
    """Raises `CannotGoOn` unless the database at the run role's `url` is at the revision this code expects."""
    try:
        found = await revision(url)
    except (SQLAlchemyError, OSError) as error:
        raise unreachable("PURSER_DATABASE_URL", error) from error
    expected = migrations.newest()
    if found != expected:
        raise CannotGoOn(
            f"The database is at schema {found or 'none'} and this version needs {expected}; "
            "run `purser migrate` first."
        )


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    waits = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S}
    engine = create_async_engine(
        url, poolclass=NullPool, connect_args=waits, hide_parameters=True, isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _revision(connection: AsyncConnection) -> str | None:
    exists = await connection.scalar(text("SELECT to_regclass('public.alembic_version') IS NOT NULL"))
    if not exists:
        return None
    found: str | None = await connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    return found


async def _join(connection: AsyncConnection, login: str) -> str | None:
    """Make the run URL's login a member of `purser_run`, when we may; else what somebody who may has to run."""
    quoted = '"' + login.replace('"', '""') + '"'
    known = await connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :login"), {"login": login})
    if not known:
        return f"CREATE ROLE {quoted} LOGIN PASSWORD '…' IN ROLE purser_run;"
    query = text("SELECT pg_has_role(:login, 'purser_run', 'MEMBER')")
    if await connection.scalar(query, {"login": login}):
        return None
    statement = f"GRANT purser_run TO {quoted}"
    try:
        await connection.execute(text(statement))
    except DBAPIError:
        return f"{statement};"
    return None
