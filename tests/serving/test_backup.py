"""`purser backup` and `purser restore`: one whole file, and everything that is in it back in an empty database."""

import asyncio
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

import migrations
from api.command_line.backup import restore
from api.postgres import backup_file, tools
from api.postgres.backup_file import Facts, NotABackup, Rows
from api.postgres.connection import ask
from api.postgres.databases import create_database, drop_database
from api.postgres.tools import Login, Tool
from api.postgres.unavailable import PostgresUnavailable
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.settings import Settings
from tests import postgres_cluster as cluster
from tests.house.test_schema import catalog
from tests.service import PASSWORD, Database, free_port
from tests.serving.purser import purser, typed

HERE = Login(host="127.0.0.1", port=5, user="u", database="d", password="the secret")
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


@pytest.mark.long
def test_a_restored_database_is_the_same_down_to_owners_grants_and_rows(
    folder: Path, database: Database, empty: Empty
) -> None:
    ask(database.owner_url, "INSERT INTO webhooks.event_cursors VALUES ('stripe', '2026-11-01', now())")
    made = purser(folder, "backup", "at night.purser", **urls(database))
    assert made.returncode == 0, made.stderr
    assert (folder / "at night.purser").stat().st_mode & 0o777 == 0o600
    done = typed(folder, "restore", "at night.purser", **empty.settings(database))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified: journal, balances, lots and hash chain agree" in done.stdout
    assert "reads the provider's events since 2026-11-01" in done.stdout
    assert asyncio.run(catalog(empty.owner_url)) == asyncio.run(catalog(database.owner_url))
    assert ask(empty.owner_url, BODIES) == ask(database.owner_url, BODIES)
    assert asyncio.run(contents(empty.owner_url)) == asyncio.run(contents(database.owner_url))
    migrator = empty.owner_url.rpartition("/")[2]
    assert owners(empty.owner_url, migrator) == owners(database.owner_url, "postgres")
    assert len(owners(empty.owner_url, migrator)) > 100
    checked = typed(folder, "check", PURSER_SANDBOX="true", **empty.settings(database))
    assert checked.returncode == 0, checked.stdout
    again = typed(folder, "restore", "at night.purser", **empty.settings(database))
    assert again.returncode == 1
    assert "The database is not empty" in again.stderr


def test_a_backup_is_never_overwritten_unless_forced(folder: Path, database: Database) -> None:
    (folder / "backup").write_text("precious")
    refused = typed(folder, "backup", "backup", **urls(database))
    assert refused.returncode == 1
    assert "--force overwrites it" in refused.stderr
    assert (folder / "backup").read_text() == "precious"
    assert typed(folder, "backup", "backup", "--force", **urls(database)).returncode == 0
    with backup_file.opened(folder / "backup") as backup:
        assert backup.facts.revision == migrations.newest()
        assert b"CREATE TABLE ledger.operations" in backup.script.read()
    assert [path.name for path in folder.iterdir()] == ["backup"], "and nothing half written stands beside it"


def test_a_role_that_has_rights_in_the_backup_must_be_there_first(
    folder: Path, database: Database, empty: Empty
) -> None:
    ask(database.owner_url, "CREATE ROLE analyst")
    ask(database.owner_url, "GRANT SELECT (code) ON ledger.chart TO analyst")
    assert typed(folder, "backup", "backup", **urls(database)).returncode == 0
    ask(database.owner_url, "DROP OWNED BY analyst")
    ask(database.owner_url, "DROP ROLE analyst")
    refused = typed(folder, "restore", "backup", **empty.settings(database))
    assert refused.returncode == 1
    assert "Make these roles first, which have rights in the backup: analyst." in refused.stderr


