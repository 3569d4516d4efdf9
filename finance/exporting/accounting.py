"""A journal for accounting packages: for each day and account what it moved by, net, under the package's own names.

In dollars only. USDC stands in it at par, on the dollar account `conversion`; ether is not valued here and is left out,
and so are credits, which are counted and not valued. Each day is one journal that balances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby
from typing import Final

from finance.exporting.account_maps import AccountMap
from finance.exporting.cells import csv_rows, decimal, safe
from finance.exporting.counting import Counted, TotalsDiffer
from finance.exporting.reading import Moved, Reading
from ledger.chart import CHART
from ledger.money import Currency

LEFT_OUT: Final = {
    Currency.USDC.value: "stands at par in dollars, on the account `conversion`",
    Currency.ETH.value: "left out: gas is not valued in dollars here",
    Currency.CREDIT.value: "left out: credits are counted, not valued",
}
MAP_DIGEST: Final = "account_map_sha256"
"""The note by which the manifest tells with which file of a map a journal was written."""
_DATES: Final = {"year-month-day": "%Y-%m-%d", "day-month-year": "%d/%m/%Y", "month-day-year": "%m/%d/%Y"}
_DOLLARS: Final = tuple(account for account in CHART if account.currency is Currency.USD)


def nets(moved: Iterable[Moved]) -> Iterator[tuple[date, list[tuple[str, int]]]]:
    """By day, what each dollar account moved by (cents, debit positive), without those that did not. Balanced."""
    dollars = (one for one in moved if one.day is not None and one.currency == Currency.USD)
    for day, sums in groupby(dollars, key=lambda one: one.day):
        net = Counter[str]()
        for _, debit, credit, _, amount in sums:
            net[debit] += amount
            net[credit] -= amount
        if net.total():
            raise TotalsDiffer(f"the journal of {day} does not balance")
        found = [(account.code, net[account.code]) for account in _DOLLARS if net[account.code]]
        if day is not None and found:
            yield day, found


def row(wanted: AccountMap, day: date, code: str, cents: int) -> list[str]:
    """A line of a day's journal in the columns of the map."""
    meanings = {account.code: account.meaning for account in _DOLLARS}
    known = {
        "narration": f"Purser {day.isoformat()}",
        "journal": f"PURSER-{day:%Y%m%d}",
        "date": day.strftime(_DATES[wanted.dates]),
        "description": meanings[code],
        "account": safe(wanted.accounts[code]),
        "signed": decimal(cents, Currency.USD.scale),
        "debit": decimal(cents, Currency.USD.scale) if cents > 0 else "",
        "credit": decimal(-cents, Currency.USD.scale) if cents < 0 else "",
        "currency": Currency.USD.value,
    }
    return [safe(column.text) if column.value is None else known[column.value] for column in wanted.columns]


async def chunks(wanted: AccountMap, reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The journal of the period as CSV; at most days × accounts rows."""
    rows: list[Sequence[str]] = []
    for day, found in nets(await reading.moved()):
        for code, cents in found:
            rows.append(row(wanted, day, code, cents))
            sides = counted.debits if cents > 0 else counted.credits
            sides[Currency.USD.value] += abs(cents)
    counted.rows, counted.notes = len(rows), {**LEFT_OUT, MAP_DIGEST: wanted.digest}
    yield csv_rows([[column.heading for column in wanted.columns], *rows])
