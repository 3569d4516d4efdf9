"""Signing in over HTTP: by hand, by the stock clients, from a contract's wallet; and what is no sign-in of ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_account.signers.local import LocalAccount

from rails.x402.messages import HEADER_CHARS_MAX
from tests.service import Agent, Caller, Service, agent_of, data_of, envelope_of, error_of, new_agent
from tests.x402.chains import NETWORK, OnChain, key_of
from tests.x402.javascript import JavaScriptClient
from tests.x402.paying import WouldNotPay, decoded, encoded, pay_with_python
from tests.x402.rpc_proxy import RpcProxy, dead
from tests.x402.signing_in import (
    HEADER,
    PATH,
    asked_by,
    at,
    link,
    refused_as,
    send,
    sign_in_with_python,
    signed,
    text_of,
)

TOP_UP = "/v1/x402/top-up/taster-100"


def test_a_challenge_asks_for_nothing_to_be_paid_and_says_the_same_to_both_kinds_of_clients(
    chained: httpx.Client, service_on_chain: Service
) -> None:
    answer = chained.post(PATH)
    recovery = error_of(answer, 402, "SIGN_IN_REQUIRED")["recovery"]
    required = decoded(answer.headers["payment-required"])
    assert (required["x402Version"], required["accepts"]) == (2, [])
    declared = required["extensions"]["sign-in-with-x"]
    assert declared["info"]["domain"] == service_on_chain.url.removeprefix("http://")
    assert declared["info"]["uri"] == required["resource"]["url"] == service_on_chain.url + PATH
    assert declared["supportedChains"] == [{"chainId": NETWORK, "type": "eip191"}]
    by_hand = recovery["sign_in"]
    assert by_hand["header"] == HEADER
    assert by_hand["fields"] == {
        **declared["info"], **declared["supportedChains"][0], "address": "ADDRESS", "signature": "SIGNATURE",
    }  # fmt: skip
    assert by_hand["text"] == text_of(by_hand["fields"])
    assert answer.headers["cache-control"] == "no-store"


def test_signing_in_by_hand_gives_a_new_token_and_ends_the_old_one(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    fields = asked_by(chained)
    envelope = envelope_of(send(chained, signed(wallet, fields)))
    data = envelope["data"]
    assert (data["agent_id"], data["organization_id"]) == (linked.agent_id, linked.organization_id)
    assert envelope["actor"]["actor_id"] == linked.agent_id
    assert data["wallet"] == {"network": NETWORK, "address": wallet.address}
    assert data["limits"]["payment_backed_remaining_credits"] == 0
    assert any("returned once" in warning for warning in envelope["warnings"])
    assert "agent_contact" not in data
    error_of(linked.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    assert agent_of(chained, data).get("/v1/whoami")["agent"]["agent_id"] == linked.agent_id


def test_who_followed_the_recovery_by_hand_is_signed_in(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    by_hand = error_of(chained.post(PATH), 402, "SIGN_IN_REQUIRED")["recovery"]["sign_in"]
    text = by_hand["text"].replace("ADDRESS", wallet.address)
    signature = "0x" + bytes(wallet.sign_message(encode_defunct(text=text)).signature).hex()
    fields = {**by_hand["fields"], "address": wallet.address, "signature": signature}
    assert data_of(chained.post(PATH, headers={by_hand["header"]: encoded(fields)}))["agent_id"] == linked.agent_id


def test_the_wallet_that_topped_up_and_lost_its_token_comes_back_to_its_credits(
    chained: httpx.Client, service_on_chain: Service, onchain: OnChain
) -> None:
    payer = onchain.payer()
    paid = data_of(pay_with_python(service_on_chain.url + TOP_UP, key=key_of(payer)).answer)
    data = data_of(send(chained, signed(payer.account, asked_by(chained))))
    assert data["organization_id"] == paid["organization_id"]
    assert data["limits"]["payment_backed_remaining_credits"] == 100
    error_of(Caller(chained, paid["token"]).send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    assert agent_of(chained, data).paid_credits() == 100


def test_the_stock_python_client_signs_in_by_itself(
    service_on_chain: Service, wallet: LocalAccount, linked: Agent
) -> None:
    assert data_of(sign_in_with_python(service_on_chain.url, wallet))["agent_id"] == linked.agent_id


@pytest.mark.long
def test_the_stock_javascript_client_signs_in_by_itself(
    service_on_chain: Service, wallet: LocalAccount, linked: Agent, js_client: JavaScriptClient
) -> None:
    done = js_client.pay(service_on_chain.url + PATH, key=key_of(wallet), sign_in=True)
    assert (data_of(done.answer)["agent_id"], done.payments) == (linked.agent_id, ())


def test_a_stock_client_without_that_extension_pays_nothing_to_sign_in(
    service_on_chain: Service, onchain: OnChain
) -> None:
    payer, before = onchain.payer(), onchain.received
    with pytest.raises(WouldNotPay):
        pay_with_python(service_on_chain.url + PATH, key=key_of(payer))
    assert onchain.received == before


def test_a_contracts_wallet_signs_in_by_its_owners_key_and_nobody_elses(
    chained: httpx.Client, onchain: OnChain
) -> None:
    payer, agent = onchain.contract_payer(), new_agent(chained)
    stranger: LocalAccount = Account.create()

    def header(by: LocalAccount) -> str:
        return signed(by, {**asked_by(chained), "address": payer.address})

    data_of(link(chained, payer.account, agent, address=payer.address))
    assert data_of(send(chained, header(payer.account)))["agent_id"] == agent.agent_id
    refused_as(send(chained, header(stranger)), "invalid_siwx_signature")


@pytest.mark.long
def test_an_address_with_delegated_code_is_asked_like_a_contract(
    chained: httpx.Client, onchain: OnChain, wallet: LocalAccount, linked: Agent
) -> None:
    """EIP-7702, here to code that knows no EIP-1271: the token would not let such a key pay either."""
    onchain.chain.rpc("anvil_setCode", wallet.address, "0xef0100" + onchain.token.address[2:])
    refused_as(send(chained, signed(wallet, asked_by(chained))), "invalid_siwx_signature")
    assert linked.get("/v1/whoami")


def test_a_header_that_was_used_opens_nothing_again(chained: httpx.Client, wallet: LocalAccount, linked: Agent) -> None:
    header = signed(wallet, asked_by(chained))
    again = agent_of(chained, data_of(send(chained, header)))
    refused_as(send(chained, header), "invalid_siwx_nonce")
    assert again.get("/v1/whoami")["agent"]["agent_id"] == linked.agent_id


def test_a_nonce_that_is_not_ours_opens_nothing(chained: httpx.Client, wallet: LocalAccount, linked: Agent) -> None:
    refused_as(send(chained, signed(wallet, {**asked_by(chained), "nonce": "a" * 40})), "invalid_siwx_nonce")
    assert linked.get("/v1/whoami")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"domain": "evil.example"}, "invalid_siwx_domain_mismatch"),
        ({"uri": "https://evil.example/v1/x402/sign-in"}, "invalid_siwx_uri_mismatch"),
        ({"chainId": "eip155:8453"}, "invalid_siwx_unsupported_chain"),
        ({"expirationTime": timedelta(seconds=-1)}, "invalid_siwx_expired"),
        ({"issuedAt": timedelta(minutes=-6)}, "invalid_siwx_issued_at_too_old"),
        ({"issuedAt": timedelta(hours=1)}, "invalid_siwx_issued_at_in_future"),
        ({"notBefore": timedelta(hours=1)}, "invalid_siwx_not_yet_valid"),
    ],
)
def test_a_text_that_is_not_for_us_and_now_is_refused_although_it_was_signed(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent, changes: dict[str, Any], reason: str
) -> None:
    now = datetime.now(UTC)
    written = {name: at(now + value) if isinstance(value, timedelta) else value for name, value in changes.items()}
    refused_as(send(chained, signed(wallet, {**asked_by(chained), **written})), reason)
    assert linked.get("/v1/whoami")


def test_a_text_cannot_be_stretched_beyond_what_was_signed(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    fields = asked_by(chained)
    stranger: LocalAccount = Account.create()
    for sent in (
        {"address": stranger.address},
        {"statement": "Something else."},
        {"expirationTime": at(datetime.now(UTC) + timedelta(hours=1))},
        {"nonce": asked_by(chained)["nonce"]},
        {"resources": ["https://evil.example/"]},
    ):
        refused_as(send(chained, signed(wallet, fields, **sent)), "invalid_siwx_signature")
    assert linked.get("/v1/whoami")


def test_somebody_elses_address_is_not_taken_from_another_key(chained: httpx.Client, wallet: LocalAccount) -> None:
    stranger: LocalAccount = Account.create()
    refused_as(
        send(chained, signed(stranger, {**asked_by(chained), "address": wallet.address})), "invalid_siwx_signature"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"statement": "Sign in.\n\nURI: https://evil.example"},
        {"uri": "http://a/\nNonce: 12345678"},
        {"requestId": "1\nResources:"},
        {"nonce": "short"},
        {"issuedAt": "yesterday"},
        {"type": "ed25519"},
        {"version": "2"},
        {"resources": "none"},
        {"signature": "0x"},
        {"signature": "0x" + "00" * 5000},
        {"domain": None},
    ],
)
def test_a_header_that_cannot_be_read_is_no_sign_in(
    chained: httpx.Client, wallet: LocalAccount, changes: dict[str, Any]
) -> None:
    header = signed(wallet, asked_by(chained), **changes)
    error_of(send(chained, header), 400, "INVALID_ARGUMENTS")


def test_headers_that_are_too_large_or_stand_there_twice_are_refused(
    chained: httpx.Client, wallet: LocalAccount
) -> None:
    fields = asked_by(chained)
    error_of(send(chained, "A" * (HEADER_CHARS_MAX + 4)), 400, "INVALID_ARGUMENTS")
    twice = [(HEADER, signed(wallet, fields))] * 2
    error_of(chained.post(PATH, headers=twice), 400, "INVALID_ARGUMENTS")
    error_of(send(chained, "no base64!"), 400, "INVALID_ARGUMENTS")


def test_a_wallet_that_never_paid_is_told_to_top_up(chained: httpx.Client, wallet: LocalAccount) -> None:
    header = signed(wallet, asked_by(chained))
    error = error_of(send(chained, header), 404, "NOT_FOUND")
    assert "Top up from this wallet first" in error["recovery"]["advice"]
    refused_as(send(chained, header), "invalid_siwx_nonce")


def test_an_address_is_the_same_wallet_in_small_letters(
    chained: httpx.Client, wallet: LocalAccount, linked: Agent
) -> None:
    header = signed(wallet, {**asked_by(chained), "address": wallet.address.lower()})
    data = data_of(send(chained, header))
    assert (data["agent_id"], data["wallet"]["address"]) == (linked.agent_id, wallet.address)


def test_while_the_chain_is_silent_the_sign_in_waits_and_is_not_used_up(
    start_on_chain: Callable[..., Service], rpc_proxy: RpcProxy, wallet: LocalAccount
) -> None:
    service = start_on_chain(x402_rpc_url=rpc_proxy.url)
    with service.client() as client:
        agent = new_agent(client)
        header = signed(wallet, asked_by(client, token=agent.token))
        with rpc_proxy.faulty("eth_getCode", dead):
            error_of(send(client, header, token=agent.token), 503, "PAYMENT_METHOD_UNAVAILABLE")
        assert data_of(send(client, header, token=agent.token))["linked"]


def test_the_node_is_not_asked_about_a_nonce_that_opens_nothing(
    chained: httpx.Client, rpc_proxy: RpcProxy, wallet: LocalAccount, linked: Agent
) -> None:
    """Its work for a signature may be large (EIP-1271), and is had for free by whoever sends made-up nonces."""
    used = signed(wallet, asked_by(chained))
    data_of(send(chained, used))
    with rpc_proxy.faulty("eth_getCode", dead):
        refused_as(send(chained, used), "invalid_siwx_nonce")
        refused_as(send(chained, signed(wallet, {**asked_by(chained), "nonce": "b" * 40})), "invalid_siwx_nonce")
        error_of(send(chained, signed(wallet, asked_by(chained))), 503, "PAYMENT_METHOD_UNAVAILABLE")


def test_where_no_chain_is_asked_a_key_signs_in_and_a_contract_is_told_why_not(
    start_on_chain: Callable[..., Service], onchain: OnChain, wallet: LocalAccount
) -> None:
    service = start_on_chain(x402_rpc_url=None, x402_gas_key=None, x402_facilitator_url="http://127.0.0.1:1")
    payer = onchain.contract_payer()
    with service.client() as client:
        agent = new_agent(client)
        assert data_of(link(client, wallet, agent))["linked"]
        answer = send(client, signed(payer.account, {**asked_by(client), "address": payer.address}))
        assert "asks no chain" in error_of(answer, 403, "SIGN_IN_REFUSED")["message"]


@pytest.mark.long
def test_challenges_are_counted_like_sign_ups(start_on_chain: Callable[..., Service]) -> None:
    service = start_on_chain(signups_per_minute=2)
    with service.client() as client:
        asked_by(client)
        asked_by(client)
        assert error_of(client.post(PATH), 429, "RATE_LIMITED")["recovery"]["retry_after_seconds"] <= 60


def test_a_service_without_this_rail_says_so(http: httpx.Client) -> None:
    error_of(http.post(PATH), 503, "PAYMENT_METHOD_UNAVAILABLE")