def test_a_restore_that_fails_leaves_the_database_empty(folder: Path, database: Database, empty: Empty) -> None:
    for script, facts, says in (
        (b"CREATE TABLE public.half (); SELECT 1/0;\n" + b"-- never read\n" * 100_000, {}, "division by zero"),
        (b"", {"revision": "of the future"}, "schema of the future, which this version does not know"),
        (b"", {"server": "99.0"}, "restore it into PostgreSQL 99 or newer"),
    ):
        written(folder / says, script, **facts)
        ended = typed(folder, "restore", says, **empty.settings(database))
        assert ended.returncode == 1
        assert says in ended.stderr
        assert "Traceback" not in ended.stderr
    nowhere = {**empty.settings(database), "PURSER_MIGRATE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d"}
    ended = typed(folder, "restore", "division by zero", **nowhere)
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"roles": ["\x1b]0;OWNED\x07"]}, {"roles": "analyst"}, {"roles": [1]}, {"purser": "1\x1b[2J"}, {"purser": 1},
        {"revision": ""}, {"made_at": "yesterday"}, {"made_at": "2026-11-21T00:00:00"}, {"server": "new"},
        {"server": "15.1\n"}, {"events_read_through": "\u202e"}, {"format": "\x1b[2J"}, {"format": 10**9},
        {"bytes": "1"},
    ],
    ids=ascii,
)  # fmt: skip
def test_nothing_of_a_first_line_is_said_that_a_terminal_might_obey(tmp_path: Path, wrong: dict[str, Any]) -> None:
    line, _, rest = written(tmp_path / "whole", b"SELECT 1;\n").read_bytes().partition(b"\n")
    facts = json.loads(line.removeprefix(b"PURSER-BACKUP ")) | wrong
    sworn = {name: facts[name] for name in Facts.__dataclass_fields__}
    if "bytes" not in wrong:
        facts["sha256"] = hashlib.sha256(json.dumps(sworn, sort_keys=True).encode() + b"\n" + rest).hexdigest()
    forged = (b"PURSER-BACKUP " + json.dumps(facts).encode()).ljust(backup_file.FIRST_LINE_BYTES - 1) + b"\n" + rest
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(NotABackup) as refused, backup_file.opened(tmp_path / "forged"):
        pass
    assert str(refused.value).isprintable()
    assert re.search(r"cannot be read\.$|format 1000000000;", str(refused.value))


def test_a_database_that_a_first_line_cannot_name_is_not_backed_up(tmp_path: Path) -> None:
    for roles in (("\x1b[2J",), ("x" * 63,) * 51):
        with pytest.raises(NotABackup, match="database"):
            written(tmp_path / "backup", b"", roles=roles)
    assert list(tmp_path.iterdir()) == []


def test_a_script_is_taken_apart_and_only_what_is_for_psql_left_out() -> None:
    script = (
        b"\\restrict k1\nSELECT 1;\n"
        b'COPY ledger."odd ""one" (id, "order") FROM stdin;\n1\t\\\\restrict k1\n2\t\\\\.\n\\restrict k1\n\\.\n'
        b"\\unrestrict k1\nCOPY a.b (c) FROM stdin;\n\\.\n\\! id\n"
    )
    found = [
        (part.schema, part.table, part.columns, b"".join(part.pieces)) if isinstance(part, Rows) else part
        for part in backup_file.parts(io.BytesIO(script))
    ]
    assert found == [
        "SELECT 1;\n",
        ("ledger", 'odd "one', ("id", "order"), b"1\t\\\\restrict k1\n2\t\\\\.\n\\restrict k1\n"),
        ("a", "b", ("c",), b""),
        "\\! id\n",
    ]


def test_rows_longer_than_a_piece_arrive_whole_and_unfinished_ones_are_refused() -> None:
    row = b"x" * (3 << 20) + b"\\.\n"
    part = next(backup_file.parts(io.BytesIO(b"COPY a.b (c) FROM stdin;\n" + row + b"\\.\n")))
    assert isinstance(part, Rows)
    assert b"".join(part.pieces) == row
    part = next(backup_file.parts(io.BytesIO(b"COPY a.b (c) FROM stdin;\n" + row)))
    assert isinstance(part, Rows)
    with pytest.raises(NotABackup, match="amid the rows"):
        list(part.pieces)
    with pytest.raises(NotABackup, match="more statements"):
        list(backup_file.parts(io.BytesIO(b"--" * (9 << 20))))


@pytest.mark.parametrize(
    "line",
    [
        "\\! {}",
        "\\unrestrict `{}`",
        "\\restrict k\n\\unrestrict k\n\\! {}",
        "SELECT 1 \\g |{}",
        "\\copy pg_class to program '{}'",
    ],
)
def test_a_backup_starts_no_program(tmp_path: Path, empty: Empty, line: str) -> None:
    proof = tmp_path / "started"
    script = "CREATE TABLE public.half ();\n" + line.format(f"touch {proof}") + "\n"
    settings = Settings(database_url=SecretStr(empty.owner_url), migrate_url=SecretStr(empty.migrate_url))
    with pytest.raises(CannotGoOn, match="does not take the backup: syntax error"):
        restore(settings, written(tmp_path / "backup", script.encode()))
    assert not proof.exists()
    assert ask(empty.owner_url, "SELECT FROM pg_class WHERE relname = 'half'") == []


