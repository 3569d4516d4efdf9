"""Unmodified clients, in Python and in JavaScript, buy credits from the running service on a real chain and spend them.

They are the packages as they are published, used as their READMEs show; nothing here helps them along.
"""

import re

import httpx
import pytest

from rails.x402 import terms
from tests.service import ANSWER_S, Agent, Caller, data_of, error_of, new_agent, new_key, until
from tests.x402.chains import NETWORK, key_of
from tests.x402.paying import REQUIRED, RESPONSE, WouldNotPay, decoded, pay_with_python, requirement_in
from tests.x402.rpc_proxy import SEND, swallowed

TASTER, STARTER = "taster-100", "starter-500"
DOLLAR = 1_000_000
PURCHASE = "/v1/credit-purchases/x402"


@pytest.fixture
def shop(service_on_chain):
    with service_on_chain.client() as client:
        yield client


@pytest.fixture
def payer(onchain):
    return onchain.payer()


@pytest.fixture
def top_up(service_on_chain):
    """The address of a pack."""
    return lambda pack: f"{service_on_chain.url}/v1/x402/top-up/{pack}"


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def paid_credits(shop, token):
    return Caller(shop, token).get("/v1/quota")["limits"]["payment_backed_remaining_credits"]


# One call, no account


@pytest.mark.parametrize("pay", ["python", "javascript"], indirect=True)
def test_a_stock_client_buys_the_taster_with_one_call_and_spends_from_it(shop, onchain, payer, top_up, pay):
    before = onchain.received
    paid = pay(top_up(TASTER), key=key_of(payer))
    bought = data_of(paid.answer)
    assert (bought["state"], len(paid.payments)) == ("succeeded", 1)
    assert paid.settlement["success"] is True
    assert (paid.settlement["payer"].lower(), paid.settlement["network"]) == (payer.address.lower(), NETWORK)
    assert onchain.chain.receipt(paid.settlement["transaction"])["status"] == "0x1"
    assert onchain.received - before == DOLLAR == int(paid.settlement["amount"])
    assert onchain.chain.balance(payer.address) == 0, "who pays needs no ether"
    agent = Agent(shop, bought["token"], bought["agent_id"], bought["organization_id"])
    assert agent.paid_credits() == 100
    spent = agent.do("/v1/spends", credits=30)
    assert (spent["organization_id"], agent.paid_credits()) == (bought["organization_id"], 70)


def test_a_contract_wallet_buys_with_its_owners_signature(shop, onchain, top_up):
    wallet = onchain.contract_payer()
    paid = pay_with_python(top_up(TASTER), key=key_of(wallet), wallet=wallet.address)
    assert paid.settlement["payer"].lower() == wallet.address.lower()
    assert paid_credits(shop, data_of(paid.answer)["token"]) == 100
    assert onchain.token.balance(wallet.address) == 99 * DOLLAR


def test_an_unpaid_call_is_told_what_to_sign_and_stores_nothing(shop, service_on_chain, onchain, top_up):
    counted = "SELECT (SELECT count(*) FROM billing.organizations), (SELECT count(*) FROM billing.payment_attempts)"
    before = service_on_chain.database.rows(counted)
    answer = httpx.post(top_up(TASTER), timeout=ANSWER_S)
    error_of(answer, 402, "PAYMENT_REQUIRED")
    required = decoded(answer.headers[REQUIRED])
    requirement = requirement_in(answer.headers[REQUIRED])
    assert (required["x402Version"], required["resource"]["url"]) == (terms.VERSION, top_up(TASTER))
    assert requirement["payTo"] == onchain.treasury
    assert (requirement["asset"], requirement["amount"]) == (onchain.token.address, str(DOLLAR))
    assert (requirement["scheme"], requirement["extra"]["paymentFlow"]) == ("exact", "upfront")
    assert service_on_chain.database.rows(counted) == before


# A chain that takes its time


@pytest.fixture(scope="module")
def impatient(beside):
    """A process of the service that lets nobody wait for the chain longer than half a second."""
    return beside(x402_wait_s=0.5)


