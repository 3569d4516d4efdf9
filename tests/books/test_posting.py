import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger import posting, statements
from ledger.money import usd
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Caps, Kind, LotCause, LotOpening, Operation, opening
from ledger.outcomes import Outcome, PostingRefused
from tests.books.books import AGENT, AT, grant, new_book, new_id, post, problems, spend


async def test_a_grant_comes_into_the_wallet_and_its_money_is_owed(books):
    book = await new_book(books)
    [posted] = await post(books, grant(book, "k", 500))
    assert (posted.outcome, posted.replayed, posted.seq) == (Outcome.POSTED, False, 2)
    assert (posted.available_after, posted.held_after) == (500, 0)
    async with books() as session:
        rows = {row.code: row.balance for row in await statements.trial_balance(session, book)}
    assert rows == {"wallet": 500, "issued": 500, "stripe_clearing": 500, "deferred_revenue": 500}
    assert await problems(books, book) == []


async def test_the_same_key_and_content_get_the_first_answer_for_ever(books):
    book = await new_book(books)
    first = grant(book, "k", 500)
    [posted] = await post(books, first)
    await post(books, grant(book, "another", 1))
    [again] = await post(books, replace(first, event_at=AT + timedelta(days=1)))
    assert again.replayed
    assert (again.seq, again.posted_at, again.available_after) == (posted.seq, posted.posted_at, 500)


@pytest.mark.parametrize(
    "change",
    [
        {"cause": "other"},
        {"credits": 1},
        {"transfers": (), "lot": LotOpening(LotCause.PAID, 500, usd(500), None)},
        {"lot": LotOpening(LotCause.PAID, 500, usd(499), None)},
        {"lot": LotOpening(LotCause.PAID, 500, usd(500), AT + timedelta(days=1))},
        {"lot": LotOpening(LotCause.PAID, 500, usd(500), None, priority=1)},
    ],
)
async def test_the_same_key_with_other_content_is_refused_and_nothing_changes(books, change):
    book = await new_book(books)
    first = grant(book, "k", 500)
    await post(books, first)
    with pytest.raises(PostingRefused, match="exists_with_different_content"):
        await post(books, replace(first, **change))
    async with books() as session:
        assert (await statements.balance(session, book, AT)).paid == 500
    assert await problems(books, book) == []


async def test_a_duplicate_inside_one_batch_and_equal_keys_of_two_books_are_answered_right(books):
    one, two = await new_book(books), await new_book(books)
    answers = await post(books, grant(one, "k", 5), grant(two, "k", 7), grant(one, "k", 5))
    assert [(a.outcome, a.replayed, a.available_after) for a in answers] == [
        (Outcome.POSTED, False, 5),
        (Outcome.POSTED, False, 7),
        (Outcome.POSTED, True, 5),
    ]


async def test_the_id_of_an_operation_is_its_key_in_its_scope_and_book(books, owner):
    book = await new_book(books)
    first = grant(book, "schlüssel", 5)
    await post(books, first)
    query = "SELECT id FROM ledger.operations WHERE organization_id = $1 AND seq = 2"
    assert await owner.connection.fetchval(query, book) == first.id
    assert first.id.version == 8
    others = (replace(first, key="other"), replace(first, scope=new_id()), replace(first, organization_id=new_id()))
    assert len({first.id, *(other.id for other in others)}) == 4


async def test_a_book_that_was_never_opened_is_not_found(books):
    with pytest.raises(PostingRefused, match="book_not_found"):
        await post(books, grant(new_id(), "k", 5))


async def test_nobody_spends_more_than_there_is_and_that_answer_stays(books):
    book = await new_book(books)
    await post(books, grant(book, "k", 5))
    [answer] = await post(books, spend(book, "w", 6))
    assert (answer.outcome, answer.replayed, answer.available_after) == (Outcome.NOT_ENOUGH_CREDITS, False, 5)
    await post(books, grant(book, "more", 5))
    [again] = await post(books, spend(book, "w", 6))
    assert (again.outcome, again.replayed, again.seq) == (Outcome.NOT_ENOUGH_CREDITS, True, answer.seq)
    assert await problems(books, book) == []


