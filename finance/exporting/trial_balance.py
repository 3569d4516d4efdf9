"""The trial balance over all books: what stood in each account before the period, what moved, what stands after it.

Amounts are in minor units, debit positive, so that openings and closings of a currency add up to zero; credits, which
are counted and not valued, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from finance.exporting.cells import csv_rows, decimal
from finance.exporting.counting import Counted, TotalsDiffer
from finance.exporting.reading import Moved, Reading
from ledger.chart import CHART
from ledger.money import Currency

COLUMNS: Final = (
    "account", "name", "root", "currency", "opening", "debits", "credits", "closing",
    "opening_decimal", "debits_decimal", "credits_decimal", "closing_decimal",
)  # fmt: skip


@dataclass(slots=True)
class Standing:
    """By account, in minor units: the opening, debit positive, and what the period debited and credited."""

    opening: Counter[str] = field(default_factory=Counter)
    debits: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, moved: Iterable[Moved]) -> Standing:
        """From sums by day."""
        found = cls()
        for day, debit, credit, _, amount in moved:
            if day is None:
                found.opening[debit] += amount
                found.opening[credit] -= amount
            else:
                found.debits[debit] += amount
                found.credits[credit] += amount
        return found

    def closing(self, code: str) -> int:
        """Debit positive."""
        return self.opening[code] + self.debits[code] - self.credits[code]

    def uses(self, code: str) -> bool:
        """Whether anything was ever posted to the account."""
        return any(code in sums for sums in (self.opening, self.debits, self.credits))


def rows_of(standing: Standing) -> list[Sequence[object]]:
    """A row for each account that was ever used, and a total for each currency. Raises `TotalsDiffer`."""
    found: list[Sequence[object]] = []
    for currency in Currency:
        totals = [0, 0, 0, 0]
        for account in CHART:
            if account.currency is currency and standing.uses(account.code):
                code = account.code
                amounts = (
                    standing.opening[code],
                    standing.debits[code],
                    standing.credits[code],
                    standing.closing(code),
                )
                totals = [total + amount for total, amount in zip(totals, amounts, strict=True)]
                found.append(_row(code, account.meaning, account.root.value, currency, amounts))
        if totals[0] or totals[3] or totals[1] != totals[2]:
            raise TotalsDiffer(f"the trial balance of {currency} does not balance: {totals}")
        found.append(_row("total", f"all accounts in {currency}", "", currency, totals))
    return found


def _row(code: str, name: str, root: str, currency: Currency, amounts: Sequence[int]) -> Sequence[object]:
    return (code, name, root, currency.value, *amounts, *(decimal(amount, currency.scale) for amount in amounts))


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The trial balance as CSV."""
    standing = Standing.of(await reading.moved())
    rows = rows_of(standing)
    for account in CHART:
        counted.debits[account.currency.value] += standing.debits[account.code]
        counted.credits[account.currency.value] += standing.credits[account.code]
    counted.rows = len(rows)
    yield csv_rows([COLUMNS, *rows])
