"""What verification reaches beyond one changed row: rewritten journals, all books together, journals of any length."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.database import snapshot
from ledger import chain
from ledger.money import usd
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Caps, Kind, Transfer, opening
from ledger.verification import verify, verify_book, walk
from ledger.verification.stored import Stored
from tests.books.books import AGENT, AT, grant, new_book, post, spend
from tests.books.rich_journal import START, Journal


@pytest.fixture(scope="module")
def database(new_databases):
    """A database of its own: clocks are turned and journals rewritten in it."""
    return new_databases("reach")


REHASH = """
    DO $$ DECLARE o ledger.operations; previous bytea := ''; l ledger.lot_openings; BEGIN
      FOR o IN SELECT * FROM ledger.operations WHERE organization_id = '{book}' ORDER BY seq LOOP
        SELECT * INTO l FROM ledger.lot_openings WHERE organization_id = '{book}' AND seq = o.seq;
        previous := ledger.hash_v2(previous, o, l);
        UPDATE ledger.operations SET hash = previous WHERE organization_id = '{book}' AND seq = o.seq;
      END LOOP;
      UPDATE ledger.books SET head = previous WHERE organization_id = '{book}';
    END $$"""


async def published_head(owner, book):
    row = await owner.connection.fetchrow("SELECT last_seq, head FROM ledger.books WHERE organization_id = $1", book)
    return {row["last_seq"]: row["head"]}


async def test_a_journal_rewritten_with_its_chain_is_found_only_by_a_published_head(books, owner):
    book = await new_book(books)
    await post(books, grant(book, "a", 500), spend(book, "b", 5))
    published = await published_head(owner, book)
    await owner.connection.execute("SET session_replication_role = replica")
    await owner.connection.execute(
        "UPDATE ledger.operations SET cause = 'a gift' WHERE organization_id = $1 AND seq = 2", book
    )
    await owner.connection.execute(REHASH.format(book=book))
    await post(books, spend(book, "c", 1))
    async with books() as session:
        assert await verify_book(session, book) == []
        found = await verify_book(session, book, published=published)
    assert [(one.place, one.problem) for one in found] == [("operation 3", "hash is not the head that was published")]


async def test_a_journal_that_was_cut_off_is_found_only_by_a_published_head(books, owner):
    book = await new_book(books)
    await post(books, grant(book, "a", 500))
    before = await owner.connection.fetchrow("SELECT * FROM ledger.books WHERE organization_id = $1", book)
    await post(books, replace(opening(organization_id=book, event_at=AT), kind=Kind.SET_CAPS, key="c", spender=AGENT,
                              caps=Caps()))  # fmt: skip
    published = await published_head(owner, book)
    await owner.connection.execute("SET session_replication_role = replica")
    for table, condition in (("operations", "seq = 3"), ("spenders", "true")):
        await owner.connection.execute(f"DELETE FROM ledger.{table} WHERE organization_id = $1 AND {condition}", book)
    await owner.connection.execute(
        "UPDATE ledger.books SET last_seq = 2, head = $2, last_posted_at = $3 WHERE organization_id = $1",
        book, before["head"], before["last_posted_at"],
    )  # fmt: skip
    async with books() as session:
        assert await verify_book(session, book) == []
        [found] = (await verify(session, None, published={book: published})).mismatches
    assert (found.organization_id, found.place) == (book, "book")
    assert "seq 3 was published" in found.problem


async def test_heads_that_were_published_and_are_still_there_are_no_mismatch(books, owner):
    book = await new_book(books)
    heads = await published_head(owner, book)
    await post(books, grant(book, "a", 500), grant(book, "b", 7))
    heads |= await published_head(owner, book)
    await post(books, spend(book, "c", 1))
    async with books() as session:
        assert await verify_book(session, book, published=heads) == []


async def test_a_book_that_is_not_there_is_a_mismatch(books):
    async with books() as session:
        missing = SYSTEM_SCOPE
        [found] = await verify_book(session, missing)
        assert (found.organization_id, found.problem) == (missing, "is missing")
        [found] = (await verify(session, None, published={missing: {1: b"head"}})).mismatches
        assert (found.organization_id, found.problem) == (missing, "is missing")


async def test_money_that_left_one_book_and_arrived_in_no_other_is_found(books):
    one, other = await new_book(books), await new_book(books)
    leaves = (Transfer("between_books", "stripe_clearing", usd(9)),)
    arrives = (Transfer("stripe_clearing", "between_books", usd(9)),)
    await post(books, grant(one, "out", 1, kind=Kind.MONEY, transfers=leaves, lot=None))
    async with books() as session:
        [found] = (await verify(session, None)).mismatches
        assert (found.organization_id, found.place) == (PLATFORM, "account between_books")
        assert await verify_book(session, one) == []
    await post(books, grant(other, "in", 1, kind=Kind.MONEY, transfers=arrives, lot=None))
    async with books() as session:
        assert (await verify(session, None)).mismatches == []


async def test_a_changed_chart_is_found(books, owner):
    await owner.connection.execute("UPDATE ledger.chart SET side = 'credit' WHERE code = 'bank'")
    async with books() as session:
        found = (await verify(session, None)).mismatches
    await owner.connection.execute("UPDATE ledger.chart SET side = 'debit' WHERE code = 'bank'")
    assert {one.place for one in found} == {"chart bank"}


async def test_more_books_than_one_read_are_counted_and_progress_is_told(books, monkeypatch):
    monkeypatch.setattr("ledger.verification.stored.ENTRIES_A_READ", 4)
    for _ in range(7):
        await post(books, grant(await new_book(books), "a", 500))
    told = []
    async with snapshot(books) as session:
        done = await verify(session, None, progress=lambda *numbers: told.append(numbers))
    assert done.mismatches == []
    assert done.operations == told[-1][1]
    assert done.books >= 8
    assert [operations for _, operations in told] == sorted({operations for _, operations in told})


async def test_books_without_a_journal_are_found_wherever_they_stand(books, owner):
    book = await new_book(books)
    await owner.connection.execute("SET session_replication_role = replica")
    await owner.connection.execute("DELETE FROM ledger.operations WHERE organization_id = $1", book)
    async with books() as session:
        found = (await verify(session, None)).mismatches
    await owner.connection.execute("DELETE FROM ledger.books WHERE organization_id = $1", book)
    assert {one.organization_id for one in found} == {book}


async def test_what_is_kept_does_not_grow_with_the_journal(books, owner, monkeypatch):
    """Holds that ended and lots that were used up are let go at the end of each read."""
    monkeypatch.setattr("ledger.verification.stored.ENTRIES_A_READ", 20)
    journal = Journal(books, owner)
    await journal.post(opening(organization_id=journal.book, event_at=START))
    for _ in range(60):
        await journal.grant(5, 1)
        hold = await journal.hold(5, 5)
        await journal.capture(hold, 5)
    kept = []
    compare = walk._Walk._compare_parts

    async def noting(one):
        await compare(one)
        book = one._replay.book
        kept.append(len(book.lots) + len(book.holds) + len(book.ended) + len(one._holds) + len(one._lots))

    monkeypatch.setattr(walk._Walk, "_compare_parts", noting)
    async with books() as session:
        assert await verify_book(session, journal.book) == []
    assert len(kept) >= 9
    assert max(kept) <= 3


async def test_a_capture_that_is_given_back_comes_back_to_the_windows_of_its_hold(books, owner):
    """Whoever captures: the hold was charged to its spender when it was made."""
    journal = Journal(books, owner)
    await journal.post(opening(organization_id=journal.book, event_at=START))
    await journal.grant(100, 1)
    await journal.do(Kind.SET_CAPS, spender=AGENT, caps=Caps(per_day=50))
    hold = await journal.hold(40, 5, AGENT)
    journal.at += timedelta(hours=1)
    captured = await journal.do(Kind.CAPTURE, AGENT, target=hold.id, credits=30)
    await journal.do(Kind.SPEND_REFUND, target=captured.id, credits=12)
    used = await owner.connection.fetchrow(
        "SELECT hour_used, day_used, total_used FROM ledger.spenders WHERE organization_id = $1", journal.book
    )
    assert tuple(used) == (18, 18, 18)
    async with books() as session:
        assert await verify_book(session, journal.book) == []


async def test_the_chain_is_packed_alike_from_native_values_and_from_what_is_sent(books, owner):
    book = await new_book(books)
    await post(books, grant(book, "a", 500), spend(book, "b", 5, spender=AGENT))
    columns = ", ".join(chain.OPERATION_COLUMNS)
    records = await owner.connection.fetch(
        f"SELECT {columns}, hash FROM ledger.operations WHERE organization_id = $1 ORDER BY seq", book
    )
    opened = await owner.connection.fetchrow(
        f"SELECT {', '.join(chain.OPENED_COLUMNS)} FROM ledger.lot_openings WHERE organization_id = $1", book
    )
    head = chain.GENESIS
    for record in records:
        lot = opened if record["seq"] == 2 else None
        operation, of_lot = Columns(record), lot and Columns(lot)
        assert chain.operation_hash(head, operation, of_lot) == record["hash"]
        head = record["hash"]
    async with books() as session:
        reader = await Stored.of(session)
        [entries] = [some async for some in reader.entries(book)]
    assert [entry.hash for entry in entries] == [record["hash"] for record in records]


class Columns:
    """A record by attribute."""

    def __init__(self, record):
        self.__dict__.update(record)
