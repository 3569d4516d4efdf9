"""What one call of the posting function reads and scans: counted by PostgreSQL itself, table by table.

Statements cannot be counted from outside, but their work can: index scans of each table must not grow faster than the
items do, and there is no sequential scan of a table that grows, whatever the planner believed when it made the plan.
"""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from ledger.operations import LANE, Caps, Kind, LotCause, LotOpening, Operation, opening
from ledger.posting import ANSWER, columns_of, posting_order
from tests.books.books import AT, grant, new_id
from tests.books.lanes import AGENT, spend

POST = f"SELECT {ANSWER} FROM ledger.post_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
GROWING = ("operations", "lot_openings", "books", "accounts", "lots", "holds", "spenders", "spend_refunds")
SIZES = (1, 10, 100)
GENERIC_PLAN_AFTER = 7
"""PostgreSQL keeps a plan of its own after five calls with planned parameters."""

SMALL = 1_000
LARGE = 1_000_000
BOOK_ROWS = 500
MOMENTS_S = (0.1, 1.0, 10.0)


class Scans:
    """How often each table was read since the last look, by one session."""

    def __init__(self, connection, watching) -> None:
        self.connection = connection
        self.watching = watching
        self.before: dict[str, tuple[int, int]] = {}

    async def look(self):
        """{table: (index scans, sequential scans)} since the last look."""
        for session in (self.connection, self.watching):
            await session.execute("SELECT pg_stat_force_next_flush()")
            await session.execute("SELECT 1")
        found = await self.watching.fetch(
            "SELECT relname, coalesce(idx_scan, 0) AS i, seq_scan AS s FROM pg_stat_user_tables"
            " WHERE schemaname = 'ledger'"
        )
        now = {row["relname"]: (row["i"], row["s"]) for row in found}
        since = {
            name: (now[name][0] - self.before.get(name, (0, 0))[0], now[name][1] - self.before.get(name, (0, 0))[1])
            for name in GROWING
        }
        self.before = now
        return since


@pytest.fixture(scope="module")
def lonely(new_databases):
    """A database in which nobody else reads."""
    return new_databases("budget")


@pytest.fixture
def empty(new_databases):
    """A database in which nothing was ever posted."""
    return new_databases("plans")


@asynccontextmanager
async def sessions_on(database):
    """A session of the run role, and one that watches."""
    connection = await asyncpg.connect(database.run_url)
    watching = await asyncpg.connect(database.owner_url)
    try:
        yield connection, watching
    finally:
        await connection.close()
        await watching.close()


@pytest.fixture
async def alone(lonely):
    async with sessions_on(lonely) as both:
        yield both


async def outcomes_of(connection, *operations):
    order = posting_order(operations)
    rows = await connection.fetch(POST, LANE, *columns_of(operations[n] for n in order), False)
    return {row["outcome"] for row in rows}


async def post(connection, *operations):
    outcomes = await outcomes_of(connection, *operations)
    assert outcomes == {"posted"}, outcomes


async def new_books(connection, number):
    ids = [new_id() for _ in range(number)]
    await post(connection, *(opening(organization_id=book, event_at=AT) for book in ids))
    await post(connection, *(grant(book, "first", 1_000_000) for book in ids))
    return ids


def soon():
    return datetime.now(UTC) + timedelta(hours=1)


