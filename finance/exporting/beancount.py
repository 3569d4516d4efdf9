"""The books of the period as a file for beancount, whose `bean-check` is an auditor that knows nothing of us.

It opens every account that was ever used, brings what stood before the period forward in one transaction, has a dated
transaction for each operation with transfers, and asserts each account's balance on the morning after each day that
moved it, and of all accounts after the period. What is asserted was added up by the database, not from what is written
here. No tolerance: `tolerance_multiplier` is 0. Amounts are decimal text of integers. Pure but for `chunks`.
Source: https://beancount.github.io/docs/beancount_language_syntax.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby
from typing import Final

from finance.exporting.cells import decimal, organization
from finance.exporting.counting import Counted
from finance.exporting.reading import Moved, Posted, Reading
from finance.exporting.trial_balance import Standing
from finance.periods import Period
from ledger.chart import CHART, Account, Root, Side
from ledger.ids import external
from ledger.money import Currency

_ROOTS: Final = {
    Root.ASSETS: "Assets",
    Root.LIABILITIES: "Liabilities",
    Root.REVENUE: "Income",
    Root.EXPENSES: "Expenses",
    Root.EQUITY: "Equity",
}


def account_name(account: Account) -> str:
    """`stripe_clearing` → `Assets:Stripe-Clearing`. Credits stand under `Assets:Credits` and `Equity:Credits`."""
    last = "-".join(part.capitalize() for part in account.code.split("_"))
    if account.root is Root.MEMO:
        return f"{'Assets' if account.side is Side.DEBIT else 'Equity'}:Credits:{last}"
    return f"{_ROOTS[account.root]}:{last}"


_NAMES: Final = {account.code: account_name(account) for account in CHART}
_IN_ORDER: Final = {account.code: place for place, account in enumerate(CHART)}
_CURRENCIES: Final = {account.code: account.currency for account in CHART}


def header(period: Period, standing: Standing) -> str:
    """Options, commodities, and every account that was ever used, opened on the first day."""
    day, used = period.first_day, [account for account in CHART if standing.uses(account.code)]
    lines = [
        f'option "title" "Purser {period.name}"',
        f'option "operating_currency" "{Currency.USD.value}"',
        'option "tolerance_multiplier" "0"',
        "",
        *(f"{day} commodity {currency.value}" for currency in Currency),
        "",
        *(f"{day} open {_NAMES[account.code]} {account.currency.value}" for account in used),
        "",
    ]
    return "\n".join(lines) + "\n"


def opening(period: Period, standing: Standing) -> str:
    """What stood before the period, as one transaction; nothing when nothing did."""
    postings = [
        _posting(account.code, amount) for account in CHART if (amount := standing.opening[account.code])
    ]  # fmt: skip
    head = f'{period.first_day} * "Purser" "balances brought forward"'
    return "\n".join([head, *postings, "", ""]) if postings else ""


def transaction(operation: Posted) -> str:
    """An operation: payee is the organization, the link its id. Two postings a transfer."""
    payee, said = _text(organization(operation.organization_id)), _text(f"{operation.kind}: {operation.cause}")
    lines = [
        f"{operation.accounting_date} * {payee} {said} ^{external('op', operation.id)}",
        f"  seq: {operation.seq}",
        f'  hash: "{operation.hash.hex()}"',
    ]
    for transfer in operation.transfers():
        amount = decimal(transfer.amount, transfer.scale)
        lines.append(f"  {_NAMES[transfer.debit]}  {amount} {transfer.currency}")
        lines.append(f"  {_NAMES[transfer.credit]}  -{amount} {transfer.currency}")
    return "\n".join([*lines, "", ""])


def assertions(after: date, balances: Iterable[tuple[str, int]]) -> str:
    """What stands in accounts (minor units, debit positive) when the day `after` is over."""
    morning = after + timedelta(days=1)
    lines = [
        f"{morning} balance {_NAMES[code]}  {_amount(code, amount)}"
        for code, amount in sorted(balances, key=lambda one: _IN_ORDER[one[0]])
    ]
    return "\n".join([*lines, "", ""]) if lines else ""


def daily(period: Period, moved: Iterable[Moved]) -> Iterator[tuple[date, str]]:
    """For each day with transfers, in order, the assertions that follow it; at the end those of all accounts."""
    standing = Counter[str]()
    for day, sums in groupby(moved, key=lambda one: one.day):
        touched: dict[str, None] = {}
        for _, debit, credit, _, amount in sums:
            standing[debit] += amount
            standing[credit] -= amount
            touched |= {debit: None, credit: None}
        if day is not None and day != period.last_day:
            yield day, assertions(day, [(code, standing[code]) for code in touched])
    yield period.last_day, assertions(period.last_day, standing.items())


def _posting(code: str, amount: int) -> str:
    return f"  {_NAMES[code]}  {_amount(code, amount)}"


def _amount(code: str, amount: int) -> str:
    currency = _CURRENCIES[code]
    return f"{decimal(amount, currency.scale)} {currency.value}"


def _text(said: str) -> str:
    """A string of beancount, on one line: what is not printable, as a line end is not, becomes a space."""
    plain = "".join(one if one.isprintable() else " " for one in said)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The whole file. Its rows are its transactions, without the one that brings balances forward."""
    period, moved = reading.marked.period, await reading.moved()
    standing = Standing.of(moved)
    yield (header(period, standing) + opening(period, standing)).encode()
    following = daily(period, moved)
    next_day, asserted = next(following)
    async for operations in reading.operations():
        part = []
        for operation in operations:
            while operation.accounting_date > next_day:
                part.append(asserted)
                next_day, asserted = next(following)
            part.append(transaction(operation))
            for transfer in operation.transfers():
                counted.moved(transfer.currency, transfer.amount)
        counted.rows += len(operations)
        yield "".join(part).encode()
    yield "".join([asserted, *(rest for _, rest in following)]).encode()
