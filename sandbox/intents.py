"""The life of a PaymentIntent: its making and every change of state, each with its event.

Follows https://docs.stripe.com/payments/paymentintents/lifecycle. The routes are in `payment_intents.py`.
"""

from typing import Any

from sandbox import charges, errors, events, ids
from sandbox.errors import Refusal
from sandbox.fixtures import start_from
from sandbox.state import NOBODY, Cause, Json, World


def open_intent(world: World, params: Json, cause: Cause = NOBODY, **fields: Any) -> Json:
    """A stored intent that waits for a payment method, with `payment_intent.created`."""
    identifier = ids.new("pi")
    intent = start_from(
        "payment_intent",
        id=identifier,
        amount=params["amount"],
        amount_received=0,
        canceled_at=None,
        capture_method=params.get("capture_method", "automatic_async"),
        client_secret=f"{identifier}_secret_{ids.new('x', 25)[2:]}",
        created=world.created(),
        currency=params["currency"],
        description=params.get("description"),
        last_payment_error=None,
        managed_payments=None,
        metadata=params.get("metadata", {}),
        next_action=None,
        payment_method_configuration_details=None,
        processing=None,
        receipt_email=params.get("receipt_email"),
        shipping=None,
        statement_descriptor=params.get("statement_descriptor"),
        statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
        transfer_data=None,
    )
    intent |= fields
    world.store.put("payment_intent", identifier, intent)
    events.emit(world, "payment_intent.created", intent, cause)
    return intent


def require_action(world: World, intent: Json, action: Json, *, cause: Cause = NOBODY) -> Json:
    """The payer has to do something outside, such as sending a transfer."""
    intent |= {"status": "requires_action", "next_action": action}
    return _moved(world, intent, "payment_intent.requires_action", cause)


def process(world: World, intent: Json, *, cause: Cause = NOBODY) -> Json:
    """The payer did his part; the money is on its way."""
    intent |= {"status": "processing", "next_action": None}
    return _moved(world, intent, "payment_intent.processing", cause)


def fund_partially(world: World, intent: Json, *, cause: Cause = NOBODY) -> Json:
    """Less than asked for has come (https://docs.stripe.com/api/events/types, `payment_intent.partially_funded`)."""
    return _moved(world, intent, "payment_intent.partially_funded", cause)


def succeed(world: World, intent: Json, details: Json, *, cause: Cause = NOBODY, overrides: Json | None = None) -> Json:
    """Paid. `overrides` (amount, amount_received, currency, livemode, metadata) make letters that do not agree."""
    intent |= {"status": "succeeded", "amount_received": intent["amount"], "next_action": None, "processing": None}
    intent |= {"last_payment_error": None, **(overrides or {})}
    pending = world.store.get("charge", intent["latest_charge"] or "")
    if pending is not None and pending["status"] == "pending":
        charge = charges.finish(world, pending, status="succeeded")
    else:
        charge = charges.make(world, intent, details, status="succeeded", cause=cause)
    intent["latest_charge"] = charge["id"]
    return _moved(world, intent, "payment_intent.succeeded", cause)


def decline(world: World, intent: Json, *, cause: Cause = NOBODY) -> Json:
    """The bank said no; the intent waits for another payment method."""
    charge = charges.make(world, intent, charges.card_details("0002"), status="failed", cause=cause)
    intent["latest_charge"] = charge["id"]
    return fail(world, intent, errors.card_declined(), cause=cause)


def fail(world: World, intent: Json, reason: Refusal, *, cause: Cause = NOBODY) -> Json:
    """Back to `requires_payment_method`, with `last_payment_error`."""
    error = {"type": reason.type, "code": reason.code, "message": reason.message}
    if reason.decline_code:
        error["decline_code"] = reason.decline_code
    intent |= {"status": "requires_payment_method", "last_payment_error": error, "next_action": None}
    intent |= {"payment_method": None, "processing": None}
    return _moved(world, intent, "payment_intent.payment_failed", cause)


def end(world: World, intent: Json, reason: str | None, *, cause: Cause = NOBODY) -> Json:
    """Canceled for good, by request or by Stripe (`expired`)."""
    intent |= {"status": "canceled", "canceled_at": world.created(), "cancellation_reason": reason}
    intent["next_action"] = None
    return _moved(world, intent, "payment_intent.canceled", cause)


def _moved(world: World, intent: Json, event_type: str, cause: Cause) -> Json:
    world.store.put("payment_intent", intent["id"], intent)
    events.emit(world, event_type, intent, cause)
    return intent
