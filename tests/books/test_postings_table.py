"""`docs/postings.md` says what each fact moves; here each row is posted and the book is compared with the document."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing import bookings, posting_rules
from billing.reversals import rules
from billing.reversals.rules import Live, Posted, Terms
from billing.settlements import Allotment
from billing.settling import gas_costs
from billing.settling_tables import GasTransaction
from finance.lot_values import Worth
from finance.recognizing import recognition
from finance.reconciling.adjusting import proposal
from finance.treasury import booking
from ledger import statements
from ledger.chart import CHART
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, operation_id
from ledger.outcomes import FREEZES_KEY, Outcome
from rails.money import BalanceTransaction
from tests.books.books import AGENT, AT, grant, new_book, new_id, post, spend
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


@pytest.mark.parametrize(("discount", "tax", "beyond"), [(0, 0, 0), (0, 40, 0), (100, 32, 0), (0, 0, 7)])
async def test_a_settled_payment_moves_what_the_document_says(books, discount, tax, beyond):
    book = await new_book(books)
    basis = 500 - discount
    fact = replace(SETTLED, discount=discount, tax=tax, total=basis + tax + beyond, payment_id=f"pi_{new_id()}")
    allotted = Allotment(500, basis, beyond)
    await post(
        books,
        posting_rules.purchase(
            fact, organization_id=book, allotted=allotted, expire_after_days=None, settled_at=fact.occurred_at
        ),
    )
    async with books() as session:
        rows = {row.code: row for row in await statements.trial_balance(session, book)}
    expected = {documented("a payment settles"): 500, documented("… its money"): basis}
    if beyond:
        expected[documented("… what was paid beyond")] = beyond
    if tax:
        expected[documented("… its tax")] = tax
    debits: Counter[str] = Counter()
    credits_: Counter[str] = Counter()
    for (debit, credit), amount in expected.items():
        debits[debit] += amount
        credits_[credit] += amount
    assert {code: row.debits for code, row in rows.items() if row.debits} == debits
    assert {code: row.credits for code, row in rows.items() if row.credits} == credits_


async def test_a_payment_on_chain_moves_what_the_document_says(books):
    book = await new_book(books)
    fact = replace(ON_CHAIN, payment_id=f"eip155:1:{new_id()}")
    operation = posting_rules.purchase(
        fact,
        organization_id=book,
        allotted=Allotment(500, 500, 0),
        expire_after_days=None,
        settled_at=fact.occurred_at,
    )
    assert await lines_of(books, operation) == [
        (*documented("a payment settles"), 500),
        (*documented("… paid on chain (x402), its money"), 500),
        (*documented("… paid on chain, its USDC"), 5_000_000),
    ]


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


async def test_freezing_what_was_given_away_and_writing_off_move_nothing(books):
    book = await new_book(books)
    bought, gift = (
        grant(book, "g", 20),
        grant(book, "p", 5, transfers=(), lot=LotOpening(LotCause.CORRECTION, 5, None, None)),
    )
    await post(books, bought, spend(book, "s", 20), gift)
    await post(books, about(book, Kind.CLAW_BACK, bought.id, 8))
    assert documented("what is owed is written off") == documented("a lot is frozen") == ("–", "–")
    for operation in (about(book, Kind.WRITE_OFF, bought.id, 8), about(book, Kind.FREEZE, gift.id)):
        assert await lines_of(books, operation) == []
    async with books() as session:
        balance = await statements.balance(session, book, AT)
    assert (balance.owed, balance.frozen, balance.spendable) == (0, 5, 0)


def booked(account, gross, fee=0, *, currency="usd"):
    """A line of Stripe's balance, or of the chain, as it is posted: the gross against `account`, the fee."""

    def in_book(book):
        line = BalanceTransaction(f"txn_{new_id()}", "test", gross, fee, gross - fee, currency, None, AT)
        return bookings.booking(line, organization_id=book, account=account)

    return in_book


def reversed_by(before, **cents):
    """The money of a payment of 540 cents, of which 40 are tax and 100 were paid beyond the price, that is reversed."""
    live = Live(**{"refunds_cents": 0, "disputes_cents": 0, "lost_cents": 0, **cents})
    return lambda book: money_of(rules.difference(terms_of(book), before, live, cause="test", at=AT))


def terms_of(book):
    return Terms(book, f"payment_intent:{new_id()}", new_id(), 400, 540, 40, 100)


def money_of(judged):
    [money] = [operation for operation in judged[1] if operation.kind is Kind.MONEY]
    return money


def written_off(book):
    return money_of(rules.written_off(terms_of(book), Posted(credits_reversed=400), 100, cause="test", at=AT))


def gas_transaction():
    return GasTransaction(network="eip155:1", hash=f"0x{new_id().hex}", purpose="settlement", created_at=AT)


def sold(received, fee=0):
    """10 USDC, sold for so many cents in the bank and a fee."""
    return lambda _: booking.sale_operation(
        booking.Sale("eip155:1", str(new_id()), 10_000_000, received, fee, None, AT)
    )


def resolved(amount, currency):
    """An exception of so much, of the provider's clearing or the treasury's."""
    one = proposal(source="x", currency=currency, amount=amount, account=None, against=None, posted={})
    return lambda book: Operation(
        book, Kind.MONEY, SYSTEM_SCOPE, f"adjustment:{new_id()}", "test", transfers=one.transfers()
    )


def ether_bought(_):
    return booking.purchase_operation(booking.Purchase("eip155:1", str(new_id()), 250_000_000, 90_000, AT))


