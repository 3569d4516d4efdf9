from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from tests.patience import served
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, data_of, error_of, new_key, until


def test_checkout_purchase_hands_a_human_two_links(agent, service):
    quote = agent.quote()
    bought = agent.buy(quote)
    attempt_id = bought["payment_attempt_id"]
    assert attempt_id.startswith("payatt_")
    assert (bought["state"], bought["provider"]) == ("action_required", "stripe")
    assert bought["credits"] == bought["amount_cents"] == 500
    assert bought["checkout_session_id"].startswith("cs_")
    assert bought["checkout_handoff_url"] == bought["checkout_compact_url"] == f"{service.url}/pay/{attempt_id}"
    assert bought["checkout_url"].startswith("http")
    following = bought["next"]
    assert following["human_action"] == "open_checkout_url"
    assert following["checkout_handoff_url"] == bought["checkout_handoff_url"]
    assert following["fallback_checkout_url"] == bought["checkout_url"]
    assert attempt_id in following["after_payment"]
    assert following["retry_after_seconds"] == 10
    assert agent.paid_credits() == 0


def test_deposit_purchase_says_exactly_what_to_send(agent):
    bought = agent.buy(agent.quote(DEPOSIT, credits_=1234))
    assert (bought["provider"], bought["accepted_payment_method"]) == ("stripe", DEPOSIT)
    x402 = bought["stripe_x402"]
    assert (x402["scheme"], x402["network"], x402["deposit_address_present"]) == ("exact", "base", True)
    due = x402["payable_instructions"]
    assert (due["token_amount"], due["amount_usd"], due["amount_cents"]) == ("12.34", "12.34", 1234)
    assert due["token_amount_atomic"] == "12340000"
    assert due["deposit_address"].startswith("0x")
    assert due["exact_amount_required"] is True
    settlement = bought["next_actions"]["recommended_settlement"]
    assert settlement["payable_instructions_path"] == "data.stripe_x402.payable_instructions"
    assert bought["next"]["agent_action"] == "pay_stripe_crypto_deposit"


@pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
def test_no_answer_shows_a_payment_intent_or_a_client_secret(agent, sandbox, method):
    quote = agent.quote(method)
    bought = agent.send("POST", PURCHASES[method], {"quote_id": quote["quote_id"], "idempotency_key": "one"})
    attempt_id = bought.json()["data"]["payment_attempt_id"]
    if method == CHECKOUT:
        sandbox.pay(bought.json()["data"]["checkout_session_id"])
    else:
        sandbox.send_usdc(bought.json()["data"]["stripe_x402"]["payable_instructions"])
    agent.wait_for_state("succeeded", payment_attempt_id=attempt_id)
    after = agent.send("GET", "/v1/credit-purchases/status", payment_attempt_id=attempt_id)
    for answer in (bought, after, agent.send("GET", "/v1/activity")):
        assert "pi_" not in answer.text
        assert "_secret_" not in answer.text


@pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
def test_same_key_gives_the_same_attempt_and_one_object_at_the_provider(agent, sandbox, method):
    quote = agent.quote(method)
    with ThreadPoolExecutor(5) as pool:
        path, body = PURCHASES[method], {"quote_id": quote["quote_id"], "idempotency_key": "same"}
        bought = list(pool.map(lambda _: data_of(served(lambda: agent.send("POST", path, body))), range(5)))
    assert len({one["payment_attempt_id"] for one in bought}) == 1
    path = "/v1/checkout/sessions" if method == CHECKOUT else "/v1/payment_intents"
    made = [call for call in sandbox.calls(path) if quote["quote_id"] in str(call["parameters"])]
    assert len({call["idempotency_key"] for call in made}) == 1
    assert (
        agent.buy(quote, key="same")["stripe_x402" if method == DEPOSIT else "checkout_url"]
        == bought[0]["stripe_x402" if method == DEPOSIT else "checkout_url"]
    )


def test_used_key_does_not_buy_another_quote(agent):
    first, second = agent.quote(), agent.quote()
    agent.buy(first, key="used")
    body = {"quote_id": second["quote_id"], "idempotency_key": "used"}
    error = error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 409, "CREDIT_PURCHASE_CONFLICT")
    assert f"--quote-id {second['quote_id']}" in error["recovery"]["suggested_command"]
    assert "used" not in error["recovery"]["suggested_command"].split()


