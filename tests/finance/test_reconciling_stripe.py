"""The provider's statement and the bank's against the books: three faults are three exceptions.

The story is played on a sandbox and a database of its own, so that every line of both sides is known. It begins at
noon by both clocks, so that no day ends in the middle of it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from api.settings import Settings
from api.wiring import House
from billing import facts, identity, operator_keys, proofs
from billing.database import snapshot
from billing.identity import Newcomer
from billing.judging import Judged
from billing.operator_actions import COMMAND_LINE, Acting
from billing.proving import Problem
from billing.refusals import Refused
from billing.scopes import Scope
from finance.reconciling import keeping, listing, proving, resolving, running
from finance.reconciling.files import StatementRefused
from finance.statement_tables import BankLine, ReconciliationException, StatementLine
from ledger import statements
from ledger.operations import PLATFORM
from rails.rail import PaymentSettled, Reference
from tests.billing.conftest import Buyer
from tests.service import STRIPE_KEY, Database, Sandbox, sandbox_running
from tests.warm import house_of

LIMIT = 10_000


@dataclass
class Shop:
    """A service without a worker on a sandbox of its own, and what happens at both."""

    house: House
    sandbox: Sandbox
    sales: int = 0

    @property
    def today(self) -> str:
        return self.house.clock().date().isoformat()

    async def sell(self, buyer: Buyer, credits_: int, *, fee: bool = True) -> str:
        """A card payment, granted, its fee booked if so wanted; its intent."""
        self.sales += 1
        quote_id = await buyer.quote(f"q{self.sales}", credits_=credits_)
        attempt_id = await buyer.buy(quote_id, f"b{self.sales}")
        session_id = (await buyer.status(quote_id, attempt_id)).action.session_id  # type: ignore[union-attr]
        self.sandbox.pay(session_id)
        [fact] = await buyer.facts(session_id)
        assert isinstance(fact, PaymentSettled)
        assert (await buyer.apply(fact)).verdict == "applied"
        self.sandbox.control("POST", "clock", advance_seconds=60)  # the charge is booked a while after the payment
        if fee:
            await self.read("payment_intent", fact.payment_id)
        return str(fact.payment_id)

    async def read(self, kind: str, name: str) -> Judged:
        assert self.house.money is not None
        judged = None
        for fact in await self.house.money.read(Reference(kind, name)):
            judged = await facts.apply(self.house.sessions, fact, livemode=False, now=self.house.clock())
        assert judged is not None
        return judged

    async def pay_out(self, **order: Any) -> dict[str, Any]:
        payout: dict[str, Any] = self.sandbox.control("POST", "payouts", **order)
        await self.read("payout", payout["id"])
        return payout

    async def import_bank(self, *lines: str) -> keeping.Taken:
        content = "\n".join(("Date,Amount,Currency,Description,Reference", *lines)).encode()
        return await keeping.take_over(
            self.house.sessions, keeping.BANK, content, name="bank.csv", holder="test", now=self.house.clock()
        )

    async def reconcile(self, *, at_stripe: bool = True) -> dict[str, Any]:
        run = await running.reconcile(
            self.house.sessions, reader=self.house.money if at_stripe else None, bank_days=0, holder="test",
            clock=self.house.clock,
        )  # fmt: skip
        return run.report

    async def exceptions(self) -> dict[tuple[str, str], ReconciliationException]:
        async with self.house.sessions() as session:
            rows = (await session.exec(select(ReconciliationException))).all()
        return {(row.source, row.subject): row for row in rows}

    async def platform(self) -> dict[str, int]:
        async with self.house.sessions() as session:
            rows = await statements.trial_balance(session, PLATFORM)
        return {row.code: row.balance for row in rows if row.currency == "USD" and row.balance}

    async def problems(self) -> list[Problem]:
        """What of the adjustments, and of billing, does not agree."""
        async with snapshot(self.house.sessions) as session:
            return [*await proving.problems(session, limit=9), *await proofs.problems(session, None, limit=9)]

    async def key(self, holder: str) -> Acting:
        made = await operator_keys.create(
            self.house.sessions, name=holder, scopes=[Scope.OPERATE], now=self.house.clock()
        )
        return Acting(made.key_id, holder)

    async def resolve(self, row: ReconciliationException, by: Acting = COMMAND_LINE, **more: Any) -> Any:
        asked: dict[str, Any] = {"account": None, "against": None, "alone_up_to_cents": LIMIT, "reason": "seen", **more}
        return await resolving.resolve(self.house.sessions, row.id, by=by, now=self.house.clock(), **asked)

    async def approve(self, row: ReconciliationException, by: Acting) -> Any:
        return await resolving.approve(
            self.house.sessions, row.id, proposal_id=row.adjustment["proposal_id"],  # type: ignore[index]
            reason="so", by=by, now=self.house.clock(),
        )  # fmt: skip


@pytest.fixture
def own_database(new_databases: Any) -> Database:
    """A database of the test's own."""
    made: Database = new_databases("reconciling")
    return made


