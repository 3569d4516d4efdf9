"""Random histories against an oracle, and every book verified from its journal afterwards."""

import asyncio
from collections import defaultdict
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.wiring import async_url
from billing.database import engine, sessions
from ledger import statements
from ledger.money import usd
from ledger.operations import LotCause, LotOpening, Transfer, credits_granted
from ledger.outcomes import Outcome
from tests.books.books import AT, grant, new_book, new_id, post, problems

BOOKS = 3
wishes = st.tuples(
    st.integers(0, BOOKS - 1),
    st.sampled_from(["k1", "k2", "k3", "k4"]),
    st.sampled_from([1, 7, 500]),
    st.sampled_from(["paid", "taxed", "promotional"]),
)
histories = st.lists(st.lists(wishes, min_size=1, max_size=6), min_size=1, max_size=6)


def operation(organization_id, key, credits_, cause):
    made = grant(organization_id, key, credits_, scope="agent")
    if cause == "taxed":
        tax = Transfer("stripe_clearing", "sales_tax_payable", usd(3))
        return replace(made, transfers=(*made.transfers, tax))
    if cause == "promotional":
        lot = LotOpening(LotCause.PROMOTIONAL, credits_, None, None)
        return replace(made, transfers=(credits_granted(credits_),), lot=lot)
    return made


class Oracle:
    """What the books must say: the first wish of a key wins, a repetition changes nothing, another is refused."""

    def __init__(self):
        self.first = {}
        self.paid = defaultdict(int)
        self.promotional = defaultdict(int)
        self.tax = defaultdict(int)

    def expected(self, book, key, credits_, cause):
        known = self.first.setdefault((book, key), (credits_, cause))
        if known != (credits_, cause):
            return Outcome.EXISTS_WITH_DIFFERENT_CONTENT
        return Outcome.POSTED

    def apply(self, book, key, credits_, cause):
        fresh = (book, key) not in self.first
        outcome = self.expected(book, key, credits_, cause)
        if fresh:
            target = self.promotional if cause == "promotional" else self.paid
            target[book] += credits_
            self.tax[book] += 3 if cause == "taxed" else 0
        return outcome, not fresh and outcome is Outcome.POSTED


@given(histories)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_of_grants_is_what_the_oracle_says_and_verifies(database, history):
    asyncio.run(run(database, history))


async def run(database, history):
    on = engine(async_url(database.run_url), connections_max=2)
    books, oracle = sessions(on), Oracle()
    organizations = [await new_book(books) for _ in range(BOOKS)]
    for batch in history:
        answers = await post(books, *(operation(organizations[b], key, n, cause) for b, key, n, cause in batch))
        assert [(answer.outcome, answer.replayed) for answer in answers] == [oracle.apply(*wish) for wish in batch]
    for number, organization_id in enumerate(organizations):
        async with books() as session:
            balance = await statements.balance(session, organization_id, AT)
            rows = {row.code: row for row in await statements.trial_balance(session, organization_id)}
        assert (balance.paid, balance.promotional) == (oracle.paid[number], oracle.promotional[number])
        for currency in {row.currency for row in rows.values()}:
            of_currency = [row for row in rows.values() if row.currency == currency]
            assert sum(row.debits for row in of_currency) == sum(row.credits for row in of_currency)
        if oracle.paid[number]:
            assert rows["stripe_clearing"].balance == oracle.paid[number] + oracle.tax[number]
            assert rows["deferred_revenue"].balance == oracle.paid[number]
        assert await problems(books, organization_id) == []
    await on.dispose()


async def test_the_same_ids_sent_by_eight_writers_in_different_orders_are_posted_once(books):
    organization_id = await new_book(books)
    operations = [grant(organization_id, f"k{n}", n + 1, id=new_id()) for n in range(12)]

    async def writer(number):
        turned = operations[number:] + operations[:number]
        return await post(books, *turned)

    await asyncio.gather(*(writer(number) for number in range(8)))
    async with books() as session:
        assert (await statements.balance(session, organization_id, AT)).paid == sum(range(1, 13))
    assert await problems(books, organization_id) == []
