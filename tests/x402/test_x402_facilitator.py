"""A facilitator that settles, and all the ways in which one may not: what it says is never more than its word."""

import asyncio
import time
from dataclasses import replace

import httpx
import pytest

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account

from rails.evm.eip3009 import Authorization
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import OutcomeUnknown, RailUnavailable
from rails.x402.facilitator import Facilitator, Settled, WrongFacilitator, payment_wire
from rails.x402.terms import NotPayable, Requirement
from tests.evm.anvil import CHAIN_ID
from tests.evm.usdc import call_data
from tests.service import HOST, free_port
from tests.x402.facilitating import NO_TRANSACTION, facilitator_running

SECRET = "t0ken-that-is-secret"
TIMEOUT_S = 60.0
SHORT_S = 0.6
PRICE = 1_000_000
NETWORK = BASE_SEPOLIA.caip2
REQUIREMENT = Requirement(
    network=NETWORK,
    asset=BASE_SEPOLIA.token_address,
    amount_atomic=PRICE,
    pay_to=Account.create().address,
    timeout_s=300,
    token_name=BASE_SEPOLIA.token_name,
    token_version=BASE_SEPOLIA.token_version,
)


@pytest.fixture(scope="module")
def running(token, gas_wallet):
    with facilitator_running(token.chain.url, gas_wallet.key.hex(), CHAIN_ID, token=SECRET) as facilitating:
        yield facilitating


@pytest.fixture
def facilitating(running):
    """Well-behaved at first and afterwards, with nothing counted yet."""
    running.asked.clear()
    running.settled.clear()
    yield running
    running.misbehave(None)


@pytest.fixture
async def facilitator(facilitating):
    asked = Facilitator(facilitating.url, token=SECRET, timeout_s=TIMEOUT_S)
    yield asked
    await asked.aclose()


@pytest.fixture
async def impatient(facilitating):
    """It waits for an answer for a moment only, and as long as it takes until its question has left."""
    asked = Facilitator(facilitating.url, token=SECRET, timeout_s=TIMEOUT_S)
    asked._http.timeout = httpx.Timeout(TIMEOUT_S, read=SHORT_S)
    yield asked
    await asked.aclose()


def wire(signed, *, requirement=REQUIREMENT, url=None):
    """A payment as we store it, out of what the tests' payer signed."""
    authorization = Authorization(
        from_=signed.payer,
        to=signed.to,
        value=signed.value,
        valid_after=signed.valid_after,
        valid_before=signed.valid_before,
        nonce=signed.nonce,
    )
    return payment_wire(requirement, authorization, signed.signature, url)


@pytest.fixture
def signed(payer):
    return payer.authorize(to=REQUIREMENT.pay_to, value=PRICE)


# It serves


async def test_a_facilitator_of_our_network_is_taken(facilitator, facilitating):
    await facilitator.supported(NETWORK)
    assert facilitating.asked == ["/supported"]


async def test_a_facilitator_of_other_networks_is_the_wrong_one(facilitator, facilitating):
    with pytest.raises(WrongFacilitator, match="does not take exact on eip155:8453 of x402 version 2"):
        await facilitator.supported("eip155:8453")
    facilitating.misbehave("wrong_network")
    with pytest.raises(WrongFacilitator, match=NETWORK):
        await facilitator.supported(NETWORK)


async def test_a_payment_is_verified_and_settled(facilitator, signed, token):
    payment = wire(signed, url="http://purser.test/v1/x402/top-up/pack")
    await facilitator.verify(payment, REQUIREMENT)
    before = token.balance(REQUIREMENT.pay_to)
    settled = await facilitator.settle(payment, REQUIREMENT)
    assert token.balance(REQUIREMENT.pay_to) == before + PRICE
    assert int(token.chain.receipt(settled.transaction_hash)["status"], 16) == 1
    assert token.used(signed)


