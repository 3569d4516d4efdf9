"""Which signed payments would settle, judged on a real chain."""

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from eth_account import Account

from rails.evm import calls, eip3009
from rails.evm.chain import Chain
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.x402.terms import NotPayable, SignedPayment
from rails.x402.verifying import LAG_BLOCKS, Verifier
from tests.evm.usdc import CANCEL_BYTES, TRANSFER_BYTES, artefact, call_data, new_payer
from tests.x402.judging import (
    AMOUNT,
    BY_AMOUNT,
    BY_BALANCE,
    BY_NONCE,
    BY_RECIPIENT,
    BY_SIGNATURE,
    BY_SIMULATION,
    BY_UNDEPLOYED,
    PAYEE,
    REQUIREMENT,
    STRANGER,
    TOO_LATE,
    UNDEPLOYED,
)


@pytest.fixture
async def chain(token):
    opened = Chain(BASE_SEPOLIA, token.chain.url)
    yield opened
    await opened.aclose()


@pytest.fixture
def verifier(chain, gas_wallet):
    return Verifier(chain, sender=gas_wallet.address)


def presented(made):
    """The payment that a client would present of an authorization of the tests' payers."""
    terms = (made.payer, made.to, made.value, made.valid_after, made.valid_before, made.nonce)
    return SignedPayment(eip3009.Authorization(*terms), made.signature, REQUIREMENT.wire(), None)


def paying(payer, **terms):
    return presented(payer.authorize(**({"to": PAYEE, "value": AMOUNT} | terms)))


def now_of(token):
    return datetime.fromtimestamp(token.chain.now, UTC)


async def refusal_of(verifier, payment, token, *, requirement=REQUIREMENT, now=None):
    with pytest.raises(NotPayable) as caught:
        await verifier.check(payment, requirement, now=now or now_of(token))
    return caught.value


async def test_a_payment_that_would_settle_is_verified_and_settles_by_the_very_call(verifier, payer, token, gas_wallet):
    payment = paying(payer)
    verified = await verifier.check(payment, REQUIREMENT, now=now_of(token))
    assert verified.call.sender == gas_wallet.address
    assert verified.call.data == calls.transfer_by_parts(payment.authorization, payment.signature)
    assert verified.head_block == max(0, int(token.chain.rpc("eth_blockNumber"), 16) - LAG_BLOCKS)
    before = token.balance(PAYEE)
    token.send("0x" + verified.call.data.hex())
    assert token.balance(PAYEE) == before + AMOUNT


async def test_the_search_for_a_payment_begins_before_anybody_can_have_carried_it_out(verifier, payer, token, rewound):
    token.chain.mine(2 * LAG_BLOCKS)
    verified = await verifier.check(paying(payer), REQUIREMENT, now=now_of(token))
    assert verified.head_block == int(token.chain.rpc("eth_blockNumber"), 16) - LAG_BLOCKS


async def test_a_payment_that_others_will_send_needs_no_gas_wallet(chain, payer, token):
    verified = await Verifier(chain, sender=PAYEE).check(paying(payer), REQUIREMENT, now=now_of(token))
    assert verified.call.sender == PAYEE


async def test_a_contract_wallet_pays_by_eip_1271(verifier, contract_payer, token):
    payment = paying(contract_payer)
    verified = await verifier.check(payment, REQUIREMENT, now=now_of(token))
    assert verified.call.data == calls.transfer_by_bytes(payment.authorization, payment.signature)
    token.send("0x" + verified.call.data.hex())


async def test_a_contract_wallet_that_does_not_accept_the_signature_pays_nothing(verifier, contract_payer, token):
    stranger = replace(contract_payer, account=Account.create())
    for payment in (paying(stranger), replace(paying(contract_payer), signature=b""), paying(contract_payer, value=1)):
        accepted = replace(payment, authorization=replace(payment.authorization, value=AMOUNT))
        assert (await refusal_of(verifier, accepted, token)).reason == BY_SIGNATURE


