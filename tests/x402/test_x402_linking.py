"""A wallet is linked to an agent by that agent's token and a text that was signed for just this, not for signing in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_account.signers.local import LocalAccount

from tests.service import Agent, Service, agent_of, data_of, envelope_of, error_of, new_agent
from tests.x402.chains import OnChain, key_of
from tests.x402.javascript import JavaScriptClient
from tests.x402.paying import decoded, encoded, pay_with_python
from tests.x402.signing_in import (
    HEADER,
    PATH,
    asked_by,
    bearing,
    link,
    refused_as,
    send,
    sign_in_with_python,
    signed,
    text_of,
)

INVITED = {"agent_name": "invited", "runtime": "pytest"}


def sign_in(client: httpx.Client, account: LocalAccount) -> httpx.Response:
    return send(client, signed(account, asked_by(client)))


def test_an_agent_links_the_wallet_that_pays_and_keeps_its_token(chained: httpx.Client, wallet: LocalAccount) -> None:
    agent = new_agent(chained)
    envelope = envelope_of(link(chained, wallet, agent))
    data = envelope["data"]
    assert (data["linked"], data["rotated"], data["token"]) == (True, False, None)
    assert (data["agent_id"], envelope["actor"]["organization_id"]) == (agent.agent_id, agent.organization_id)
    assert agent.get("/v1/whoami")
    assert data_of(sign_in(chained, wallet))["agent_id"] == agent.agent_id


def test_the_challenge_says_to_both_kinds_of_clients_that_it_links_and_to_whom(chained: httpx.Client) -> None:
    agent = new_agent(chained)
    answer = chained.post(PATH, headers=bearing(agent.token))
    by_hand = error_of(answer, 402, "SIGN_IN_REQUIRED")["recovery"]["sign_in"]
    info = decoded(answer.headers["payment-required"])["extensions"]["sign-in-with-x"]["info"]
    assert info["requestId"] == by_hand["fields"]["requestId"] == f"link:{agent.agent_id}"
    assert info["statement"].startswith(f"Link this wallet for good to the agent {agent.agent_id}")
    assert by_hand["text"] == text_of(by_hand["fields"])
    assert f"\nRequest ID: link:{agent.agent_id}" in by_hand["text"]
    without = asked_by(chained)
    assert "requestId" not in without
    assert "link" not in without["statement"].lower()


def test_who_followed_the_recovery_by_hand_has_linked_its_wallet(chained: httpx.Client, wallet: LocalAccount) -> None:
    agent = new_agent(chained)
    answer = chained.post(PATH, headers=bearing(agent.token))
    by_hand = error_of(answer, 402, "SIGN_IN_REQUIRED")["recovery"]["sign_in"]
    text = by_hand["text"].replace("ADDRESS", wallet.address)
    signature = "0x" + bytes(wallet.sign_message(encode_defunct(text=text)).signature).hex()
    fields = {**by_hand["fields"], "address": wallet.address, "signature": signature}
    told = chained.post(PATH, headers={HEADER: encoded(fields), **bearing(agent.token)})
    assert data_of(told)["agent_id"] == agent.agent_id


def test_the_stock_python_client_links_by_itself(
    chained: httpx.Client, service_on_chain: Service, wallet: LocalAccount
) -> None:
    agent = new_agent(chained)
    data = data_of(sign_in_with_python(service_on_chain.url, wallet, token=agent.token))
    assert (data["linked"], data["agent_id"]) == (True, agent.agent_id)


@pytest.mark.long
def test_the_stock_javascript_client_links_by_itself(
    chained: httpx.Client, service_on_chain: Service, wallet: LocalAccount, js_client: JavaScriptClient
) -> None:
    agent = new_agent(chained)
    done = js_client.pay(service_on_chain.url + PATH, key=key_of(wallet), sign_in=True, headers=bearing(agent.token))
    data = data_of(done.answer)
    assert (data["linked"], data["agent_id"], done.payments) == (True, agent.agent_id, ())


def test_a_sign_in_that_was_caught_on_its_way_links_the_wallet_to_nobody(
    chained: httpx.Client, wallet: LocalAccount
) -> None:
    catcher, header = new_agent(chained), signed(wallet, asked_by(chained))
    answer = send(chained, header, token=catcher.token)
    refused_as(answer, "invalid_siwx_request_id")
    assert "signed for something else" in error_of(answer, 403, "SIGN_IN_REFUSED")["message"]
    error_of(send(chained, header), 404, "NOT_FOUND")


def test_a_link_that_was_caught_on_its_way_signs_nobody_in_and_links_to_no_other(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    catcher = new_agent(chained)
    invited = agent_of(chained, linked.post("/v1/agents", INVITED))
    header = signed(wallet, asked_by(chained, token=linked.token))
    refused_as(send(chained, header), "invalid_siwx_request_id")
    for other in (catcher, invited):
        refused_as(send(chained, header, token=other.token), "invalid_siwx_request_id")
    assert linked.get("/v1/whoami")
    assert data_of(send(chained, header, token=linked.token))["linked"]


@pytest.mark.parametrize(
    "written", ["link:", "link:agt_", "LINK:{agent}", "link:{agent}0", "{agent}", "link:{agent}%20"]
)
def test_a_request_id_that_is_nearly_the_agents_is_not(
    chained: httpx.Client, wallet: LocalAccount, written: str
) -> None:
    agent = new_agent(chained)
    header = signed(wallet, {**asked_by(chained), "requestId": written.format(agent=agent.agent_id)})
    refused_as(send(chained, header, token=agent.token), "invalid_siwx_request_id")
    refused_as(send(chained, header), "invalid_siwx_request_id")


@pytest.mark.parametrize("kept", [True, False])
def test_the_request_id_cannot_be_put_there_or_taken_away_after_it_was_signed(
    chained: httpx.Client, wallet: LocalAccount, *, kept: bool
) -> None:
    agent = new_agent(chained)
    signed_fields: dict[str, Any] = asked_by(chained, token=agent.token if kept else None)
    sent = {"requestId": None if kept else f"link:{agent.agent_id}"}
    header = signed(wallet, signed_fields, **sent)
    refused_as(send(chained, header, token=None if kept else agent.token), "invalid_siwx_signature")


def test_a_wallet_of_another_organization_is_not_linked(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    answer = link(chained, wallet, new_agent(chained))
    error_of(answer, 409, "STATE_CONFLICT")
    assert linked.agent_id not in answer.text
    assert linked.organization_id not in answer.text
    assert linked.get("/v1/whoami")


def test_a_token_that_does_not_hold_is_told_to_be_left_out(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    data_of(sign_in(chained, wallet))
    header = signed(wallet, asked_by(chained))
    error = error_of(send(chained, header, token=linked.token), 401, "AUTH_REQUIRED")
    assert "without it" in error["message"]
    assert data_of(send(chained, header))["agent_id"] == linked.agent_id


@pytest.mark.long
def test_a_shop_that_presented_the_first_payment_is_out_once_its_wallet_has_signed_in(
    chained: httpx.Client, service_on_chain: Service, onchain: OnChain
) -> None:
    """It has the first token, and tries to keep a way in: another agent, a wallet of its own, the agent revoked."""
    payer, shops_own = onchain.payer(), Account.create()
    shop = agent_of(chained, data_of(pay_with_python(service_on_chain.url + "/v1/x402/top-up/taster-100",
                                                     key=key_of(payer)).answer))  # fmt: skip
    assert shop.paid_credits() == 100
    for answer in (
        shop.send("POST", "/v1/agents", INVITED),
        shop.send("POST", f"/v1/agents/{shop.agent_id}/revoke"),
        link(chained, shops_own, shop),
    ):
        error = error_of(answer, 409, "WALLET_SIGN_IN_FIRST")
        assert "POST /v1/x402/sign-in" in error["recovery"]["advice"]
    assert shop.quote()["quote_id"], "buying stays allowed"
    payers = agent_of(chained, data_of(sign_in(chained, payer.account)))
    assert payers.organization_id == shop.organization_id
    error_of(shop.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    error_of(sign_in(chained, shops_own), 404, "NOT_FOUND")
    assert [one["agent_id"] for one in payers.get("/v1/agents")["agents"]] == [payers.agent_id]
    assert payers.post("/v1/agents", INVITED)["agent_id"] != payers.agent_id
    assert data_of(link(chained, shops_own, payers))["linked"]
