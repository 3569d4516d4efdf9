"""One moment of a database, as pg_dump sees it: facts, what it consists of, and who owns and may use that.

Theory of operation: a transaction exports its snapshot (`pg_export_snapshot`), and every pg_dump of the backup reads in
it, so that all parts show the same moment while the service goes on. Dumped are our schemas and Alembic's table, no
extension and nothing of others. The objects are dumped without owner: whoever restores makes them, as whoever migrates
does, and then gives to `purser_owner` what is the owner's. So a backup may go to a database whose migrating role has
another name.

`put_back` sends such a script to the server itself: no program reads it that would take a line of it for a command.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from .backup_file import NotABackup, Rows
from .tools import RUN_TIMEOUT_S, Login

SCHEMAS: Final = ("ledger", "billing", "webhooks", "finance")
VERSIONS_TABLE: Final = "public.alembic_version"
OWNER, RUN = "purser_owner", "purser_run"
CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 120.0

_OWNED: Final = """
    SELECT format('ALTER SCHEMA %I OWNER TO %I;', n.nspname, o.rolname), 1, n.nspname
    FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner WHERE n.nspname = ANY($1) AND o.rolname = $2
    UNION ALL
    SELECT format('ALTER TABLE %I.%I OWNER TO %I;', n.nspname, c.relname, o.rolname), 2, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
    WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm') AND o.rolname = $2
    UNION ALL
    SELECT format('ALTER TYPE %I.%I OWNER TO %I;', n.nspname, t.typname, o.rolname), 3, t.typname
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_roles o ON o.oid = t.typowner
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE n.nspname = ANY($1) AND o.rolname = $2 AND (t.typtype IN ('d', 'e') OR c.relkind = 'c')
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO %I;', p.oid::regprocedure, o.rolname), 4, p.oid::regprocedure::text
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
    WHERE n.nspname = ANY($1) AND o.rolname = $2
    ORDER BY 2, 3, 1"""
_GRANTED: Final = """
    SELECT DISTINCT g.rolname FROM (
      SELECT nspacl AS acl, nspowner AS owner FROM pg_namespace n WHERE n.nspname = ANY($1)
      UNION ALL
      SELECT relacl, relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = ANY($1) OR c.oid = 'public.alembic_version'::regclass
      UNION ALL
      SELECT attacl, relowner FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = ANY($1) OR c.oid = 'public.alembic_version'::regclass
      UNION ALL
      SELECT proacl, proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY($1)
      UNION ALL
      SELECT typacl, typowner FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = ANY($1)
    ) given CROSS JOIN LATERAL aclexplode(acl) one JOIN pg_roles g ON g.oid = one.grantee
    WHERE one.grantee <> given.owner AND g.rolname <> ALL($2) ORDER BY 1"""
_FOREIGN: Final = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = ANY($1)
    ORDER BY 1 LIMIT 1"""


@dataclass(frozen=True)
class Snapshot:
    """A moment, for as long as the transaction behind it is held."""

    exported_as: str
    revision: str
    taken_at: Any
    server: str
    roles: tuple[str, ...]
    events_read_through: Any
    ownership: tuple[str, ...]
    """The statements that give to the owner what is the owner's, in an order in which they succeed."""

    def dumps(self) -> tuple[tuple[str, ...], ...]:
        """The options of each pg_dump that makes up the backup, in order."""
        common = (f"--snapshot={self.exported_as}", "--no-owner", "--encoding=UTF8")
        schemas = tuple(f"--schema={name}" for name in SCHEMAS)
        return (*common, *schemas), (*common, f"--table={VERSIONS_TABLE}")


async def connect(login: Login) -> asyncpg.Connection[Any]:
    """One connection, which the caller closes. Errors are asyncpg's and OSError."""
    return await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        database=login.database,
        password=login.password,
        ssl=login.ssl,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings={"application_name": "purser backup", "timezone": "UTC"},
    )


@asynccontextmanager
async def taken(connection: asyncpg.Connection[Any]) -> AsyncIterator[Snapshot | None]:
    """The present moment, held for the length of the block; none where the schema was never made."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Nothing is asked of this transaction while pg_dump works, for as long as it takes.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL search_path = ''")
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", VERSIONS_TABLE):
            yield None
            return
        yield Snapshot(
            exported_as=await connection.fetchval("SELECT pg_export_snapshot()"),
            revision=await connection.fetchval("SELECT version_num FROM public.alembic_version"),
            taken_at=await connection.fetchval("SELECT now()"),
            server=server_version(connection),
            roles=tuple(row[0] for row in await connection.fetch(_GRANTED, SCHEMAS, [OWNER, RUN])),
            events_read_through=await connection.fetchval("SELECT min(read_through) FROM webhooks.event_cursors"),
            ownership=tuple(row[0] for row in await connection.fetch(_OWNED, SCHEMAS, OWNER)),
        )


def server_version(connection: asyncpg.Connection[Any]) -> str:
    """As `18.4`."""
    version = connection.get_server_version()
    return f"{version.major}.{version.minor}"


async def put_back(login: Login, parts: Iterable[str | Rows]) -> None:
    """Run the parts of a script on a connection of their own, in one transaction: all, or nothing.

    Raises asyncpg's errors, OSError, and whatever `parts` raises.
    """
    connection = await connect(login)
    try:
        await connection.execute("BEGIN")
        for part in parts:
            await _put(connection, part)
        await connection.execute("COMMIT", timeout=RUN_TIMEOUT_S)
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, NotABackup):
        await connection.execute("ROLLBACK")
        raise
    finally:
        # Not by asking: a server that still waits for rows of a COPY would never answer, and this ends it too.
        connection.terminate()


async def _put(connection: asyncpg.Connection[Any], part: str | Rows) -> None:
    if isinstance(part, str):
        # Between two tables pg_dump may write comments only, and asyncpg fails on the answer to no statement at all.
        await connection.execute(f"SELECT;\n{part}", timeout=RUN_TIMEOUT_S)
        return

    async def pieces(of: Rows = part) -> AsyncIterator[bytes]:
        for piece in of.pieces:
            yield piece

    await connection.copy_to_table(
        part.table,
        schema_name=part.schema,
        columns=part.columns,
        source=pieces(),
        format="text",
        timeout=RUN_TIMEOUT_S,
    )


async def not_empty(connection: asyncpg.Connection[Any]) -> str | None:
    """The name of something that the database holds already, extensions aside; none when it is empty."""
    found: str | None = await connection.fetchval(_FOREIGN, SCHEMAS)
    return found


async def missing(connection: asyncpg.Connection[Any], roles: tuple[str, ...]) -> list[str]:
    """Those of the roles that the server does not have."""
    query = "SELECT one FROM unnest($1::text[]) AS one WHERE one NOT IN (SELECT rolname FROM pg_roles) ORDER BY 1"
    return [row[0] for row in await connection.fetch(query, list(roles))]