async def test_what_the_service_itself_is_refused_is_not_stored(books):
    book = await new_book(books)
    with pytest.raises(PostingRefused, match="not_enough_credits"):
        await post(books, spend(book, "k", 6, scope=SYSTEM_SCOPE))
    await post(books, grant(book, "grant", 6))
    [answer] = await post(books, spend(book, "k", 6, scope=SYSTEM_SCOPE))
    assert (answer.outcome, answer.replayed) == (Outcome.POSTED, False)


async def test_one_refusal_in_a_batch_disturbs_no_neighbour(books):
    book = await new_book(books)
    answers = await post(books, grant(book, "a", 5), spend(book, "w", 6), grant(book, "b", 2))
    assert [a.outcome for a in answers] == [Outcome.POSTED, Outcome.NOT_ENOUGH_CREDITS, Outcome.POSTED]
    assert answers[2].available_after == 7
    assert await problems(books, book) == []


async def test_when_something_breaks_after_posting_nothing_of_it_stays(books):
    book = await new_book(books)

    async def dying():
        async with books() as session, session.begin():
            await posting.post(session, [grant(book, "k", 500)])
            raise RuntimeError("the process is dying")

    with pytest.raises(RuntimeError, match="the process is dying"):
        await dying()
    async with books() as session:
        assert (await statements.balance(session, book, AT)).spendable == 0
    assert await problems(books, book) == []


async def test_fifty_at_once_with_one_key_post_once(books):
    book = await new_book(books)
    answers = await asyncio.gather(*(post(books, grant(book, "k", 500)) for _ in range(50)))
    assert sorted(answer.replayed for [answer] in answers) == [False] + [True] * 49
    assert {answer.seq for [answer] in answers} == {2}
    assert await problems(books, book) == []


async def test_batches_that_name_the_same_books_in_opposite_order_do_not_deadlock(books):
    found = [await new_book(books) for _ in range(6)]

    async def one(number):
        order = found if number % 2 else found[::-1]
        return await post(books, *(grant(book, f"k{number}", 1) for book in order))

    answers = await asyncio.gather(*(one(number) for number in range(30)))
    assert all(answer.outcome is Outcome.POSTED for batch in answers for answer in batch)
    async with books() as session:
        assert [(await statements.balance(session, book, AT)).paid for book in found] == [30] * 6
    for book in found:
        assert await problems(books, book) == []


async def test_posting_times_never_go_back_even_when_the_clock_does(books, owner):
    book = await new_book(books)
    [first] = await post(books, grant(book, "a", 1))
    async with owner.clock_at("clock_timestamp() - interval '1 day'"):
        [second] = await post(books, grant(book, "b", 1))
        [third] = await post(books, grant(book, "c", 1))
    assert first.posted_at is not None
    assert second.posted_at == first.posted_at + timedelta(microseconds=1)
    assert third.posted_at == first.posted_at + timedelta(microseconds=2)


@pytest.mark.parametrize(
    ("event_at", "closed_through", "expected"),
    [
        (datetime(2026, 11, 21, 23, 59, tzinfo=UTC), None, date(2026, 11, 21)),
        (datetime(2026, 11, 22, 1, 30, tzinfo=UTC) - timedelta(hours=2), None, date(2026, 11, 21)),
        (datetime(2026, 10, 5, tzinfo=UTC), date(2026, 10, 31), date(2026, 11, 1)),
        (datetime(2026, 11, 5, tzinfo=UTC), date(2026, 10, 31), date(2026, 11, 5)),
    ],
)
async def test_what_arrives_late_stands_in_the_first_open_day_with_its_true_time(
    books, owner, event_at, closed_through, expected
):
    book = await new_book(books)
    if closed_through is not None:
        first_open = datetime.combine(closed_through + timedelta(days=1), time(), UTC)
        async with owner.clock_at("timestamptz '2026-11-21 12:00+00'"):
            close = Operation(book, Kind.CLOSE, SYSTEM_SCOPE, "close", "a month is over", deadline=first_open)
            await post(books, close)
    [posted] = await post(books, grant(book, "k", 1, event_at=event_at))
    assert posted.accounting_date == expected
    async with books() as session:
        stored = await statements.operation(session, book, posted.operation_id)
    assert stored is not None
    assert stored.event_at == event_at


