from billing.packs import X402
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, data_of, error_of, new_agent, new_key


def test_methods_are_listed_as_the_contract_says(http):
    data = data_of(http.get("/v1/payment-methods"))
    assert data["contract_version"] == "image-skill.payment-methods.v1"
    assert [row["method_id"] for row in data["methods"]] == [CHECKOUT, DEPOSIT, X402.method_id]
    checkout, deposit, _ = data["methods"]
    assert (checkout["requires_browser"], checkout["agent_settleable"]) == (True, False)
    assert checkout["settlement_blocker"] == "requires human browser checkout completion"
    assert checkout["buyer_modes"] == ["hybrid", "human_only"]
    assert (deposit["requires_browser"], deposit["agent_settleable"]) == (False, True)
    assert deposit["settlement_blocker"] is None
    assert deposit["buyer_modes"] == ["agent_only", "hybrid"]
    for row in (checkout, deposit):
        assert (row["status"], row["available"], row["quoteable"], row["purchasable"]) == ("available", *[True] * 3)
        assert row["unavailable_reason"] is None
        assert row["live_money"] is False
        assert row["default_pack_id"] == "starter-500"
        assert all(command.startswith("image-skill ") for command in row["recovery"].values())
        assert "--idempotency-key" not in row["recovery"]["quote_command"]
    assert data["next_actions"]["recommended_quote"]["method_id"] == DEPOSIT


def test_limits_of_a_method_are_those_of_what_is_sold_here(http):
    checkout, deposit, _ = data_of(http.get("/v1/payment-methods"))["methods"]
    assert checkout["limits"] == {"min_amount_cents": 50, "max_amount_cents": 5000}
    assert deposit["limits"] == {"min_amount_cents": 1, "max_amount_cents": 5000}


def test_commands_name_this_service(http, service):
    data = data_of(http.get("/v1/payment-methods"))
    assert f"--api-base-url {service.url}" in data["methods"][0]["recovery"]["quote_command"]


def test_sandbox_is_warned_of_in_every_answer(http):
    for path in ("/healthz", "/v1/payment-methods", "/v1/quota", "/nowhere"):
        assert any("no real money" in warning for warning in http.get(path).json()["warnings"])


def test_packs_are_listed_with_dollars_as_text(http):
    data = data_of(http.get("/v1/credit-packs"))
    assert [pack["pack_id"] for pack in data["packs"]] == ["starter-500", "builder-2000", "studio-5000", "taster-100"]
    assert data["packs"][0]["amount_usd"] == data["packs"][0]["price_usd"] == "5.00"
    assert all(pack["credits"] == pack["amount_cents"] for pack in data["packs"])
    assert data["custom_quotes"] == {"supported": True, "min_credits": 1, "max_credits": 5000}
    assert data["credits_expire_after_days"] is None


def test_rail_that_is_not_configured_is_listed_with_the_reason_and_not_offered(strict_http, http):
    checkout, deposit, _ = data_of(strict_http.get("/v1/payment-methods"))["methods"]
    assert checkout["available"]
    assert (deposit["status"], deposit["available"], deposit["quoteable"]) == ("unavailable", False, False)
    assert (deposit["purchasable"], deposit["unavailable_reason"]) == (False, "not configured on this service")
    agent = new_agent(http)
    body = {"credits": 500, "payment_method": DEPOSIT, "idempotency_key": new_key()}
    answer = strict_http.post("/v1/credit-quotes", json=body, headers=agent.headers)
    error = error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert CHECKOUT in error["message"]
    assert f"--payment-method {CHECKOUT}" in error["recovery"]["suggested_command"]
    body = {"quote_id": agent.quote(DEPOSIT)["quote_id"], "idempotency_key": new_key()}
    answer = strict_http.post("/v1/credit-purchases/stripe-x402-deposits", json=body, headers=agent.headers)
    error = error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert f"--payment-method {CHECKOUT}" in error["recovery"]["suggested_command"]


def test_rail_whose_provider_fails_is_listed_with_the_reason_and_not_offered(stranded_http, agent):
    quotes = {method: agent.quote(method) for method in (CHECKOUT, DEPOSIT)}
    terms = {"credits": 500, "payment_method": CHECKOUT, "idempotency_key": new_key()}
    _fail_three_times(stranded_http, agent, quotes[CHECKOUT])
    checkout, deposit, _ = data_of(stranded_http.get("/v1/payment-methods"))["methods"]
    assert (checkout["available"], deposit["available"]) == (False, True)
    assert checkout["unavailable_reason"]
    answer = stranded_http.post("/v1/credit-quotes", json=terms, headers=agent.headers)
    error = error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert DEPOSIT in error["message"]
    assert f"--payment-method {DEPOSIT}" in error["recovery"]["suggested_command"]
    assert data_of(stranded_http.get("/v1/quota", headers=agent.headers))["top_up"]["available"]
    _fail_three_times(stranded_http, agent, quotes[DEPOSIT])
    methods = data_of(stranded_http.get("/v1/payment-methods"))
    assert [row["available"] for row in methods["methods"]] == [False, False, False]
    assert methods["next_actions"]["recommended_quote"] is None
    top_up = data_of(stranded_http.get("/v1/quota", headers=agent.headers))["top_up"]
    assert (top_up["available"], top_up["recommended"], top_up["preferred_payment_method"]) == (False, False, None)
    # The same key goes on where the failing provider stopped it; or a worker would, in the middle of another test.
    for method, quote in quotes.items():
        assert agent.buy(quote, key=f"stranded-{method}")["state"] == "action_required"


def _fail_three_times(client, agent, quote):
    method = quote["accepted_payment_method"]
    body = {"quote_id": quote["quote_id"], "idempotency_key": f"stranded-{method}"}
    for _ in range(3):
        answer = client.post(PURCHASES[method], json=body, headers=agent.headers)
        error = error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")
        assert error["retryable"]
        assert answer.headers["retry-after"] == str(error["recovery"]["retry_after_seconds"])


def test_quota_urges_to_top_up_when_nothing_is_left(agent):
    data = agent.get("/v1/quota")
    assert "daily_jobs" not in data
    assert data["authenticated"] is True
    top_up = data["top_up"]
    assert (top_up["urgency"], top_up["urgency_score"]) == ("blocked", 100)
    assert top_up["recommendation_reason"] == "credits_depleted"
    assert set(top_up["commands"]) == {
        "inspect_methods", "inspect_packs", "quote", "buy", "status", "fallback_quote", "fallback_buy",
    }  # fmt: skip
    assert all(isinstance(command, str) for command in top_up["commands"].values())
    assert top_up["workflow"]["steps"]
