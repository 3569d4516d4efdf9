"""Money and credits as integers in minor units, never as floats.

A currency knows its scale: how many decimal digits one unit has. `CREDIT` has scale 0, `USD` scale 2
(cents), `USDC` scale 6 (atomic units, as on chain), `ETH` scale 9 (gwei: gas costs so little that cents would be 0).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

AMOUNT_MAX = 2**53 - 1
"""The largest amount that every JSON reader keeps exactly."""


class Currency(enum.StrEnum):
    """What an amount is counted in. The value is what stands in the journal."""

    CREDIT = "CREDIT"
    USD = "USD"
    USDC = "USDC"
    ETH = "ETH"

    @property
    def scale(self) -> int:
        """Digits behind the decimal point of one unit."""
        return _SCALES[self]


_SCALES = {Currency.CREDIT: 0, Currency.USD: 2, Currency.USDC: 6, Currency.ETH: 9}


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency in its minor unit. Negative amounts are allowed: a difference is money too."""

    amount: int
    currency: Currency

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError(f"money is a whole number of minor units, not {self.amount!r}")
        if abs(self.amount) > AMOUNT_MAX:
            raise ValueError(f"{self.amount} is beyond the {AMOUNT_MAX} that is kept exactly")

    def decimal(self) -> str:
        """The amount in whole units with all its digits, as in `5.00`; no currency sign, no grouping."""
        sign = "-" if self.amount < 0 else ""
        digits = str(abs(self.amount)).rjust(self.currency.scale + 1, "0")
        if not self.currency.scale:
            return sign + digits
        return f"{sign}{digits[: -self.currency.scale]}.{digits[-self.currency.scale :]}"


def usd(cents: int) -> Money:
    """`cents` US cents."""
    return Money(cents, Currency.USD)


def usdc(atomic: int) -> Money:
    """`atomic` millionths of a USDC."""
    return Money(atomic, Currency.USDC)


def ether(gwei: int) -> Money:
    """`gwei` billionths of an ether."""
    return Money(gwei, Currency.ETH)


def usdc_atomic_of_cents(cents: int) -> int:
    """Atomic USDC (10⁻⁶) worth exactly `cents` US cents at par: one cent is 10,000 atomic units."""
    return cents * 10_000