def test_the_other_rails_quote_is_refused_with_the_right_command(agent):
    for method, other, flag in ((CHECKOUT, DEPOSIT, "stripe"), (DEPOSIT, CHECKOUT, "stripe_x402")):
        quote = agent.quote(method)
        body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
        answer = agent.send("POST", PURCHASES[other], body)
        error = error_of(answer, 409, "CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH")
        assert f"--provider {flag} " in error["recovery"]["suggested_command"]
        assert agent.buy(quote)["state"] == "action_required"


def test_quote_has_one_open_purchase_at_a_time(agent):
    quote = agent.quote()
    bought = agent.buy(quote)
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    error = error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 409, "CREDIT_PURCHASE_IN_PROGRESS")
    assert error["recovery"]["payment_attempt_id"] == bought["payment_attempt_id"]
    agent.post(f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")
    assert agent.buy(quote, key=body["idempotency_key"])["payment_attempt_id"] != bought["payment_attempt_id"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("quote_id", None), ("quote_id", ""), ("quote_id", 7), ("quote_id", "a" * 256), ("idempotency_key", ""),
     ("idempotency_key", "k" * 256), ("idempotency_key", None), ("idempotency_key", "\x00")],
)  # fmt: skip
def test_each_field_of_a_purchase_is_checked(agent, field, value):
    body = {"quote_id": "quote_" + "0" * 26, "idempotency_key": "k", field: value}
    error = error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(f"{field} ")


@pytest.mark.parametrize("quote_id", ["quote_" + "0" * 26, "nonsense", "payatt_" + "0" * 26])
def test_unknown_quote_is_not_found(agent, quote_id):
    body = {"quote_id": quote_id, "idempotency_key": "k"}
    error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 404, "NOT_FOUND")


@pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
def test_canceled_attempt_cannot_be_paid_and_its_quote_can_be_bought_again(agent, sandbox, method):
    quote = agent.quote(method)
    bought = agent.buy(quote)
    path = f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel"
    canceled = agent.post(path)
    assert (canceled["state"], canceled["payment_attempt"]["attempt_status"]) == ("canceled", "canceled")
    assert agent.post(path)["state"] == "canceled"
    key = canceled["next_actions"]["recommended_buy"]["purchase_idempotency_key"]
    assert key != f"purchase:{quote['quote_id']}"
    assert agent.buy(quote)["state"] == "canceled"  # the stable key replays the first attempt
    again = agent.buy(quote, key=key)
    assert again["state"] == "action_required"
    assert again["payment_attempt_id"] != bought["payment_attempt_id"]


