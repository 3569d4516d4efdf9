"""`purser backup` and `purser restore`: one whole file, and everything that is in it back in an empty database."""

import asyncio
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import migrations
from api.postgres import backup_file, tools
from api.postgres.backup_file import Facts, NotABackup
from api.postgres.connection import ask
from api.postgres.databases import create_database, drop_database
from api.postgres.tools import Login, Tool
from api.postgres.unavailable import PostgresUnavailable
from api.reasons import UNUSABLE_SETTINGS
from tests import postgres_cluster as cluster
from tests.house.test_schema import catalog
from tests.service import PASSWORD, Database, free_port
from tests.serving.purser import purser

OWNERS = """
    SELECT n.nspname || '.' || c.relname, c.relowner::regrole::text, c.relacl::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('ledger', 'billing', 'webhooks', 'public')
    UNION ALL SELECT p.oid::regprocedure::text, p.proowner::regrole::text, p.proacl::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('ledger', 'billing', 'webhooks')
    UNION ALL SELECT n.nspname || '.' || t.typname, t.typowner::regrole::text, t.typacl::text FROM pg_type t
    JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname IN ('ledger', 'billing', 'webhooks')
    UNION ALL SELECT c.oid::regclass::text || '.' || a.attname, '', a.attacl::text FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL AND c.relnamespace <> 'pg_catalog'::regnamespace
    UNION ALL SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace
    WHERE nspname IN ('ledger', 'billing', 'webhooks')
    ORDER BY 1, 2, 3"""
BODIES = """
    SELECT p.oid::regprocedure::text, p.prosrc, p.proconfig::text, p.prosecdef::text FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'ledger'
    UNION ALL SELECT tgrelid::regclass::text || tgname, pg_get_triggerdef(oid), '', '' FROM pg_trigger
    WHERE NOT tgisinternal ORDER BY 1, 2"""


@dataclass(frozen=True)
class Empty:
    """A database that nobody has migrated, and the role that may."""

    owner_url: str
    migrate_url: str

    def settings(self, of: Database) -> dict[str, str]:
        """With the login of another database's service."""
        run_url = of.run_url.rpartition("/")[0] + "/" + self.owner_url.rpartition("/")[2]
        return {"PURSER_DATABASE_URL": run_url, "PURSER_MIGRATE_URL": self.migrate_url}


@pytest.fixture
def database(new_databases: Callable[[str], Database]) -> Database:
    return new_databases("backup")


