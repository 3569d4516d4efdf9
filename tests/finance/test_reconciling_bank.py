"""The bank's lines against all that the books have at the bank: payouts, sales of USDC, purchases of ether."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import pytest

from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE, Acting
from finance.closing import obstacles
from finance.periods import Period
from finance.reconciling import keeping, listing, proving, resolving, running
from finance.statement_tables import ReconciliationException
from finance.treasury import booking
from finance.treasury.booking import Purchase, Sale
from ledger.money import usd
from tests.finance.month import Month, scalars

BANK_DAYS = 5
NETWORK = "eip155:84532"
SALE, PURCHASE = f"usdc_sold:{NETWORK}:USDC-1", f"ether_bought:{NETWORK}:ETH-1"
_EMPTY = """
SET session_replication_role = replica;
TRUNCATE finance.bank_lines, finance.imports, billing.operator_actions, billing.payouts;
SET session_replication_role = origin;
"""


@dataclass
class AtBank:
    """A month with a bank, whose days are counted from its first."""

    month: Month

    async def sold(self, cents: int = 9900) -> None:
        sale = Sale(NETWORK, "USDC-1", 100_000_000, cents, 0, None, self.month.now)
        await booking.sold_usdc(self.month.books, sale, by=COMMAND_LINE, reason="r", now=self.month.now)

    async def bought(self) -> None:
        ether = Purchase(NETWORK, "ETH-1", 10_000_000, 2500, self.month.now)
        await booking.bought_ether(self.month.books, ether, by=COMMAND_LINE, reason="r", now=self.month.now)

    async def paid_out(self, name: str, cents: int) -> None:
        """A payout that is booked as having arrived today."""
        await self.month.owner.execute(
            "INSERT INTO billing.payouts VALUES ($1, $2, 'usd', 'paid', true, true, $3, $3, $3, $3)",
            name, cents, self.month.now,
        )  # fmt: skip

    async def says(self, *lines: tuple[int, int, str]) -> None:
        """The bank has these: the day of the month, cents, and what it wrote."""
        rows = [f"{date(2026, 10, day)},{usd(cents).decimal()},USD,{text}" for day, cents, text in lines]
        content = "\n".join(("date,amount,currency,description", *rows)).encode()
        await keeping.take_over(
            self.month.books, keeping.BANK, content, name="bank.csv", holder="test", now=self.month.now
        )

    async def reconcile(self) -> dict[str, int]:
        """A run; how many fit and do not, and how many exceptions it opened and lost."""
        run = await running.reconcile(
            self.month.books, reader=None, bank_days=BANK_DAYS, holder="test", clock=lambda: self.month.now
        )
        counts = {name: count for name, count in run.report["sources"]["bank"].items() if count}
        return counts | {name: run.report[name] for name in ("opened", "gone") if run.report[name]}

    async def standing(self) -> dict[str, tuple[str, int, int]]:
        """By subject: finding, amount and age of what stands."""
        async with snapshot(self.month.books) as session:
            rows = await listing.listed(session, limit=9)
        return {row.subject: (row.finding, row.amount, listing.age_days(row, self.month.now)) for row in rows}

    async def exception(self, subject: str) -> ReconciliationException:
        async with snapshot(self.month.books) as session:
            return next(row for row in await listing.listed(session, limit=9) if row.subject == subject)

    async def resolve(self, subject: str) -> None:
        row = await self.exception(subject)
        await resolving.resolve(
            self.month.books, row.id, account=None, against=None, alone_up_to_cents=10**6, reason="seen",
            by=COMMAND_LINE, now=self.month.now,
        )  # fmt: skip

    async def decide(self, subject: str, decision: str) -> None:
        """Acknowledge it, or propose with a key to resolve what is above the limit."""
        row = await self.exception(subject)
        by = Acting(UUID(int=7), "Ada")
        if decision == "acknowledged":
            await resolving.acknowledge(self.month.books, row.id, reason="seen", by=by, now=self.month.now)
        else:
            await resolving.resolve(
                self.month.books, row.id, account=None, against=None, alone_up_to_cents=0, reason="seen", by=by,
                now=self.month.now,
            )  # fmt: skip

    async def kept(self) -> dict[str, str | None]:
        """What each line of the bank is known as."""
        rows = await self.month.owner.fetch("SELECT description, known_as FROM finance.bank_lines")
        return {row["description"]: row["known_as"] for row in rows}

    async def balance(self) -> int:
        """Of `bank`, after what was adjusted is proven."""
        async with snapshot(self.month.books) as session:
            assert await proving.problems(session, limit=9) == []
        return await self.month.account("bank")

    async def in_the_way(self) -> int:
        """Exceptions that keep the month from being closed."""
        async with snapshot(self.month.books) as session:
            found = await obstacles.standing(session, Period.parse("2026-10"))
        return sum(one.count for one in found if one.name.startswith("exceptions"))


@pytest.fixture
async def bank(month: Month) -> AsyncIterator[AtBank]:
    """On the 3rd; the statement begins with the rent of the 1st."""
    await month.owner.execute(_EMPTY)
    await month.begin_anew()
    await month.wait(days=2)
    made = AtBank(month)
    await made.says((1, -90_000, "RENT"))
    yield made
    await month.owner.execute(_EMPTY)
    await month.begin_anew()


async def test_sales_and_purchases_are_their_lines_at_the_bank_for_good(bank: AtBank):
    await bank.sold()
    await bank.bought()
    await bank.says((4, 9900, "EXCHANGE"), (5, -2500, "EXCHANGE"))
    assert await bank.reconcile() == {"matched": 2}
    assert await bank.standing() == {}
    kept = await scalars(bank.month.books, "SELECT known_as FROM finance.bank_lines ORDER BY booked_on")
    assert kept == [None, SALE, PURCHASE]
    await bank.month.wait(days=1)
    nearer = Sale(NETWORK, "USDC-2", 100_000_000, 9900, 0, None, bank.month.now)
    await booking.sold_usdc(bank.month.books, nearer, by=COMMAND_LINE, reason="r", now=bank.month.now)
    assert await bank.reconcile() == {"matched": 2}, "what a line is does not change with what comes later"


async def test_a_trade_without_its_line_is_an_exception_when_its_days_are_over_and_gone_with_the_line(bank: AtBank):
    await bank.sold()
    await bank.bought()
    await bank.month.wait(days=BANK_DAYS - 1)
    assert await bank.reconcile() == {}
    await bank.month.wait(days=1)
    assert await bank.reconcile() == {"missing_there": 2, "opened": 2}
    assert await bank.standing() == {
        SALE: ("missing_there", -9900, BANK_DAYS), PURCHASE: ("missing_there", 2500, BANK_DAYS),
    }  # fmt: skip
    assert await bank.in_the_way() == 2
    assert (await bank.reconcile()).get("opened") is None, "the same once more"
    await bank.says((8, 9900, "EXCHANGE"), (8, -2500, "eth-1"))
    assert await bank.reconcile() == {"matched": 2, "gone": 2}
    assert (await bank.standing(), await bank.in_the_way()) == ({}, 0)


async def test_a_trade_that_was_adjusted_as_missing_is_open_again_when_its_line_comes(bank: AtBank):
    await bank.sold()
    await bank.month.wait(days=BANK_DAYS)
    await bank.reconcile()
    await bank.resolve(SALE)
    assert (await bank.balance(), await bank.in_the_way()) == (0, 0)
    await bank.says((7, 9885, "WIRE USDC-1 LESS CHARGES"))
    assert await bank.reconcile() == {"different": 1, "opened": 1}
    assert await bank.standing() == {SALE: ("different", -15, BANK_DAYS)}
    await bank.resolve(SALE)
    assert await bank.balance() == 9885
    assert await bank.reconcile() == {"different": 1}


async def test_a_payout_of_another_amount_and_its_line_are_one_exception_that_is_resolved_once(bank: AtBank):
    await bank.paid_out("po_1", 50_000)
    await bank.paid_out("po_2", 40_000)
    await bank.says((3, 12_300, "STRIPE"))
    await bank.month.wait(days=BANK_DAYS)
    assert await bank.reconcile() == {"missing_here": 1, "missing_there": 2, "opened": 3}, "it may be either"
    [line] = {*await bank.standing()} - {"po_1", "po_2"}
    await bank.says((8, 40_000, "STRIPE"))
    assert await bank.reconcile() == {"matched": 1, "different": 1, "gone": 2}
    assert await bank.standing() == {"po_1": ("different", -37_700, BANK_DAYS)}
    found = await bank.exception("po_1")
    assert (found.here["amount_cents"], found.there["amount_cents"]) == (50_000, 12_300)
    assert await bank.in_the_way() == 1
    await bank.resolve("po_1")
    assert await bank.balance() == -37_700
    assert await bank.reconcile() == {"matched": 1, "different": 1}
    states = "SELECT state FROM finance.exceptions ORDER BY subject = 'po_1', subject = 'po_2'"
    assert await scalars(bank.month.books, states) == ["gone", "gone", "resolved"]
    assert line not in await bank.standing()
    await bank.month.wait(days=1)
    await bank.says((8, 50_000, "STRIPE"))
    assert await bank.reconcile() == {"matched": 2, "missing_here": 1, "opened": 2}, "it came after all"
    assert await bank.standing() == {
        "po_1": ("different", 0, BANK_DAYS + 1), line: ("missing_here", 12_300, BANK_DAYS + 1),
    }  # fmt: skip


async def test_a_line_that_was_settled_by_itself_is_not_guessed_to_be_a_payout(bank: AtBank):
    await bank.says((3, 12_300, "STRIPE"))
    assert await bank.reconcile() == {"missing_here": 1, "opened": 1}
    [line] = await bank.standing()
    await bank.resolve(line)
    await bank.paid_out("po_1", 50_000)
    await bank.month.wait(days=BANK_DAYS)
    assert await bank.reconcile() == {"missing_here": 1, "missing_there": 1, "opened": 1}
    assert await bank.standing() == {"po_1": ("missing_there", -50_000, BANK_DAYS)}
    await bank.paid_out("po_2", 12_300)
    assert await bank.reconcile() == {"matched": 1, "missing_there": 1, "opened": 1}, (
        "what is sure is told all the same"
    )
    assert (await bank.standing())[line][:2] == ("different", 0)
    await bank.resolve(line)
    assert await bank.balance() == 0


@pytest.mark.parametrize("decision", ["acknowledged", "proposed"])
async def test_a_line_of_which_a_person_has_decided_is_not_guessed_to_be_a_payout(bank: AtBank, decision: str):
    await bank.says((3, 12_300, "STRIPE"), (9, -1000, "RENT"))
    await bank.reconcile()
    [line] = await bank.standing()
    await bank.decide(line, decision)
    await bank.paid_out("po_1", 50_000)
    await bank.month.wait(days=BANK_DAYS)
    assert await bank.reconcile() == {"missing_here": 1, "missing_there": 1, "opened": 1}
    assert (await bank.exception(line)).state == decision


async def test_a_line_that_names_it_is_kept_instead_of_one_that_had_its_amount_by_chance(bank: AtBank):
    await bank.paid_out("po_A", 50_000)
    await bank.paid_out("po_B", 50_000)
    await bank.says((3, 50_000, "RENT BACK"), (4, 50_000, "STRIPE"))
    assert await bank.reconcile() == {"matched": 2}
    assert await bank.kept() == {"RENT": None, "RENT BACK": "po_B", "STRIPE": "po_A"}
    await bank.says((5, 50_000, "STRIPE PO_A"), (6, 50_000, "STRIPE PO_B"))
    assert await bank.reconcile() == {"matched": 2, "missing_here": 1, "opened": 1}
    assert await bank.kept() == {
        "RENT": None, "RENT BACK": None, "STRIPE": None, "STRIPE PO_A": "po_A", "STRIPE PO_B": "po_B",
    }  # fmt: skip
    assert await bank.reconcile() == {"matched": 2, "missing_here": 1}


async def test_what_was_sold_before_the_statement_begins_is_not_looked_for(bank: AtBank):
    await bank.month.owner.execute(_EMPTY)
    await bank.sold()
    await bank.month.wait(days=BANK_DAYS)
    await bank.says((4, -100, "CHARGES"))
    assert await bank.reconcile() == {}
