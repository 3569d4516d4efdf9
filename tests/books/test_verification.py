"""One changed column is always found: the owner changes each column of each table once, past all locks."""

import asyncpg
import pytest
from sqlmodel import SQLModel

import ledger.tables  # noqa: F401 - the tables are in the metadata then
from tests.books.books import grant, new_book, post, problems

KEYS = {"lane", "organization_id"}
OTHER = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({column}, '') || 'x'",
    "bigint": "coalesce({column}, 0) + 1",
    "integer": "coalesce({column}, 0) + 1",
    "smallint": "{column} + 1",
    "bytea": "substring(sha256({column}), 1, octet_length({column}))",
    "timestamp with time zone": "coalesce({column}, clock_timestamp()) + interval '1 microsecond'",
    "boolean": "NOT {column}",
    "date": "{column} + 1",
}
NOT_JOURNALED = {("books", "closed_through")}
"""Set by the close of a period, which will journal it; until then nothing in the journal says what it should be."""
COLUMNS = [
    (table, column.name)
    for table in ("books", "operations", "transfers", "lot_openings", "lots", "accounts")
    for column in SQLModel.metadata.tables[f"ledger.{table}"].columns
    if column.name not in KEYS
]


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


@pytest.mark.parametrize(("table", "column"), [pair for pair in COLUMNS if pair not in NOT_JOURNALED])
async def test_a_changed_column_is_found(books, owner, table, column):
    organization_id = await new_book(books)
    await post(books, grant(organization_id, "a", 500), grant(organization_id, "b", 7))
    assert await problems(books, organization_id) == []
    await change(owner.connection, table, column, organization_id)
    found = await problems(books, organization_id)
    assert found
    assert all(problem.organization_id == organization_id for problem in found)


async def change(connection: asyncpg.Connection, table: str, column: str, organization_id: object) -> None:
    kind = await connection.fetchval(
        "SELECT data_type FROM information_schema.columns"
        " WHERE table_schema = 'ledger' AND table_name = $1 AND column_name = $2",
        table,
        column,
    )
    last = f"(SELECT max(ctid) FROM ledger.{table} WHERE organization_id = $1)"
    await connection.execute("SET session_replication_role = replica")
    changed = await connection.execute(
        f"UPDATE ledger.{table} SET {column} = {OTHER[kind].format(column=column)} WHERE ctid = {last}",
        organization_id,
    )
    assert changed == "UPDATE 1"


@pytest.mark.parametrize("table", ["operations", "transfers", "lot_openings", "lots", "accounts", "books"])
async def test_a_row_that_was_taken_away_is_found(books, owner, table):
    organization_id = await new_book(books)
    await post(books, grant(organization_id, "a", 500))
    await owner.connection.execute("SET session_replication_role = replica")
    await owner.connection.execute(f"DELETE FROM ledger.{table} WHERE organization_id = $1", organization_id)
    assert await problems(books, organization_id)


async def test_a_journal_that_was_rewritten_with_its_chain_is_found_only_by_a_published_head(books, owner):
    organization_id = await new_book(books)
    await post(books, grant(organization_id, "a", 500))
    query = "SELECT head FROM ledger.books WHERE organization_id = $1"
    published = await owner.connection.fetchval(query, organization_id)
    await owner.connection.execute("SET session_replication_role = replica")
    for table in ("lots", "lot_openings", "transfers", "accounts", "operations", "books"):
        await owner.connection.execute(f"DELETE FROM ledger.{table} WHERE organization_id = $1", organization_id)
    await owner.connection.execute("SET session_replication_role = DEFAULT")
    from ledger.operations import opening
    from tests.books.books import AT, new_id

    await post(books, opening(id=new_id(), organization_id=organization_id, event_at=AT))
    await post(books, grant(organization_id, "a", 5))
    assert await problems(books, organization_id) == []
    assert await owner.connection.fetchval(query, organization_id) != published
