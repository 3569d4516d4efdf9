"""What a payment must be, one field wrong at a time: the protocol's word for it, and no row of anything is left."""

from typing import Any

import pytest
from eth_account import Account

from billing.settlement_states import SettlementState as S
from tests.service import data_of, error_of, new_key
from tests.x402.paying import SIGNATURE, decoded
from tests.x402.test_x402_by_hand import BY_SIGNATURE, TAMPERED, TOO_EARLY, TOO_LATE, assert_refused
from tests.x402.till import DOLLAR

BUY = "/v1/credit-purchases/x402"
WINDOW_S, CLOCKS_S = 300, 600
HALF_ORDER_PAIR = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def other_half(signature):
    """The second signature of the same key for the same digest, which the token refuses (EIP-2)."""
    s = HALF_ORDER_PAIR - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


JUNK = {
    "zeros": bytes(65),
    "a v that is none": b"\1" * 64 + b"\x1d",
    "r beyond the order": b"\xff" * 32 + b"\1" * 32 + b"\x1b",
    "hundreds of bytes": b"\1" * 600,
    "an undeployed wallet's": b"\1" * 96 + bytes.fromhex("6492" * 16),
}


async def test_every_tampered_payment_leaves_not_a_single_row(till):
    payer = till.onchain.payer()
    before = till.counts()
    tampered: Any = TAMPERED
    for tampering, reason in tampered.values():
        assert_refused(await till.ask(till.sign(payer, **tampering)), reason)
    assert till.counts() == before
    assert till.onchain.token.balance(payer.address) == 100 * DOLLAR


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
async def test_a_junk_signature_of_a_key_or_of_a_contract_leaves_nothing(till, junk):
    for payer in (till.onchain.payer(), till.onchain.contract_payer()):
        before = till.counts()
        answer = await till.ask(till.sign(payer, signature=junk))
        assert answer.status_code in {400, 402}, answer.text
        if answer.status_code == 402:
            assert "signature" in answer.json()["error"]["message"] or "deployed" in answer.json()["error"]["message"]
        assert till.counts() == before


async def test_the_other_half_of_a_signature_is_not_taken(till):
    payer = till.onchain.payer()
    payment = till.sign(payer, signed={"nonce": bytes(31) + b"\1"})
    signature = bytes.fromhex(decoded(payment)["payload"]["signature"][2:])
    turned = till.sign(payer, signed={"nonce": bytes(31) + b"\1"}, signature=other_half(signature))
    before = till.counts()
    assert_refused(await till.ask(turned), BY_SIGNATURE)
    assert till.counts() == before


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"validBefore": 0}, TOO_LATE),
        ({"validBefore": 2}, TOO_LATE),
        ({"validBefore": WINDOW_S + CLOCKS_S + 30}, TOO_LATE),
        ({"validAfter": 60, "validBefore": WINDOW_S}, TOO_EARLY),
    ],
)
async def test_the_window_of_a_signature_is_bounded_on_both_sides(till, window, reason):
    moment = int(till.clock().timestamp())
    before = till.counts()
    signed = {name: moment + seconds for name, seconds in window.items()}
    assert_refused(await till.ask(till.sign(till.onchain.payer(), signed=signed)), reason)
    assert till.counts() == before


async def test_a_payment_that_was_refused_leaves_its_purchase_open_for_a_good_one(till):
    signed_up = await till.client.post(
        "/v1/agent-signups", json={"agent_name": "tester", "runtime": "pytest", "return_token": True}
    )
    headers = {"authorization": f"Bearer {data_of(signed_up)['token']}"}
    terms = {"payment_method": "x402.exact.usdc", "pack_id": "taster-100", "idempotency_key": new_key()}
    quote = data_of(await till.client.post("/v1/credit-quotes", json=terms, headers=headers))
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    payer = till.onchain.payer()
    error_of(await till.client.post(BUY, json=body, headers=headers), 402, "PAYMENT_REQUIRED")
    before = till.counts()
    tampered: Any = TAMPERED
    for tampering, reason in tampered.values():
        payment = till.sign(payer, **tampering)
        answer = await till.client.post(BUY, json=body, headers={**headers, SIGNATURE: payment})
        assert reason in error_of(answer, 402, "PAYMENT_REQUIRED")["message"]
    assert till.counts() == before
    good = await till.client.post(BUY, json=body, headers={**headers, SIGNATURE: till.sign(payer)})
    assert good.status_code == 202
    assert {name: number - before[name] for name, number in till.counts().items() if number != before[name]} == {
        "billing.settlements": 1,
        "billing.gas_transactions": 1,
    }


async def test_a_signature_for_the_same_nonce_that_says_something_else_is_another_payment_and_is_refused(till):
    payer = till.onchain.payer()
    nonce = Account.create().key
    key = await till.claim(till.sign(payer, signed={"nonce": bytes(nonce)}))
    other = till.sign(payer, signed={"nonce": bytes(nonce), "validAfter": 1})
    before = till.counts()
    error_of(await till.ask(other), 409, "PAYMENT_ALREADY_USED")
    assert till.counts() == before
    await till.settled(key)
    error_of(await till.ask(other), 409, "PAYMENT_ALREADY_USED")
    assert (await till.row(key)).state == S.SETTLED