@pytest.fixture
async def shop(own_database: Database) -> AsyncIterator[Shop]:
    now = datetime.now(UTC)
    ahead = timedelta(days=now.hour >= 12) + now.replace(hour=12, minute=0, second=0, microsecond=0) - now
    with sandbox_running() as sandbox:
        sandbox.control("POST", "clock", advance_seconds=ahead.total_seconds())
        house = house_of(
            Settings(
                database_url=SecretStr(own_database.run_url),
                stripe_secret_key=SecretStr(STRIPE_KEY),
                stripe_api_base=sandbox.url,
                public_url="http://127.0.0.1:1",
            ),
            "reconciling",
        )
        yield Shop(replace(house, clock=lambda: datetime.now(UTC) + ahead), sandbox)
        await house.close()


@pytest.fixture
async def buyer(shop: Shop) -> Buyer:
    now = shop.house.clock()
    signed_up = await identity.sign_up(
        shop.house.sessions, Newcomer(name="buyer", runtime="pytest"), want_token=True, presented=None, now=now
    )
    actor = await identity.authenticate(shop.house.bearers.agents, signed_up.token or "", now=now)
    return Buyer(shop.house, actor)


def dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


async def test_three_faults_are_three_exceptions_and_a_second_holder_settles_the_large_one(
    shop: Shop, buyer: Buyer, own_database: Database
):
    today = shop.today
    for credits_ in (500, 2500):
        await shop.sell(buyer, credits_)
    first = await shop.pay_out()
    clean = await shop.reconcile()
    assert clean["exceptions"] == []
    assert clean["sources"]["stripe_lines"] == {
        "matched": 3, "missing_here": 0, "missing_there": 0, "different": 0,
    }  # fmt: skip
    assert clean["sources"]["stripe_payouts"]["matched"] == clean["sources"]["stripe_payments"]["matched"] - 1 == 1
    [account] = clean["clearing"]
    assert (account["ours_cents"], account["theirs_cents"], account["unexplained_cents"]) == (0, 0, 0)

    await shop.sell(buyer, 5000)
    second = await shop.pay_out()
    await shop.sell(buyer, 1000)
    strange = shop.sandbox.control("POST", "balance_transactions", amount=-700, description="a fee nobody booked")
    await shop.import_bank(f"{today},{dollars(first['amount'] - 3)},USD,STRIPE PAYOUT,", f"{today},-12.50,USD,RENT,")
    report = await shop.reconcile()
    told = {(one["source"], one["subject"]): (one["finding"], one["amount"]) for one in report["exceptions"]}
    assert told == {
        ("stripe_lines", strange["id"]): ("missing_here", -700),
        ("bank", first["id"]): ("different", -3),
        ("bank", second["id"]): ("missing_there", -second["amount"]),
    }
    [account] = report["clearing"]
    assert account["difference_cents"] == -700
    assert account["unexplained_cents"] == 0
    assert sum(age["cents"] for age in account["ageing"]) == account["theirs_cents"]

    again = await shop.reconcile(at_stripe=False)
    assert [one["exception_id"] for one in again["exceptions"]] == [one["exception_id"] for one in report["exceptions"]]
    assert (again["opened"], again["gone"]) == (0, 0)

    await shop.import_bank(f"{today},{dollars(second['amount'])},USD,STRIPE PAYOUT,{second['id']}")
    assert (await shop.reconcile(at_stripe=False))["gone"] == 1
    found = await shop.exceptions()
    assert found["bank", second["id"]].state == "gone"

    fee, short = found["stripe_lines", strange["id"]], found["bank", first["id"]]
    before = await shop.platform()
    await asyncio.gather(*(shop.resolve(fee, against="fees") for _ in range(3)), return_exceptions=True)
    after = await shop.platform()
    assert after["stripe_clearing"] - before["stripe_clearing"] == -700
    assert after["fees"] - before.get("fees", 0) == 700
    one, other = await shop.key("Ada"), await shop.key("Grace")
    same = await shop.key(" ada")
    proposed = await shop.resolve(short, one, alone_up_to_cents=2)
    assert proposed.state == "proposed"
    for nobody in (one, same, COMMAND_LINE):
        with pytest.raises(Refused, match="another key holder"):
            await shop.approve(proposed, nobody)
    key = "UPDATE finance.exceptions SET holder_key = $1 WHERE id = $2"
    own_database.rows(key, None, short.id)
    with pytest.raises(Refused, match="another key holder"):
        await shop.approve(proposed, other)
    own_database.rows(key, one.key_id, short.id)
    done = await asyncio.gather(*(shop.approve(proposed, other) for _ in range(3)), return_exceptions=True)
    assert [isinstance(result, Refused) for result in done].count(False) == 1
    assert (await shop.platform())["reconciliation_differences"] == 3
    assert await shop.problems() == []
    quiet = await shop.reconcile()
    assert (quiet["exceptions"], quiet["opened"]) == ([], 0)
    assert {(one["subject"], one["state"]) for one in quiet["resolved"]} == {
        (first["id"], "resolved"), (strange["id"], "resolved"),
    }  # fmt: skip
    assert "reason" not in quiet["resolved"][0]
    assert quiet["clearing"][0]["unexplained_cents"] == 0


