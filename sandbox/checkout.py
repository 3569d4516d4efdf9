"""Checkout Sessions: the routes (https://docs.stripe.com/api/checkout/sessions). What the payer does is in `payer.py`.

`payment_intent` stays null until the payer submits
(https://docs.stripe.com/changelog/2022-08-01/deferred-paymentintent-checkout-session).
"""

from typing import Any

from sandbox import errors, events, ids, intents, paging
from sandbox.fixtures import start_from
from sandbox.state import NOBODY, Call, Cause, Json, World

AMOUNT_MIN = 50
AMOUNT_MAX = 99_999_999
EXPIRY_MIN_S = 30 * 60
EXPIRY_MAX_S = 24 * 3600
CLIENT_REFERENCE_LENGTH_MAX = 200
PLAYED = {
    "adaptive_pricing",
    "allow_promotion_codes",
    "allowed_payment_method_types",
    "automatic_tax",
    "billing_address_collection",
    "branding_settings",
    "cancel_url",
    "client_reference_id",
    "consent_collection",
    "currency",
    "custom_text",
    "customer_creation",
    "customer_email",
    "excluded_payment_method_types",
    "expand",
    "expires_at",
    "integration_identifier",
    "line_items",
    "locale",
    "metadata",
    "mode",
    "name_collection",
    "origin_context",
    "payment_intent_data",
    "payment_method_options",
    "phone_number_collection",
    "submit_type",
    "success_url",
    "tax_id_collection",
    "ui_mode",
}
PLAYED_OF_INTENT = {
    "capture_method",
    "description",
    "metadata",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
}
KEPT = PLAYED - {"adaptive_pricing", "automatic_tax", "expand", "expires_at", "line_items", "payment_intent_data"}
"""Parameters that the session shows as they came."""


