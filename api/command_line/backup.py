"""The whole database into one file, and back into an empty one; of the embedded database or of `PURSER_MIGRATE_URL`.

A restore ends with a verification. What the payment providers said after the backup is not in it and does not need to
be: it stands in their own lists of events, from which the worker reads on where the backup's cursor stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from rich.markup import escape
from sqlalchemy.engine import make_url

import migrations
from api.command_line import books
from api.command_line.console import console, visible
from api.http.routes.health import VERSION
from api.postgres import backup_file, snapshot, tools
from api.postgres.backup_file import Backup, Facts, NotABackup
from api.postgres.tools import Login
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn, unreachable
from api.running import embedding, migrating
from api.settings import Settings
from api.wiring import async_url, build, now

EVENTS_KEPT: Final = timedelta(days=30)
"""How far back Stripe lists its events (https://docs.stripe.com/api/events)."""


def back_up(settings: Settings, target: Path, *, force: bool) -> None:
    """Write the database as of one moment into `target`, and say so.

    A file of that name stays unless `force`; raises `FileExistsError`. Raises `CannotGoOn`, `PostgresUnavailable`.
    """
    with _in_words(), _database(settings) as found:
        facts = asyncio.run(_backed_up(_login(found), target, force=force))
    out = console()
    made = f"Backed up schema {facts.revision} as of {facts.made_at} into {target}"
    out.print(escape(visible(made)), soft_wrap=True)
    out.print(f"({target.stat().st_size} bytes; only its owner can read it, and it holds personal data).")


def restore(settings: Settings, source: Path) -> bool:
    """Fill the empty database of the settings, verify it, and say what happens next; whether the verification is clean.

    Raises `CannotGoOn`, `PostgresUnavailable`, and then the database is as empty as before.
    """
    with _in_words(), backup_file.opened(source) as backup, _empty_database(settings) as found:
        facts = backup.facts
        _require_known(facts.revision)
        asyncio.run(_restored(_login(found), backup))
        left_to_do = asyncio.run(_newest(found))
        told = f"Restored the backup of {facts.made_at} (Purser {facts.purser}, schema {facts.revision})."
        console().print(escape(visible(told)))
        clean = books.tell(asyncio.run(_verified(found)))
    _tell_next(facts, left_to_do)
    return clean


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except NotABackup as reason:
        raise CannotGoOn(visible(str(reason))) from None


@contextmanager
def _database(settings: Settings) -> Iterator[Settings]:
    if settings.database_url is not None:
        yield settings
        return
    with embedding.as_it_is(settings) as found:
        yield found


@contextmanager
def _empty_database(settings: Settings) -> Iterator[Settings]:
    if settings.database_url is not None:
        yield settings
        return
    with embedding.unmade(settings) as found:
        yield found


def _login(settings: Settings) -> Login:
    if settings.migrate_url is None:
        raise CannotGoOn(
            "Set PURSER_MIGRATE_URL beside PURSER_DATABASE_URL: the run role may neither read nor make everything.",
            exit_code=UNUSABLE_SETTINGS,
        )
    url = make_url(async_url(settings.migrate_url.get_secret_value(), "PURSER_MIGRATE_URL"))
    socket, ssl = url.query.get("host"), url.query.get("ssl")
    return Login(
        host=socket if isinstance(socket, str) else url.host,
        port=url.port,
        user=url.username,
        database=url.database,
        password=None if url.password is None else str(url.password),
        ssl=ssl if isinstance(ssl, str) else None,
    )


@asynccontextmanager
async def _connected(login: Login) -> AsyncIterator[asyncpg.Connection[Any]]:
    try:
        connection = await snapshot.connect(login)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise unreachable("PURSER_MIGRATE_URL", error) from error
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        raise unreachable("PURSER_MIGRATE_URL", error) from error
    finally:
        await connection.close(timeout=snapshot.CONNECT_TIMEOUT_S)


def _require_known(revision: str) -> None:
    if not migrations.known(revision):
        raise CannotGoOn(
            f"This is schema {visible(revision)}, which this version does not know; use the version that made it."
        )


async def _backed_up(login: Login, target: Path, *, force: bool) -> Facts:
    async with _connected(login) as connection:
        # Nobody migrates meanwhile: pg_dump would find another schema than its snapshot shows.
        await connection.execute("SELECT pg_advisory_lock_shared($1)", migrating.LOCK)
        async with snapshot.taken(connection) as moment:
            if moment is None:
                raise CannotGoOn("There is nothing to back up: the database was never migrated.")
            _require_known(moment.revision)
            pg_dump = await asyncio.to_thread(tools.find, login, server_major=_major(moment.server))
            facts = Facts(
                purser=VERSION,
                revision=moment.revision,
                made_at=moment.taken_at.isoformat(),
                server=moment.server,
                roles=moment.roles,
                events_read_through=moment.events_read_through and moment.events_read_through.isoformat(),
            )
            with backup_file.written(target, facts, force=force) as file:
                for options in moment.dumps():
                    await asyncio.to_thread(tools.dump, pg_dump, login, options, file)
                file.write("".join(f"{statement}\n" for statement in moment.ownership).encode())
    return facts


async def _restored(login: Login, backup: Backup) -> None:
    facts = backup.facts
    async with _connected(login) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", migrating.LOCK)
        held = await snapshot.not_empty(connection)
        if held is not None:
            raise CannotGoOn(
                f"The database is not empty ({visible(held)} is there), and a restore never overwrites. Name an empty "
                "database, or for the embedded one another --data-dir, or move its folder `postgres` away."
            )
        server = snapshot.server_version(connection)
        if _major(server) < _major(facts.server):
            raise CannotGoOn(
                f"The backup comes from PostgreSQL {facts.server}, which this server ({server}) may not understand; "
                f"restore it into PostgreSQL {_major(facts.server)} or newer."
            )
        await connection.execute(migrations.roles())
        missing = await snapshot.missing(connection, facts.roles)
        if missing:
            raise CannotGoOn(f"Make these roles first, which have rights in the backup: {visible(', '.join(missing))}.")
        try:
            await snapshot.put_back(login, backup_file.parts(backup.script))
        except asyncpg.PostgresError as error:
            said = str(error).partition("\n")[0]  # what follows may quote a row, and rows are not for a terminal
            raise CannotGoOn(f"The server does not take the backup: {visible(said)}.") from None
        await connection.execute("ANALYZE", timeout=tools.RUN_TIMEOUT_S)


async def _newest(settings: Settings) -> str | None:
    """Migrate what is of an older schema, and let the run login in; a statement that somebody else has to run."""
    if settings.migrate_url is None or settings.database_url is None:
        raise LookupError("both addresses were used before")
    run_url, migrate_url = settings.database_url.get_secret_value(), settings.migrate_url.get_secret_value()
    return (await migrating.migrate(migrate_url=migrate_url, run_url=run_url)).left_to_do


async def _verified(settings: Settings) -> books.Verified:
    house = build(settings, answer_timeout_s=None)  # a verification may take long
    try:
        with books.progress_told() as progress:
            return await books.verify(house, None, progress=progress)
    finally:
        await house.close()


def _tell_next(facts: Facts, left_to_do: str | None) -> None:
    out = console()
    if left_to_do is not None:
        out.print("This role may not admit the run login; somebody who may has to run:")
        out.print(f"  {escape(visible(left_to_do))}", soft_wrap=True)
    since = facts.events_read_through or facts.made_at
    out.print(
        f"Next: start the service. Its worker reads the provider's events since {escape(since)} and applies them again,"
    )
    out.print(
        "once each. What they say of attempts younger than the backup is parked: `purser letters --state parked`."
    )
    out.print("Agents that signed up after the backup, and tokens and keys given out since, are not known any more.")
    if now() - datetime.fromisoformat(since) > EVENTS_KEPT:
        out.print(
            f"Stripe lists its events for {EVENTS_KEPT.days} days only: compare what is older with its Dashboard."
        )


def _major(version: str) -> int:
    return int(version.partition(".")[0])
