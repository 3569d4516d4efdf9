"""Payouts: what goes to the bank, what it was made of, and what belongs to nobody."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from api.wiring import House
from billing import facts, watching
from billing.judging import Judged, Verdict
from billing.reversal_tables import BalanceTransactionRow, PayoutRow
from ledger import statements
from ledger.operations import PLATFORM
from rails.money import BalanceTransaction, Contents, PayoutSeen
from tests.billing.conftest import Buyer
from tests.billing.reversing import line, paid

_numbers = itertools.count(1)


class Platform:
    """The platform's book in a database that other tests use too: only what changed since the beginning counts."""

    def __init__(self, house: House, before: dict[str, int]) -> None:
        self.house = house
        self.before = before

    async def changed(self) -> dict[str, int]:
        now = await accounts(self.house)
        return {code: now.get(code, 0) - self.before.get(code, 0) for code in now | self.before
                if now.get(code, 0) != self.before.get(code, 0)}  # fmt: skip

    async def apply(self, fact: PayoutSeen) -> Judged:
        return await facts.apply(self.house.sessions, fact, livemode=False, now=self.house.clock())

    async def payout(self, fact: PayoutSeen) -> PayoutRow:
        async with self.house.sessions() as session:
            return await session.get_one(PayoutRow, fact.payout_id)


async def accounts(house: House) -> dict[str, int]:
    async with house.sessions() as session:
        return {row.code: row.balance for row in await statements.trial_balance(session, PLATFORM)
                if row.currency == "USD"}  # fmt: skip


@pytest.fixture
async def platform(quiet_house: House) -> Platform:
    return Platform(quiet_house, await accounts(quiet_house))


def payout(amount: int, contents: list[Contents] | None, *, failed: bool = False, **changes: Any) -> PayoutSeen:
    name = f"po_{next(_numbers)}_{datetime.now(UTC).timestamp()}" if "name" not in changes else changes.pop("name")
    own = [line(f"txn_{name}", "payout", -amount, 0, name)]
    if failed:
        own.append(line(f"txn_{name}_back", "payout_reversal", amount, 0, name))
    known: dict[str, Any] = {
        "livemode": False, "occurred_at": datetime.now(UTC), "read_at": datetime.now(UTC), "payout_id": name,
        "amount": amount, "currency": "usd", "status": "failed" if failed else "paid", "automatic": True, "own": own,
        "contents": contents,
    }  # fmt: skip
    return PayoutSeen(**known | changes)


def nobodys(category: str, amount: int, fee: int = 0) -> Contents:
    name = f"txn_nobody_{next(_numbers)}_{datetime.now(UTC).timestamp()}"
    return Contents(line(name, category, amount, fee, f"src_{name}"), None, None)


async def test_a_payout_takes_clearing_to_the_bank_once(platform: Platform):
    fact = payout(900, [])
    assert (await platform.apply(fact)).verdict is Verdict.APPLIED
    assert (await platform.apply(fact)).verdict is Verdict.NOTHING_NEW
    assert await platform.changed() == {"bank": 900, "stripe_clearing": -900}
    assert (await platform.payout(fact)).complete


async def test_a_payout_that_fails_comes_back(platform: Platform):
    await platform.apply(payout(900, None, name="po_fails"))
    failed = payout(900, None, name="po_fails", failed=True)
    await platform.apply(failed)
    assert await platform.changed() == {}
    assert (await platform.payout(failed)).complete, "nobody will ever tell what it was made of"


async def test_what_belongs_to_nobody_is_explained_in_the_platforms_book(platform: Platform):
    contents = [
        nobodys("charge", 1000, 59),
        nobodys("refund", -200),
        nobodys("fee", -25),
        nobodys("dispute", -100, 1500),
    ]
    await platform.apply(payout(100, contents))
    assert await platform.changed() == {
        "bank": 100, "unallocated_deposits": 700, "fees": 1584, "stripe_clearing": 1000 - 59 - 200 - 25 - 1600 - 100,
    }  # fmt: skip


async def test_a_category_without_a_rule_is_for_a_person_and_leaves_nothing(platform: Platform):
    judged = await platform.apply(payout(100, [nobodys("charge", 5), nobodys("new_thing", 7)]))
    assert judged.verdict is Verdict.PARKED
    assert "new_thing" in (judged.reason or "")
    assert await platform.changed() == {}


async def test_a_payout_with_lines_of_ours_is_complete_only_when_they_are_posted(buyer: Buyer, platform: Platform):
    payment = await paid(buyer)
    charge = payment.charge(45).transaction
    assert charge is not None
    refund = payment.refund("a", 100)
    contents = [ours(charge, payment.payment_id), ours(refund.transactions[0], payment.payment_id)]
    fact = payout(355, contents)
    await platform.apply(fact)
    assert not (await platform.payout(fact)).complete
    later = platform.house.clock() + timedelta(minutes=6)
    waiting: set[tuple[str, str]] = set()
    while found := await watching.due(platform.house.sessions, now=later):  # what other tests watch is due too
        waiting |= {(one.kind, one.external_id) for one in found}
    assert waiting >= {("payment_intent", payment.payment_id), ("refund", refund.refund_id)}
    await payment.apply(payment.charge(45))
    await payment.apply(refund)
    await platform.apply(fact)
    assert (await platform.payout(fact)).complete
    async with platform.house.sessions() as session:
        query = select(BalanceTransactionRow.payout_id).where(
            col(BalanceTransactionRow.organization_id) == buyer.actor.organization_id
        )
        assert set((await session.exec(query)).all()) == {fact.payout_id}
    books = {**await payment.accounts()}
    assert books["stripe_clearing"] + (await platform.changed())["stripe_clearing"] == 0


async def test_a_manual_payout_never_tells_and_is_complete(platform: Platform):
    fact = payout(50, None, automatic=False)
    await platform.apply(fact)
    assert (await platform.payout(fact)).complete


async def test_a_large_payout_is_posted_in_parts(platform: Platform):
    await platform.apply(payout(1, [nobodys("charge", 10, 1) for _ in range(230)]))
    changed = await platform.changed()
    assert changed["unallocated_deposits"] == 2300
    assert changed["fees"] == 230


def ours(transaction: BalanceTransaction, payment_id: str) -> Contents:
    return Contents(transaction, "payment_intent", payment_id)
