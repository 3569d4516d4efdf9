"""What a person does on the hosted page: pay, be declined, pay by a delayed method, use a promotion code.

https://docs.stripe.com/payments/checkout/how-checkout-works and, for delayed methods,
https://docs.stripe.com/checkout/fulfillment (`completed` comes unpaid, `async_payment_*` later).
"""

from sandbox import charges, errors, events, intents
from sandbox.errors import Refusal
from sandbox.state import Json, World

PROMOTION_CODES = {"SANDBOX10": 10, "SANDBOX50": 50, "SANDBOX100": 100}
"""Code → per cent off."""
OF_INTENT = ("currency", "livemode")
"""Overrides that hold for the session and for its intent."""
BANK_REFUSED = Refusal(402, "The bank debit was returned.", code="payment_intent_payment_attempt_failed")


def pay(world: World, session_id: str, overrides: Json | None = None) -> Json:
    """A test card pays. `overrides` may hold `tax` and `discount` (cents), or fields of the session that then disagree.

    Nothing due (a 100 % discount) completes as `no_payment_required`, without a PaymentIntent.
    """
    session, overrides = _open(world, session_id), dict(overrides or {})
    _charge_tax_and_discount(world, session, overrides)
    amounts = _intent_overrides(overrides)
    if session["amount_total"] == 0:
        session["payment_status"] = "no_payment_required"
        return _complete(world, session, overrides)
    intent = intents.succeed(world, _intent(world, session), charges.card_details(), overrides=amounts)
    session |= {"payment_intent": intent["id"], "payment_status": "paid"}
    return _complete(world, session, overrides)


def decline(world: World, session_id: str) -> Json:
    """The card is declined; the session stays open and can be paid with another."""
    session = _open(world, session_id)
    intent = intents.decline(world, _intent(world, session))
    session["payment_intent"] = intent["id"]
    world.store.put("checkout.session", session_id, session)
    return session


def pay_delayed(world: World, session_id: str, overrides: Json | None = None) -> Json:
    """A bank debit: the session completes unpaid, the money comes or fails later."""
    session, overrides = _open(world, session_id), dict(overrides or {})
    _charge_tax_and_discount(world, session, overrides)
    intent = _intent(world, session)
    intent |= {**_intent_overrides(overrides), "payment_method_types": ["us_bank_account"]}
    charge = charges.make(world, intent, charges.bank_details(), status="pending")
    intent["latest_charge"] = charge["id"]
    intents.process(world, intent)
    session |= {"payment_intent": intent["id"], "payment_status": "unpaid"}
    return _complete(world, session, overrides)


def settle_delayed(world: World, session_id: str, overrides: Json | None = None) -> Json:
    """The bank debit arrives: `checkout.session.async_payment_succeeded`."""
    session, intent = _waiting(world, session_id)
    intents.succeed(world, intent, charges.bank_details(), overrides=overrides)
    session["payment_status"] = "paid"
    world.store.put("checkout.session", session_id, session)
    events.emit(world, "checkout.session.async_payment_succeeded", session)
    return session


def fail_delayed(world: World, session_id: str) -> Json:
    """The bank debit is returned: `checkout.session.async_payment_failed`; the session stays complete and unpaid."""
    session, intent = _waiting(world, session_id)
    charge = world.store.get("charge", intent["latest_charge"])
    if charge is not None:
        charges.finish(world, charge, status="failed")
    intents.fail(world, intent, BANK_REFUSED)
    events.emit(world, "checkout.session.async_payment_failed", session)
    return session


def use_promotion_code(world: World, session_id: str, code: str) -> Json:
    """Take a percentage off; raises `Refusal` for a code that is not one."""
    session = _open(world, session_id)
    percent = PROMOTION_CODES.get(code.strip().upper())
    if percent is None or not session["allow_promotion_codes"]:
        raise errors.invalid("promotion_code", "This code is invalid.", "promotion_code_invalid")
    _total(world, session, tax=0, discount=session["amount_subtotal"] * percent // 100)
    world.store.put("checkout.session", session_id, session)
    return session


def session_of(world: World, intent_id: str) -> str | None:
    """The id of the session that made an intent, if one did."""
    found = (one["id"] for one in world.store.newest_first("checkout.session") if one["payment_intent"] == intent_id)
    return next(found, None)


def _charge_tax_and_discount(world: World, session: Json, overrides: Json) -> None:
    tax, discount = overrides.pop("tax", None), overrides.pop("discount", None)
    before = session["total_details"]
    _total(
        world,
        session,
        tax=before["amount_tax"] if tax is None else tax,
        discount=before["amount_discount"] if discount is None else discount,
    )


def _total(world: World, session: Json, *, tax: int, discount: int) -> None:
    if discount > session["amount_subtotal"]:
        raise errors.invalid("discount", "The discount is larger than the subtotal.")
    session["total_details"] = {"amount_discount": discount, "amount_shipping": 0, "amount_tax": tax}
    session["amount_total"] = session["amount_subtotal"] - discount + tax
    items = world.store.get("line_items", session["id"])
    if items is not None:
        first = items["data"][0]
        first |= {"amount_discount": discount, "amount_tax": tax}
        first["amount_total"] = first["amount_subtotal"] - discount + tax
        world.store.put("line_items", session["id"], items)


def _intent_overrides(overrides: Json) -> Json:
    """Takes `payment_intent` out of the overrides: fields of the intent alone."""
    own: Json = overrides.pop("payment_intent", {})
    return {**{name: overrides[name] for name in OF_INTENT if name in overrides}, **own}


def _intent(world: World, session: Json) -> Json:
    """The intent of an earlier, declined try, or a new one of the session's total and `payment_intent_data`."""
    found = world.store.get("payment_intent", session["payment_intent"] or "")
    if found is not None:
        return {**found, "amount": session["amount_total"]}
    private = world.store.get("session_private", session["id"]) or {"payment_intent_data": {}}
    params = {**private["payment_intent_data"], "amount": session["amount_total"], "currency": session["currency"]}
    return intents.open_intent(world, params)


def _complete(world: World, session: Json, overrides: Json) -> Json:
    session |= {"status": "complete", "url": None, "customer_details": _customer(session), **overrides}
    world.store.put("checkout.session", session["id"], session)
    events.emit(world, "checkout.session.completed", session)
    return session


def _customer(session: Json) -> Json:
    email = session["customer_email"] or "payer@example.com"
    nothing = dict.fromkeys(("address", "business_name", "individual_name", "name", "phone"))
    return {**nothing, "email": email, "tax_exempt": "none", "tax_ids": []}


def _open(world: World, session_id: str) -> Json:
    session = _found(world, session_id)
    if session["status"] != "open":
        raise errors.wrong_state(f"This Checkout Session is {session['status']}.", "checkout_session_not_open")
    return session


def _waiting(world: World, session_id: str) -> tuple[Json, Json]:
    session = _found(world, session_id)
    intent = world.store.get("payment_intent", session["payment_intent"] or "")
    if session["status"] != "complete" or intent is None or intent["status"] != "processing":
        raise errors.wrong_state("This Checkout Session does not wait for a delayed payment.")
    return session, intent


def _found(world: World, session_id: str) -> Json:
    session = world.store.get("checkout.session", session_id)
    if session is None:
        raise errors.missing_resource("checkout.session", session_id, "session")
    return session
