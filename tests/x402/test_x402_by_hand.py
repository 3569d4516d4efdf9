"""Payments that are wrong in one thing: each is answered with the reason and what to sign, and no claim is left."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from eth_account import Account

from tests.service import ANSWER_S, Caller, data_of, error_of, until
from tests.x402.chains import key_of
from tests.x402.paying import REQUIRED, SIGNATURE, decoded, encoded, signed_payment

PACK = "/v1/x402/top-up/taster-100"
DOLLAR = 1_000_000
STRANGER = "0x857b06519E91e3A54538791bDbb0E22373e36b66"
SENDS, SENDERS = 50, 25

BY_AMOUNT = "invalid_exact_evm_payload_authorization_value_mismatch"
BY_RECIPIENT = "invalid_exact_evm_payload_recipient_mismatch"
BY_SIGNATURE = "invalid_exact_evm_payload_signature"
BY_SIMULATION = "invalid_exact_evm_transaction_simulation_failed"
BY_BALANCE = "invalid_exact_evm_insufficient_balance"
TOO_LATE = "invalid_exact_evm_payload_authorization_valid_before"
TOO_EARLY = "invalid_exact_evm_payload_authorization_valid_after"

TAMPERED = {
    "less is signed": ({"signed": {"value": 1}}, BY_AMOUNT),
    "more is signed": ({"signed": {"value": DOLLAR + 1}}, BY_AMOUNT),
    "less is offered and signed": ({"signed": {"value": 1}, "accepted": {"amount": "1"}}, BY_AMOUNT),
    "another amount is sent than signed": ({"signed": {"value": 1}, "sent": {"value": DOLLAR}}, BY_SIGNATURE),
    "somebody else is paid": ({"signed": {"to": STRANGER}}, BY_RECIPIENT),
    "somebody else is offered and paid": ({"signed": {"to": STRANGER}, "accepted": {"payTo": STRANGER}}, BY_RECIPIENT),
    "somebody else pays": ({"sent": {"from": STRANGER}}, BY_SIGNATURE),
    "another network is offered": ({"accepted": {"network": "eip155:8453"}}, "network_mismatch"),
    "another network is signed for": ({"domain": {"chainId": 8453}}, BY_SIGNATURE),
    "another token is offered": ({"accepted": {"asset": STRANGER}}, "invalid_payment_requirements"),
    "another token is signed for": ({"domain": {"verifyingContract": STRANGER}}, BY_SIGNATURE),
    "another name is signed for": ({"domain": {"name": "USD Coin"}}, BY_SIGNATURE),
    "another nonce is sent than signed": ({"sent": {"nonce": bytes(32)}}, BY_SIGNATURE),
    "it has expired": ({"signed": {"validBefore": 1_700_000_000}}, TOO_LATE),
    "it is good for ever": ({"signed": {"validBefore": 2**64}}, TOO_LATE),
    "it is not valid yet": ({"signed": {"validAfter": 4_000_000_000, "validBefore": 4_000_000_100}}, TOO_EARLY),
    "the signature is junk": ({"signature": b"\1" * 65}, BY_SIGNATURE),
}


@pytest.fixture
def shop(service_on_chain):
    with service_on_chain.client() as client:
        yield client


@pytest.fixture
def payer(onchain):
    return onchain.payer()


@pytest.fixture
def required(shop):
    """The header that says what to sign."""
    return shop.post(PACK).headers[REQUIRED]


def present(client, payment):
    return client.post(PACK, headers={SIGNATURE: payment})


def claims(service, payer):
    query = "SELECT count(*) FROM billing.settlements WHERE lower(payer) = $1"
    return service.database.rows(query, payer.address.lower())[0][0]


def assert_refused(answer, reason):
    """402, with the reason where clients look for it, and with what would be right."""
    error = error_of(answer, 402, "PAYMENT_REQUIRED")
    again = decoded(answer.headers[REQUIRED])
    assert again["error"].startswith(f"{reason}: ")
    assert again["accepts"][0]["amount"] == str(DOLLAR)
    assert reason in error["message"]


def test_a_payment_that_was_made_by_hand_is_taken(shop, onchain, payer, required):
    bought = data_of(present(shop, signed_payment(required, key_of(payer))))
    assert bought["state"] == "succeeded"
    assert onchain.token.balance(payer.address) == 99 * DOLLAR


@pytest.mark.parametrize(("tampering", "reason"), TAMPERED.values(), ids=TAMPERED.keys())
def test_a_payment_that_was_tampered_with_is_not_taken(
    shop, service_on_chain, onchain, payer, required, tampering, reason
):
    assert_refused(present(shop, signed_payment(required, key_of(payer), **tampering)), reason)
    assert claims(service_on_chain, payer) == 0
    assert onchain.token.balance(payer.address) == 100 * DOLLAR


def test_what_is_no_payment_is_said_to_be_none(shop, service_on_chain, payer, required):
    good = decoded(signed_payment(required, key_of(payer)))
    short = signed_payment(required, key_of(payer), signature=b"\1" * 64)
    for junk in ("", "junk", short, encoded({}), encoded({**good, "x402Version": 3}), encoded({**good, "payload": []})):
        error_of(present(shop, junk), 400, "INVALID_ARGUMENTS")
    assert claims(service_on_chain, payer) == 0


def test_a_payer_who_cannot_pay_is_told_so(shop, service_on_chain, onchain, required):
    poor = onchain.payer(atomic=DOLLAR - 1)
    assert_refused(present(shop, signed_payment(required, key_of(poor))), BY_BALANCE)
    blocked = onchain.payer()
    onchain.token.blacklist(blocked.address)
    assert_refused(present(shop, signed_payment(required, key_of(blocked))), BY_SIMULATION)
    assert claims(service_on_chain, poor) == claims(service_on_chain, blocked) == 0


def test_while_the_token_is_paused_nothing_is_taken(shop, service_on_chain, onchain, payer, required):
    onchain.token.pause()
    try:
        assert_refused(present(shop, signed_payment(required, key_of(payer))), BY_SIMULATION)
    finally:
        onchain.token.unpause()
    assert claims(service_on_chain, payer) == 0


def test_a_contract_wallets_payment_needs_its_owners_signature(shop, service_on_chain, onchain, required):
    wallet = onchain.contract_payer()
    stranger = "0x" + bytes(Account.create().key).hex()
    assert_refused(present(shop, signed_payment(required, stranger, payer=wallet.address)), BY_SIGNATURE)
    assert claims(service_on_chain, wallet) == 0
    assert data_of(present(shop, signed_payment(required, key_of(wallet), payer=wallet.address)))["token"]


def test_fifty_sends_of_one_payment_to_two_processes_grant_once(two_on_chain, onchain, payer, required):
    payment, before = signed_payment(required, key_of(payer)), onchain.received
    urls = [two_on_chain[n % 2].url for n in range(SENDS)]
    with ThreadPoolExecutor(SENDERS) as senders:
        answers = list(senders.map(lambda url: taken(url + PACK, payment), urls))
    assert {answer.status_code for answer in answers} <= {200, 202}
    tokens = [token for answer in answers if (token := answer.json()["data"].get("token"))]
    assert len(tokens) == 1, "who claimed it, and nobody else"
    assert all(set(answer.json()["data"]) <= TOLD_TO_EVERYBODY for answer in answers if tokens[0] not in answer.text)
    with httpx.Client(base_url=two_on_chain[1].url, timeout=ANSWER_S) as client:
        quota = Caller(client, tokens[0]).get("/v1/quota")
    assert quota["limits"]["payment_backed_remaining_credits"] == 100
    assert onchain.received - before == DOLLAR


def taken(url, payment):
    """The answer to a payment that is sent again, as its sender is told to, while the chain is too busy to check it."""

    def send():
        answer = httpx.post(url, headers={SIGNATURE: payment}, timeout=ANSWER_S)
        return None if answer.status_code == 503 and answer.json()["error"]["retryable"] else answer

    return until(send)


TOLD_TO_EVERYBODY = {"state", "payment_attempt_id", "status_url", "retry_after_seconds"}
