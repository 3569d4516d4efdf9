"""`ledger.post_v1` itself refuses arrays that do not fit together: the books do not rest on what a caller checked."""

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger import posting, statements
from tests.books.books import AT, grant, new_book, problems

PER_TRANSFER = ("transfer_items", "debits", "credits", "currencies", "amounts", "into_lot")
PER_LOT = ("lot_items", "lot_causes", "lot_credits", "lot_basis_amounts", "lot_basis_currencies", "lot_expires_ats",
           "lot_priorities")  # fmt: skip
NO_TRANSFERS: dict[str, list[object]] = {name: [] for name in PER_TRANSFER}
NO_LOTS: dict[str, list[object]] = {name: [] for name in PER_LOT}
ONE_LOT_MISSING = {
    "lot_items": [2], "lot_causes": ["paid"], "lot_credits": [7], "lot_basis_amounts": [7],
    "lot_basis_currencies": ["USD"], "lot_expires_ats": [None], "lot_priorities": [100],
}  # fmt: skip


async def call(books, book, **changes):
    """Post two sound grants of 500 and 7 credits, with some arrays replaced."""
    sound = posting._parameters([grant(book, "a", 500), grant(book, "b", 7)])
    async with books() as session, session.begin():
        connection = await session.connection()
        return (await connection.execute(posting._POST, {**sound, **changes})).all()


async def refused(books, says, **changes):
    book = await new_book(books)
    with pytest.raises(DBAPIError, match=says) as error:
        await call(books, book, **changes)
    assert error.value.orig is not None
    assert isinstance(error.value.orig.__cause__, asyncpg.InvalidParameterValueError)
    async with books() as session:
        assert (await statements.balance(session, book, AT)).spendable == 0
    assert await problems(books, book) == []


async def test_the_arrays_of_these_tests_are_sound_as_they_are(books):
    book = await new_book(books)
    assert [row.outcome for row in await call(books, book)] == ["posted", "posted"]
    assert await problems(books, book) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"lot_credits": [499, 7]},
        {"lot_credits": [7, 500]},
        {"lot_credits": [None, 7]},
        {"amounts": [501, 500, 7, 7]},
        {"into_lot": [False, False, True, False]},
        NO_TRANSFERS,
        NO_LOTS,
        ONE_LOT_MISSING,
    ],
    ids=["less opened", "crossed", "nothing opened", "more moved", "lot without its transfer", "no transfers",
         "no lots", "one lot missing"],
)  # fmt: skip
async def test_a_lot_is_opened_with_exactly_the_credits_that_move_into_it(books, changes):
    await refused(books, "moves into a lot", **changes)


async def test_an_operation_opens_at_most_one_lot(books):
    halves = {
        "lot_items": [1, 1, 2], "lot_causes": ["paid"] * 3, "lot_credits": [250, 250, 7],
        "lot_basis_amounts": [250, 250, 7], "lot_basis_currencies": ["USD"] * 3, "lot_expires_ats": [None] * 3,
        "lot_priorities": [100] * 3,
    }  # fmt: skip
    await refused(books, "lots are not one an operation", **halves)


@pytest.mark.parametrize(
    "changes",
    [
        {"debits": ["held", "stripe_clearing", "wallet", "stripe_clearing"]},
        {"credits": ["consumed", "deferred_revenue", "issued", "deferred_revenue"]},
        {"debits": [None, "stripe_clearing", "wallet", "stripe_clearing"]},
        {"into_lot": [False, True, True, False]},
    ],
    ids=["into held", "from consumed", "into nothing", "money"],
)
async def test_the_credits_of_a_lot_come_from_issued_into_the_wallet(books, changes):
    await refused(books, "from issued into wallet", **changes)


@pytest.mark.parametrize(
    "items",
    [[2, 2, 1, 1], [1, 2, 1, 2], [1, 1, 2, 3], [0, 1, 2, 2], [1, 1, None, 2], [None, 1, 2, 2]],
    ids=["backwards", "mixed", "after the last", "before the first", "of none", "first of none"],
)
async def test_every_transfer_belongs_to_an_operation_in_order(books, items):
    await refused(books, "transfers are not in the order", transfer_items=items)


@pytest.mark.parametrize("items", [[2, 1], [1, 3], [0, 2], [1, None], [None, 2]])
async def test_every_lot_belongs_to_an_operation_in_order(books, items):
    await refused(books, "lots are not one an operation", lot_items=items)


@pytest.mark.parametrize("name", [*PER_TRANSFER[1:], *PER_LOT[1:], "kinds", "keys", "terms", "causes", "event_ats"])
async def test_no_array_is_shorter_than_what_it_describes(books, name):
    book = await new_book(books)
    sound = posting._parameters([grant(book, "a", 500), grant(book, "b", 7)])
    await refused(books, "arrays are of different lengths", **{name: sound[name][:-1]})


async def test_no_array_is_longer_than_what_it_describes(books):
    await refused(books, "arrays are of different lengths", kinds=["grant", "grant", "opening"])


async def test_an_array_that_does_not_begin_at_one_is_refused(books):
    """Its elements would not be found where they are looked for."""
    book = await new_book(books)
    shifted = str(posting._POST).replace("CAST(:lot_items AS integer[])", "'[0:1]={1,2}'::integer[]")
    sound = posting._parameters([grant(book, "a", 500), grant(book, "b", 7)])
    del sound["lot_items"]
    async with books() as session, session.begin():
        connection = await session.connection()
        with pytest.raises(DBAPIError, match="lots are not one an operation"):
            await connection.execute(text(shifted), sound)
