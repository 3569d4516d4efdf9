"""What tells about `x402.exact.usdc`: the catalog, suggested requests, discovery and the API's description."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from litestar import Litestar

from api.http import openapi, recoveries
from api.http.commands import Commands
from api.http.context import Asked
from api.http.routes import x402
from api.http.views import catalog, discovery, quota, spending
from api.http.views.native import terms_view
from api.settings import Settings
from billing.foresight import Foresight
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, X402, NativeTerms, Pack, Wanted
from billing.refusals import Refusal, Refused
from billing.standing import Standing
from ledger.statements import Balance
from rails.evm.networks import BASE, BASE_SEPOLIA, LOCAL
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, data_of, error_of, new_key

URL = "https://purser.example"
PAY_TO = "0x0000000000000000000000000000000000000001"
OFFER = Settings().offer()
COMMANDS = Commands(URL)
TOP_UP, PURCHASE = "/v1/x402/top-up/{pack_id}", "/v1/credit-purchases/x402"


def terms(network=LOCAL):
    return NativeTerms(network.caip2, network.token_address, PAY_TO, 300)


def reasons(*available):
    return {method_id: None if method in available else "not here" for method_id, method in METHODS.items()}


def methods(*available, network=LOCAL, live_money=False):
    return catalog.methods(OFFER, reasons(*available), COMMANDS, live_money=live_money, native_terms=terms(network))


def native_row(*available, **more):
    return methods(*available, **more)["methods"][-1]


def test_the_native_method_stands_last_and_an_agent_can_settle_it():
    row = native_row(STRIPE_CHECKOUT, STRIPE_X402, X402)
    assert (row["method_id"], row["provider"], row["available"]) == ("x402.exact.usdc", "x402", True)
    assert (row["requires_browser"], row["agent_settleable"], row["settlement_blocker"]) == (False, True, None)
    assert row["buyer_modes"] == ["agent_only", "hybrid"]
    assert row["purchase_endpoint"] == PURCHASE
    assert row["limits"] == {"min_amount_cents": 1, "max_amount_cents": 5000}


def test_the_native_row_says_where_is_paid_and_what_lifts_the_limit_of_clients():
    told = native_row(X402)["x402"]
    assert (told["version"], told["scheme"], told["network"]) == (2, "exact", "eip155:31337")
    assert (told["asset"], told["pay_to"], told["max_timeout_seconds"]) == (LOCAL.token_address, PAY_TO, 300)
    limit = told["client_spend_limit"]
    assert (limit["default_usd"], limit["packs_within"]) == ("1.00", ["taster-100"])
    assert limit["lifted_by"]["python"] == 'client.set_spend_controls({"max_amount_per_payment": "$50.00"})'
    assert limit["lifted_by"]["javascript"] == 'client.setSpendControls({ maxAmountPerPayment: "$50.00" })'


def test_a_service_without_terms_lists_the_method_as_not_configured(http):
    row = data_of(http.get("/v1/payment-methods"))["methods"][-1]
    assert (row["method_id"], row["available"], row["x402"]) == (X402.method_id, False, None)
    assert row["unavailable_reason"] == "not configured on this service"


@pytest.mark.parametrize(("network", "live"), [(BASE, True), (BASE_SEPOLIA, False), (LOCAL, False)])
def test_whether_native_money_is_real_is_up_to_its_network(network, live):
    for stripe_is_live in (True, False):
        rows = methods(*METHODS.values(), network=network, live_money=stripe_is_live)["methods"]
        assert [row["live_money"] for row in rows] == [stripe_is_live, stripe_is_live, live]


def test_recovery_of_the_native_row_has_no_command_while_the_client_can_pay_otherwise():
    assert native_row(STRIPE_X402, X402)["recovery"] == {
        "top_up_url": f"{URL}/v1/x402/top-up/taster-100",
        "quote_request": {
            "method": "POST",
            "path": "/v1/credit-quotes",
            "body": {
                "pack_id": "starter-500",
                "payment_method": "x402.exact.usdc",
                "idempotency_key": "IDEMPOTENCY_KEY",
            },
        },
        "purchase_request": {
            "method": "POST",
            "path": PURCHASE,
            "body": {"quote_id": "QUOTE_ID", "idempotency_key": "purchase:QUOTE_ID"},
        },
        "status_request": {
            "method": "GET",
            "path": "/v1/credit-purchases/status?quote_id=QUOTE_ID",
            "body": None,
        },
    }


def test_where_the_native_method_is_preferred_its_commands_show_it():
    recovery = native_row(STRIPE_CHECKOUT, X402)["recovery"]
    commands = [recovery[f"{name}_command"] for name in ("quote", "purchase", "status")]
    assert commands == [COMMANDS.methods()] * 3


def test_recommended_quote_is_the_clients_while_it_has_words_for_a_method_that_an_agent_settles():
    found = methods(STRIPE_CHECKOUT, STRIPE_X402, X402)["next_actions"]["recommended_quote"]
    assert (found["method_id"], found["request"], found["buy_request"]) == (STRIPE_X402.method_id, None, None)
    assert found["command"].startswith("image-skill credits quote")
    assert found["quote_command_copy_runnable"]


def test_recommended_quote_of_the_native_method_is_a_request():
    found = methods(X402, network=BASE)["next_actions"]["recommended_quote"]
    assert (found["method_id"], found["command"], found["buy_command"]) == (X402.method_id, None, None)
    assert found["request"]["body"]["payment_method"] == X402.method_id
    assert found["buy_request"]["path"] == PURCHASE
    assert not found["quote_command_copy_runnable"]
    assert found["live_money"]


def test_suggested_requests_are_such_that_the_service_takes(agent):
    requests = data_of(agent.send("GET", "/v1/payment-methods"))["methods"][-1]["recovery"]
    quote = requests["quote_request"]
    body = {**quote["body"], "idempotency_key": new_key()}
    error = error_of(agent.send(quote["method"], quote["path"], body), 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert "not configured" in error["message"]
    assert CHECKOUT in error["message"]
    assert "suggested_requests" not in error["recovery"]
    bought = agent.quote(CHECKOUT)
    path = requests["status_request"]["path"].replace("QUOTE_ID", bought["quote_id"])
    assert data_of(agent.send("GET", path))["quote_id"] == bought["quote_id"]


def test_quota_tells_the_requests_beside_the_commands_of_the_client():
    def told(*available):
        return quota.quota(Foresight(Balance(0, 0, 0)), OFFER, reasons(*available), COMMANDS, live_money=False)

    without, both, alone = told(STRIPE_CHECKOUT), told(STRIPE_CHECKOUT, X402), told(X402)
    assert without["top_up_requests"] is None
    assert both["top_up"] == without["top_up"]
    assert both["top_up_requests"]["buy"]["path"] == PURCHASE
    assert alone["top_up_requests"] == both["top_up_requests"]
    assert not alone["top_up"]["available"]


def recovery_of(refusal, asked, *, available=(), **more):
    return recoveries.recovery(Refused(refusal, **more), asked, COMMANDS, available=available, fresh_key="fresh")


def test_a_refused_quote_of_the_native_method_is_mended_by_a_request():
    asked = Asked(wanted=Wanted(70, None, X402.method_id))
    found = recovery_of(Refusal.CREDIT_QUOTE_CONFLICT, asked)
    body = {"credits": 70, "payment_method": X402.method_id, "idempotency_key": "fresh"}
    assert found["suggested_requests"] == [{"method": "POST", "path": "/v1/credit-quotes", "body": body}]
    assert found["idempotency_key"] == "fresh"
    assert "suggested_command" not in found


def test_instead_of_a_method_that_fails_the_native_one_is_suggested_as_a_request():
    asked = Asked(wanted=Wanted(None, "starter-500", CHECKOUT))
    found = recovery_of(Refusal.PAYMENT_METHOD_UNAVAILABLE, asked, available=[DEPOSIT, X402.method_id])
    assert DEPOSIT in found["suggested_command"]
    assert found["suggested_commands"] == [found["suggested_command"], COMMANDS.methods()]
    assert [each["body"]["payment_method"] for each in found["suggested_requests"]] == [X402.method_id]


def test_a_quote_on_another_rail_is_bought_there(agent):
    asked = Asked(quote_id="quote_x", method_id=CHECKOUT)
    own = {"accepted_payment_method": X402.method_id}
    found = recovery_of(Refusal.CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH, asked, recovery=own)
    assert [each["path"] for each in found["suggested_requests"]] == [PURCHASE]
    quote = agent.quote(DEPOSIT)
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    error = error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 409, "CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH")
    assert error["recovery"]["accepted_payment_method"] == DEPOSIT
    assert len(error["recovery"]["suggested_commands"]) == 2


@pytest.mark.parametrize("available", [(X402,), (STRIPE_X402, X402)])
def test_a_spend_without_credits_is_told_the_request_that_buys_them(available):
    standing = Standing(datetime(2026, 11, 21, tzinfo=UTC), Balance(0, 0, 0), 70, None)
    found = spending.buying(standing, OFFER, reasons(*available), COMMANDS, in_full=False)
    assert [each["body"]["credits"] for each in found["suggested_requests"]] == [70]
    assert all(command.startswith("image-skill ") for command in found["suggested_commands"])


def test_a_dollar_buys_a_pack_and_the_suggested_one_stays(http):
    packs = {pack["pack_id"]: pack for pack in data_of(http.get("/v1/credit-packs"))["packs"]}
    assert (packs["taster-100"]["credits"], packs["taster-100"]["price_usd"]) == (100, "1.00")
    assert methods(*METHODS.values())["methods"][0]["default_pack_id"] == "starter-500"


def test_an_offer_without_a_cheap_pack_says_that_none_is_within_the_limit():
    dear = replace(OFFER, packs=(Pack("big", "Big", 900),), default_pack_id="big")
    told = terms_view(terms(), dear, most_cents=900)
    assert told is not None
    assert told["client_spend_limit"]["packs_within"] == []
    assert '"$9.00"' in told["client_spend_limit"]["lifted_by"]["python"]


def test_discovery_lists_nothing_while_the_method_is_not_available(http):
    answer = http.get("/.well-known/x402")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert (found["version"], found["resources"]) == (1, [])


def test_discovery_lists_the_address_of_each_pack():
    found = discovery.manifest(OFFER, URL, is_offered=True)
    assert found["resources"][0] == f"{URL}/v1/x402/top-up/starter-500"
    assert len(found["resources"]) == len(OFFER.packs)
    assert "$1" in found["instructions"]


def operations(*, is_offered):
    routes = Litestar(x402.ROUTES, openapi_config=None).routes
    paid = discovery.paid_operations(OFFER, is_offered=is_offered)
    return openapi.document(routes, url=URL, version="1", paid=paid)


def test_openapi_has_the_price_of_what_is_paid_with_x402():
    found = operations(is_offered=True)
    pack, quote = found["paths"][TOP_UP]["post"], found["paths"][PURCHASE]["post"]
    price = {"mode": "dynamic", "currency": "USD", "min": "1.00", "max": "50.00"}
    assert pack["x-payment-info"] == {"price": price, "protocols": [{"x402": {}}]}
    assert quote["x-payment-info"]["price"] == {**price, "min": "0.01"}
    assert {"200", "402"} <= set(pack["responses"]) & set(quote["responses"])
    assert pack["parameters"][0]["schema"]["enum"] == [pack.pack_id for pack in OFFER.packs]
    assert found["info"]["x-guidance"]


def test_openapi_says_nothing_of_prices_while_the_method_is_not_available(http):
    for document in (operations(is_offered=False), http.get("/openapi.json").json()):
        assert "x-payment-info" not in str(document)
        assert "x-guidance" not in document["info"]


def test_one_pack_has_a_fixed_price():
    only = replace(OFFER, packs=(Pack("one", "One", 100),), default_pack_id="one")
    info = discovery.paid_operations(only, is_offered=True)[TOP_UP].payment_info
    assert info["price"] == {"mode": "fixed", "currency": "USD", "amount": "1.00"}
