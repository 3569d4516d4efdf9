"""Verification finds nothing in a sound book, and whatever the owner of the database changed in it past all locks."""

import json
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

import ledger.tables  # noqa: F401 - the tables are in the metadata then
from api.wiring import async_url
from billing.database import engine, sessions
from ledger.operations import Kind
from ledger.verification import stored, verify, verify_book
from tests.books import rich_journal
from tests.books.books import Owner

TABLES = ("books", "operations", "lot_openings", "accounts", "lots", "holds", "spenders", "spend_refunds")
ROWS_CHANGED = 5
"""Of each table, spread over it: the first, the last and some between."""

CHANGED = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({column}, '') || 'x'",
    "big_integer": "coalesce({column}, 0) + 1000",
    "integer": "coalesce({column}, 0) + 1000",
    "small_integer": "{column} + 1",
    "large_binary": "substring(sha256({column}), 1, octet_length({column}))",
    "datetime": "coalesce({column}, clock_timestamp()) + interval '1 microsecond'",
    "boolean": "NOT {column}",
    "ARRAY": "CASE {column} WHEN '{{}}' THEN '{{7}}' ELSE array_replace({column}, {column}[1], {column}[1] + 1) END",
    "date": "{column} - 1",
}
"""By type. A period that was closed may have been closed later than anything in the journal shows, but not earlier."""

COLUMNS = [(name, column.name) for name in TABLES for column in SQLModel.metadata.tables[f"ledger.{name}"].columns]
ANOTHER = {
    "books": {"organization_id": str(UUID(int=5))},
    "operations": {"seq": 1000, "id": str(UUID(int=5))},
    "lot_openings": {"lot": 1000, "seq": 1000},
    "accounts": {"code": "bank"},
    "lots": {"lot": 1000},
    "holds": {"id": str(UUID(int=5))},
    "spenders": {"spender": str(UUID(int=5))},
    "spend_refunds": {"id": str(UUID(int=5))},
}


@pytest.fixture(scope="module")
def database(new_databases):
    """A database without its CHECK constraints, which would stop most of what is tried here."""
    made = new_databases("tampered")
    made.rows("""DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
                 WHERE connamespace = 'ledger'::regnamespace AND contype = 'c' AND conrelid <> 0 LOOP
          EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
        END LOOP; END $$""")
    return made


_written: dict[str, UUID] = {}


@pytest.fixture
async def rich(database, books, owner: Owner):
    """The book of the rich journal, written once."""
    if database.owner_url not in _written:
        _written[database.owner_url] = await rich_journal.write(books, owner)
    return _written[database.owner_url]


@pytest.fixture
async def tampering(database):
    """`async with tampering() as session`: whatever the owner does there is undone."""
    on = engine(async_url(database.owner_url))

    @asynccontextmanager
    async def undone():
        async with sessions(on)() as session:
            connection = await session.connection()
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield session
            await session.rollback()

    yield undone
    await on.dispose()


async def run(session: AsyncSession, statement: str, **known: object) -> int:
    connection = await session.connection()
    return (await connection.execute(text(statement), known)).rowcount


