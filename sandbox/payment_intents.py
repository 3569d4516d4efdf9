"""The routes of PaymentIntents (https://docs.stripe.com/api/payment_intents); their life is in `intents.py`."""

from sandbox import charges, deposits, errors, ids, intents, paging
from sandbox.state import Call, Json, World

AMOUNT_MAX = 99_999_999
CARD_AMOUNT_MIN = 50
"""https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts: $0.50."""
PLAYED = {
    "allowed_payment_method_types",
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "currency",
    "description",
    "excluded_payment_method_types",
    "expand",
    "metadata",
    "payment_method",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "statement_descriptor",
    "statement_descriptor_suffix",
}
CARDS = {"pm_card_visa": True, "pm_card_visa_chargeDeclined": False}
"""Test payment methods of https://docs.stripe.com/testing that the sandbox plays: whether they pay."""


def create(world: World, call: Call) -> Json:
    """`POST /v1/payment_intents`: waiting for a card, paid at once by a test card, or a crypto deposit."""
    params = call.params
    _check(params)
    if deposits.is_asked_for(params):
        return deposits.create(world, call)
    if params["amount"] < CARD_AMOUNT_MIN:
        raise errors.invalid("amount", "Amount must be at least $0.50 usd", "amount_too_small")
    if not params.get("confirm"):
        return intents.open_intent(world, params, call.cause)
    method = params.get("payment_method")
    if method not in CARDS:
        raise errors.not_played("confirm without payment_method pm_card_visa or pm_card_visa_chargeDeclined")
    intent = intents.open_intent(world, params, call.cause)
    intent["payment_method"] = ids.new("pm")
    if not CARDS[method]:
        intents.decline(world, intent, cause=call.cause)
        raise errors.card_declined()
    return intents.succeed(world, intent, charges.card_details(), cause=call.cause)


def cancel(world: World, call: Call) -> Json:
    """`POST /v1/payment_intents/{id}/cancel`; refused once processing or over."""
    intent = retrieved(world, call)
    if intent["status"] in ("succeeded", "canceled", "processing"):
        raise errors.wrong_state(
            "You cannot cancel this PaymentIntent because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be canceled: "
            "requires_payment_method, requires_capture, requires_confirmation, requires_action.",
            "payment_intent_unexpected_state",
        )
    return intents.end(world, intent, call.params.get("cancellation_reason"), cause=call.cause)


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/payment_intents/{id}`."""
    intent = world.store.get("payment_intent", call.identifier)
    if intent is None:
        raise errors.missing_resource("payment_intent", call.identifier, "intent")
    return intent


def listed(world: World, call: Call) -> Json:
    """`GET /v1/payment_intents`."""
    return paging.page(world, call, kind="payment_intent", url="/v1/payment_intents")


def _check(params: Json) -> None:
    for name in params:
        if name not in PLAYED:
            raise errors.not_played(name)
    if params["currency"] != "usd":
        raise errors.not_played("currency other than usd")
    if params["amount"] < 1:
        raise errors.invalid("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if params["amount"] > AMOUNT_MAX:
        raise errors.invalid("amount", "Amount must be no more than $999,999.99", "amount_too_large")
    if params.get("capture_method") == "manual":
        raise errors.not_played("capture_method=manual")