def test_a_client_whose_payment_the_chain_has_not_settled_yet_does_not_pay_twice(
    shop, impatient, onchain, payer, rpc_proxy, pay
):
    with rpc_proxy.faulty(SEND, swallowed):
        paid = pay(f"{impatient.url}/v1/x402/top-up/{TASTER}", key=key_of(payer))
    assert (paid.answer.status_code, len(paid.payments)) == (202, 1)
    assert int(paid.answer.headers["retry-after"]) > 0
    waiting = paid.answer.json()["data"]
    assert paid.answer.headers["location"] == waiting["status_url"]
    until(lambda: data_of(httpx.get(waiting["status_url"], timeout=ANSWER_S))["state"] == "succeeded")
    assert paid_credits(shop, waiting["token"]) == 100
    assert onchain.token.balance(payer.address) == 99 * DOLLAR


# What a client pays at most at once

SETTING = {"python": "max_amount_per_payment", "javascript": "maxAmountPerPayment"}


def test_more_than_a_dollar_is_paid_once_the_clients_own_limit_is_lifted(shop, onchain, payer, top_up, pay, request):
    setting = SETTING[request.node.callspec.params["pay"]]
    before = onchain.received
    with pytest.raises(WouldNotPay, match=setting):
        pay(top_up(STARTER), key=key_of(payer))
    assert onchain.received == before
    paid = pay(top_up(STARTER), key=key_of(payer), max_amount="$5")
    assert paid_credits(shop, data_of(paid.answer)["token"]) == 500
    assert onchain.received - before == 5 * DOLLAR


def test_the_catalog_says_which_setting_lifts_the_limit(shop):
    said = str(new_agent(shop).get("/v1/payment-methods"))
    assert all(re.search(rf"\b{setting}\b", said) for setting in SETTING.values())


# Paying again


def test_a_wallet_that_pays_again_with_its_token_lands_in_the_same_organization(shop, payer, top_up, pay):
    first = data_of(pay(top_up(TASTER), key=key_of(payer)).answer)
    again = pay(top_up(TASTER), key=key_of(payer), headers=bearer(first["token"]))
    second = data_of(again.answer)
    assert second["state"] == "succeeded"
    assert second["payment_attempt_id"] != first["payment_attempt_id"]
    assert "token" not in second
    assert paid_credits(shop, first["token"]) == 200


def test_a_wallet_that_pays_again_without_its_token_lands_there_too_and_is_told_nothing(shop, payer, top_up, pay):
    first = data_of(pay(top_up(TASTER), key=key_of(payer)).answer)
    again = pay(top_up(TASTER), key=key_of(payer))
    assert set(data_of(again.answer)) == {"state", "payment_attempt_id"}
    assert any("sign in" in warning.lower() for warning in again.answer.json()["warnings"])
    assert first["organization_id"] not in again.answer.text
    assert paid_credits(shop, first["token"]) == 200


def test_a_payment_with_an_agents_token_lands_in_its_organization(shop, payer, top_up, pay):
    agent = new_agent(shop)
    paid = pay(top_up(TASTER), key=key_of(payer), headers=bearer(agent.token))
    assert "token" not in data_of(paid.answer)
    assert agent.paid_credits() == 100


# A quote


def test_a_quote_is_paid_over_x402(shop, service_on_chain, onchain, payer, pay):
    agent, before = new_agent(shop), onchain.received
    quote = agent.quote(terms.METHOD_ID, credits_=70)
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    paid = pay(f"{service_on_chain.url}{PURCHASE}", key=key_of(payer), json_body=body, headers=bearer(agent.token))
    assert data_of(paid.answer)["state"] == "succeeded"
    assert RESPONSE in paid.answer.headers
    assert (agent.paid_credits(), onchain.received - before) == (70, 70 * DOLLAR // 100)
    status = agent.status(quote_id=quote["quote_id"])
    assert (status["state"], status["payment_attempt"]["payment_attempt_id"]) == (
        "succeeded",
        data_of(paid.answer)["payment_attempt_id"],
    )
