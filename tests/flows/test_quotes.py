import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from ledger.ids import parse
from tests.patience import served
from tests.service import CHECKOUT, DEPOSIT, STRIPE_KEY, data_of, error_of, new_agent, new_key, until

TERMS = {"credits": 500, "payment_method": CHECKOUT, "idempotency_key": "k"}

BAD_BODIES = {
    "credits": ['"500"', "500.0", "true", "5e2", "NaN", "Infinity", "0", "-1", "9007199254740992",
                "1" + "0" * 400, "1" * 5000, "5001", "[500]", "{}"],
    "pack_id": ['"nope"', '""', "7", '"starter-500\\u0000"', '"STARTER-500"', "true"],
    "payment_method": ['"card"', '""', "null", "1", '"stripe_x402"', '["stripe_checkout"]'],
    "idempotency_key": ['""', "null", "5", '"' + "k" * 256 + '"', '"a\\u0000b"', '"a\\nb"', '"\\ud800"', "{}"],
}  # fmt: skip
BAD_FIELDS = [(field, value) for field, values in BAD_BODIES.items() for value in values]


def raw_quote(agent, fields):
    body = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
    return agent.client.post("/v1/credit-quotes", content=body, headers=agent.headers)


def test_quote_answers_the_contracts_fields_and_moves_no_balance(agent):
    quote = agent.quote(pack_id="builder-2000", key="q1")
    assert quote["quote_id"].startswith("quote_")
    assert (quote["state"], quote["currency"], quote["live_money"]) == ("created", "USD", False)
    assert quote["credits"] == quote["price_amount_cents"] == 2000
    assert (quote["pack_id"], quote["pack"]["pack_id"]) == ("builder-2000", "builder-2000")
    assert quote["idempotency_key"] == "q1"
    assert quote["expires_at"].endswith("Z")
    buy = quote["next_actions"]["recommended_buy"]
    assert buy["purchase_idempotency_key"] == f"purchase:{quote['quote_id']}"
    assert buy["command"].startswith(f"image-skill credits buy --provider stripe --quote-id {quote['quote_id']} ")
    assert agent.paid_credits() == 0


def test_quote_announces_what_is_owed_and_what_can_be_used_of_it(agent, sandbox):
    """Spent credits whose payment was refunded are owed, and settled from the next paid grant."""
    bought = agent.buy(agent.quote())
    intent = sandbox.pay(bought["checkout_session_id"])["payment_intent"]
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    fresh = agent.quote()
    assert (fresh["owed_credits"], fresh["usable_credits"]) == (0, 500)
    agent.do("/v1/spends", credits=450)
    asked = httpx.post(f"{sandbox.url}/v1/refunds", data={"payment_intent": intent}, auth=(STRIPE_KEY, ""), timeout=15)
    assert asked.status_code == 200, asked.text
    until(lambda: agent.get("/v1/quota")["limits"].get("owed_credits") == 450)
    next_one, small = agent.quote(key="next"), agent.quote(credits_=100)
    assert (next_one["credits"], next_one["owed_credits"], next_one["usable_credits"]) == (500, 450, 50)
    assert (small["owed_credits"], small["usable_credits"]) == (450, 0)
    sandbox.pay(agent.buy(next_one)["checkout_session_id"])
    agent.wait_for_state("succeeded", quote_id=next_one["quote_id"])
    assert agent.paid_credits() == 50
    paid = agent.quote(key="next")
    assert (paid["state"], paid["owed_credits"], paid["usable_credits"]) == ("succeeded", None, None)


def test_quote_of_exact_credits_has_no_pack(agent):
    quote = agent.quote(DEPOSIT, credits_=1)
    assert (quote["pack_id"], quote["pack"], quote["price_amount_cents"]) == (None, None, 1)


def test_same_key_and_terms_give_the_same_quote(agent):
    first, second = agent.quote(key="same"), agent.quote(key="same")
    assert first == second


def test_ten_quotes_at_once_under_one_key_are_one_quote(agent):
    with ThreadPoolExecutor(10) as pool:
        send = partial(agent.send, "POST", "/v1/credit-quotes", {**TERMS, "idempotency_key": "at once"})
        quotes = list(pool.map(lambda _: data_of(served(send))["quote_id"], range(10)))
    assert len(set(quotes)) == 1


@pytest.mark.parametrize("other", [{"credits": 501}, {"method": DEPOSIT}, {"pack_id": "starter-500"}], ids=str)
def test_other_terms_under_a_used_key_conflict_and_the_suggested_command_works(agent, other):
    first = agent.quote(key="used")
    terms = {"credits": 500, "payment_method": CHECKOUT, "idempotency_key": "used"}
    terms |= {"payment_method": other["method"]} if "method" in other else other
    if "pack_id" in other:
        del terms["credits"]
    error = error_of(agent.send("POST", "/v1/credit-quotes", terms), 409, "CREDIT_QUOTE_CONFLICT")
    words = shlex.split(error["recovery"]["suggested_command"])
    assert words[:3] == ["image-skill", "credits", "quote"]
    flags = dict(zip(words[3::2], words[4::2], strict=False))
    assert flags["--idempotency-key"] == error["recovery"]["idempotency_key"] != "used"
    again = agent.quote(
        flags["--payment-method"],
        credits_=int(flags.get("--credits", 0)) or None,
        key=flags["--idempotency-key"],
        **({"pack_id": flags["--pack"]} if "--pack" in flags else {}),
    )
    assert again["quote_id"] != first["quote_id"]
    assert again["accepted_payment_method"] == terms["payment_method"]
    assert again["credits"] == terms.get("credits", 500)


