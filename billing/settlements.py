"""Does the money that settled agree with what was quoted? Pure. What does not agree is never granted."""

from __future__ import annotations

from dataclasses import dataclass

from rails.rail import PaymentSettled


@dataclass(frozen=True, slots=True)
class Expected:
    """What a settlement must agree with: the quoted price in minor units, its currency, and the provider's mode."""

    price_cents: int
    currency: str
    livemode: bool


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
    if fact.total != fact.subtotal - fact.discount + fact.tax:
        return f"total {fact.total} is not {fact.subtotal} - {fact.discount} + {fact.tax}"
    return None