async def test_a_lot_that_has_expired_is_not_counted_and_one_that_is_promotional_is_told_apart(books):
    book = await new_book(books)
    now = datetime.now(UTC)
    promotional = LotOpening(LotCause.PROMOTIONAL, 30, None, now + timedelta(days=1))
    await post(books, grant(book, "paid", 500), grant(book, "promo", 30, transfers=(), lot=promotional))
    async with books() as session:
        today = await statements.balance(session, book, now)
        tomorrow = await statements.balance(session, book, now + timedelta(days=1))
    assert (today.paid, today.promotional, today.spendable) == (500, 30, 530)
    assert (tomorrow.paid, tomorrow.promotional) == (500, 0)


async def test_the_platform_book_is_open_from_the_start(books):
    async with books() as session:
        assert await statements.trial_balance(session, PLATFORM) is not None
    assert await problems(books, PLATFORM) == []


async def test_opening_a_book_again_is_a_replay(books):
    book = await new_book(books)
    [again] = await post(books, opening(organization_id=book, event_at=AT))
    assert (again.replayed, again.seq) == (True, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO ledger.books (lane, organization_id) VALUES (0, gen_random_uuid())",
        "UPDATE ledger.accounts SET debits = debits + 1",
        "UPDATE ledger.lots SET remaining = remaining",
        "DELETE FROM ledger.operations",
        "TRUNCATE ledger.operations",
        "UPDATE ledger.spenders SET paused = false",
        "SELECT ledger.write_operation(0::smallint, NULL, NULL, now())",
        "CREATE TABLE ledger.mine (id int)",
        "CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "SELECT FROM ledger.books FOR UPDATE",
        "DELETE FROM billing.receipts",
        "UPDATE billing.receipts SET credits = credits + 1",
        "UPDATE billing.credit_quotes SET credits = credits + 1",
        "DELETE FROM billing.external_payments",
        "DELETE FROM webhooks.letters",
        "UPDATE webhooks.letters SET body = ''",
    ],
)
async def test_the_run_role_cannot_write_past_the_function(books, statement):
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with books() as session, session.begin():
            await (await session.connection()).execute(text(statement))


@pytest.mark.parametrize("table", ["operations", "lot_openings"])
async def test_even_the_owner_cannot_change_the_journal_by_accident(owner, books, table):
    book = await new_book(books)
    await post(books, grant(book, "k", 1))
    with pytest.raises(asyncpg.RestrictViolationError, match="never changed"):
        await owner.connection.execute(f"TRUNCATE ledger.{table} CASCADE")
    with pytest.raises(asyncpg.RestrictViolationError, match="never changed"):
        await owner.connection.execute(f"UPDATE ledger.{table} SET lane = lane WHERE organization_id = $1", book)
    with pytest.raises(asyncpg.RestrictViolationError, match="never changed"):
        await owner.connection.execute(f"DELETE FROM ledger.{table} WHERE organization_id = $1", book)


async def test_a_spend_for_nobody_beside_one_of_a_capped_agent_counts_against_no_cap(books):
    book = await new_book(books)
    caps = Operation(book, Kind.SET_CAPS, SYSTEM_SCOPE, "caps", "test", spender=AGENT, caps=Caps(per_day=10))
    await post(books, grant(book, "g", 100), caps)
    answers = await post(books, spend(book, "a", 5, spender=AGENT), spend(book, "b", 50))
    assert [answer.outcome for answer in answers] == [Outcome.POSTED, Outcome.POSTED]
    async with books() as session:
        counted = await statements.spender(session, book, AGENT)
    assert counted is not None
    assert counted.day_used == 5
    assert await problems(books, book) == []