async def test_what_changes_opens_again_and_what_comes_back_is_the_same_exception(
    shop: Shop, buyer: Buyer, own_database: Database
):
    today = shop.today
    await shop.sell(buyer, 500)
    payout = await shop.pay_out()
    await shop.import_bank(f"{today},1.00,USD,SOMETHING ELSE,")
    await shop.reconcile()
    key = ("bank", payout["id"])
    row = (await shop.exceptions())[key]
    await resolving.acknowledge(
        shop.house.sessions, row.id, reason="the bank is slow", by=COMMAND_LINE, now=shop.house.clock()
    )
    assert (await shop.reconcile())["opened"] == 0
    assert (await shop.exceptions())[key].state == "acknowledged"
    await shop.resolve(row)
    await shop.import_bank(f"{today},{dollars(payout['amount'] - 5)},USD,from stripe,{payout['id']}")
    changed = await shop.reconcile()
    assert changed["opened"] == 1
    row = (await shop.exceptions())[key]
    assert (row.state, row.finding, row.amount) == ("open", "different", -5)
    done = await shop.resolve(row)
    assert done.adjustment["posted"]["bank"] == -5
    assert (await shop.platform())["reconciliation_differences"] == 5
    assert await shop.problems() == []
    own_database.rows("UPDATE finance.exceptions SET adjustment = NULL")
    assert {one.check for one in await shop.problems()} == {"adjustment is decided"}


