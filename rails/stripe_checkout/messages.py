"""Orders, sessions and events of Stripe Checkout in our words. Pure.

Sources: https://docs.stripe.com/api/checkout/sessions (parameters of stripe 16.1.0, API version 2026-10-28.endive),
https://docs.stripe.com/checkout/fulfillment, https://docs.stripe.com/webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rails import stripe_objects
from rails.rail import (
    ActionExpired,
    ActionOpen,
    CheckoutAction,
    Fact,
    Order,
    PaymentFailed,
    PaymentProcessing,
    PaymentSettled,
    ProviderRequest,
    Reference,
    Unaccountable,
)

METHOD_ID: Final = "stripe_checkout"
SESSION: Final = "checkout_session"
CARD: Final = "card"
PAYMENT_INTENT: Final = "payment_intent"

_KIND_BY_EVENT: Final = {
    "checkout.session.completed": SESSION,
    "checkout.session.async_payment_succeeded": SESSION,
    "checkout.session.async_payment_failed": SESSION,
    "checkout.session.expired": SESSION,
    "payment_intent.succeeded": PAYMENT_INTENT,
    "payment_intent.payment_failed": PAYMENT_INTENT,
    "payment_intent.processing": PAYMENT_INTENT,
    "payment_intent.canceled": PAYMENT_INTENT,
    "charge.succeeded": PAYMENT_INTENT,
}
_PAYMENT_OVER: Final = frozenset({"requires_payment_method", "canceled"})
"""Where a payment intent stands when a delayed payment of a completed session did not arrive."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the hosted page offers: methods in Stripe's words (`card`, `us_bank_account`), promotion codes, tax on top.

    A method that settles later is waited for.
    """

    payment_methods: tuple[str, ...] = (CARD,)
    promotion_codes: bool = False
    tax: bool = False


CARDS_ONLY: Final = Terms()


def request(order: Order, *, api_version: str, terms: Terms = CARDS_ONLY) -> ProviderRequest:
    """The session to create for `order`. `payable_until` must lie 30 minutes to 24 hours ahead, as Stripe wants it."""
    provider_key = f"cs:{order.attempt_id}:{order.number}"
    metadata = stripe_objects.metadata(order, method_id=METHOD_ID, provider_key=provider_key)
    price: dict[str, Any] = {
        "currency": "usd",
        "unit_amount": stripe_objects.usd_cents(order),
        "product_data": {"name": order.description},
    }
    if terms.tax:
        # Tax comes on top of the price: the account's own default could hide it inside, and the basis would be less.
        price["tax_behavior"] = "exclusive"
    parameters: dict[str, Any] = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "allowed_payment_method_types": list(terms.payment_methods),
        "client_reference_id": order.attempt_id,
        "metadata": metadata,
        # Refunds and disputes name the payment intent and never the session, so both carry our names.
        "payment_intent_data": {"description": order.description, "metadata": metadata},
        # The page of the attempt tells what happened, so that no session id has to come back through the payer.
        "success_url": f"{order.handoff_url}?returned=1",
        "cancel_url": f"{order.handoff_url}?returned=0",
        "expires_at": int(order.payable_until.timestamp()),
        # The Dashboard's setting would decide otherwise, and the payer would see another currency.
        "adaptive_pricing": {"enabled": False},
    }
    if terms.promotion_codes:
        parameters["allow_promotion_codes"] = True
    if terms.tax:
        parameters["automatic_tax"] = {"enabled": True}
    return ProviderRequest(provider_key, stripe_objects.encoded(parameters), api_version)


def action(session: Mapping[str, Any]) -> CheckoutAction | None:
    """What the payer must open; None when the session has no page (then it is not open)."""
    if not session.get("url"):
        return None
    return CheckoutAction(
        session_id=session["id"], url=session["url"], expires_at=stripe_objects.at(session["expires_at"])
    )


def references(event: Mapping[str, Any]) -> Sequence[Reference]:
    """The session or payment intent that `event` is about, if it is of our making."""
    return stripe_objects.references(event, _KIND_BY_EVENT, method_id=METHOD_ID)


def facts(session: Mapping[str, Any]) -> Sequence[Fact]:
    """What is true of a session (read with `payment_intent.latest_charge` expanded); empty when it is not ours."""
    origin = stripe_objects.origin(session, method_id=METHOD_ID)
    if origin is None:
        return ()
    common = _common(session, origin)
    match session.get("status"), session.get("payment_status"):
        case "open", _:
            return (ActionOpen(**common),)
        case "expired", _:
            return (ActionExpired(**common),)
        case "complete", "paid":
            return (_settled(session, common),)
        case "complete", "no_payment_required":
            return (_given(session, common),)
        case "complete", "unpaid":
            return (_unpaid(session, common),)
        case status, payment_status:
            reason = f"the session is {status} with payment status {payment_status}"
            return (Unaccountable(**common, reason=reason),)


def _common(session: Mapping[str, Any], origin: stripe_objects.Origin) -> stripe_objects.Common:
    charge = stripe_objects.nested(session, "payment_intent", "latest_charge")
    return {
        "method_id": METHOD_ID,
        "attempt_id": origin.attempt_id,
        "provider_key": origin.provider_key,
        "object_id": session["id"],
        "livemode": session["livemode"],
        "occurred_at": stripe_objects.at((charge or session)["created"]),
    }


def _settled(session: Mapping[str, Any], common: stripe_objects.Common) -> Fact:
    intent = stripe_objects.nested(session, "payment_intent")
    totals = stripe_objects.nested(session, "total_details")
    if intent is None or totals is None or session.get("amount_subtotal") is None:
        return Unaccountable(**common, reason="the session is paid but shows no payment intent or no amounts")
    received = (intent.get("amount_received"), intent.get("currency"), intent.get("livemode"))
    if received != (session["amount_total"], session["currency"], session["livemode"]):
        return Unaccountable(**common, reason="the payment intent does not agree with the session that it paid")
    return PaymentSettled(
        **common,
        payment_kind=PAYMENT_INTENT,
        payment_id=intent["id"],
        currency=session["currency"],
        subtotal=session["amount_subtotal"],
        discount=totals["amount_discount"],
        tax=totals["amount_tax"],
        total=session["amount_total"],
        details=_details(intent),
    )


def _details(intent: Mapping[str, Any]) -> dict[str, str]:
    """What the receipt may show of a charge; `type` only where it is no card."""
    paid_with = stripe_objects.nested(intent, "latest_charge", "payment_method_details") or {}
    kind = str(paid_with.get("type", CARD))
    shown = stripe_objects.texts(stripe_objects.nested(paid_with, kind), "brand", "bank_name", "last4")
    return shown if kind == CARD else {"type": kind, **shown}


def _given(session: Mapping[str, Any], common: stripe_objects.Common) -> Fact:
    """A promotion covered everything: there is no payment intent, so the session itself is what was settled."""
    totals = stripe_objects.nested(session, "total_details") or {}
    price: Any = session.get("amount_subtotal")
    amounts = (totals.get("amount_discount"), totals.get("amount_tax"), session.get("amount_total"))
    if session.get("payment_intent") is not None or amounts != (price, 0, 0) or not price:
        return Unaccountable(**common, reason="the session required no payment but is not discounted as a whole")
    return PaymentSettled(
        **common,
        payment_kind=SESSION,
        payment_id=session["id"],
        currency=session["currency"],
        subtotal=price,
        discount=price,
        tax=0,
        total=0,
        details={},
    )


def _unpaid(session: Mapping[str, Any], common: stripe_objects.Common) -> Fact:
    intent = stripe_objects.nested(session, "payment_intent")
    if intent is None or intent.get("status") not in _PAYMENT_OVER:
        return PaymentProcessing(**common)
    return PaymentFailed(**common, reason="The payment did not arrive: the bank or the card refused it.")
