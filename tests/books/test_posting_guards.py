"""`ledger.post_v1` itself refuses arrays that do not fit together: the books do not rest on what a caller checked."""

import json

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from ledger import posting, statements
from ledger.operations import LANE
from tests.books.books import AT, grant, new_book, new_id, problems, spend

COLUMNS = [name for name, _ in posting._COLUMNS]
LOT = {"cause": "promotional", "credits": 5, "priority": 100}


def arrays(*operations):
    """What is posted for `operations`, which are of one book."""
    return {"lane": LANE, **dict(zip(COLUMNS, posting.columns_of(operations), strict=True))}


async def call(books, parameters):
    async with books() as session, session.begin():
        return (await (await session.connection()).execute(posting._POST, parameters)).all()


async def refused(books, book, says, **changes):
    parameters = arrays(grant(book, "a", 500), spend(book, "b", 7)) | changes
    with pytest.raises(DBAPIError, match=says) as error:
        await call(books, parameters)
    assert error.value.orig is not None
    assert isinstance(error.value.orig.__cause__, asyncpg.InvalidParameterValueError)
    async with books() as session:
        assert (await statements.balance(session, book, AT)).spendable == 0
    assert await problems(books, book) == []


async def test_the_arrays_of_these_tests_are_sound_as_they_are(books):
    book = await new_book(books)
    rows = await call(books, arrays(grant(book, "a", 500), spend(book, "b", 7)))
    assert [row.outcome for row in rows] == ["posted", "posted"]
    assert await problems(books, book) == []


@pytest.mark.parametrize("name", COLUMNS)
async def test_no_array_is_shorter_than_what_it_describes(books, name):
    book = await new_book(books)
    sound = arrays(grant(book, "a", 500), spend(book, "b", 7))
    await refused(books, book, "arrays are of different lengths", **{name: sound[name][:-1]})


@pytest.mark.parametrize("name", ["organizations", "kinds", "amounts", "groups"])
async def test_every_item_names_its_book_kind_amount_and_group(books, name):
    book = await new_book(books)
    sound = arrays(grant(book, "a", 500), spend(book, "b", 7))
    await refused(books, book, "an item names its", **{name: [sound[name][0], None]})


@pytest.mark.parametrize("amount", [0, -1, 2**53])
async def test_a_spend_is_of_one_credit_or_more(books, amount):
    await refused(books, await new_book(books), "of 1 credit or more", amounts=[0, amount])


async def test_an_unknown_kind_is_refused(books):
    await refused(books, await new_book(books), "no operation is of the kind", kinds=["grant", "gift"])


async def test_items_come_sorted_by_book(books):
    one, two = sorted([await new_book(books), await new_book(books)])
    rows = await call(books, arrays(grant(one, "x", 1), grant(two, "y", 1)))
    assert [row.outcome for row in rows] == ["posted", "posted"]
    with pytest.raises(DBAPIError, match="not sorted by book"):
        await call(books, arrays(grant(two, "later", 1), grant(one, "sooner", 1)))
    for book in (one, two):
        assert await problems(books, book) == []


async def test_a_group_stays_in_one_book(books):
    book = await new_book(books)
    other = max(new_id(), book)
    await refused(books, book, "a group stays in one book", organizations=[book, other], groups=[3, 3])


async def test_caps_belong_to_a_spender(books):
    await refused(books, await new_book(books), "caps belong to a spender", kinds=["grant", "set_caps"])


@pytest.mark.parametrize(
    "details",
    [
        {"lot": {**LOT, "credits": 0}},
        {"lot": {**LOT, "cause": "found"}},
        {"lot": {"cause": "promotional", "credits": 5}},
        {"transfers": [["stripe_clearing", "deferred_revenue", 0]]},
        {"transfers": [["stripe_clearing", "stripe_clearing", 5]]},
        {"transfers": [["stripe_clearing", "usdc_clearing", 5]]},
        {"transfers": [["wallet", "issued", 5]]},
        {"transfers": [["nowhere", "deferred_revenue", 5]]},
    ],
)
async def test_a_grant_opens_a_sound_lot_and_moves_money_between_two_accounts(books, details):
    book = await new_book(books)
    await refused(books, book, "a lot has|a grant moves", details=[json.dumps(details), None])
