"""Does the money that settled agree with what was quoted, and what is given for it? Pure.

What does not agree is never granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rails.rail import PaymentSettled

MONEYLESS: Final = "checkout_session"
"""The kind of a payment of nothing: a hosted page whose whole price a promotion covered. It has no payment intent."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a settlement must agree with: price in minor units, currency, the provider's mode; and what it buys."""

    price_cents: int
    currency: str
    livemode: bool
    credits: int


@dataclass(frozen=True, slots=True)
class Allotment:
    """What a settlement is given: credits, what was paid for them net of tax, and what was paid beyond the price."""

    credits: int
    basis_cents: int
    remainder_cents: int = 0


def disagreement(fact: PaymentSettled, expected: Expected) -> str | None:
    """Why `fact` may not be granted, in words for an operator; none when it may."""
    if fact.livemode is not expected.livemode:
        return f"livemode is {fact.livemode}, this service runs with {expected.livemode}"
    if fact.currency.upper() != expected.currency:
        return f"paid in {fact.currency.upper()}, quoted in {expected.currency}"
    if fact.subtotal != expected.price_cents:
        return f"amount is {fact.subtotal}, quoted {expected.price_cents}"
    if min(fact.discount, fact.tax) < 0 or fact.discount > fact.subtotal:
        return f"discount {fact.discount} or tax {fact.tax} is out of range"
    if fact.any_amount:
        return _unusable_amount(fact, expected)
    if fact.total != fact.subtotal - fact.discount + fact.tax:
        return f"total {fact.total} is not {fact.subtotal} - {fact.discount} + {fact.tax}"
    if (fact.total == 0) is not (fact.payment_kind == MONEYLESS):
        return f"total {fact.total} is not what a {fact.payment_kind} can be of"
    return None


def _unusable_amount(fact: PaymentSettled, expected: Expected) -> str | None:
    if fact.discount or fact.tax or fact.payment_kind == MONEYLESS:
        return f"discount {fact.discount} or tax {fact.tax} of a {fact.payment_kind} that may be of any amount"
    if fact.total <= 0 or allotment(fact, expected).credits == 0:
        return f"total {fact.total} is less than one credit costs"
    return None


def allotment(fact: PaymentSettled, expected: Expected) -> Allotment:
    """What is given for `fact`, which agrees: what was quoted; for another amount its share, and never more.

    Basis and remainder are what was paid net of tax, to the cent.
    """
    net = fact.total - fact.tax
    if not fact.any_amount:
        return Allotment(expected.credits, net)
    used = min(net, expected.price_cents)
    return Allotment(expected.credits * used // expected.price_cents, used, net - used)
