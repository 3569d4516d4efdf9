"""Orders, payment intents and events of Stripe's crypto deposits in our words. Pure.

The mode is preview: GA types know none of its options. Sources:
https://docs.stripe.com/payments/deposit-mode-stablecoin-payments, https://docs.stripe.com/api/payment_intents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rails import stripe_objects
from rails.rail import (
    ActionExpired,
    ActionOpen,
    Fact,
    Order,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    ProviderRequest,
    Reference,
    Unaccountable,
)
from rails.stripe_x402.networks import Network

METHOD_ID: Final = "stripe_x402.exact.usdc"
PAYMENT_INTENT: Final = "payment_intent"
PAYABLE_UNTIL: Final = "purser_payable_until"
"""Stripe's deposits have no expiry of their own, so ours travels in the metadata of the stored request."""
ANY_AMOUNT: Final = "purser_any_amount"
"""Says on an intent that it was made to take other amounts too, whatever the setting is when it is read."""

_KIND_BY_EVENT: Final = dict.fromkeys(
    (
        "payment_intent.succeeded",
        "payment_intent.partially_funded",
        "payment_intent.processing",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.succeeded",
    ),
    PAYMENT_INTENT,
)


def request(order: Order, *, network: Network, api_version: str, any_amount: bool = False) -> ProviderRequest:
    """The payment intent to create for `order`: confirmed at once, so that the answer has the deposit address.

    With `any_amount` Stripe takes a deposit of another amount too, and says what arrived (newer preview versions).
    """
    provider_key = f"pi:{order.attempt_id}:{order.number}"
    metadata = stripe_objects.metadata(order, method_id=METHOD_ID, provider_key=provider_key)
    metadata[PAYABLE_UNTIL] = order.payable_until.astimezone(UTC).isoformat()
    deposit: dict[str, Any] = {"mode": "deposit", "deposit_options": {"networks": [network.name]}}
    if any_amount:
        deposit["amount_reconciliation"] = {"type": "accept_partial_funding"}
        metadata[ANY_AMOUNT] = "yes"
    parameters = {
        "amount": stripe_objects.usd_cents(order),
        "currency": "usd",
        "confirm": True,
        "description": order.description,
        "allowed_payment_method_types": ["crypto"],
        "payment_method_data": {"type": "crypto"},
        "payment_method_options": {"crypto": deposit},
        "metadata": metadata,
    }
    return ProviderRequest(provider_key, stripe_objects.encoded(parameters), api_version)


def payable_until(parameters: Mapping[str, Any]) -> datetime:
    """Until when the deposit is asked for, as the stored request says."""
    return datetime.fromisoformat(parameters["metadata"][PAYABLE_UNTIL])


def deposit_address(intent: Mapping[str, Any], *, network: Network) -> Mapping[str, Any] | None:
    """Stripe's instructions for `network`, as `{address, supported_tokens, …}`; None when there are none."""
    path = ("next_action", "crypto_display_details", "deposit_addresses", network.name)
    return stripe_objects.nested(intent, *path)


def token_contract(deposit: Mapping[str, Any], *, network: Network) -> str | None:
    """The contract of the network's token as Stripe's instructions name it; None when they do not take that token."""
    tokens = deposit.get("supported_tokens")
    for token in tokens if isinstance(tokens, list) else []:
        if isinstance(token, Mapping) and token.get("token_currency") == network.token_currency:
            contract = token.get("token_contract_address")
            return contract if isinstance(contract, str) else None
    return None


def references(event: Mapping[str, Any]) -> Sequence[Reference]:
    """The payment intent that `event` is about, if it is of our making."""
    return stripe_objects.references(event, _KIND_BY_EVENT, method_id=METHOD_ID)


def facts(intent: Mapping[str, Any]) -> Sequence[Fact]:
    """What is true of an intent (read with `latest_charge` expanded); empty when it is not ours."""
    origin = stripe_objects.origin(intent, method_id=METHOD_ID)
    if origin is None:
        return ()
    common = _common(intent, origin)
    received = intent.get("amount_received")
    match intent.get("status"):
        case "succeeded":
            return (_settled(intent, common),)
        case "requires_action" if received:
            # The payer has acted, so nobody is asked for the whole amount once more.
            return (PaymentProcessing(**common, reason=_so_far(intent)),)
        case "canceled" | "requires_payment_method" as status if received:
            return (Unaccountable(**common, reason=f"the payment intent is {status}. {_so_far(intent)}"),)
        case "processing":
            return (PaymentProcessing(**common),)
        case "requires_action":
            return (ActionOpen(**common),)
        case "canceled":
            return (ActionExpired(**common),)
        case "requires_payment_method":
            # Ours are confirmed when they are made: back here, the deposit failed or matched nothing.
            return (PaymentFailed(**common, reason="The deposit failed or could not be matched to the amount."),)
        case status:
            return (Unaccountable(**common, reason=f"the payment intent is {status}"),)


def _common(intent: Mapping[str, Any], origin: stripe_objects.Origin) -> stripe_objects.Common:
    charge = stripe_objects.nested(intent, "latest_charge")
    canceled_at = intent.get("canceled_at") if intent.get("status") == "canceled" else None
    return {
        "method_id": METHOD_ID,
        "attempt_id": origin.attempt_id,
        "provider_key": origin.provider_key,
        "object_id": intent["id"],
        "livemode": intent["livemode"],
        "occurred_at": stripe_objects.at(canceled_at or (charge or intent)["created"]),
    }


def _so_far(intent: Mapping[str, Any]) -> str:
    return f"{intent['amount_received']} of {intent['amount']} cents have arrived."


def _settled(intent: Mapping[str, Any], common: stripe_objects.Common) -> PaymentSettled:
    crypto = stripe_objects.nested(intent, "latest_charge", "payment_method_details", "crypto")
    return PaymentSettled(
        **common,
        payment_kind=PAYMENT_INTENT,
        payment_id=intent["id"],
        currency=intent["currency"],
        subtotal=intent["amount"],
        discount=0,
        tax=0,
        total=intent["amount_received"],
        details=stripe_objects.texts(crypto, "transaction_hash", "network", "token_currency", "buyer_address"),
        any_amount=intent["metadata"].get(ANY_AMOUNT) == "yes",
    )