def test_keys_belong_to_one_agent(http, agent):
    other = new_agent(http)
    assert agent.quote(key="mine")["quote_id"] != other.quote(key="mine", credits_=700)["quote_id"]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda part: str(part)[:24])
def test_each_field_of_a_quote_is_checked(agent, field, value):
    fields = {name: json.dumps(given) for name, given in TERMS.items()}
    if field == "pack_id":
        del fields["credits"]
    error = error_of(raw_quote(agent, {**fields, field: value}), 400, "INVALID_ARGUMENTS")
    if value not in {"NaN", "Infinity", "1" * 5000}:
        assert error["message"].startswith(field), error["message"]
    assert value not in error["message"] or len(value) < 8


@pytest.mark.parametrize("credits_", [0, -1, 5001, 2**53 - 1])
def test_credits_outside_of_the_offer_are_told_its_bounds(agent, credits_):
    answer = agent.send("POST", "/v1/credit-quotes", {**TERMS, "credits": credits_})
    assert error_of(answer, 400, "INVALID_ARGUMENTS")["message"] == "credits must be a whole number from 1 to 5000"


def test_a_refused_quote_exits_with_2_at_the_client(agent):
    answer = agent.send("POST", "/v1/credit-quotes", {**TERMS, "credits": 0})
    assert answer.headers["x-image-skill-exit-code"] == "2"


def test_credits_and_pack_exclude_each_other(agent):
    message = "exactly one of credits and pack_id is required"
    for body in ({**TERMS, "pack_id": "starter-500"}, {**TERMS, "credits": None}):
        assert error_of(agent.send("POST", "/v1/credit-quotes", body), 400, "INVALID_ARGUMENTS")["message"] == message


@pytest.mark.parametrize("field", ["payment_method", "idempotency_key"])
def test_required_fields_are_required(agent, field):
    body = {name: value for name, value in TERMS.items() if name != field}
    error = error_of(agent.send("POST", "/v1/credit-quotes", body), 400, "INVALID_ARGUMENTS")
    assert error["message"] == f"{field} is required"


@pytest.mark.parametrize("key", ["k" * 255, "é" * 255, "中" * 255, "with space", "😀" * 255], ids=lambda key: key[:3])
def test_long_and_foreign_keys_are_kept_exactly(agent, key):
    quote = agent.quote(key=key)
    assert quote["idempotency_key"] == key
    assert agent.quote(key=key) == quote


@pytest.mark.parametrize("name", ["card", "private_key", "wallet-private-key", "seedPhrase", "stripe_secret_key"])
def test_payment_credentials_are_refused_by_name_and_never_repeated(agent, name):
    answer = agent.send("POST", "/v1/credit-quotes", {**TERMS, name: "very secret thing"})
    error = error_of(answer, 400, "INVALID_ARGUMENTS")
    assert "payment credential" in error["message"]
    assert "very secret thing" not in answer.text


def test_unknown_fields_are_ignored(agent):
    assert data_of(agent.send("POST", "/v1/credit-quotes", {**TERMS, "max_usd": 5}))["state"] == "created"


def test_checkout_has_a_least_amount_that_the_catalog_names(agent):
    error = error_of(agent.send("POST", "/v1/credit-quotes", {**TERMS, "credits": 49}), 400, "INVALID_ARGUMENTS")
    assert "50" in error["message"]
    assert agent.quote(DEPOSIT, credits_=49)["state"] == "created"


def test_expired_quote_says_so_and_cannot_be_bought(agent, service):
    quote = agent.quote(pack_id="starter-500", key="old")
    service.database.rows(
        "UPDATE billing.credit_quotes SET expires_at = now() - interval '1 second' WHERE id = $1::uuid",
        str(parse("quote", quote["quote_id"])),
    )
    replayed = agent.quote(pack_id="starter-500", key="old")
    assert (replayed["quote_id"], replayed["state"]) == (quote["quote_id"], "expired")
    assert replayed["next_actions"]["recommended_buy"] is None
    found = agent.status(quote_id=quote["quote_id"])
    assert (found["state"], found["next"]["agent_action"]) == ("expired", "request_new_quote")
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    answer = agent.send("POST", "/v1/credit-purchases/stripe-checkout-sessions", body)
    error = error_of(answer, 409, "CREDIT_QUOTE_EXPIRED")
    assert "--pack starter-500" in error["recovery"]["suggested_command"]