@pytest.fixture
def empty(pytestconfig: pytest.Config) -> Iterator[Empty]:
    """An empty database whose migrating role has a name that the backup has never heard of."""
    server = cluster.server(pytestconfig)
    name = f"restored_{getattr(pytestconfig, 'workerinput', {}).get('workerid', 'main')}"
    ask(server.url(), f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-tests' CREATEROLE")
    ask(server.url(), f"GRANT purser_owner TO {name}")
    create_database(server, name, owner=name)
    yield Empty(server.url(database=name), server.url(database=name, user=name, password="of-the-tests"))
    drop_database(server, name)
    ask(server.url(), f"DROP ROLE {name}")


def urls(database: Database) -> dict[str, str]:
    return {"PURSER_DATABASE_URL": database.run_url, "PURSER_MIGRATE_URL": database.owner_url}


async def contents(url: str) -> dict[str, int]:
    """Every table of ours, and a sum over all its rows."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('ledger', 'billing', 'webhooks', 'public') AND c.relkind = 'r' ORDER BY 1"
        )
        query = "SELECT coalesce(sum(hashtextextended(t::text, 0)), 0)::text || '/' || count(*) FROM {} t"
        return {name: await connection.fetchval(query.format(name)) for (name,) in tables}
    finally:
        await connection.close()


def owners(url: str, migrator: str) -> list[tuple[Any, ...]]:
    return [
        tuple(part.replace(migrator, "whoever migrates") if isinstance(part, str) else part for part in row)
        for row in ask(url, OWNERS)
    ]


def some_facts(**more: Any) -> Facts:
    facts = {"purser": "1", "revision": migrations.newest(), "made_at": "2026-11-21T00:00:00+00:00", "server": "15.1"}
    return Facts(**{**facts, "roles": (), "events_read_through": None, **more})


def written(path: Path, script: bytes, **facts: Any) -> Path:
    with backup_file.written(path, some_facts(**facts), force=False) as file:
        file.write(script)
    return path


def test_a_restored_database_is_the_same_down_to_owners_grants_and_rows(
    folder: Path, database: Database, empty: Empty
) -> None:
    ask(database.owner_url, "INSERT INTO webhooks.event_cursors VALUES ('stripe', '2026-11-01', now())")
    made = purser(folder, "backup", "at night.purser", **urls(database))
    assert made.returncode == 0, made.stderr
    assert (folder / "at night.purser").stat().st_mode & 0o777 == 0o600
    done = purser(folder, "restore", "at night.purser", **empty.settings(database))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified: journal, balances, lots and hash chain agree" in done.stdout
    assert "reads the provider's events since 2026-11-01" in done.stdout
    assert asyncio.run(catalog(empty.owner_url)) == asyncio.run(catalog(database.owner_url))
    assert ask(empty.owner_url, BODIES) == ask(database.owner_url, BODIES)
    assert asyncio.run(contents(empty.owner_url)) == asyncio.run(contents(database.owner_url))
    migrator = empty.owner_url.rpartition("/")[2]
    assert owners(empty.owner_url, migrator) == owners(database.owner_url, "postgres")
    assert len(owners(empty.owner_url, migrator)) > 100
    checked = purser(folder, "check", PURSER_SANDBOX="true", **empty.settings(database))
    assert checked.returncode == 0, checked.stdout
    again = purser(folder, "restore", "at night.purser", **empty.settings(database))
    assert again.returncode == 1
    assert "The database is not empty" in again.stderr


def test_a_backup_is_never_overwritten_unless_forced(folder: Path, database: Database) -> None:
    (folder / "backup").write_text("precious")
    refused = purser(folder, "backup", "backup", **urls(database))
    assert refused.returncode == 1
    assert "--force overwrites it" in refused.stderr
    assert (folder / "backup").read_text() == "precious"
    assert purser(folder, "backup", "backup", "--force", **urls(database)).returncode == 0
    with backup_file.opened(folder / "backup") as backup:
        assert backup.facts.revision == migrations.newest()
        assert b"CREATE TABLE ledger.operations" in backup.script.read()
    assert [path.name for path in folder.iterdir()] == ["backup"], "and nothing half written stands beside it"


def test_a_role_that_has_rights_in_the_backup_must_be_there_first(
    folder: Path, database: Database, empty: Empty
) -> None:
    ask(database.owner_url, "CREATE ROLE analyst")
    ask(database.owner_url, "GRANT SELECT (code) ON ledger.chart TO analyst")
    assert purser(folder, "backup", "backup", **urls(database)).returncode == 0
    ask(database.owner_url, "DROP OWNED BY analyst")
    ask(database.owner_url, "DROP ROLE analyst")
    refused = purser(folder, "restore", "backup", **empty.settings(database))
    assert refused.returncode == 1
    assert "Make these roles first, which have rights in the backup: analyst." in refused.stderr


def test_a_restore_that_fails_leaves_the_database_empty(folder: Path, database: Database, empty: Empty) -> None:
    for script, facts, says in (
        (b"CREATE TABLE public.half (); SELECT 1/0;\n" + b"-- never read\n" * 100_000, {}, "division by zero"),
        (b"", {"revision": "of the future"}, "schema of the future, which this version does not know"),
        (b"", {"server": "99.0"}, "restore it into PostgreSQL 99 or newer"),
    ):
        written(folder / says, script, **facts)
        ended = purser(folder, "restore", says, **empty.settings(database))
        assert ended.returncode == 1
        assert says in ended.stderr
        assert "Traceback" not in ended.stderr
    nowhere = {**empty.settings(database), "PURSER_MIGRATE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"}
    ended = purser(folder, "restore", "division by zero", **nowhere)
    assert "The database of PURSER_MIGRATE_URL cannot be used" in ended.stderr
    assert PASSWORD not in ended.stderr
    assert ask(empty.owner_url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_a_file_that_is_cut_off_changed_or_foreign_is_refused_in_words(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", b"SELECT 1;\n" * 1000).read_bytes()
    changed = bytearray(whole)
    changed[-3] ^= 1
    for name, body, says in (
        ("cut", whole[:-1], "is not whole"),
        ("cut in the first line", whole[:300], "is not whole|cannot be read"),
        ("changed", bytes(changed), "was changed or damaged"),
        ("renamed facts", whole.replace(b'"purser": "1"', b'"purser": "2"', 1), "was changed or damaged"),
        ("of the future", whole.replace(b'"format": 1', b'"format": 2', 1), "format 2"),
        ("foreign", b"-- PostgreSQL database dump", "is not a backup of Purser"),
        ("empty", b"", "is not a backup of Purser"),
    ):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(NotABackup, match=says), backup_file.opened(tmp_path / name):
            pass
    with backup_file.opened(tmp_path / "whole") as backup:
        assert (backup.facts, backup.script.read()) == (some_facts(), b"SELECT 1;\n" * 1000)
    assert gzip.decompress(whole.partition(b"\n")[2]) == b"SELECT 1;\n" * 1000, "as the operator reads it without us"


def test_a_backup_that_does_not_finish_leaves_no_file(tmp_path: Path) -> None:
    def break_off() -> None:
        with backup_file.written(tmp_path / "backup", some_facts(), force=False) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_a_server_newer_than_every_pg_dump_is_said_in_words() -> None:
    with pytest.raises(
        PostgresUnavailable, match=r"PostgreSQL 99, and there is no pg_dump that is as new \(found: .*18"
    ):
        tools.find("pg_dump", server_major=99)
    assert tools.find("pg_dump", server_major=18).major == 18
    assert tools.find("psql", server_major=16).major == 16


def test_the_password_stands_in_no_command_line_and_a_complaint_is_passed_on(tmp_path: Path) -> None:
    script = tmp_path / "pg_dump"
    script.write_text('#!/bin/sh\necho "$0 $@"; env; echo "disk on fire" >&2; exit 3\n')
    script.chmod(0o700)
    login = Login(host="127.0.0.1", port=5, user="u", database="d", password="the secret")
    said = io.BytesIO()
    with pytest.raises(PostgresUnavailable, match="disk on fire"):
        tools.dump(Tool(script, "18.4", 18), login, ["--no-owner"], said)
    command, *environment = said.getvalue().decode().splitlines()
    assert "--no-owner" in command
    assert "the secret" not in command + repr(login)
    assert "PGPASSWORD=the secret" in environment
    assert not [line for line in environment if line.startswith("PURSER_")]


def test_without_the_migrating_role_or_a_database_nothing_is_tried(folder: Path, database: Database) -> None:
    refused = purser(folder, "backup", "backup", PURSER_DATABASE_URL=database.run_url)
    assert refused.returncode == UNUSABLE_SETTINGS
    assert "PURSER_MIGRATE_URL" in refused.stderr
    refused = purser(folder, "backup", "backup")
    assert refused.returncode == 1
    assert "There is no database" in refused.stderr
    assert list(folder.iterdir()) == []