async def test_a_contract_wallet_is_settled_too(facilitator, contract_payer, token):
    signed = contract_payer.authorize(to=REQUIREMENT.pay_to, value=PRICE)
    await facilitator.settle(wire(signed), REQUIREMENT)
    assert token.used(signed)


def test_what_is_sent_is_what_was_stored_and_nothing_else(payer):
    signed = payer.authorize(to=REQUIREMENT.pay_to, value=PRICE, valid_before=2_000_000_000, nonce=b"\x07" * 32)
    assert wire(signed) == {
        "x402Version": 2,
        "payload": {
            "signature": "0x" + signed.signature.hex(),
            "authorization": {
                "from": payer.address,
                "to": REQUIREMENT.pay_to,
                "value": "1000000",
                "validAfter": "0",
                "validBefore": "2000000000",
                "nonce": "0x" + "07" * 32,
            },
        },
        "accepted": REQUIREMENT.wire(),
    }
    assert wire(signed, url="http://purser.test/x")["resource"] == {"url": "http://purser.test/x"}


# It says no


REFUSED = {
    "of an expired payment": ({"valid_before": 1}, "invalid_exact_evm_payload_authorization_valid_before"),
    "of one that is not valid yet": ({"valid_after": 2**40}, "invalid_exact_evm_payload_authorization_valid_after"),
    "of another amount": ({"value": PRICE - 1}, "invalid_exact_evm_payload_authorization_value_mismatch"),
    "of another payee": ({"to": BASE_SEPOLIA.token_address}, "invalid_exact_evm_payload_recipient_mismatch"),
}