def test_paid_attempt_cannot_be_canceled(agent, sandbox):
    bought = agent.buy(agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    agent.wait_for_state("succeeded", payment_attempt_id=bought["payment_attempt_id"])
    answer = agent.send("POST", f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")
    error_of(answer, 409, "PAYMENT_ATTEMPT_ALREADY_PAID")


def test_attempt_with_a_payment_on_its_way_cannot_be_canceled_and_is_granted_when_it_arrives(agent, sandbox):
    bought = agent.buy(agent.quote())
    attempt_id = bought["payment_attempt_id"]
    sandbox.control("POST", f"sessions/{bought['checkout_session_id']}/pay_delayed")
    waiting = agent.wait_for_state("processing", payment_attempt_id=attempt_id)
    assert waiting["next"]["agent_action"] == "wait_for_settlement"
    answer = agent.send("POST", f"/v1/credit-purchases/{attempt_id}/cancel")
    error_of(answer, 409, "PAYMENT_ATTEMPT_NOT_CANCELABLE")
    sandbox.control("POST", f"sessions/{bought['checkout_session_id']}/settle_delayed")
    agent.wait_for_state("succeeded", payment_attempt_id=attempt_id)
    assert agent.paid_credits() == 500


def test_cancel_that_comes_too_late_finds_the_payment_instead(agent, sandbox):
    """The letter never came, but the provider is asked before anything is given up."""
    bought = agent.buy(agent.quote())
    with sandbox.letters("never"):
        sandbox.pay(bought["checkout_session_id"])
        answer = agent.send("POST", f"/v1/credit-purchases/{bought['payment_attempt_id']}/cancel")
    error_of(answer, 409, "PAYMENT_ATTEMPT_ALREADY_PAID")
    assert agent.paid_credits() == 500


@pytest.mark.parametrize("name", ["payatt_" + "0" * 26, "nonsense", "quote_" + "0" * 26])
def test_unknown_attempt_cannot_be_canceled(agent, name):
    error_of(agent.send("POST", f"/v1/credit-purchases/{name}/cancel"), 404, "NOT_FOUND")


def test_provider_that_refuses_is_told_and_the_quote_stands(agent, sandbox):
    quote = agent.quote()
    sandbox.fault("card_declined_like_400", "/v1/checkout/sessions")
    body = {"quote_id": quote["quote_id"], "idempotency_key": "declined"}
    for _ in range(2):
        answer = agent.send("POST", PURCHASES[CHECKOUT], body)
        error = error_of(answer, 502, "PAYMENT_PROVIDER_REFUSED")
        assert f"--payment-method {DEPOSIT}" in error["recovery"]["suggested_command"]
    assert agent.status(quote_id=quote["quote_id"])["state"] == "failed"
    assert agent.buy(quote, key=new_key())["state"] == "action_required"


@pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
def test_lost_answer_of_the_provider_is_unknown_and_the_same_key_finds_the_one_object(agent, sandbox, method):
    path = "/v1/checkout/sessions" if method == CHECKOUT else "/v1/payment_intents"
    quote = agent.quote(method)
    sandbox.fault("lost_answer", path)
    body = {"quote_id": quote["quote_id"], "idempotency_key": "lost"}
    error = error_of(agent.send("POST", PURCHASES[method], body), 503, "PAYMENT_OUTCOME_UNKNOWN")
    assert error["retryable"]
    found = agent.status(quote_id=quote["quote_id"])
    assert (found["state"], found["payment_attempt"]["attempt_status"]) == ("created", "requires_action")
    bought = agent.buy(quote, key="lost")
    assert bought["state"] == "action_required"
    made = [call for call in sandbox.calls(path) if quote["quote_id"] in str(call["parameters"])]
    assert len(made) == 2
    assert len({(call["idempotency_key"], str(call["parameters"])) for call in made}) == 1


def test_payment_may_arrive_before_the_buy_call_was_answered(agent, sandbox):
    quote = agent.quote()
    sandbox.fault("lost_answer", "/v1/checkout/sessions")
    body = {"quote_id": quote["quote_id"], "idempotency_key": "early"}
    error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 503, "PAYMENT_OUTCOME_UNKNOWN")
    [session] = [one for one in sandbox.sessions() if one["metadata"].get("purser_quote") == quote["quote_id"]]
    sandbox.pay(session["id"])
    agent.wait_for_state("succeeded", quote_id=quote["quote_id"])
    assert agent.paid_credits() == 500
    assert agent.buy(quote, key="early")["state"] == "succeeded"
    assert agent.paid_credits() == 500


def test_attempt_can_be_paid_for_as_long_as_it_says(agent):
    quote, now = agent.quote(), datetime.now().astimezone()
    payable_until = datetime.fromisoformat(agent.buy(quote)["payable_until"])
    assert timedelta(hours=23) < payable_until - now < timedelta(hours=25)


def test_expired_page_leaves_a_link_that_opens_another(agent, sandbox):
    bought = agent.buy(agent.quote())
    sandbox.control("POST", f"sessions/{bought['checkout_session_id']}/expire")
    found = agent.wait_for_state("expired", payment_attempt_id=bought["payment_attempt_id"])
    assert found["next"]["checkout_handoff_url"] == bought["checkout_handoff_url"]
    answer = agent.client.get(bought["checkout_handoff_url"])
    assert answer.status_code == 303
    reopened = until(lambda: agent.status(payment_attempt_id=bought["payment_attempt_id"]))
    assert reopened["state"] == "action_required"
    assert reopened["payment_attempt"]["checkout_session_id"] != bought["checkout_session_id"]
