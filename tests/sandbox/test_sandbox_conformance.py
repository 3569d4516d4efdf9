"""Every answer parses with stripe 16.1.0's own classes and has the fields those promise."""

import json
import time
import types
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import httpx
import pytest
import stripe

from tests.sandbox import known_parameters
from tests.sandbox.conftest import (
    KEY,
    PREVIEW,
    WAIT_S,
    Sandbox,
    address_of,
    new_deposit,
    new_session,
    receiving,
    start,
    until,
)

PACKAGE = Path(__file__).parents[2] / "sandbox"


def promised(kind: type[Any]) -> dict[str, Any]:
    """Field → type, of those fields that the class does not call optional."""
    import sys

    from typing_extensions import get_type_hints

    names = {
        **vars(stripe),
        **vars(stripe.checkout),
        **vars(stripe.radar),
        **vars(sys.modules[kind.__module__]),
        **vars(kind),
    }
    module = sys.modules[kind.__module__]
    found = {}
    for name, annotation in kind.__annotations__.items():
        origin: Any = get_origin(annotation)
        if origin is ClassVar:
            continue
        holder = type("Holder", (), {"__annotations__": {name: annotation}, "__module__": module.__name__})
        try:
            wanted = get_type_hints(holder, localns=names)[name]
        except NameError:
            wanted = Any
        if not any(mark in f"{annotation} {wanted}" for mark in ("Optional[", "NoneType")):
            found[name] = wanted
    return found


def fits(value: Any, wanted: Any) -> bool:
    origin = get_origin(wanted)
    if wanted is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in get_args(wanted))
    if origin is Literal:
        return value in get_args(wanted)
    if origin is list:
        return isinstance(value, list)
    if origin is not None or wanted is None:
        return True
    return isinstance(value, wanted) if isinstance(wanted, type) and wanted in (int, str, bool) else value is not None


def assert_whole(found: Any, kind: type[Any]) -> None:
    assert isinstance(found, kind)
    wanted = promised(kind)
    assert "id" in wanted or kind is stripe.Balance
    for name, annotation in wanted.items():
        assert name in found, f"{kind.__name__}.{name} is missing"
        assert fits(found[name], annotation), f"{kind.__name__}.{name} = {found[name]!r}"


