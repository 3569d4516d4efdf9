"""`docs/postings.md` says what each fact moves; here each row is posted and the book is compared with the document."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing import posting_rules
from ledger import statements
from ledger.chart import CHART
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, operation_id
from ledger.outcomes import FREEZES_KEY, Outcome
from tests.books.books import AGENT, grant, new_book, new_id, post, spend
from tests.unit.test_pricing_and_settlement import SETTLED

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "postings.md").read_text(encoding="utf-8")
IN_AN_HOUR = timedelta(hours=1)


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
    await post(books, posting_rules.purchase(fact, organization_id=book, credits_=500, expire_after_days=None))
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


async def lines_of(books, operation):
    """What posting `operation` moved: debit, credit, amount of each line."""
    [posted] = await post(books, operation)
    assert posted.outcome is Outcome.POSTED
    async with books() as session:
        row = await statements.operation(session, operation.organization_id, operation.id)
    assert row is not None
    entries = statements.entries_of(row)
    return [(d.account, c.account, d.amount) for d, c in zip(entries[::2], entries[1::2], strict=True)]


def about(book, kind, target, credits_=0, **more):
    return Operation(book, kind, AGENT, f"{kind}-{new_id()}", "test", target=target, credits=credits_, **more)


async def test_credits_that_are_given_away_move_what_the_document_says(books):
    book = await new_book(books)
    lot = LotOpening(LotCause.PROMOTIONAL, 30, None, None)
    lines = await lines_of(books, grant(book, "promo", 30, transfers=(), lot=lot))
    assert lines == [(*documented("credits are given away"), 30)]


async def test_spending_moves_what_the_document_says(books):
    book = await new_book(books)
    await post(books, grant(book, "g", 100))
    spent = spend(book, "s", 10)
    assert await lines_of(books, spent) == [(*documented("credits are spent"), 10)]
    assert await lines_of(books, about(book, Kind.SPEND_REFUND, spent.id, 4)) == [
        (*documented("a spend is refunded"), 4)
    ]


async def test_holding_moves_what_the_document_says(books):
    book = await new_book(books)
    await post(books, grant(book, "g", 100))
    deadline = datetime.now(UTC) + IN_AN_HOUR
    one, two = (spend(book, key, 20, kind=Kind.HOLD, deadline=deadline) for key in ("h1", "h2"))
    assert await lines_of(books, one) == [(*documented("credits are reserved"), 20)]
    assert await lines_of(books, about(book, Kind.EXTEND, one.id, deadline=deadline + IN_AN_HOUR)) == []
    assert await lines_of(books, about(book, Kind.CAPTURE, one.id, 15)) == [
        (*documented("a hold is captured"), 15),
        (*documented("… its rest, when final; a void"), 5),
    ]
    await post(books, two)
    assert await lines_of(books, about(book, Kind.VOID, two.id)) == [(*documented("… its rest, when final"), 20)]


async def test_reversals_move_what_the_document_says(books):
    book = await new_book(books)
    bought = grant(book, "g", 100)
    spent = spend(book, "s", 30)
    await post(books, bought, spent)
    assert await lines_of(books, about(book, Kind.CLAW_BACK, bought.id, 80)) == [
        (*documented("a payment is reversed"), 70)
    ]
    assert await lines_of(books, about(book, Kind.SPEND_REFUND, spent.id, 5)) == [
        (*documented("… while its payment is reversed"), 5)
    ]
    paid = grant(book, "g2", 50)
    await post(books, paid)
    async with books() as session:
        settled = await statements.operation(session, book, operation_id(book, SYSTEM_SCOPE, f"settle_owed:{paid.id}"))
        assert settled is not None
        debit, credit = statements.entries_of(settled)
    assert (debit.account, credit.account, debit.amount) == (*documented("what is owed is settled"), 5)
    assert await lines_of(books, about(book, Kind.REINSTATE, bought.id, 80)) == [
        (*documented("a reversal is undone"), 5),
        (*documented("a reversal is undone"), 75),
    ]
    assert await lines_of(books, about(book, Kind.FREEZE, bought.id)) == []


def test_every_kind_has_a_row_in_the_document():
    named = {kind for row in rows_of("What is posted today") for kind in re.findall(r"`(\w+)`", row[1])}
    assert named == {kind.value for kind in Kind}


def test_the_document_lists_the_outcomes_in_their_order_and_which_are_stored():
    rows = [(row[0].strip("`"), row[2]) for row in rows_of("What posting answers")]
    assert rows == [(o.value, "yes" if o in FREEZES_KEY | {Outcome.POSTED} else "no") for o in Outcome]


def test_the_document_lists_the_chart():
    documented_chart = [(row[0].strip("`"), row[1], row[2]) for row in rows_of("The chart")]
    assert documented_chart == [(a.code, a.currency.value, a.side.value) for a in CHART]


def test_the_functions_answer_what_the_document_lists():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "migrations" / "versions").glob("0001_*.sql")]
    quoted = {word for text in texts for word in re.findall(r"'([a-z_]+)'", text)}
    assert {outcome.value for outcome in Outcome} <= quoted
