"""How x402 clients and their indexes find what can be bought here. Pure.

There is no standard yet. `/.well-known/x402` and `x-payment-info` are as x402scan reads them, whose description is the
one that services follow: https://github.com/Merit-Systems/x402scan/blob/main/docs/DISCOVERY.md. What a route answers
with its 402 has the last word over both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.http import calls
from api.http.views.catalog import limits
from api.http.views.native import top_up_url
from api.http.views.plain import CURRENCY
from billing.packs import X402, Offer
from ledger.money import usd

MANIFEST_VERSION: Final = 1
TOP_UP_PATH: Final = calls.top_up_path("{pack_id}")
GUIDANCE: Final = (
    "Credits are bought with x402 version 2: POST to a resource without a body or an account, sign the payment that "
    "its 402 asks for and send the same request again; the answer to a new wallet has its token. Most clients refuse "
    "to pay more than $1 at once unless told otherwise; /v1/payment-methods has the setting."
)


@dataclass(frozen=True, slots=True)
class Paid:
    """What the OpenAPI document says of an operation that answers 402: its price, and what its path may name."""

    payment_info: dict[str, Any]
    path_values: Mapping[str, list[str]] = field(default_factory=dict)


def manifest(offer: Offer, public_url: str, *, is_offered: bool) -> dict[str, Any]:
    """`GET /.well-known/x402`: the address of each pack; none while the method is not available."""
    packs = offer.packs if is_offered else ()
    return {
        "version": MANIFEST_VERSION,
        "resources": [top_up_url(public_url, pack.pack_id) for pack in packs],
        "instructions": GUIDANCE,
    }


def paid_operations(offer: Offer, *, is_offered: bool) -> dict[str, Paid]:
    """By path, what is paid with x402 by POST; nothing while the method is not available."""
    if not is_offered:
        return {}
    prices = [pack.price_cents for pack in offer.packs]
    custom = limits(X402, offer)
    return {
        TOP_UP_PATH: Paid(_payment_info(min(prices), max(prices)), {"pack_id": [pack.pack_id for pack in offer.packs]}),
        X402.purchase_endpoint: Paid(_payment_info(custom["min_amount_cents"], custom["max_amount_cents"])),
    }


def _payment_info(least_cents: int, most_cents: int) -> dict[str, Any]:
    least, most = usd(least_cents).decimal(), usd(most_cents).decimal()
    price = {"mode": "fixed", "amount": least} if least == most else {"mode": "dynamic", "min": least, "max": most}
    return {"price": {**price, "currency": CURRENCY}, "protocols": [{"x402": {}}]}