async def test_a_file_is_taken_over_once_and_whole(shop: Shop, buyer: Buyer):
    await shop.sell(buyer, 500)
    assert not (await shop.import_bank("2026-11-02,1.00,USD,A,", "2026-11-02,1.00,USD,A,")).again
    assert (await shop.import_bank("2026-11-02,1.00,USD,A,", "2026-11-02,1.00,USD,A,")).again
    more = await shop.import_bank("2026-11-02,1.00,USD,A,", "2026-11-02,1.00,USD,A,", "2026-11-03,2.00,USD,B,")
    assert (more.again, more.imported.lines, more.known) == (False, 1, 2)
    with pytest.raises(StatementRefused, match=r"bank.csv, line 3, column amount"):
        await shop.import_bank("2026-11-04,1.00,USD,A,", "2026-11-04,1.001,USD,A,")
    await shop.reconcile()
    async with shop.house.sessions() as session:
        assert len((await session.exec(select(BankLine))).all()) == 3
        [line] = (await session.exec(select(StatementLine).where(col(StatementLine.category) == "charge"))).all()
    header = "balance_transaction_id,created_utc,available_on_utc,currency,gross,fee,net,reporting_category,source_id"
    at = f"{line.occurred_at:%Y-%m-%d %H:%M:%S}"
    same = f"{line.id},{at},{at},usd,5.00,{dollars(line.fee_cents)},{dollars(line.net_cents)},charge,{line.source_id}"
    other = f"{line.id},{at},{at},usd,5.00,0.00,5.00,charge,{line.source_id}"
    new = f"txn_new,{at},{at},usd,-1.00,0.00,-1.00,fee,"
    async with shop.house.sessions() as session:
        assert await listing.newest_run(session) is not None

    async def take(*lines: str) -> bool:
        content = "\n".join((header, *lines)).encode()
        taken = await keeping.take_over(
            shop.house.sessions, keeping.STRIPE_ITEMIZED, content, name="report.csv", holder="t",
            now=shop.house.clock(),
        )  # fmt: skip
        return taken.again

    with pytest.raises(StatementRefused, match="was told before"):
        await take(new, other)
    async with shop.house.sessions() as session:
        assert await session.get(StatementLine, "txn_new") is None
    assert not await take(new, same)
    assert await take(new, same)
    told = (await shop.reconcile(at_stripe=False))["exceptions"]
    assert [(one["subject"], one["amount"]) for one in told] == [("txn_new", -100)]
    strange = shop.sandbox.control("POST", "balance_transactions", amount=5, reporting_category="gift")
    with pytest.raises(StatementRefused, match=f"{strange['id']} is a 'gift', an unknown category"):
        await shop.reconcile()


async def test_payouts_that_come_back_or_are_made_by_hand_fit_too(shop: Shop, buyer: Buyer):
    today = shop.today
    await shop.sell(buyer, 2500)
    await shop.pay_out(status="failed")
    assert (await shop.reconcile())["exceptions"] == []
    await shop.pay_out(automatic=False, amount=300)
    report = await shop.reconcile()
    assert report["exceptions"] == []
    [account] = report["clearing"]
    assert account["ours_cents"] == account["theirs_cents"] == 2500 - 103 - 300
    last = await shop.pay_out()
    report = await shop.reconcile()
    assert report["exceptions"] == []
    # The sandbox pays out once more what went by hand.
    assert report["clearing"][0]["ours_cents"] == report["clearing"][0]["theirs_cents"] == -300
    await shop.import_bank(f"{today},3.00,USD,STRIPE,", f"{today},{dollars(last['amount'])},USD,STRIPE,")
    assert (await shop.reconcile())["sources"]["bank"] == {
        "matched": 2, "missing_here": 0, "missing_there": 0, "different": 0,
    }  # fmt: skip


async def test_what_a_service_that_was_away_has_missed_is_found_and_then_gone(
    shop: Shop, buyer: Buyer, own_database: Database
):
    await shop.sell(buyer, 500)
    own_database.rows("UPDATE billing.external_payments SET created_at = created_at - interval '2 days'")
    assert (await shop.reconcile())["exceptions"] == []
    payout = shop.sandbox.control("POST", "payouts")
    [missed] = (await shop.reconcile())["exceptions"]
    assert (missed["subject"], missed["finding"], missed["amount"]) == (payout["id"], "missing_here", -payout["amount"])
    await shop.read("payout", payout["id"])
    report = await shop.reconcile()
    assert (report["exceptions"], report["gone"]) == ([], 1)
    [(name,)] = own_database.rows("SELECT id FROM finance.statement_lines WHERE category = 'charge'")
    own_database.rows("DELETE FROM finance.statement_lines WHERE id = $1", name)
    found = {one["source"]: (one["subject"], one["finding"]) for one in (await shop.reconcile())["exceptions"]}
    assert found == {}, "the provider was read again"
    payment_id = await shop.sell(buyer, 1000, fee=False)
    [unbooked] = (report := await shop.reconcile())["exceptions"]
    assert (unbooked["source"], unbooked["finding"], unbooked["amount"]) == ("stripe_lines", "missing_here", -59)
    assert report["clearing"][0]["difference_cents"] == -59
    row = (await shop.exceptions())["stripe_lines", unbooked["subject"]]
    assert (row.here["payment_id"], row.organization_id) == (payment_id, buyer.actor.organization_id)