async def test_the_code_of_an_address_decides_who_signs_for_it_and_not_its_key(verifier, payer, token, rewound):
    """EIP-7702: an address with a key and code is a contract to the token, whatever its key signs."""
    payment = paying(payer)
    await verifier.check(payment, REQUIREMENT, now=now_of(token))
    token.chain.rpc("anvil_setCode", payer.address, "0x60006000fd")
    refused = await refusal_of(verifier, payment, token)
    assert refused.reason == BY_SIGNATURE
    assert "EIP-1271" in refused.message
    assert "invalid signature" in token.refusal(payer_call(payment))


async def test_an_address_whose_delegated_code_accepts_its_key_pays(verifier, payer, token, rewound):
    """EIP-7702: the code of the wallet contract at the payer's address, owned by the payer's own key."""
    code = artefact("Wallet1271")["bytecode"] + payer.address[2:].lower().rjust(64, "0")
    made = token.chain.receipt(token.chain.rpc("eth_sendTransaction", {"from": token.owner, "data": code}))
    delegated = "0xef0100" + made["contractAddress"][2:]
    token.chain.rpc("anvil_setCode", payer.address, delegated)
    payment = paying(payer)
    verified = await verifier.check(payment, REQUIREMENT, now=now_of(token))
    assert verified.call.data == calls.transfer_by_bytes(payment.authorization, payment.signature)
    token.send("0x" + verified.call.data.hex())
    assert (await refusal_of(verifier, payment, token)).reason == BY_NONCE


def payer_call(payment):
    return "0x" + calls.transfer_by_bytes(payment.authorization, payment.signature).hex()


async def test_a_signature_of_0_or_1_is_carried_out_as_the_token_takes_it(verifier, payer, token):
    payment = paying(payer)
    low = replace(payment, signature=payment.signature[:64] + bytes([payment.signature[64] - 27]))
    verified = await verifier.check(low, REQUIREMENT, now=now_of(token))
    token.send("0x" + verified.call.data.hex())


@pytest.mark.parametrize("junk", [b"", b"junk", bytes(65), b"\xff" * 65, b"\1" * 65, b"\1" * 5000])
async def test_junk_is_nobodys_signature(verifier, payer, token, junk):
    refused = await refusal_of(verifier, replace(paying(payer), signature=junk), token)
    assert refused.reason == BY_SIGNATURE


async def test_somebody_elses_signature_is_not_the_payers(verifier, payer, token):
    stranger = replace(payer, account=Account.create())
    assert (await refusal_of(verifier, paying(stranger), token)).reason == BY_SIGNATURE


async def test_a_signature_under_another_name_of_the_token_is_refused(verifier, payer, token):
    misled = replace(payer, token=replace(token, name="USD Coin"))
    assert (await refusal_of(verifier, paying(misled), token)).reason == BY_SIGNATURE


async def test_a_wallet_that_is_not_deployed_is_told_so(verifier, payer, token):
    payment = replace(paying(payer), signature=b"\1" * 96 + UNDEPLOYED)
    assert (await refusal_of(verifier, payment, token)).reason == BY_UNDEPLOYED


@pytest.mark.parametrize(
    ("tampered", "word"),
    [
        ({"value": AMOUNT + 1}, BY_AMOUNT),
        ({"to": STRANGER}, BY_RECIPIENT),
        ({"nonce": bytes(32)}, BY_SIGNATURE),
        ({"from_": STRANGER}, BY_SIGNATURE),
        ({"valid_after": 1}, BY_SIGNATURE),
    ],
)
async def test_what_was_tampered_with_after_signing_is_refused(verifier, payer, token, tampered, word):
    payment = paying(payer)
    changed = replace(payment, authorization=replace(payment.authorization, **tampered))
    assert (await refusal_of(verifier, changed, token)).reason == word


async def test_a_lower_amount_that_was_signed_and_accepted_is_not_what_was_asked_for(verifier, payer, token):
    cheap = replace(paying(payer, value=1), accepted=replace(REQUIREMENT, amount_atomic=1).wire())
    assert (await refusal_of(verifier, cheap, token)).reason == BY_AMOUNT