def create(world: World, call: Call) -> Json:
    """`POST /v1/checkout/sessions`: an open session in `payment` mode with a hosted page."""
    params, now = call.params, world.created()
    _check(params)
    items = [_line_item(item, now) for item in params["line_items"]]
    subtotal, currency = _subtotal(items)
    identifier = ids.new("cs_test", 58)
    session = start_from(
        "checkout.session",
        **_nothing_collected(),
        id=identifier,
        adaptive_pricing={"enabled": params.get("adaptive_pricing", {}).get("enabled", False)},
        amount_subtotal=subtotal,
        amount_total=subtotal,
        automatic_tax=_automatic_tax(params),
        created=now,
        expires_at=_expires_at(params, now),
        payment_status="unpaid",
        status="open",
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        url=f"{world.config.public_url}/c/pay/{identifier}#{ids.checkout_fragment()}",
    )
    session |= {name: params[name] for name in sorted(KEPT & params.keys())}
    session |= {"currency": currency, "metadata": params.get("metadata", {})}
    world.store.put("checkout.session", identifier, session)
    world.store.put("line_items", identifier, {"id": identifier, "data": items})
    data = params.get("payment_intent_data", {})
    world.store.put("session_private", identifier, {"id": identifier, "payment_intent_data": data})
    return session


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/checkout/sessions/{id}`."""
    session = world.store.get("checkout.session", call.identifier)
    if session is None:
        raise errors.missing_resource("checkout.session", call.identifier, "session")
    return session


def line_items(world: World, call: Call) -> Json:
    """`GET /v1/checkout/sessions/{id}/line_items`."""
    retrieved(world, call)
    items = world.store.get("line_items", call.identifier) or {"data": []}
    return paging.cut(items["data"], call.params, f"/v1/checkout/sessions/{call.identifier}/line_items")


def listed(world: World, call: Call) -> Json:
    """`GET /v1/checkout/sessions`, by status, payment intent and the payer's e-mail."""
    wanted = call.params
    for name in ("customer", "customer_account", "payment_link", "subscription"):
        if name in wanted:
            raise errors.not_played(name)
    email = wanted.get("customer_details", {}).get("email")

    def fits(session: Json) -> bool:
        return (
            wanted.get("status", session["status"]) == session["status"]
            and wanted.get("payment_intent", session["payment_intent"]) == session["payment_intent"]
            and email in (None, (session["customer_details"] or {}).get("email"))
        )

    return paging.page(world, call, kind="checkout.session", url="/v1/checkout/sessions", fits=fits)


def expire(world: World, call: Call) -> Json:
    """`POST /v1/checkout/sessions/{id}/expire`: only an open one."""
    session = retrieved(world, call)
    if session["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of `{session['status']}`."
        )
        raise errors.wrong_state(message)
    return end(world, session, call.cause)


def end(world: World, session: Json, cause: Cause = NOBODY) -> Json:
    """The session expires; an intent of a declined try is canceled with it; its URL is no more."""
    session |= {"status": "expired", "url": None}
    intent = world.store.get("payment_intent", session["payment_intent"] or "")
    if intent is not None:
        intents.end(world, intent, "automatic", cause=cause)
    world.store.put("checkout.session", session["id"], session)
    events.emit(world, "checkout.session.expired", session, cause)
    return session


def _check(params: Json) -> None:
    for name in params:
        if name not in PLAYED:
            raise errors.not_played(name)
    for name in params.get("payment_intent_data", {}):
        if name not in PLAYED_OF_INTENT:
            raise errors.not_played(f"payment_intent_data[{name}]")
    for name in ("mode", "line_items", "success_url"):
        if not params.get(name):
            raise errors.missing_parameter(name)
    if params["mode"] != "payment":
        raise errors.not_played(f"mode={params['mode']}")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise errors.not_played(f"ui_mode={params['ui_mode']}")
    if len(params.get("client_reference_id", "")) > CLIENT_REFERENCE_LENGTH_MAX:
        message = f"Invalid string: client_reference_id must be at most {CLIENT_REFERENCE_LENGTH_MAX} characters"
        raise errors.invalid("client_reference_id", message)
    for name in ("success_url", "cancel_url"):
        if not params.get(name, "https://").startswith(("http://", "https://")):
            raise errors.invalid(name, "Not a valid URL", "url_invalid")


def _line_item(item: Json, now: int) -> Json:
    price = item.get("price_data")
    if price is None:
        raise errors.missing_resource("price", item.get("price", ""), "line_items[0][price]")
    if "unit_amount" not in price or "product_data" not in price or "recurring" in price:
        raise errors.not_played("line_items[][price_data] without unit_amount and product_data, or recurring")
    if price["unit_amount"] < 0:
        raise errors.invalid("line_items[0][price_data][unit_amount]", "Invalid non-negative integer")
    if item.get("quantity", 1) < 1:
        raise errors.invalid("line_items[0][quantity]", "This value must be greater than or equal to 1.")
    amount = price["unit_amount"] * item.get("quantity", 1)
    line = start_from(
        "item",
        id=ids.new("li"),
        adjustable_quantity=None,
        amount_subtotal=amount,
        amount_total=amount,
        currency=price["currency"],
        description=price["product_data"]["name"],
        quantity=item.get("quantity", 1),
    )
    line["price"] |= {"id": ids.new("price"), "product": ids.new("prod", 14), "created": now, "recurring": None}
    line["price"] |= {"currency": price["currency"], "custom_unit_amount": None, "transform_quantity": None}
    line["price"] |= {"unit_amount": price["unit_amount"], "unit_amount_decimal": str(price["unit_amount"])}
    return line


def _subtotal(items: list[Json]) -> tuple[int, str]:
    currencies = {item["currency"] for item in items}
    if currencies != {"usd"}:
        raise errors.not_played("currency other than usd")
    total = sum(item["amount_subtotal"] for item in items)
    if total < AMOUNT_MIN:
        message = "The Checkout Session's total amount due must add up to at least $0.50 usd"
        raise errors.invalid("line_items", message, "amount_too_small")
    if total > AMOUNT_MAX:
        message = "The Checkout Session's total amount due must be no more than $999,999.99"
        raise errors.invalid("line_items", message, "amount_too_large")
    return total, "usd"


def _expires_at(params: Json, now: int) -> int:
    moment: int = params.get("expires_at", now + EXPIRY_MAX_S)
    if moment < now + EXPIRY_MIN_S:
        message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
        raise errors.invalid("expires_at", message)
    if moment > now + EXPIRY_MAX_S:
        message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
        raise errors.invalid("expires_at", message)
    return moment


def _automatic_tax(params: Json) -> Json:
    enabled = params.get("automatic_tax", {}).get("enabled", False)
    return {"enabled": enabled, "liability": None, "provider": None, "status": "complete" if enabled else None}


def _nothing_collected() -> dict[str, Any]:
    """The fixture shows every optional field filled; a new session has none of them."""
    emptied = dict.fromkeys(
        (
            "after_expiration",
            "cancel_url",
            "collected_information",
            "consent",
            "consent_collection",
            "currency_conversion",
            "customer_details",
            "invoice",
            "managed_payments",
            "payment_intent",
            "payment_method_configuration_details",
            "permissions",
            "saved_payment_method_options",
            "shipping_address_collection",
            "shipping_cost",
            "wallet_options",
        )
    )
    texts = dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance"))
    invoice = start_from("checkout.session")["invoice_creation"] | {"enabled": False}
    return {**emptied, "custom_text": texts, "invoice_creation": invoice, "ui_mode": "hosted_page"}