async def rows_to_change(session: AsyncSession, table: str, book: UUID) -> list[str]:
    connection = await session.connection()
    query = f"SELECT ctid::text FROM ledger.{table} WHERE organization_id = :book ORDER BY ctid"
    all_rows = list((await connection.execute(text(query), {"book": book})).scalars())
    step = max(1, (len(all_rows) - 1) // (ROWS_CHANGED - 1))
    return sorted({*all_rows[::step], all_rows[-1]})


async def test_a_book_with_every_kind_of_operation_is_sound(books, owner, rich):
    async with books() as session:
        assert await verify_book(session, rich) == []
        assert (await verify(session, None)).mismatches == []
    query = "SELECT array_agg(DISTINCT kind) FROM ledger.operations WHERE organization_id = $1"
    assert set(await owner.connection.fetchval(query, rich)) == set(Kind)
    for table in TABLES:
        assert await owner.connection.fetchval(f"SELECT count(*) FROM ledger.{table} WHERE organization_id = $1", rich)


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_what_was_let_go_between_two_reads_comes_back_when_it_is_named(books, rich, monkeypatch, size):
    monkeypatch.setattr(stored, "ENTRIES_A_READ", size)
    async with books() as session:
        assert await verify_book(session, rich) == []


@pytest.mark.parametrize(("table", "column"), COLUMNS)
async def test_a_changed_column_is_found(rich, tampering, monkeypatch, table, column):
    monkeypatch.setattr(stored, "ENTRIES_A_READ", 3)
    type_ = SQLModel.metadata.tables[f"ledger.{table}"].columns[column].type
    changed = CHANGED[type_.__visit_name__].format(column=column)
    async with tampering() as session:
        rows = await rows_to_change(session, table, rich)
    for row in rows:
        async with tampering() as session:
            assert await run(session, f"UPDATE ledger.{table} SET {column} = {changed} WHERE ctid = '{row}'") == 1
            found = await verify_book(session, rich)
        assert found, row
        assert {one.organization_id for one in found} == {rich}


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_was_taken_away_is_found(rich, tampering, table):
    async with tampering() as session:
        rows = await rows_to_change(session, table, rich)
    for row in rows:
        async with tampering() as session:
            assert await run(session, f"DELETE FROM ledger.{table} WHERE ctid = '{row}'") == 1
            assert await verify_book(session, rich), row


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_was_put_in_is_found(rich, tampering, table):
    async with tampering() as session:
        statement = (
            f"INSERT INTO ledger.{table} SELECT (jsonb_populate_record(t, CAST(:other AS jsonb))).*"
            f" FROM (SELECT t FROM ledger.{table} AS t WHERE organization_id = :book LIMIT 1) AS t"
        )
        assert await run(session, statement, other=json.dumps(ANOTHER[table]), book=rich) == 1
        found = (await verify(session, None)).mismatches
    assert found
    assert table == "books" or {one.organization_id for one in found} == {rich}


@pytest.mark.parametrize("table", TABLES)
async def test_rows_whose_book_is_not_there_are_found(rich, tampering, table):
    async with tampering() as session:
        change = "lane = 1" if table == "books" else "organization_id = gen_random_uuid()"
        assert await run(session, f"UPDATE ledger.{table} SET {change} WHERE organization_id = '{rich}'")
        found = (await verify(session, None)).mismatches
    assert {one.organization_id for one in found} - ({rich} if table != "books" else set())
    assert any("not there" in one.problem or "is missing" in one.problem for one in found)


async def test_the_first_row_that_does_not_fit_comes_first_and_the_list_has_an_end(rich, tampering):
    async with tampering() as session:
        await run(session, "UPDATE ledger.lots SET expired = expired + 1 WHERE organization_id = :book", book=rich)
        await run(
            session, "UPDATE ledger.operations SET cause = 'x' WHERE organization_id = :book AND seq >= 9", book=rich
        )
        found = await verify_book(session, rich)
    assert found[0].place == "operation 9"
    assert "hash" in found[0].problem
    assert len(found) <= 20


@pytest.mark.parametrize("terms", ["x", "[]", '{"lot": "one"}', '{"lot": 99}', "{}"])
async def test_terms_that_cannot_be_followed_are_named_and_nothing_raises(rich, tampering, terms):
    async with tampering() as session:
        await run(
            session, "UPDATE ledger.operations SET terms = :terms WHERE organization_id = :book AND terms IS NOT NULL",
            terms=terms, book=rich,
        )  # fmt: skip
        found = await verify_book(session, rich)
    assert found[0].place.startswith("operation")


@pytest.mark.parametrize("at", ["'infinity'", "'-infinity'", "'4000-01-01 BC'", "'200000-01-01'"])
async def test_a_time_that_python_cannot_hold_is_found(rich, tampering, at):
    for change in (
        f"operations SET posted_at = {at}",
        f"lots SET expires_at = {at}",
        f"books SET last_posted_at = {at}",
    ):
        async with tampering() as session:
            await run(session, f"UPDATE ledger.{change} WHERE organization_id = '{rich}'")
            assert await verify_book(session, rich)