def test_every_object_has_what_its_class_promises(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    session = new_session(client)
    assert_whole(session, stripe.checkout.Session)
    sandbox.control("POST", f"sessions/{session.id}/pay")
    session = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    intent: Any = session.payment_intent
    assert_whole(intent, stripe.PaymentIntent)
    assert_whole(intent.latest_charge, stripe.Charge)

    def booked() -> Any:
        return client.v1.charges.retrieve(intent.latest_charge.id, {"expand": ["balance_transaction"]})

    until(lambda: booked().balance_transaction)
    assert_whole(booked().balance_transaction, stripe.BalanceTransaction)
    assert_whole(client.v1.refunds.create({"payment_intent": intent.id, "amount": 100}), stripe.Refund)
    warning = sandbox.control("POST", "fraud_warnings", {"payment_intent": intent.id})
    assert_whole(client.v1.radar.early_fraud_warnings.retrieve(warning["id"]), stripe.radar.EarlyFraudWarning)
    dispute = sandbox.control("POST", "disputes", {"payment_intent": intent.id})
    assert_whole(client.v1.disputes.retrieve(dispute["id"]), stripe.Dispute)
    assert_whole(client.v1.events.list({"limit": 1}).data[0], stripe.Event)
    assert_whole(client.v1.accounts.retrieve_current(), stripe.Account)
    assert_whole(client.v1.balance.retrieve(), stripe.Balance)


def test_line_items_parse_and_carry_the_price(client: stripe.StripeClient) -> None:
    session = client.v1.checkout.sessions.retrieve(new_session(client).id, {"expand": ["line_items"]})
    assert session.line_items is not None
    item = session.line_items.data[0]
    assert_whole(item, stripe.LineItem)
    assert (item.amount_total, item.quantity, item.description) == (500, 1, "500 credits")
    assert item.price is not None
    assert_whole(item.price, stripe.Price)
    assert client.v1.checkout.sessions.line_items.list(session.id).data[0].id == item.id


async def _created_async(url: str) -> tuple[str, str]:
    http = stripe.HTTPXClient(timeout=WAIT_S)
    client = stripe.StripeClient(KEY, base_addresses={"api": url}, http_client=http)
    intent = await client.v1.payment_intents.create_async({"amount": 500, "currency": "usd"})
    await http.close_async()
    return intent.object, intent.status


def test_the_async_client_works_too(sandbox: Sandbox) -> None:
    import asyncio

    assert asyncio.run(_created_async(sandbox.url)) == ("payment_intent", "requires_payment_method")


def test_known_parameters_are_those_of_the_installed_client() -> None:
    kept = (PACKAGE / "known_parameters.json").read_text("utf-8")
    assert json.loads(kept) == known_parameters.tree_of_all()
    assert kept == known_parameters.as_text(known_parameters.tree_of_all())


def test_session_has_stripes_shapes_of_id_and_url(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    session = new_session(client)
    assert session.id.startswith("cs_test_")
    assert session.payment_intent is None
    assert session.url is not None
    assert session.url.startswith(f"{sandbox.url}/c/pay/{session.id}#fid")


def test_unknown_parameter_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        new_session(client, surprise="x")
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "surprise")
    assert "Received unknown parameter: surprise" in str(refused.value)
    assert str(refused.value.request_id).startswith("req_")


@pytest.mark.parametrize("version", [None, PREVIEW])
def test_payment_method_types_can_no_longer_be_written(client: stripe.StripeClient, version: str | None) -> None:
    params: Any = {"amount": 500, "currency": "usd", "payment_method_types": ["card"]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(params, {"stripe_version": version} if version else {})
    assert refused.value.code == "payment_method_types_no_longer_supported"


def test_deposit_mode_is_unknown_to_the_general_version(client: stripe.StripeClient) -> None:
    from tests.sandbox.conftest import deposit_params

    params: Any = deposit_params()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create(params)
    assert "payment_method_options[crypto][mode]" in str(refused.value)
    assert refused.value.code == "parameter_unknown"


def test_deposit_shows_one_deterministic_address_on_base(client: stripe.StripeClient) -> None:
    intent = new_deposit(client)
    action: Any = intent.next_action
    assert (intent.status, action["type"]) == ("requires_action", "crypto_display_details")
    shown = action["crypto_display_details"]["deposit_addresses"]["base"]
    assert len(shown["address"]) == 42
    assert shown["address"] == shown["address"].lower()
    token = {"token_currency": "usdc", "token_contract_address": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"}
    assert [token] == [dict(one.to_dict()) for one in shown["supported_tokens"]]
    assert address_of(client.v1.payment_intents.retrieve(intent.id)) == shown["address"]
    assert address_of(new_deposit(client)) != shown["address"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"expires_at": 1}, "expires_at"),
        ({"metadata": {"k" * 41: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 501}}, "metadata[k]"),
        ({"metadata": {str(n): "v" for n in range(51)}}, "metadata"),
        ({"client_reference_id": "x" * 201}, "client_reference_id"),
        ({"success_url": "nowhere"}, "success_url"),
        ({"mode": "subscription"}, "mode=subscription"),
        ({"ui_mode": "embedded"}, "ui_mode"),
        ({"allow_promotion_codes": "maybe"}, "allow_promotion_codes"),
        ({"customer": "cus_1"}, "customer"),
    ],
)
def test_stripes_limits_hold(client: stripe.StripeClient, more: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        new_session(client, **more)
    assert refused.value.param == param


def test_less_than_fifty_cents_is_too_small(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create({"amount": 49, "currency": "usd"})
    assert refused.value.code == "amount_too_small"


@pytest.mark.parametrize("authorization", ["", "Bearer sk_live_x", "Bearer pk_test_x", "Basic !!"])
def test_only_test_secret_keys_open_the_door(sandbox: Sandbox, authorization: str) -> None:
    answer = sandbox.raw("GET", "/v1/account", Authorization=authorization)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_restricted_key_and_basic_scheme_are_taken(sandbox: Sandbox) -> None:
    assert sandbox.client("rk_test_x").v1.accounts.retrieve_current().charges_enabled
    answer = httpx.get(f"{sandbox.url}/v1/account", auth=("sk_test_x", ""), trust_env=False, timeout=WAIT_S)
    assert answer.status_code == 200


def test_what_does_not_exist_answers_404(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.retrieve("cs_test_nothing")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    assert sandbox.raw("GET", "/v1/surprises").status_code == 404
    assert sandbox.raw("GET", "/v1/account", Stripe_Version="2020-01-01").status_code == 400


def test_lists_page_by_cursor_and_time(client: stripe.StripeClient) -> None:
    made = [new_session(client).id for _ in range(3)]
    newest = client.v1.checkout.sessions.list({"limit": 2})
    assert [one.id for one in newest.data] == made[:0:-1]
    assert newest.has_more
    older = client.v1.checkout.sessions.list({"limit": 1, "starting_after": made[1]})
    assert [one.id for one in older.data] == made[:1]
    newer = client.v1.checkout.sessions.list({"limit": 1, "ending_before": made[0]})
    assert [one.id for one in newer.data] == made[1:2]
    future = newest.data[0].created + 100
    assert client.v1.checkout.sessions.list({"created": {"gt": future}}).data == []
    assert client.v1.payment_intents.list({"created": {"lte": 1}}).data == []


def test_what_cannot_be_expanded_makes_nothing(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    before = sandbox.control("GET", "state")["objects"]["checkout.session"] if new_session(client) else 0
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        new_session(client, expand=["metadata"])
    assert sandbox.control("GET", "state")["objects"]["checkout.session"] == before


def test_webhook_endpoint_shows_its_secret_once_and_gets_what_it_wants(
    sandbox: Sandbox, client: stripe.StripeClient
) -> None:
    with receiving() as receiver:
        made = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["checkout.session.expired"]})
        assert made.secret is not None
        assert made.secret.startswith("whsec_")
        assert_whole(made, stripe.WebhookEndpoint)
        assert "secret" not in client.v1.webhook_endpoints.retrieve(made.id)
        session = new_session(client)
        client.v1.checkout.sessions.expire(session.id)
        until(lambda: receiver.letters)
        assert stripe.WebhookSignature.verify_header(
            receiver.letters[0].body, receiver.letters[0].signature, made.secret, tolerance=300
        )
        client.v1.webhook_endpoints.update(made.id, {"disabled": True})
        client.v1.checkout.sessions.expire(new_session(client).id)
        assert client.v1.webhook_endpoints.delete(made.id).deleted
        assert len(receiver.letters) == 1
        with pytest.raises(stripe.InvalidRequestError, match="must be one of"):
            client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["no.such.event"]})  # type: ignore[list-item]


def test_letters_are_signed_at_the_real_time_unless_they_are_to_have_that_of_the_sandbox() -> None:
    def signed_at(count: int) -> int:
        payable_until = int(time.time()) + 90_000 + 3600
        client.v1.checkout.sessions.expire(new_session(client, expires_at=payable_until).id)
        until(lambda: len(receiver.letters) == count)
        return int(receiver.letters[-1].signature.partition(",")[0].removeprefix("t="))

    sandbox = start()
    try:
        client = sandbox.client()
        with receiving() as receiver:
            client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["checkout.session.expired"]})
            sandbox.control("POST", "clock", {"advance_seconds": 86_400})
            assert abs(signed_at(1) - time.time()) < 60
            now = sandbox.control("POST", "clock", {"advance_seconds": 3600, "letters_too": True})["now"]
            assert abs(signed_at(2) - now) < 60
            assert abs(now - time.time() - 90_000) < 60
    finally:
        sandbox.stop()
