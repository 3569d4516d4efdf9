"""`ledger.post_v1` itself refuses arrays that do not fit together: the books do not rest on what a caller checked."""

import json
from dataclasses import replace

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from ledger import posting, statements
from ledger.money import usd
from ledger.operations import LANE, Kind, Transfer
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
    "lot", [{**LOT, "credits": 0}, {**LOT, "cause": "found"}, {"cause": "promotional", "credits": 5}, None]
)
async def test_a_grant_opens_a_sound_lot(books, lot):
    book = await new_book(books)
    details = {"transfers": [["stripe_clearing", "deferred_revenue", 5]]} | ({"lot": lot} if lot else {})
    await refused(books, book, "a grant is of a lot", details=[json.dumps(details), None])


@pytest.mark.parametrize(("kind", "more"), [("grant", {"lot": LOT}), ("money", {})])
@pytest.mark.parametrize(
    "transfer",
    [
        ["stripe_clearing", "deferred_revenue", 0],
        ["stripe_clearing", "stripe_clearing", 5],
        ["stripe_clearing", "usdc_clearing", 5],
        ["wallet", "issued", 5],
        ["nowhere", "deferred_revenue", 5],
    ],
)
async def test_money_moves_between_two_accounts_of_one_currency(books, kind, more, transfer):
    book = await new_book(books)
    sound = ["stripe_clearing", "deferred_revenue", 5]
    details = json.dumps({"transfers": [sound, transfer], **more})
    await refused(books, book, "a transfer moves", kinds=[kind, "spend"], details=[details, None])


@pytest.mark.parametrize(
    "details",
    [None, {}, {"transfers": []}, {"transfers": [["stripe_clearing", "deferred_revenue", 5]], "lot": LOT}],
)
async def test_money_has_transfers_and_no_lot(books, details):
    book = await new_book(books)
    details = None if details is None else json.dumps(details)
    await refused(books, book, "has transfers and no lot", kinds=["money", "spend"], details=[details, None])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"lot": None}, "a grant is of a lot"),
        ({"kind": Kind.MONEY}, "a grant is of a lot"),
        ({"kind": Kind.MONEY, "lot": None, "transfers": ()}, "at least one transfer"),
        ({"kind": Kind.SETTLE_OWED, "lot": None, "credits": 1}, "at most 16 transfers"),
        ({"transfers": (Transfer("stripe_fees", "stripe_clearing", usd(1)),) * 17}, "at most 16 transfers"),
        (
            {"kind": Kind.SPEND, "credits": 1, "lot": None, "transfers": (), "target": new_id()},
            "names what it is about",
        ),
        ({"kind": Kind.CLOSE, "lot": None, "transfers": ()}, "names the first moment that is open"),
        ({"kind": Kind.WRITE_OFF, "lot": None, "transfers": (), "credits": 1}, "names what it is about"),
        ({"kind": Kind.WRITE_OFF, "lot": None, "transfers": (), "target": new_id()}, "of 1 credit or more"),
    ],
)
def test_an_operation_has_what_its_kind_has(content, says):
    with pytest.raises(ValueError, match=says):
        replace(grant(new_id(), "a", 5), **content)


async def test_a_write_off_is_of_one_credit_or_more(books):
    await refused(books, await new_book(books), "of 1 credit or more", kinds=["grant", "write_off"], amounts=[0, 0])