@pytest.mark.parametrize("changed", [{"network": BASE.caip2}, {"asset": BASE.token_address}])
async def test_a_requirement_of_another_chain_or_token_is_not_payable_here(verifier, payer, token, changed):
    elsewhere = replace(REQUIREMENT, **changed)
    payment = replace(paying(payer), accepted=elsewhere.wire())
    refused = await refusal_of(verifier, payment, token, requirement=elsewhere)
    assert refused.reason == "network_mismatch"


async def test_a_used_nonce_is_refused(verifier, payer, token):
    made = payer.authorize(to=PAYEE, value=AMOUNT)
    token.send(made.call(TRANSFER_BYTES))
    assert (await refusal_of(verifier, presented(made), token)).reason == BY_NONCE


async def test_a_cancelled_nonce_is_refused(verifier, payer, token):
    nonce = secrets.token_bytes(32)
    token.send(payer.authorize(to=PAYEE, value=0, nonce=nonce, kind="CancelAuthorization").call(CANCEL_BYTES))
    assert (await refusal_of(verifier, paying(payer, nonce=nonce), token)).reason == BY_NONCE


async def test_a_payer_without_the_money_is_refused(verifier, token):
    poor = new_payer(token, atomic=AMOUNT - 1)
    payment = paying(poor)
    assert (await refusal_of(verifier, payment, token)).reason == BY_BALANCE
    token.fund(poor.address, 1)
    await verifier.check(payment, REQUIREMENT, now=now_of(token))


@pytest.mark.parametrize(
    ("act", "of", "words"),
    [
        ("pause()", None, "paused"),
        ("blacklist(address)", "payer", "blacklisted"),
        ("blacklist(address)", PAYEE, "black"),
    ],
)
async def test_what_only_the_token_knows_is_said_in_its_words(verifier, payer, token, rewound, act, of, words):
    arguments = [] if of is None else [payer.address if of == "payer" else of]
    token.send(call_data(act, *arguments))
    refused = await refusal_of(verifier, paying(payer), token)
    assert refused.reason == BY_SIMULATION
    assert words in refused.message


async def test_what_the_chains_own_clock_does_not_let_through_is_refused(verifier, payer, token, rewound):
    made = payer.authorize(to=PAYEE, value=AMOUNT)
    now = now_of(token)
    token.chain.increase_time(700)
    refused = await refusal_of(verifier, presented(made), token, now=now)
    assert refused.reason == BY_SIMULATION
    assert "expired" in refused.message
    assert (await refusal_of(verifier, presented(made), token)).reason == TOO_LATE


async def test_the_first_reason_of_several_is_given(verifier, payer, token, rewound):
    """In the order in which they are asked: payment, signature, nonce, balance, simulation."""
    nonce = secrets.token_bytes(32)
    token.send(payer.authorize(to=PAYEE, value=AMOUNT, nonce=nonce).call(TRANSFER_BYTES))
    token.send(payer.authorize(to=PAYEE, value=99 * AMOUNT).call(TRANSFER_BYTES))
    fresh = paying(payer)
    used = paying(payer, nonce=nonce)
    token.pause()
    assert (await refusal_of(verifier, replace(used, signature=b""), token)).reason == BY_SIGNATURE
    assert (await refusal_of(verifier, used, token)).reason == BY_NONCE
    assert (await refusal_of(verifier, fresh, token)).reason == BY_BALANCE
    token.unpause()
    token.fund(payer.address, AMOUNT)
    token.pause()
    assert (await refusal_of(verifier, fresh, token)).reason == BY_SIMULATION


async def test_many_payments_are_judged_at_once(verifier, payer, token):
    now, payments = now_of(token), [paying(payer) for _ in range(20)]
    verified = await asyncio.gather(*(verifier.check(payment, REQUIREMENT, now=now) for payment in payments))
    assert len({one.call.data for one in verified}) == 20
