"""The classes are the one definition of every table: a migrated database equals one made from the metadata."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

import billing.operator_tables
import billing.reversal_tables
import billing.settling_tables
import billing.tables
import finance.statement_tables
import finance.tables
import ledger.tables
import webhooks.tables
from api.postgres.databases import create_database, drop_database
from api.wiring import async_url
from ledger.chart import CHART, NUMBERS
from tests import postgres_cluster

SCHEMAS = [billing.tables.SCHEMA, finance.tables.SCHEMA, ledger.tables.SCHEMA, webhooks.tables.SCHEMA]

COLUMNS = """
    SELECT table_schema || '.' || table_name || '.' || column_name AS name, ordinal_position::text, data_type,
           is_nullable, column_default
    FROM information_schema.columns
    WHERE table_schema = ANY($1) AND table_name NOT IN ('entries', 'transfers') ORDER BY 1"""
CONSTRAINTS = """
    SELECT conrelid::regclass::text || ' ' || conname AS name, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE connamespace::regnamespace::text = ANY($1) ORDER BY 1"""
INDEXES = (
    "SELECT schemaname || '.' || indexname AS name, indexdef FROM pg_indexes WHERE schemaname = ANY($1) ORDER BY 1"
)


async def catalog(url):
    connection = await asyncpg.connect(url)
    try:
        return {
            query.split()[1]: [tuple(row.values()) for row in await connection.fetch(query, SCHEMAS)]
            for query in (COLUMNS, CONSTRAINTS, INDEXES)
        }
    finally:
        await connection.close()


async def make_from_metadata(url):
    engine = create_async_engine(async_url(url))
    async with engine.begin() as connection:
        for schema in SCHEMAS:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        await connection.run_sync(SQLModel.metadata.create_all)
    await engine.dispose()


@pytest.fixture
def from_metadata(request):
    server = postgres_cluster.server(request.config)
    name = f"metadata_{getattr(request.config, 'workerinput', {}).get('workerid', 'main')}"
    create_database(server, name)
    yield server.url(database=name)
    drop_database(server, name)


def test_a_migrated_database_equals_the_metadata(database, from_metadata):
    asyncio.run(make_from_metadata(from_metadata))
    migrated, made = asyncio.run(catalog(database.owner_url)), asyncio.run(catalog(from_metadata))
    assert len(migrated) == len(made) == 3
    for part, rows in made.items():
        assert len(rows) > 20 or part == "schemaname"
        assert migrated[part] == rows


def test_the_chart_in_the_database_is_the_chart_in_the_code(database):
    async def rows():
        connection = await asyncpg.connect(database.owner_url)
        try:
            return await connection.fetch("SELECT number, code, currency, side FROM ledger.chart")
        finally:
            await connection.close()

    stored = {tuple(row.values()) for row in asyncio.run(rows())}
    assert stored == {(NUMBERS[a.code], a.code, a.currency.value, a.side.value) for a in CHART}
    floored = {a.code for a in CHART if a.floored}
    assert all(f"{code} >= 0" in str(ledger.tables.Book.__table_args__[1].sqltext) for code in floored)