@pytest.mark.parametrize(("terms", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_payment_that_cannot_settle_is_refused_in_the_protocols_words(facilitator, payer, token, terms, reason):
    signed = payer.authorize(**{"to": REQUIREMENT.pay_to, "value": PRICE, **terms})
    for ask in (facilitator.verify, facilitator.settle):
        with pytest.raises(NotPayable) as refused:
            await ask(wire(signed), REQUIREMENT)
        assert refused.value.reason == reason
    assert not token.used(signed)


async def test_a_signature_of_nobody_is_refused(facilitator, signed):
    forged = replace(signed, signature=bytes(64) + b"\x1b")
    for ask in (facilitator.verify, facilitator.settle):
        with pytest.raises(NotPayable, match="invalid_exact_evm_payload_signature"):
            await ask(wire(forged), REQUIREMENT)


async def test_more_than_the_payer_has_is_refused_before_it_is_sent(facilitator, payer):
    dear = replace(REQUIREMENT, amount_atomic=10**12)
    signed = payer.authorize(to=dear.pay_to, value=dear.amount_atomic)
    with pytest.raises(NotPayable, match="invalid_exact_evm_insufficient_balance"):
        await facilitator.verify(wire(signed, requirement=dear), dear)


async def test_a_nonce_that_is_used_may_have_been_used_by_this_payment(facilitator, signed):
    await facilitator.settle(wire(signed), REQUIREMENT)
    with pytest.raises(NotPayable, match="invalid_exact_evm_nonce_already_used"):
        await facilitator.verify(wire(signed), REQUIREMENT)
    with pytest.raises(OutcomeUnknown):
        await facilitator.settle(wire(signed), REQUIREMENT)


async def test_a_transaction_that_waits_for_its_block_is_unknown_until_it_is_asked_again(
    facilitator, facilitating, signed, token
):
    token.chain.set_automine(False)
    try:
        with facilitating.impatient(SHORT_S), pytest.raises(OutcomeUnknown):
            await facilitator.settle(wire(signed), REQUIREMENT)
        token.chain.mine()
        settled = await facilitator.settle(wire(signed), REQUIREMENT)
    finally:
        token.chain.set_automine(True)
    assert int(token.chain.receipt(settled.transaction_hash)["status"], 16) == 1


# It misbehaves


@pytest.mark.parametrize(
    "kind", ["late_settled", "lost_after_settling", "error_after_settling", "wrong_network", "huge"]
)
async def test_a_settlement_whose_answer_is_lost_is_unknown_though_it_happened(
    impatient, facilitating, signed, token, kind
):
    facilitating.misbehave(kind)
    with pytest.raises(OutcomeUnknown):
        await impatient.settle(wire(signed), REQUIREMENT)
    await becomes(lambda: token.used(signed))


@pytest.mark.parametrize("kind", ["late_unsettled", "nonsense", "redirects"])
async def test_a_settlement_without_an_answer_is_unknown_though_nothing_happened(
    impatient, facilitating, signed, token, kind
):
    facilitating.misbehave(kind)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        await impatient.settle(wire(signed), REQUIREMENT)
    assert time.monotonic() - started < TIMEOUT_S / 2
    await becomes(lambda: facilitating.asked)
    assert facilitating.asked == ["/settle"]
    assert not token.used(signed)


@pytest.mark.parametrize("kind", ["nonsense", "redirects", "huge"])
async def test_verifying_and_asking_what_is_supported_change_nothing(facilitator, facilitating, signed, kind):
    facilitating.misbehave(kind)
    with pytest.raises(RailUnavailable):
        await facilitator.verify(wire(signed), REQUIREMENT)
    with pytest.raises(RailUnavailable if kind == "huge" else WrongFacilitator):
        await facilitator.supported(NETWORK)
    assert facilitating.asked == ["/verify", "/supported"]


async def test_a_repeated_yes_names_the_same_transaction(facilitator, facilitating, signed):
    facilitating.misbehave("repeats_success")
    assert await facilitator.settle(wire(signed), REQUIREMENT) == await facilitator.settle(wire(signed), REQUIREMENT)
    assert len(facilitating.settled) == 1


async def test_a_lie_is_the_facilitators_word_which_the_chain_contradicts(facilitator, facilitating, signed, token):
    facilitating.misbehave("lies_no_transaction")
    assert await facilitator.settle(wire(signed), REQUIREMENT) == Settled(NO_TRANSACTION)
    others = token.send(call_data("mint(address,uint256)", REQUIREMENT.pay_to, PRICE))["transactionHash"]
    facilitating.misbehave("lies_other_transaction", transaction=others)
    assert await facilitator.settle(wire(signed), REQUIREMENT) == Settled(others)
    assert not token.used(signed)
    facilitating.misbehave("lies_failure")
    with pytest.raises(NotPayable):
        await facilitator.settle(wire(signed), REQUIREMENT)
    assert token.used(signed)


async def test_a_dead_facilitator_was_certainly_asked_nothing(signed):
    dead = Facilitator(f"http://{HOST}:{free_port()}", token=SECRET, timeout_s=TIMEOUT_S)
    for asking in (
        dead.supported(NETWORK),
        dead.verify(wire(signed), REQUIREMENT),
        dead.settle(wire(signed), REQUIREMENT),
    ):
        with pytest.raises(RailUnavailable, match=r"the facilitator cannot be reached \(ConnectError\)"):
            await asking
    await dead.aclose()


async def test_refused_credentials_are_said_so_and_nothing_is_sent(facilitating, signed):
    for token in ("another", None):
        stranger = Facilitator(facilitating.url, token=token, timeout_s=TIMEOUT_S)
        with pytest.raises(RailUnavailable, match=r"refuses our credentials \(HTTP 401\)"):
            await stranger.settle(wire(signed), REQUIREMENT)
        await stranger.aclose()
    assert not facilitating.settled


async def test_the_environments_proxies_are_not_asked(monkeypatch, facilitating):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://{HOST}:1")
    direct = Facilitator(facilitating.url, token=SECRET, timeout_s=TIMEOUT_S)
    await direct.supported(NETWORK)
    await direct.aclose()


async def becomes(true):
    """The facilitator's thread may still be at it when its client has gone."""
    deadline = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
