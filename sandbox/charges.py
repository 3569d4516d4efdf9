"""Charges (https://docs.stripe.com/api/charges/object): made when an intent is paid, booked a moment later.

With `capture_method=automatic_async`, Checkout's default, `balance_transaction` is null on the events of success and
comes with `charge.updated` (https://docs.stripe.com/payments/payment-intents/asynchronous-capture).
"""

from sandbox import balance, errors, events, ids, jobs, paging
from sandbox.fixtures import start_from
from sandbox.state import NOBODY, Call, Cause, Json, World

PAID_OUTCOME = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "seller_message": "Payment complete.",
    "type": "authorized",
}
DECLINED_OUTCOME = {
    **PAID_OUTCOME,
    "network_status": "declined_by_network",
    "reason": "generic_decline",
    "seller_message": "The bank did not return any further details with this decline.",
    "type": "issuer_declined",
}


def card_details(last4: str = "4242") -> Json:
    """`payment_method_details` of Stripe's test cards (https://docs.stripe.com/testing)."""
    details: Json = start_from("charge")["payment_method_details"]
    details["card"] |= {"last4": last4, "wallet": None, "installments": None, "three_d_secure": None}
    return details


def bank_details() -> Json:
    """`payment_method_details` of Stripe's test bank debit (https://docs.stripe.com/payments/ach-direct-debit)."""
    bank = {"account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK"}
    return {"type": "us_bank_account", "us_bank_account": {**bank, "last4": "6789", "routing_number": "110000000"}}


def crypto_details(
    *, buyer: str | None, network: str, token_currency: str, transaction_hash: str, **amounts: int
) -> Json:
    """`payment_method_details.crypto` as stripe 16.1.0's `Charge` has it.

    `amounts`: `amount_requested` and `amount_received` in cents, which only previews know (stripe 16.1.0a4's `Charge`).
    """
    crypto = {"buyer_address": buyer, "network": network, "token_currency": token_currency}
    return {"type": "crypto", "crypto": {**crypto, "transaction_hash": transaction_hash, **amounts}}


def make(world: World, intent: Json, details: Json, *, status: str, cause: Cause = NOBODY) -> Json:
    """A charge of the intent's amount, `succeeded`, `pending` or `failed`, with its event."""
    paid = status == "succeeded"
    amount = intent["amount_received"] if paid else intent["amount"]
    charge = start_from(
        "charge",
        id=ids.new("ch" if details["type"] == "card" else "py"),
        amount=amount,
        amount_captured=amount if paid else 0,
        balance_transaction=None,
        captured=paid,
        created=world.created(),
        currency=intent["currency"],
        description=intent["description"],
        failure_code=None if status != "failed" else "card_declined",
        failure_message=None if status != "failed" else "Your card was declined.",
        livemode=intent["livemode"],
        metadata=intent["metadata"],
        outcome=DECLINED_OUTCOME if status == "failed" else PAID_OUTCOME,
        paid=status != "failed",
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        payment_method_details=details,
        receipt_email=intent["receipt_email"],
        receipt_url=None,
        shipping=None,
        source=None,
        status=status,
        transfer_data=None,
    )
    charge["billing_details"]["name"] = None
    del charge["refunds"]  # https://docs.stripe.com/upgrades#2022-11-15: no longer part of the answer
    world.store.put("charge", charge["id"], charge)
    events.emit(world, f"charge.{status}", charge, cause)
    if paid:
        jobs.later(world, world.config.balance_delay_s, "book_charge", charge["id"])
    return charge


def finish(world: World, charge: Json, *, status: str) -> Json:
    """A pending charge of a delayed method succeeds or fails."""
    paid = status == "succeeded"
    charge |= {"status": status, "paid": paid, "captured": paid, "amount_captured": charge["amount"] if paid else 0}
    world.store.put("charge", charge["id"], charge)
    events.emit(world, f"charge.{status}", charge)
    if paid:
        jobs.later(world, world.config.balance_delay_s, "book_charge", charge["id"])
    return charge


def book(world: World, charge_id: str) -> None:
    """The balance transaction comes, and with it `charge.updated`."""
    charge = world.store.get("charge", charge_id)
    if charge is None or charge["balance_transaction"] is not None:
        return
    kind = charge["payment_method_details"]["type"]
    fee = balance.crypto_fee(charge["amount"]) if kind == "crypto" else balance.card_fee(charge["amount"])
    transaction = balance.book(
        world,
        amount=charge["amount"],
        fee=fee,
        kind="charge" if kind == "card" else "payment",
        category="charge",
        source=charge["id"],
        currency=charge["currency"],
        description=charge["description"] or "",
    )
    charge["balance_transaction"] = transaction["id"]
    world.store.put("charge", charge["id"], charge)
    events.emit(world, "charge.updated", charge, previous={"balance_transaction": None})


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/charges/{id}`."""
    charge = world.store.get("charge", call.identifier)
    if charge is None:
        raise errors.missing_resource("charge", call.identifier)
    return charge


def listed(world: World, call: Call) -> Json:
    """`GET /v1/charges`, by payment intent if wanted."""
    intent = call.params.get("payment_intent")
    return paging.page(
        world, call, kind="charge", url="/v1/charges", fits=lambda one: intent in (None, one["payment_intent"])
    )
