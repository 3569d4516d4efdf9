"""What a resolved exception posts: the account of its source is told what was missing, against another one. Pure.

USDC moves at par beside its dollars, as in `docs/postings.md`: its own account against `conversion_usdc`, and
`conversion` against where the difference goes. What is below a cent of it moves no dollars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from ledger.money import usd, usdc, usdc_atomic_of_cents
from ledger.operations import Transfer

DIFFERENCES: Final = "reconciliation_differences"
USD_ACCOUNTS: Final = ("stripe_clearing", "bank")
USDC_ACCOUNTS: Final = ("usdc_clearing",)
AGAINST: Final = (DIFFERENCES, "fees", "unallocated_deposits", "bank", "stripe_clearing")
ACCOUNTS: Final = {"usd": USD_ACCOUNTS, "usdc": USDC_ACCOUNTS}
"""Accounts that an exception of a currency may correct."""
_OF_SOURCE: Final = {"bank": "bank"}
_CENT: Final = usdc_atomic_of_cents(1)


@dataclass(frozen=True, slots=True)
class Proposal:
    """`amount` into `account` (out of it where it is below zero), against another account."""

    account: str
    against: str
    amount: int
    currency: str

    @property
    def cents(self) -> int:
        """What is at stake, for the limit above which a second one must agree: rounded up."""
        return abs(self.amount) if self.currency == "usd" else -(-abs(self.amount) // _CENT)

    def transfers(self, before: int = 0) -> tuple[Transfer, ...]:
        """What is posted, where `before` went into `account` already. Empty only for nothing.

        The dollars of USDC are those of the whole: parts of a cent would add up to another one.
        """
        if self.currency == "usd":
            return (_moved(self.account, self.against, self.amount, usd),) if self.amount else ()
        cents = _at_par(before + self.amount) - _at_par(before)
        tokens = (_moved(self.account, "conversion_usdc", self.amount, usdc),) if self.amount else ()
        return tokens + ((_moved("conversion", self.against, cents, usd),) if cents else ())

    def as_json(self) -> dict[str, Any]:
        """As it is kept until somebody agrees."""
        return {"account": self.account, "against": self.against, "amount": self.amount, "currency": self.currency}

    @classmethod
    def parse(cls, kept: dict[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(**kept)


def _at_par(atomic: int) -> int:
    """In cents, towards zero."""
    return abs(atomic) // _CENT * (1 if atomic > 0 else -1)


def _moved(account: str, against: str, amount: int, money: Any) -> Transfer:
    debit, credit = (account, against) if amount > 0 else (against, account)
    return Transfer(debit, credit, money(abs(amount)))


def proposal(
    *, source: str, currency: str, amount: int, account: str | None, against: str | None, posted: dict[str, int]
) -> Proposal:
    """What to post for an exception of `amount`, of which `posted` (by account) was posted before.

    Raises `ValueError` for accounts that no exception corrects.
    """
    possible = ACCOUNTS.get(currency)
    if possible is None:
        raise ValueError(f"an exception in {currency} is acknowledged; nothing here adjusts it")
    into = account or _OF_SOURCE.get(source, possible[0])
    other = against or DIFFERENCES
    if into not in possible:
        raise ValueError(f"account is one of {', '.join(possible)}")
    if other not in AGAINST or other == into:
        raise ValueError(f"against is another account, one of {', '.join(AGAINST)}")
    return Proposal(into, other, amount - posted.get(into, 0), currency)
