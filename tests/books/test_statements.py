"""Reading the books at any time: what was answered once is answered for ever, however late anybody posts it."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from billing.database import Sessions, snapshot
from ledger import posting, statements
from ledger.operations import Kind, LotCause, LotOpening, Operation, opening
from ledger.outcomes import Outcome
from ledger.statements import START, Balance, Place
from tests.books.books import AGENT, Owner, grant, new_book, new_id, post, spend

BEGIN = datetime(2031, 1, 31, 22, tzinfo=UTC)
DAY = timedelta(days=1)
HALF_A_SECOND = timedelta(seconds=0.5)


@pytest.fixture(scope="module")
def database(new_databases):
    """A database whose clock nobody else looks at."""
    return new_databases("statements")


@dataclass
class Timeline:
    """A book that was opened at `BEGIN`, and the time there."""

    books: Sessions
    owner: Owner
    book: UUID
    now: datetime = BEGIN
    number: int = 0
    grants: list[UUID] = field(default_factory=list)
    holds: list[UUID] = field(default_factory=list)

    def clock(self):
        return self.owner.clock_at(f"'{self.now.isoformat()}'::timestamptz")

    async def post(self, *operations):
        async with self.clock():
            return await post(self.books, *operations)

    def key(self):
        self.number += 1
        return f"k{self.number}"

    async def give(self, credits_, *, expires_in=None, paid=False):
        expires_at = self.now + expires_in if expires_in is not None else None
        lot = LotOpening(LotCause.PROMOTIONAL, credits_, None, expires_at)
        changes = {"lot": lot, "transfers": ()} if not paid else {}
        operation = grant(self.book, self.key(), credits_, scope=AGENT, **changes)
        if paid:
            self.grants.append(operation.id)
        return (await self.post(operation))[0]

    async def hold(self, credits_, lasting):
        operation = spend(self.book, self.key(), credits_, kind=Kind.HOLD, deadline=self.now + lasting)
        self.holds.append(operation.id)
        return (await self.post(operation))[0]

    async def spend(self, credits_):
        return (await self.post(spend(self.book, self.key(), credits_)))[0]

    async def about(self, kind, target, credits_=0, **changes):
        return (await self.post(Operation(self.book, kind, AGENT, self.key(), "test", credits=credits_, target=target,
                                          **changes)))[0]  # fmt: skip

    async def balance(self, at=None):
        async with snapshot(self.books) as session:
            return await statements.balance(session, self.book, at or self.now)

    async def balance_at(self, at):
        async with snapshot(self.books) as session:
            return await statements.balance_at(session, self.book, at)

    async def expiring(self, until):
        async with snapshot(self.books) as session:
            found = await statements.expiries(session, self.book, after=self.now, until=until, limit=1000)
        return [(expiry.lot, expiry.credits, expiry.expires_at) for expiry in found]


@pytest.fixture
async def timeline(books, owner):
    made = Timeline(books, owner, new_id())
    await made.post(opening(organization_id=made.book, event_at=BEGIN))
    return made


def seen(balance: Balance):
    return balance.paid, balance.promotional, balance.held


def everything(balance: Balance):
    return balance.spendable + balance.held + balance.frozen


@pytest.mark.parametrize("seed", range(4))
async def test_a_balance_that_has_passed_is_what_was_answered_then(timeline, seed):
    draw, answered = random.Random(seed), []

    async def ask(moment):
        answered.append((moment, await timeline.balance(moment)))
        past, then = draw.choice(answered)
        assert seen(await timeline.balance_at(past)) == seen(then)

    for _ in range(40):
        timeline.now += timedelta(seconds=draw.choice([1, 60, 3600, 20_000]))
        await ask(timeline.now - HALF_A_SECOND)
        await something(timeline, draw, reversals=seed % 2 == 1)
        await ask(timeline.now + HALF_A_SECOND)
    for past, then in answered:
        assert seen(await timeline.balance_at(past)) == seen(then), past


async def something(timeline, draw, *, reversals):
    """One random operation; refusals are as good as any."""
    credits_ = draw.randint(1, 30)
    lasting = timedelta(seconds=draw.choice([30, 3000, 30_000, 90_000]))
    choices = ["give", "give forever", "pay", "spend", "hold", "hold", "capture", "void"]
    if reversals:
        choices += ["freeze", "unfreeze", "claw_back"]
    match draw.choice(choices):
        case "give":
            await timeline.give(credits_, expires_in=lasting)
        case "give forever":
            await timeline.give(credits_)
        case "pay":
            await timeline.give(credits_, paid=True)
        case "spend":
            await timeline.spend(credits_)
        case "hold":
            await timeline.hold(credits_, lasting)
        case "capture" if timeline.holds:
            await timeline.about(Kind.CAPTURE, draw.choice(timeline.holds), credits_, final=draw.random() < 0.5)
        case "void" if timeline.holds:
            await timeline.about(Kind.VOID, draw.choice(timeline.holds))
        case "freeze" | "unfreeze" | "claw_back" as word if timeline.grants:
            amount = draw.randint(1, 5) if word == "claw_back" else 0
            await timeline.about(Kind(word), draw.choice(timeline.grants), amount)


@pytest.mark.parametrize("seed", range(4))
async def test_a_balance_to_come_comes_true_and_expiries_explain_it(timeline, seed):
    draw = random.Random(seed)
    for _ in range(25):
        timeline.now += timedelta(seconds=draw.choice([1, 600, 20_000]))
        await something(timeline, draw, reversals=False)
        until = timeline.now + timedelta(seconds=draw.choice([10, 3000, 50_000, 200_000]))
        current, coming = await timeline.balance(), await timeline.balance(until)
        expiring = await timeline.expiring(until)
        assert everything(current) - everything(coming) == sum(credits_ for _, credits_, _ in expiring)
        assert [at for _, _, at in expiring] == sorted(at for _, _, at in expiring)
        assert all(timeline.now < at <= until for _, _, at in expiring)
    timeline.now = until
    predicted = await timeline.balance()
    async with timeline.clock(), timeline.books() as session, session.begin():
        assert await posting.catch_up(session, timeline.book) is False
    assert await timeline.balance() == predicted


async def test_a_hold_that_outlives_its_lot_expires_its_credits_at_its_deadline(timeline):
    await timeline.give(10, expires_in=DAY)
    await timeline.give(10, expires_in=4 * DAY)
    await timeline.hold(15, 2 * DAY)
    begin = timeline.now
    assert await timeline.expiring(None) == [(1, 10, begin + 2 * DAY), (2, 10, begin + 4 * DAY)]
    assert await timeline.expiring(begin + DAY) == []
    assert seen(await timeline.balance(begin + DAY)) == (0, 5, 15)
    assert seen(await timeline.balance(begin + 2 * DAY)) == (0, 10, 0)
    assert seen(await timeline.balance(begin + 4 * DAY)) == (0, 0, 0)


async def test_a_deadline_that_is_now_has_come(timeline):
    await timeline.give(10, expires_in=DAY)
    ends, moment = timeline.now + DAY, timedelta(microseconds=1)
    assert seen(await timeline.balance(ends - moment)) == (0, 10, 0)
    assert seen(await timeline.balance(ends)) == (0, 0, 0)


async def test_credits_that_were_clawed_back_while_held_never_come_back(timeline):
    await timeline.give(10, paid=True)
    await timeline.hold(10, DAY)
    await timeline.about(Kind.CLAW_BACK, timeline.grants[0], 4)
    assert seen(await timeline.balance()) == (0, 0, 10)
    assert seen(await timeline.balance(timeline.now + DAY)) == (6, 0, 0)


async def test_frozen_credits_are_not_spendable_and_are_told_apart(timeline):
    await timeline.give(10, paid=True)
    await timeline.give(3)
    await timeline.about(Kind.FREEZE, timeline.grants[0])
    assert await timeline.balance() == Balance(0, 3, 0, frozen=10)
    await timeline.give(1, expires_in=DAY)
    assert await timeline.balance(timeline.now + DAY) == Balance(0, 3, 0, frozen=10)


async def test_what_is_owed_is_told(timeline):
    await timeline.give(10, paid=True)
    await timeline.spend(10)
    await timeline.about(Kind.CLAW_BACK, timeline.grants[0], 4)
    assert await timeline.balance() == Balance(0, 0, 0, owed=4)


async def test_a_book_that_has_not_caught_up_is_read_as_if_it_had(timeline):
    """150 holds ran out, and one call posts a hundred: two thirds of it are in the journal."""
    await timeline.give(200)
    begin = timeline.now
    for n in range(1, 151):
        await timeline.hold(1, timedelta(seconds=n))
        timeline.now = begin
    moments = [begin + timedelta(seconds=s) for s in (0.5, 50.5, 120.5, 500)]
    answers = [(0, 50, 150), (0, 100, 100), (0, 170, 30), (0, 200, 0)]
    timeline.now = begin + timedelta(seconds=1000)

    async def all_read_right():
        assert [seen(await timeline.balance_at(moment)) for moment in moments] == answers

    assert seen(await timeline.balance()) == (0, 200, 0)
    await all_read_right()
    assert (await timeline.spend(200)).outcome is Outcome.CATCH_UP
    await all_read_right()
    assert (await timeline.spend(200)).outcome is Outcome.POSTED
    await all_read_right()


async def test_nothing_is_answered_for_a_time_before_the_book_and_for_no_book(timeline, books):
    await timeline.give(10)
    assert await timeline.balance_at(BEGIN - DAY) == statements.NOTHING
    async with books() as session:
        assert await statements.balance(session, new_id(), BEGIN) == statements.NOTHING
        assert await statements.balance_at(session, new_id(), BEGIN) == statements.NOTHING
        assert await statements.trial_balance(session, new_id()) == []
        assert await statements.entries(session, new_id(), limit=5) == ([], None)
        assert await statements.expiries(session, new_id(), after=BEGIN, until=None, limit=5) == []
        assert await statements.book_of(session, new_id()) is None


async def pages(books, book, limit, **filters):
    start: Place | None = START
    found, sizes = [], []
    async with snapshot(books) as session:
        while start is not None:
            page, start = await statements.entries(session, book, start=start, limit=limit, **filters)
            assert len(page) <= limit
            sizes.append(len(page))
            found += [(e.seq, e.line, e.account, e.side, e.currency, e.amount, e.balance_after, e.lot) for e in page]
    return found, sizes


@pytest.mark.parametrize("filters", [{}, {"account": "wallet"}, {"kind": "hold"}, {"kind": "grant", "account": "held"}])
async def test_pages_of_entries_are_the_view_cut_in_pieces(timeline, filters):
    draw = random.Random(7)
    for _ in range(40):
        timeline.now += timedelta(seconds=draw.choice([60, 20_000]))
        await something(timeline, draw, reversals=True)
    rows = await timeline.owner.connection.fetch(
        "SELECT seq, line, account, side, currency, amount, balance_after, lot FROM ledger.entries"
        " WHERE organization_id = $1 AND account = coalesce($2, account) AND kind = coalesce($3, kind)"
        " ORDER BY seq, line, side DESC",
        timeline.book, filters.get("account"), filters.get("kind"),
    )  # fmt: skip
    expected = [tuple(row) for row in rows]
    for limit in (1, 3, 100):
        found, sizes = await pages(timeline.books, timeline.book, limit, **filters)
        assert found == expected
        assert "account" in filters or sizes[:-1] == [limit] * (len(sizes) - 1)


async def test_a_long_book_is_read_in_bounded_pages(books):
    book = await new_book(books)
    await post(books, grant(book, "all", 100_000))
    batches = statements.OPERATIONS_READ_MAX // posting.OPERATIONS_MAX
    for batch in range(batches):
        numbers = range(posting.OPERATIONS_MAX)
        await post(books, *(spend(book, f"{batch}.{n}", 1) for n in numbers))
    deadline = datetime.now(UTC) + DAY
    await post(books, spend(book, "rare", 9, kind=Kind.HOLD, deadline=deadline))
    last = batches * posting.OPERATIONS_MAX + 3
    async with snapshot(books) as session:
        for account, kind, seqs in ((None, "hold", [last, last]), ("held", None, [last]), ("held", "hold", [last])):
            page, following = await statements.entries(session, book, limit=10, account=account, kind=kind)
            further = Place(statements.OPERATIONS_READ_MAX + 1)
            assert (page, following) == ([], further)
            page, following = await statements.entries(
                session, book, start=further, limit=10, account=account, kind=kind
            )
            assert ([entry.seq for entry in page], following) == (seqs, None)


async def test_a_trial_balance_balances_in_every_currency(timeline):
    draw = random.Random(3)
    for _ in range(40):
        timeline.now += timedelta(seconds=draw.choice([60, 20_000]))
        await something(timeline, draw, reversals=True)
    async with snapshot(timeline.books) as session:
        rows = await statements.trial_balance(session, timeline.book)
    assert {row.currency for row in rows} == {"CREDIT", "USD"}
    for currency in ("CREDIT", "USD"):
        assert sum(r.debits - r.credits for r in rows if r.currency == currency) == 0
