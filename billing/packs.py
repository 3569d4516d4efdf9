"""What is sold and on which terms. Pure. One credit costs one cent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rails.evm.networks import BASE

CREDIT_PRICE_CENTS: Final = 1


class NotForSale(ValueError):
    """The pack or the number of credits is not in the offer. The message names what is."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A named number of credits."""

    pack_id: str
    name: str
    credits: int

    @property
    def price_cents(self) -> int:
        """The price in cents."""
        return self.credits * CREDIT_PRICE_CENTS


STANDARD_PACKS: Final = (
    Pack("starter-500", "Starter", 500),
    Pack("builder-2000", "Builder", 2000),
    Pack("studio-5000", "Studio", 5000),
    Pack("taster-100", "Taster", 100),
)
"""The last one is for stock x402 clients, which refuse to pay more than a dollar at once unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything that is sold, and for how long a price, an attempt and a checkout session stand."""

    packs: tuple[Pack, ...]
    default_pack_id: str
    custom_credits_min: int
    custom_credits_max: int
    credits_expire_after_days: int | None
    quote_ttl: timedelta
    attempt_ttl: timedelta
    checkout_session_ttl: timedelta
    refund_second_payments: bool = False
    """What is paid for a paid quote is sent back; otherwise it is kept, unallocated, until an operator decides."""

    def pack(self, pack_id: str) -> Pack:
        """The pack `pack_id`. Raises `NotForSale`."""
        for pack in self.packs:
            if pack.pack_id == pack_id:
                return pack
        known = ", ".join(pack.pack_id for pack in self.packs)
        raise NotForSale(f"pack_id must be one of {known}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a quote is asked for: a pack, or else so many credits, on one method."""

    credits: int | None
    pack_id: str | None
    payment_method: str


@dataclass(frozen=True, slots=True)
class Price:
    """What a wish comes to."""

    credits: int
    cents: int


def price(offer: Offer, wanted: Wanted) -> Price:
    """The price of exactly one of a pack and a number of credits. Raises `NotForSale`."""
    if wanted.pack_id is not None:
        pack = offer.pack(wanted.pack_id)
        return Price(pack.credits, pack.price_cents)
    if wanted.credits is None or not offer.custom_credits_min <= wanted.credits <= offer.custom_credits_max:
        raise NotForSale(
            f"credits must be a whole number from {offer.custom_credits_min} to {offer.custom_credits_max}"
        )
    return Price(wanted.credits, wanted.credits * CREDIT_PRICE_CENTS)


@dataclass(frozen=True, slots=True)
class Method:
    """What the catalog says of a payment method. `provider_flag` is the public client's word for it."""

    method_id: str
    provider_flag: str
    purchase_endpoint: str
    requires_browser: bool
    agent_settleable: bool
    settlement_blocker: str | None
    buyer_modes: tuple[str, ...]
    min_amount_cents: int
    max_amount_cents: int


STRIPE_CHECKOUT: Final = Method(
    method_id="stripe_checkout",
    provider_flag="stripe",
    purchase_endpoint="/v1/credit-purchases/stripe-checkout-sessions",
    requires_browser=True,
    agent_settleable=False,
    settlement_blocker="requires human browser checkout completion",
    buyer_modes=("hybrid", "human_only"),
    min_amount_cents=50,
    max_amount_cents=99_999_999,
)
STRIPE_X402: Final = Method(
    method_id="stripe_x402.exact.usdc",
    provider_flag="stripe_x402",
    purchase_endpoint="/v1/credit-purchases/stripe-x402-deposits",
    requires_browser=False,
    agent_settleable=True,
    settlement_blocker=None,
    buyer_modes=("agent_only", "hybrid"),
    min_amount_cents=1,
    max_amount_cents=99_999_999,
)
X402: Final = Method(
    method_id="x402.exact.usdc",
    provider_flag="x402",
    purchase_endpoint="/v1/credit-purchases/x402",
    requires_browser=False,
    agent_settleable=True,
    settlement_blocker=None,
    buyer_modes=("agent_only", "hybrid"),
    min_amount_cents=1,
    max_amount_cents=99_999_999,
)
METHODS: Final[Mapping[str, Method]] = {method.method_id: method for method in (STRIPE_CHECKOUT, STRIPE_X402, X402)}
"""Every method there is, in the order in which the catalog lists them."""


@dataclass(frozen=True, slots=True)
class NativeTerms:
    """Where `x402.exact.usdc` is paid: network (CAIP-2), token contract, recipient, seconds that an offer stands."""

    network: str
    asset: str
    pay_to: str
    timeout_s: int

    @property
    def live_money(self) -> bool:
        """Whether the token is worth money: that of Base is, those of test networks and local chains are not."""
        return self.network == BASE.caip2