class Batches:
    """Batches of each kind, on books that know what they are about."""

    def __init__(self, connection, ids) -> None:
        self.connection = connection
        self.ids = ids
        self.made = 0

    def _key(self):
        self.made += 1
        return f"b{self.made}"

    def book(self, n):
        return self.ids[n % len(self.ids)]

    def operation(self, kind, n, **fields):
        return Operation(self.book(n), kind, AGENT, self._key(), "job", **fields)

    async def spends(self, size):
        return [self.operation(Kind.SPEND, n, credits=1) for n in range(size)]

    async def capped_spends(self, size):
        return [self.operation(Kind.SPEND, n, credits=1, spender=AGENT) for n in range(size)]

    async def holds(self, size):
        return [self.operation(Kind.HOLD, n, credits=2, deadline=soon()) for n in range(size)]

    async def captures(self, size):
        holds = await self.holds(size)
        await post(self.connection, *holds)
        return [self.operation(Kind.CAPTURE, n, credits=1, target=hold.id) for n, hold in enumerate(holds)]

    async def voids(self, size):
        holds = await self.holds(size)
        await post(self.connection, *holds)
        return [self.operation(Kind.VOID, n, target=hold.id) for n, hold in enumerate(holds)]

    async def extensions(self, size):
        holds = await self.holds(size)
        await post(self.connection, *holds)
        later = soon() + timedelta(hours=1)
        return [self.operation(Kind.EXTEND, n, target=hold.id, deadline=later) for n, hold in enumerate(holds)]

    async def refunds(self, size):
        spends = await self.spends(size)
        await post(self.connection, *spends)
        return [self.operation(Kind.SPEND_REFUND, n, target=one.id, credits=1) for n, one in enumerate(spends)]

    async def grants(self, size):
        return [grant(self.book(n), self._key(), 5) for n in range(size)]

    async def promotional_grants(self, size):
        lot = LotOpening(LotCause.PROMOTIONAL, 5, None, AT + timedelta(days=300))
        return [self.operation(Kind.GRANT, n, lot=lot) for n in range(size)]

    async def _granted(self, size):
        grants = await self.grants(size)
        await post(self.connection, *grants)
        return grants

    async def claw_backs(self, size):
        return [
            self.operation(Kind.CLAW_BACK, n, target=one.id, credits=2)
            for n, one in enumerate(await self._granted(size))
        ]

    async def reinstatements(self, size):
        taken = await self.claw_backs(size)
        await post(self.connection, *taken)
        return [self.operation(Kind.REINSTATE, n, target=one.target, credits=1) for n, one in enumerate(taken)]

    async def freezes(self, size):
        return [self.operation(Kind.FREEZE, n, target=one.id) for n, one in enumerate(await self._granted(size))]

    async def caps(self, size):
        return [self.operation(Kind.SET_CAPS, n, spender=AGENT, caps=Caps(per_day=100_000 + n)) for n in range(size)]

    async def replays(self, size):
        spends = await self.spends(size)
        await post(self.connection, *spends)
        return spends


KINDS = tuple(name for name in vars(Batches) if not name.startswith("_") and name not in {"book", "operation"})
SET_BASED = frozenset({"spends", "capped_spends", "holds", "replays"})
"""What the hot path posts: a constant number of statements, whatever the size."""

SCANS_PER_HOT_BATCH = 6
SCANS_PER_HOT_BOOK = 5
"""Of one table, and then for each row that the batch reads or writes there."""

SCANS_PER_COLD_ITEM = 12


@pytest.mark.parametrize("kind", KINDS)
async def test_the_work_of_a_batch_grows_no_faster_than_its_items(alone, kind):
    connection, watching = alone
    ids = await new_books(connection, 10)
    batches = Batches(connection, ids)
    await post(connection, *(await batches.caps(len(ids))))
    scans = Scans(connection, watching)
    for _ in range(GENERIC_PLAN_AFTER):
        await post(connection, *(await getattr(batches, kind)(2)))
    found = {}
    for size in SIZES:
        operations = await getattr(batches, kind)(size)
        await scans.look()
        await post(connection, *operations)
        found[size] = await scans.look()
    for size, tables in found.items():
        for table, (by_index, sequential) in tables.items():
            assert sequential == 0, (kind, size, table)
            assert by_index > 0 or table != "books"
            touched = min(size, len(ids))
            if kind in SET_BASED and table != "operations":
                bound = SCANS_PER_HOT_BATCH + SCANS_PER_HOT_BOOK * touched
            elif kind in SET_BASED:
                bound = SCANS_PER_HOT_BATCH + size
            else:
                bound = SCANS_PER_HOT_BATCH + SCANS_PER_COLD_ITEM * size
            assert by_index <= bound, (kind, size, table, by_index, bound)


