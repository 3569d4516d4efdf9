"""How can be paid, and what is sold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.http.commands import Commands, call_of, command_of
from api.http.views import native
from api.http.views.plain import CREDIT_UNIT_CENTS, CURRENCY
from billing.packs import CREDIT_PRICE_CENTS, METHODS, X402, Method, NativeTerms, Offer, Pack, Wanted
from ledger.money import usd

CONTRACT_VERSION: Final = "image-skill.payment-methods.v1"
SELF_FUND: Final = "browserless_agent_self_fund"


def methods(
    offer: Offer,
    reasons: Mapping[str, str | None],
    commands: Commands,
    *,
    live_money: bool,
    native_terms: NativeTerms | None,
) -> dict[str, Any]:
    """Every method; `reasons` says for each why it is unavailable, none when it is available.

    `live_money` is that of Stripe's methods; whether it is on `x402.exact.usdc` depends on the network of its terms.
    """
    preferred = preferred_method(reasons)
    live = dict.fromkeys(METHODS, live_money)
    live[X402.method_id] = native_terms is not None and native_terms.live_money
    own = {
        "recovery": native.recovery(offer, commands, is_preferred=preferred is X402),
        "x402": native.terms_view(native_terms, offer, most_cents=limits(X402, offer)["max_amount_cents"]),
    }
    return {
        "contract_version": CONTRACT_VERSION,
        "credit_unit_cents": CREDIT_UNIT_CENTS,
        "currency": CURRENCY,
        "quote_endpoint": "/v1/credit-quotes",
        "packs_endpoint": "/v1/credit-packs",
        "status_endpoint": "/v1/credit-purchases/status",
        "live_money": live_money,
        "methods": [
            _row(method, offer, reasons[method.method_id], live_money=live[method.method_id])
            | (own if method is X402 else {"recovery": _recovery(method, offer, commands)})
            for method in METHODS.values()
        ],
        "next_actions": {
            "recommended_quote": _recommended_quote(preferred, offer, commands, live_money=live[preferred.method_id])
            if preferred
            else None
        },
    }


def preferred_method(reasons: Mapping[str, str | None], among: Iterable[Method] = METHODS.values()) -> Method | None:
    """The method to suggest: one that an agent can settle by itself, else any; none when nothing is available."""
    offered = [method for method in among if reasons[method.method_id] is None]
    return next((method for method in offered if method.agent_settleable), offered[0] if offered else None)


def default_terms(offer: Offer, method: Method) -> Wanted:
    """The suggested pack on a method."""
    return Wanted(None, offer.default_pack_id, method.method_id)


def limits(method: Method, offer: Offer) -> dict[str, int]:
    """The least and the most that can be paid over a method for what is sold; both 0 when nothing can be."""
    custom_min = max(offer.custom_credits_min * CREDIT_PRICE_CENTS, method.min_amount_cents)
    custom_max = min(offer.custom_credits_max * CREDIT_PRICE_CENTS, method.max_amount_cents)
    prices = [pack.price_cents for pack in offer.packs]
    payable = [price for price in prices if method.min_amount_cents <= price <= method.max_amount_cents]
    payable += [custom_min, custom_max] if custom_min <= custom_max else []
    return {"min_amount_cents": min(payable, default=0), "max_amount_cents": max(payable, default=0)}


def _row(method: Method, offer: Offer, reason: str | None, *, live_money: bool) -> dict[str, Any]:
    available = reason is None
    return {
        "method_id": method.method_id,
        "provider": method.provider_flag,
        "status": "available" if available else "unavailable",
        "available": available,
        "quoteable": available,
        "purchasable": available,
        "unavailable_reason": reason,
        "live_money": live_money,
        "buyer_modes": list(method.buyer_modes),
        "requires_browser": method.requires_browser,
        "agent_initiated": True,
        "agent_settleable": method.agent_settleable,
        "settlement_blocker": method.settlement_blocker,
        "default_pack_id": offer.default_pack_id,
        "purchase_endpoint": method.purchase_endpoint,
        "limits": limits(method, offer),
    }


def _recovery(method: Method, offer: Offer, commands: Commands) -> dict[str, Any]:
    return {
        # Without a key: with one, the client would not call the command runnable as it stands.
        "quote_command": commands.quote(default_terms(offer, method)),
        "purchase_command": commands.buy(method_id=method.method_id),
        "status_command": commands.status_of_quote(),
    }


def _recommended_quote(method: Method, offer: Offer, commands: Commands, *, live_money: bool) -> dict[str, Any]:
    """Commands, or the requests that do the same where the public client has no words for the method."""
    quote, buy = commands.quote(default_terms(offer, method)), commands.buy(method_id=method.method_id)
    return {
        "purpose": "quote_credit_top_up",
        "recommendation_reason": reason_for(method),
        "method_id": method.method_id,
        "pack_id": offer.default_pack_id,
        "command": command_of(quote),
        "request": call_of(quote),
        "quote_command_copy_runnable": command_of(quote) is not None,
        "buy_command": command_of(buy),
        "buy_request": call_of(buy),
        "status_command": commands.status_of_quote(),
        "requires_auth": True,
        "live_money": live_money,
        "requires_browser": method.requires_browser,
        "agent_settleable": method.agent_settleable,
        "command_effect": quote_effect(),
    }


def reason_for(method: Method) -> str:
    """Why a method is recommended: the agent can settle it by itself, or else a human has to be asked."""
    return SELF_FUND if method.agent_settleable else "human_checkout_handoff"


def path_of(method: Method) -> str:
    """How money comes over a method, in the contract's words."""
    return SELF_FUND if method.agent_settleable else "human_payment_handoff"


def quote_effect() -> dict[str, Any]:
    """What a quote does: nothing to anybody's money. The public client calls the quote itself a payment object."""
    return {
        "label": "live_money_quote_no_charge",
        "no_spend": True,
        "payment_object": True,
        "credit_debit": False,
        "media_write": False,
    }


def packs(offer: Offer) -> dict[str, Any]:
    """What is sold, and how long bought credits live."""
    days = offer.credits_expire_after_days
    return {
        "credit_unit_cents": CREDIT_UNIT_CENTS,
        "credit_unit_usd": 0.01,
        "currency": CURRENCY,
        "default_pack_id": offer.default_pack_id,
        "packs": [pack_view(pack) for pack in offer.packs],
        "custom_quotes": {
            "supported": True,
            "min_credits": offer.custom_credits_min,
            "max_credits": offer.custom_credits_max,
        },
        "credits_expire": days is not None,
        "credits_expire_after_days": days,
        "quote_valid_seconds": int(offer.quote_ttl.total_seconds()),
    }


def pack_view(pack: Pack) -> dict[str, Any]:
    """One pack. Its two prices in dollars are text, as the contract has them."""
    price = usd(pack.price_cents).decimal()
    return {
        "pack_id": pack.pack_id,
        "name": pack.name,
        "display_name": f"{pack.name}: {pack.credits} credits",
        "credits": pack.credits,
        "amount_cents": pack.price_cents,
        "amount_usd": price,
        "price_usd": price,
        "currency": CURRENCY,
    }