ON_CHAIN = replace(SETTLED, payment_kind="x402_authorization")
UNFORGIVEN = Posted(credits_reversed=400, credits_written_off=100, written_off_cents=100)
MONEY = [
    (written_off, {"… at its share of the price": 100}),
    (reversed_by(UNFORGIVEN), {"… and is no longer lost": 100}),
    (booked(None, 540, fee=46), {"the fee of a charge": 46}),
    (
        reversed_by(Posted(), refunds_cents=540),
        {"a payment is refunded": 400, "… its share of the tax": 40, "… its share of a remainder": 100},
    ),
    (booked("refunds_payable", -540), {"a refund leaves": 540}),
    (
        booked("refunds_payable", -540, currency="usdc"),
        {"a refund of USDC leaves": 540, "… the USDC of that refund": 5_400_000},
    ),
    (booked("refunds_payable", 540), {"a refund comes back": 540}),
    (
        booked("refunds_payable", -540, currency="usdc"),
        {"a reorganization takes a payment out": 540, "… the USDC that it took out": 5_400_000},
    ),
    (
        booked("refunds_payable", 540, currency="usdc"),
        {"… and it stands in a block again": 540, "… the USDC that is back": 5_400_000},
    ),
    (
        reversed_by(Posted(), disputes_cents=540),
        {
            "… while it is undecided": 400,
            "… its undecided part of the tax": 40,
            "… its undecided part of a remainder": 100,
        },
    ),
    (booked("disputes", -540, fee=1500), {"a dispute withdraws": 540, "… the fee of the dispute": 1500}),
    (booked("disputes", 540, fee=-1500), {"a dispute gives back": 540, "… the fee, given back": 1500}),
]
RECOGNIZED = (
    lambda book: recognition(book, AT.date(), Worth(used=300, breakage=20, receivable=7, loss=3)),
    {
        "revenue of a day": 300,
        "… its expired part": 20,
        "… its owed part": 7,
        "… its loss": 3,
    },
)
MONEY.append(RECOGNIZED)
OF_THE_PLATFORM = [
    (resolved(123, "usd"), {"an exception is resolved": 123}),
    (resolved(1_230_000, "usdc"), {"… in USDC": 1_230_000, "… and its dollars": 123}),
    (
        lambda _: posting_rules.unallocated(replace(SETTLED, payment_id=f"pi_{new_id()}")),
        {"a payment is nobody's": 500},
    ),
    (
        lambda _: posting_rules.unallocated(replace(ON_CHAIN, payment_id=f"eip155:1:{new_id()}")),
        {"… came on chain": 500, "… the USDC that came so": 5_000_000},
    ),
    (lambda _: gas_costs._operation(gas_transaction(), 89_500, AT), {"gas was paid": 89_500}),
    (booked("unallocated_deposits", -500), {"… is refunded or disputed": 500}),
    (
        booked("unallocated_deposits", -500, currency="usdc"),
        {"… came as USDC, and is sent back": 500, "… the USDC that is sent back": 5_000_000},
    ),
    (booked("bank", -900), {"a payout leaves": 900}),
    (booked("bank", 900), {"a payout comes back": 900}),
    (booked("fees", -20), {"Stripe charges for itself": 20}),
    (booked("unallocated_deposits", 700, fee=50), {"others are paid": 700, "… the fee of such a payment": 50}),
    (
        sold(995, fee=10),
        {
            "USDC is sold": 10_000_000,
            "… what the bank received for it": 995,
            "… what the buyer kept": 10,
            "… what it brought above par": 5,
        },
    ),
    (sold(998), {"USDC is sold": 10_000_000, "… what the bank received for it": 998, "… what it brought below par": 2}),
    (ether_bought, {"ether for gas is bought": 250_000_000, "… its price": 90_000}),
]
LOST = ("a dispute is lost", "… its part of the tax")


@pytest.mark.parametrize(("operation", "rows"), MONEY, ids=[next(iter(rows)) for _, rows in MONEY])
async def test_money_in_the_book_of_the_payer_moves_as_the_document_says(books, operation, rows):
    book = await new_book(books)
    lines = await lines_of(books, operation(book))
    assert sorted(lines) == sorted((*documented(fact), amount) for fact, amount in rows.items())


async def test_a_lost_dispute_moves_what_the_document_says(books):
    """A lost dispute is one that holds money, too: its credits went before."""
    book = await new_book(books)
    terms = replace(terms_of(book), remainder_cents=0)
    judged = rules.difference(terms, Posted(credits_reversed=400), Live(0, 540, 540), cause="test", at=AT)
    assert await lines_of(books, money_of(judged)) == [
        (*documented(fact), cents) for fact, cents in zip(LOST, (500, 40), strict=True)
    ]


@pytest.mark.parametrize(("operation", "rows"), OF_THE_PLATFORM, ids=[next(iter(rows)) for _, rows in OF_THE_PLATFORM])
async def test_money_in_the_book_of_the_platform_moves_as_the_document_says(books, operation, rows):
    assert await lines_of(books, operation(PLATFORM)) == [(*documented(fact), amount) for fact, amount in rows.items()]


def test_every_row_of_money_is_posted_here():
    posted = list(dict.fromkeys(fact for _, rows in (*MONEY, *OF_THE_PLATFORM) for fact in rows)) + list(LOST)
    kind, of_money = "", []
    for row in rows_of("What is posted today"):
        kind = row[1] or kind
        of_money += [row[0]] if kind == "`money`" else []
    assert len(of_money) == len(posted)
    assert all(any(row.startswith(fact) for fact in posted) for row in of_money)


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