async def test_the_hot_path_does_not_read_its_book_again_for_every_item(alone):
    connection, watching = alone
    [book] = await new_books(connection, 1)
    scans = Scans(connection, watching)
    found = []
    for size in (50, 500):
        operations = [spend(book, f"{size}-{n}") for n in range(size)]
        await scans.look()
        await post(connection, *operations)
        found.append(
            {table: by_index for table, (by_index, _) in (await scans.look()).items() if table != "operations"}
        )
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def counted(new_databases):
    """A database that counts the calls of its functions."""
    database = new_databases("counted")
    name = database.owner_url.rpartition("/")[2]
    database.rows(f"ALTER DATABASE {name} SET track_functions = 'all'")
    return database


async def _calls(watching, connection, function):
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.execute("SELECT 1")
    found = await watching.fetchval("SELECT sum(calls) FROM pg_stat_user_functions WHERE funcname = $1", function)
    return int(found or 0)


HOT_CALLS_MAX = 3  # all other books together, and two runs in the odd one


@pytest.mark.parametrize(
    "oddity", ["none", "a grant", "a busy book", "the same key twice", "a book with something due"]
)
async def test_one_odd_item_does_not_send_every_other_book_through_the_hot_path_alone(counted, oddity):
    """What is set-based for a batch of spends stays so when one book has something else to do."""
    async with sessions_on(counted) as (connection, watching):
        ids = sorted(await new_books(connection, 40))
        operations = [spend(book, f"{oddity} {n}") for n in range(3) for book in ids]
        if oddity == "a grant":
            operations.append(grant(ids[20], "odd", 1))
        elif oddity == "the same key twice":
            operations.append(operations[20])
        elif oddity == "a book with something due":
            await _fall_due(connection, watching, ids[20])
        before = await _calls(watching, connection, "post_spending")
        busy = watching.transaction()
        await busy.start()
        if oddity == "a busy book":
            await watching.execute("SELECT FROM ledger.books WHERE organization_id = $1 FOR UPDATE", ids[20])
        order = posting_order(operations)
        await connection.fetch(POST, LANE, *columns_of(operations[n] for n in order), False)
        await busy.rollback()
        assert 0 < await _calls(watching, connection, "post_spending") - before <= HOT_CALLS_MAX


async def _fill(watching, rows):
    """So many operations of other books, written by the owner with the triggers off. They fit no chain."""
    async with watching.transaction():
        await watching.execute("SET LOCAL session_replication_role = replica")
        await watching.execute(
            """
            INSERT INTO ledger.books (lane, organization_id, last_seq)
            SELECT 0, md5(b::text)::uuid, $2 FROM generate_series(0, ($1::integer - 1) / $2) AS b
            """,
            rows,
            BOOK_ROWS,
        )
        await watching.execute(
            """
            INSERT INTO ledger.operations (lane, organization_id, seq, id, kind, scope, key, fingerprint, outcome,
              cause, event_at, posted_at, accounting_date, available_after, held_after, paid_after, lines, hash)
            SELECT 0, md5((n / $2)::text)::uuid, n % $2 + 1, gen_random_uuid(), 'spend', $3, n::text,
              '\\x00112233445566778899aabbccddeeff', 'posted', 'job', now(), now(), current_date, 1, 0, 1,
              ARRAY[4, 1, 1, 1, 1, 1], sha256(n::text::bytea)
            FROM generate_series(0, $1::integer - 1) AS n
            """,
            rows,
            BOOK_ROWS,
            AGENT,
        )
        await watching.execute(
            """
            INSERT INTO ledger.lot_openings (lane, organization_id, lot, seq, cause, credits, priority)
            SELECT 0, md5((n / $2)::text)::uuid, n % $2 + 1, n % $2 + 1, 'correction', 1, 100
            FROM generate_series(0, $1::integer / 4 - 1) AS n
            """,
            rows,
            BOOK_ROWS,
        )
        await watching.execute(
            """
            INSERT INTO ledger.lots (lane, organization_id, lot, cause, credits, remaining, open, priority)
            SELECT lane, organization_id, lot, cause, credits, 1, true, priority FROM ledger.lot_openings
            WHERE cause = 'correction' AND seq = lot
            """
        )
        await watching.execute(
            """
            INSERT INTO ledger.holds (lane, organization_id, id, maker, credits, remaining, reversed, made_at, deadline,
              lots, amounts, reversed_amounts, open, ended)
            SELECT 0, md5((n / $2)::text)::uuid, gen_random_uuid(), $3, 1, n % 2, 0, now(), now() + interval '1 year',
              '{1}', '{1}', '{0}', n % 2 = 1, CASE n % 2 WHEN 0 THEN 'voided' END
            FROM generate_series(0, $1::integer / 4 - 1) AS n
            """,
            rows,
            BOOK_ROWS,
            AGENT,
        )