def test_rows_that_break_off_leave_the_database_empty_and_what_is_no_gzip_is_said(tmp_path: Path, empty: Empty) -> None:
    settings = Settings(database_url=SecretStr(empty.owner_url), migrate_url=SecretStr(empty.migrate_url))
    broken = written(tmp_path / "broken", b"CREATE TABLE public.half (a int);\nCOPY public.half (a) FROM stdin;\n1\n")
    with pytest.raises(CannotGoOn, match="amid the rows"):
        restore(settings, broken)
    whole = broken.read_bytes()
    rest = b"no gzip at all"
    facts = json.loads(whole[len(b"PURSER-BACKUP ") : backup_file.FIRST_LINE_BYTES])
    sworn = {name: facts[name] for name in Facts.__dataclass_fields__}
    facts["bytes"] = len(rest)
    facts["sha256"] = hashlib.sha256(json.dumps(sworn, sort_keys=True).encode() + b"\n" + rest).hexdigest()
    broken.write_bytes((b"PURSER-BACKUP " + json.dumps(facts).encode()).ljust(4095) + b"\n" + rest)
    with pytest.raises(CannotGoOn, match="cannot be unpacked"):
        restore(settings, broken)
    assert ask(empty.owner_url, "SELECT FROM pg_class WHERE relname = 'half'") == []


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
        tools.find(HERE, server_major=99)
    assert tools.find(HERE, server_major=18).major == 18
    assert tools.find(HERE, server_major=16).major == 16


def fake_pg_dump(folder: Path, says: str) -> None:
    folder.mkdir()
    (folder / "pg_dump").write_text(f"""#!/bin/sh
        case "$*" in --version) echo "pg_dump (PostgreSQL) 18.9";; *) echo '{says}' >&2; exit 1;; esac""")
    (folder / "pg_dump").chmod(0o700)


def test_a_backup_from_another_machine_is_made_only_by_a_pg_dump_that_speaks_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = replace(HERE, host="db.example")
    fake_pg_dump(tmp_path / "with", 'pg_dump: error: connection to server on socket "/nowhere/.s.PGSQL.5432" failed')
    fake_pg_dump(tmp_path / "without", 'sslmode value "require" invalid when SSL support is not compiled in')
    monkeypatch.setenv("PATH", str(tmp_path / "with"))
    assert tools.find(far, server_major=18).path == tmp_path / "with" / "pg_dump"
    for path in (tmp_path / "without", tmp_path):
        monkeypatch.setenv("PATH", str(path))
        with pytest.raises(PostgresUnavailable, match=r"speaks TLS, .* plain text .*install .* postgresql-client-18"):
            tools.find(far, server_major=18)
    assert tools.find(HERE, server_major=18).version != "18.9", (
        "the wheel's, which has no TLS, does where none is needed"
    )


@pytest.mark.parametrize(
    ("host", "ssl", "wanted"),
    [
        (None, None, False), ("/var/run/postgresql", None, False), ("localhost", None, False),
        ("127.0.0.1", None, False), ("::1", None, False), ("127.0.0.1", "require", True), ("10.0.0.1", None, True),
        ("localhost.example", None, True), ("db", "prefer", True), ("db", "verify-full", True),
        ("db", "disable", False),
    ],
)  # fmt: skip
def test_tls_is_wanted_where_the_way_may_be_overheard(host: str | None, ssl: str | None, *, wanted: bool) -> None:
    assert replace(HERE, host=host, ssl=ssl).wants_tls is wanted


def test_the_password_stands_in_no_command_line_and_a_complaint_is_passed_on(tmp_path: Path) -> None:
    script = tmp_path / "pg_dump"
    script.write_text('#!/bin/sh\necho "$0 $@"; env; echo "disk on fire" >&2; exit 3\n')
    script.chmod(0o700)
    said = io.BytesIO()
    with pytest.raises(PostgresUnavailable, match="disk on fire"):
        tools.dump(Tool(script, "18.4", 18), HERE, ["--no-owner"], said)
    command, *environment = said.getvalue().decode().splitlines()
    assert "--no-owner" in command
    assert "the secret" not in command + repr(HERE)
    assert "PGPASSWORD=the secret" in environment
    assert not [line for line in environment if line.startswith("PURSER_")]


def test_without_the_migrating_role_or_a_database_nothing_is_tried(folder: Path, database: Database) -> None:
    refused = typed(folder, "backup", "backup", PURSER_DATABASE_URL=database.run_url)
    assert refused.returncode == UNUSABLE_SETTINGS
    assert "PURSER_MIGRATE_URL" in refused.stderr
    refused = typed(folder, "backup", "backup")
    assert refused.returncode == 1
    assert "There is no database" in refused.stderr
    assert list(folder.iterdir()) == []
