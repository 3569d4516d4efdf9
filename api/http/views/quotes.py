"""A quote, and the purchase it suggests. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api.http.commands import PAYMENT_ATTEMPT_ID, Commands, call_of, command_of, purchase_key
from api.http.views.catalog import pack_view, reason_for
from api.http.views.plain import at
from billing import quotes
from billing.packs import METHODS, NotForSale, Offer
from billing.tables import CreditQuote
from ledger.ids import external


def quote_view(quote: CreditQuote, offer: Offer, commands: Commands, *, owed: int, now: datetime) -> dict[str, Any]:
    """The answer to a quote, new or replayed. `owed` credits are taken from the next paid purchase, before any use.

    What is owed now says nothing of a quote that is paid or over.
    """
    state = quotes.state(quote, now)
    key = purchase_key(external("quote", quote.id))
    return {
        **facts(quote, now),
        "idempotency_key": quote.idempotency_key,
        "pack": _pack(quote, offer),
        "owed_credits": owed if state == "created" else None,
        "usable_credits": max(0, quote.credits - owed) if state == "created" else None,
        "next_actions": {"recommended_buy": recommended_buy(quote, commands, key=key) if state == "created" else None},
    }


def facts(quote: CreditQuote, now: datetime) -> dict[str, Any]:
    """Price and terms."""
    return {
        "quote_id": external("quote", quote.id),
        "state": quotes.state(quote, now),
        "credits": quote.credits,
        "price_amount_cents": quote.price_cents,
        "currency": quote.currency,
        "created_at": at(quote.created_at),
        "expires_at": at(quote.expires_at),
        "accepted_payment_method": quote.payment_method,
        "pack_id": quote.pack_id,
        "credits_expire_after_days": quote.credits_expire_after_days,
        "live_money": quote.live_money,
    }


def _pack(quote: CreditQuote, offer: Offer) -> dict[str, Any] | None:
    """The pack as it is sold now; none for exact credits, and when it is not sold any more."""
    try:
        return pack_view(offer.pack(quote.pack_id)) if quote.pack_id is not None else None
    except NotForSale:
        return None


def recommended_buy(quote: CreditQuote, commands: Commands, *, key: str) -> dict[str, Any]:
    """How to buy the quote: `key` is its stable key until that is used up. A command, or else a request."""
    method = METHODS[quote.payment_method]
    quote_id = external("quote", quote.id)
    buy = commands.buy(method_id=method.method_id, quote_id=quote_id, key=key)
    return {
        "purpose": "complete_credit_top_up",
        "recommendation_reason": reason_for(method),
        "quote_id": quote_id,
        "method_id": method.method_id,
        "provider": method.provider_flag,
        "command": command_of(buy),
        "request": call_of(buy),
        "buy_command_copy_runnable": command_of(buy) is not None,
        "purchase_idempotency_key": key,
        "status_command": commands.status_of_quote(quote_id),
        "status_command_copy_runnable": True,
        "status_command_after_payment": commands.status_of_attempt(PAYMENT_ATTEMPT_ID),
        "status_command_after_payment_copy_runnable": False,
        "requires_auth": True,
        "live_money": quote.live_money,
        "requires_browser": method.requires_browser,
        "agent_settleable": method.agent_settleable,
        "human_handoff_required": not method.agent_settleable,
        "command_effect": buy_effect(),
    }


def buy_effect() -> dict[str, Any]:
    """What a purchase does: it moves nothing yet, and is made only by who may spend, as the client's documents say."""
    return {
        "label": "live_money_payment_attempt_requires_completion",
        "no_spend": False,
        "payment_object": True,
        "payment_attempt": True,
        "wallet_settlement": False,
        "credit_debit": False,
        "media_write": False,
    }
