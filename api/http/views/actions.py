"""What the payer must do, on each rail. Pure.

The provider's objects that could be abused stay inside: no payment intent id and no client secret is ever told.
"""

from __future__ import annotations

from typing import Any, Final

from api.http.views.plain import at
from billing.packs import STRIPE_X402
from ledger.money import usd
from rails.rail import CheckoutAction, DepositAction, X402Action
from rails.stripe_x402.networks import BASE
from rails.x402.terms import VERSION as X402_VERSION

SCHEME: Final = "exact"
_REDACTED: Final = {
    "stripe_payment_intent": "[redacted-stripe-payment-intent]",
    "stripe_crypto_deposit_address": "[redacted-stripe-crypto-deposit-address]",
    "stripe_client_secret": "[redacted-stripe-client-secret]",
}


def rail_of_deposits() -> dict[str, Any]:
    """What is the same for every deposit."""
    return {
        "method_id": STRIPE_X402.method_id,
        "scheme": SCHEME,
        "network": BASE.name,
        "token_currency": BASE.token_currency,
    }


def deposit(action: DepositAction | None, *, amount_cents: int) -> dict[str, Any]:
    """`stripe_x402` of a purchase; instructions are there while the deposit is due."""
    return {
        **rail_of_deposits(),
        "deposit_address_present": action is not None,
        "payable_instructions": _instructions(action, amount_cents) if action else None,
        "redacted": dict(_REDACTED),
    }


def _instructions(action: DepositAction, amount_cents: int) -> dict[str, Any]:
    amount = usd(amount_cents).decimal()
    return {
        "kind": "stripe_crypto_deposit",
        "network": action.network,
        "token_currency": action.token_currency,
        "token_decimals": action.token_decimals,
        "token_amount": amount,
        "token_amount_atomic": str(action.token_amount_atomic),
        "amount_usd": amount,
        "amount_cents": amount_cents,
        "deposit_address": action.deposit_address,
        "token_contract_address": action.token_contract_address,
        "supported_token_currencies": [action.token_currency],
        "expires_at": at(action.expires_at),
        "exact_amount_required": True,
    }


def signature(action: X402Action | None) -> dict[str, Any]:
    """`x402` of a purchase: the one entry of `accepts`, there while a payment may be signed."""
    return {
        "version": X402_VERSION,
        "accepts": [dict(action.requirement)] if action is not None else [],
        "expires_at": at(action.expires_at) if action is not None else None,
    }


def checkout(action: CheckoutAction | None, *, session_id: str | None, handoff_url: str) -> dict[str, Any]:
    """The links of a hosted page: the short one lives as long as the attempt, Stripe's own as long as its session."""
    return {
        "checkout_session_id": session_id,
        "checkout_handoff_url": handoff_url,
        "checkout_compact_url": handoff_url,
        "checkout_url": action.url if action else None,
        "checkout_url_expires_at": at(action.expires_at) if action else None,
    }
