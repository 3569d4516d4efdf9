"""`docs/postings.md` says what each fact moves; here each row is posted and the book is compared with the document."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from billing import posting_rules
from ledger import statements
from ledger.chart import CHART
from ledger.operations import LotCause, LotOpening, credits_granted
from ledger.outcomes import Outcome
from tests.books.books import grant, new_book, new_id, post
from tests.unit.test_pricing_and_settlement import SETTLED

DOCUMENT = (Path(__file__).parents[2] / "docs" / "postings.md").read_text(encoding="utf-8")


def rows_of(table_heading):
    part = DOCUMENT.split(f"## {table_heading}")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def documented(fact):
    [row] = [row for row in rows_of("What is posted today") if row[0].startswith(fact)]
    return tuple(cell.strip("`") for cell in row[2:4])


@pytest.mark.parametrize(("discount", "tax"), [(0, 0), (0, 40), (100, 32)])
async def test_a_settled_payment_moves_what_the_document_says(books, discount, tax):
    book = await new_book(books)
    fact = replace(SETTLED, discount=discount, tax=tax, total=500 - discount + tax, payment_id=f"pi_{new_id()}")
    await post(
        books,
        posting_rules.purchase(fact, organization_id=book, operation_id=new_id(), credits_=500, expire_after_days=None),
    )
    async with books() as session:
        rows = {row.code: row for row in await statements.trial_balance(session, book)}
    expected = {documented("a payment settles"): 500, documented("… its money"): 500 - discount}
    if tax:
        expected[documented("… its tax")] = tax
    debits: Counter[str] = Counter()
    credits_: Counter[str] = Counter()
    for (debit, credit), amount in expected.items():
        debits[debit] += amount
        credits_[credit] += amount
    assert {code: row.debits for code, row in rows.items() if row.debits} == debits
    assert {code: row.credits for code, row in rows.items() if row.credits} == credits_


async def test_credits_that_are_given_away_move_what_the_document_says(books):
    book = await new_book(books)
    lot = LotOpening(LotCause.PROMOTIONAL, 30, None, None)
    await post(books, grant(book, "promo", 30, transfers=(credits_granted(30),), lot=lot))
    async with books() as session:
        rows = {row.code: (row.debits, row.credits) for row in await statements.trial_balance(session, book)}
    debit, credit = documented("credits are given away")
    assert rows == {debit: (30, 0), credit: (0, 30)}


def test_the_document_lists_the_outcomes_in_their_order():
    assert [row[0].strip("`") for row in rows_of("What posting answers")] == [outcome.value for outcome in Outcome]


def test_the_document_lists_the_chart():
    documented_chart = [(row[0].strip("`"), row[1], row[2]) for row in rows_of("The chart")]
    assert documented_chart == [(a.code, a.currency.value, a.side.value) for a in CHART]


def test_the_function_answers_in_the_order_of_the_document():
    sql = (Path(__file__).parents[2] / "migrations" / "versions" / "0001_books.sql").read_text(encoding="utf-8")
    assert list(dict.fromkeys(re.findall(r"outcome := '(\w+)'", sql)))[:-1] == [
        outcome.value for outcome in Outcome if outcome is not Outcome.POSTED
    ]
