"""Databases are made from templates, found, and dropped whoever is connected."""

import asyncio

import asyncpg
import pytest

from api.postgres.connection import ask
from api.postgres.databases import create_database, database_exists, drop_database
from api.postgres.server import Server


def test_database_is_a_copy_of_its_template_and_belongs_to_its_owner(shared: Server) -> None:
    ask(shared.url(), 'CREATE ROLE "the owner"')
    create_database(shared, "pattern")
    ask(shared.url(database="pattern"), "CREATE TABLE t AS SELECT 1 AS n")
    create_database(shared, 'a "copy"', template="pattern", owner="the owner")
    assert ask(shared.url(database='a "copy"'), "SELECT n FROM t") == [(1,)]
    assert ask(
        shared.url(database='a "copy"'), "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", 'a "copy"'
    ) == [('"the owner"',)]
    with pytest.raises(asyncpg.DuplicateDatabaseError):
        create_database(shared, "pattern")


def test_database_is_dropped_under_its_connections(shared: Server) -> None:
    create_database(shared, "doomed")
    assert database_exists(shared, "doomed")

    async def drop_while_connected() -> None:
        connection = await asyncpg.connect(shared.url(database="doomed"))
        drop_database(shared, "doomed")  # also: callable where an event loop runs
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetch("SELECT 1")

    asyncio.run(drop_while_connected())
    assert not database_exists(shared, "doomed")
    drop_database(shared, "doomed")


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "a\0b"])
def test_name_that_postgres_would_change_is_refused(shared: Server, name: str) -> None:
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        create_database(shared, name)