async def _posts_without_sequential_scans(connection, watching):
    ids = await new_books(connection, 20)
    batches = Batches(connection, ids)
    await post(connection, *(await batches.caps(len(ids))))
    scans = Scans(connection, watching)
    await scans.look()
    for _ in range(GENERIC_PLAN_AFTER):
        for kind in KINDS:
            await post(connection, *(await getattr(batches, kind)(10)))
    await _fall_due(connection, watching, ids[0])
    await post(connection, spend(ids[0], "after what fell due"))
    for book in ids[1 : GENERIC_PLAN_AFTER + 1]:
        await _fall_due(connection, watching, book)
        await connection.execute("SELECT ledger.catch_up_v1($1, $2)", LANE, book)
    await post(connection, *(await batches.spends(20)))
    found = await scans.look()
    assert {table: sequential for table, (_, sequential) in found.items() if sequential} == {}
    assert found["operations"][0] > 0


async def _fall_due(connection, watching, book: UUID):
    """A hold and a lot fall due; in a longer moment, when the machine stood still and it was over before them."""
    for moment_s in MOMENTS_S:
        now = await watching.fetchval("SELECT ledger.clock()")
        in_a_moment = now + timedelta(seconds=moment_s)
        due = Operation(book, Kind.HOLD, AGENT, f"due{now}", "job", credits=1, deadline=in_a_moment)
        lot = LotOpening(LotCause.PROMOTIONAL, 5, None, in_a_moment)
        grant_of_it = Operation(book, Kind.GRANT, AGENT, f"lot{now}", "job", lot=lot)
        if await outcomes_of(connection, due, grant_of_it) == {"posted"}:
            await watching.execute("SELECT pg_sleep_until($1)", in_a_moment)
            return
    raise AssertionError("whatever was to fall due, was late")


async def _plans_stay(database, rows):
    """Plans made on empty tables, plans of a session that came later, and plans made after ANALYZE."""
    async with sessions_on(database) as (connection, watching):
        await _posts_without_sequential_scans(connection, watching)
        await _fill(watching, rows)
        await _posts_without_sequential_scans(connection, watching)
    async with sessions_on(database) as (connection, watching):
        await _posts_without_sequential_scans(connection, watching)
        await watching.execute("ANALYZE")
        await _posts_without_sequential_scans(connection, watching)


async def test_no_plan_scans_a_table_that_grew_from_nothing_to_a_thousand_rows(empty):
    await _plans_stay(empty, SMALL)


@pytest.mark.long
async def test_no_plan_scans_a_table_of_a_million_rows(empty):
    await _plans_stay(empty, LARGE)
