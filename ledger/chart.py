"""The chart of accounts: every place in a book, its currency and its normal side.

An organization's book holds its credits and the money that belongs to it; the platform book holds what belongs to no
organization. `docs/postings.md` says which fact moves what between them. The same rows stand in the table
`ledger.chart`; a test compares the two.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from ledger.money import Currency


class Side(enum.StrEnum):
    """The side on which an account grows."""

    DEBIT = "debit"
    CREDIT = "credit"


class Root(enum.StrEnum):
    """The five roots that finance knows; credits, which are counted and not valued, stand under `memo`."""

    ASSETS = "assets"
    LIABILITIES = "liabilities"
    REVENUE = "revenue"
    EXPENSES = "expenses"
    EQUITY = "equity"
    MEMO = "memo"


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the chart. `floored` accounts never fall below zero."""

    code: str
    currency: Currency
    side: Side
    root: Root
    meaning: str
    floored: bool = False


_CREDIT, _USD, _USDC, _ETH = Currency.CREDIT, Currency.USD, Currency.USDC, Currency.ETH

CHART: Final = (
    Account("wallet", _CREDIT, Side.DEBIT, Root.MEMO, "credits that can be spent, in lots", floored=True),
    Account("held", _CREDIT, Side.DEBIT, Root.MEMO, "credits reserved by open holds", floored=True),
    Account("issued", _CREDIT, Side.CREDIT, Root.MEMO, "all credits ever granted"),
    Account("consumed", _CREDIT, Side.DEBIT, Root.MEMO, "credits spent", floored=True),
    Account("expired", _CREDIT, Side.DEBIT, Root.MEMO, "credits that expired unspent", floored=True),
    Account("clawed_back", _CREDIT, Side.DEBIT, Root.MEMO, "credits taken back by a reversal", floored=True),
    Account("stripe_clearing", _USD, Side.DEBIT, Root.ASSETS, "money at Stripe that has not been paid out"),
    Account("stripe_fees", _USD, Side.DEBIT, Root.EXPENSES, "Stripe's fee on this organization's payments"),
    Account("usdc_clearing", _USDC, Side.DEBIT, Root.ASSETS, "USDC received on chain, before conversion"),
    Account("deferred_revenue", _USD, Side.CREDIT, Root.LIABILITIES, "credits sold and not yet used"),
    Account("revenue_usage", _USD, Side.CREDIT, Root.REVENUE, "credits used, at their lot's basis"),
    Account("revenue_breakage", _USD, Side.CREDIT, Root.REVENUE, "credits expired, at their lot's basis"),
    Account("refunds_payable", _USD, Side.CREDIT, Root.LIABILITIES, "refunds promised and not yet sent"),
    Account("disputes", _USD, Side.DEBIT, Root.ASSETS, "money withheld in open disputes"),
    Account("sales_tax_payable", _USD, Side.CREDIT, Root.LIABILITIES, "tax collected for the authorities"),
    Account("receivable_owed", _USD, Side.DEBIT, Root.ASSETS, "reversed money whose credits were already spent"),
    Account("write_off", _USD, Side.DEBIT, Root.EXPENSES, "owed money that was given up"),
    Account("deposit_remainder", _USD, Side.CREDIT, Root.LIABILITIES, "deposited money below one credit"),
    Account("conversion", _USD, Side.DEBIT, Root.EQUITY, "USDC against USD at par"),
    Account("fx_gain_loss", _USD, Side.CREDIT, Root.REVENUE, "what selling USDC brought above or below par"),
    Account("between_books", _USD, Side.DEBIT, Root.EQUITY, "money that moved between books; zero over all books"),
    Account("bank", _USD, Side.DEBIT, Root.ASSETS, "payouts that arrived (platform)"),
    Account("fees", _USD, Side.DEBIT, Root.EXPENSES, "fees without a charge (platform)"),
    Account("fees_onchain", _ETH, Side.DEBIT, Root.EXPENSES, "gas, in ether (platform)"),
    Account("unallocated_deposits", _USD, Side.CREDIT, Root.LIABILITIES, "money whose payer is not known (platform)"),
    Account("conversion_usdc", _USDC, Side.CREDIT, Root.EQUITY, "the other side of USDC, against `conversion` at par"),
    Account(
        "gas_wallet",
        _ETH,
        Side.DEBIT,
        Root.ASSETS,
        "ether for gas; negative until funding is booked (platform)",
    ),
    Account("disputed_payments", _USD, Side.CREDIT, Root.LIABILITIES, "what open disputes took back, undecided"),
    Account(
        "reconciliation_differences",
        _USD,
        Side.DEBIT,
        Root.EXPENSES,
        "exceptions that were resolved by an adjustment (platform)",
    ),
    Account("conversion_eth", _ETH, Side.CREDIT, Root.EQUITY, "the other side of ether that was bought (platform)"),
)

BY_CODE: Final = {account.code: account for account in CHART}
NUMBERS: Final = {account.code: number for number, account in enumerate(CHART, 1)}
"""How the lines of an operation name an account: its place in the chart. A new account goes to the end."""

BY_NUMBER: Final = {number: BY_CODE[code] for code, number in NUMBERS.items()}


def account(code: str) -> Account:
    """The account `code`. Raises `KeyError` for one that is not in the chart."""
    return BY_CODE[code]
