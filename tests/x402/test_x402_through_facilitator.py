"""Payments that a facilitator carries out, with a chain to check its word on and without one."""

import asyncio
import time
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from billing.packs import X402
from billing.settlement_states import SettlementState as S
from billing.settling import advancing
from rails.x402.facilitator import TIMEOUT_S, WrongFacilitator
from tests.evm.anvil import CHAIN_ID
from tests.evm.usdc import TRANSFER_VRS
from tests.service import data_of, error_of
from tests.x402.buying import buyer_of, settlement_of
from tests.x402.chains import NETWORK, key_of
from tests.x402.facilitating import facilitator_running
from tests.x402.paying import REQUIRED, RESPONSE, decoded
from tests.x402.till import DOLLAR, WAIT_S

TOKEN = "t0ken-of-the-facilitator"
SHORT_S = 0.5
SETTLES_WITHIN_S = 60
BEYOND_THE_WINDOW_S = 400
SETTLING = {"late_settled", "lost_after_settling", "error_after_settling"}
SETTLED_AND_LOST = (
    "late_settled",
    pytest.param("lost_after_settling", marks=pytest.mark.long),
    pytest.param("error_after_settling", marks=pytest.mark.long),
)


@pytest.fixture
def facilitating(shared_chain):
    key = key_of(shared_chain.new_gas_wallet())
    with facilitator_running(shared_chain.chain.url, key, CHAIN_ID, token=TOKEN) as running:
        yield running


@pytest.fixture
def payer(shared_chain):
    return shared_chain.payer()


@pytest.fixture
def delegating(open_till, facilitating):
    """`await delegating(setting=value, …)`: a till without a gas wallet, whose payments the facilitator carries out."""

    async def start(**settings):
        told = {"x402_facilitator_url": facilitating.url, "x402_facilitator_token": SecretStr(TOKEN), **settings}
        till = await open_till(x402_gas_key=None, **told)
        if till.native.chain is None:
            await till.native.check()
        return till

    return start


@pytest.fixture
async def checked(delegating):
    """A till that looks for itself what became of a payment."""
    return await delegating()


@pytest.fixture
async def trusting(delegating):
    """A till with nothing but the facilitator's word."""
    return await delegating(x402_rpc_url=None)


async def outcome_lost(till, facilitating, kind, payment):
    """The answer to a payment of which the facilitator has not told what became of it: by then that is so."""
    facilitating.misbehave(kind)
    with impatient_to_settle(till.native.facilitator):
        answer = await till.ask(payment)
        await asyncio.gather(*till.native.desk.turns)
    deadline = time.monotonic() + SETTLES_WITHIN_S
    while not (facilitating.settled if kind in SETTLING else "/settle" in facilitating.asked):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return answer


@contextmanager
def impatient_to_settle(facilitator):
    """Whoever has it settle waits for an answer for a moment only.

    What comes before may take its time, on a busy machine too, and so may the question until it has left.
    """
    settle, patient = facilitator.settle, facilitator._http.timeout

    async def settle_soon(payment, requirement):
        facilitator._http.timeout = httpx.Timeout(TIMEOUT_S, read=SHORT_S)
        return await settle(payment, requirement)

    facilitator.settle = settle_soon
    yield
    del facilitator.settle
    facilitator._http.timeout = patient


def waits(answer):
    """The state and the attempt of a payment that may come yet, which nobody is asked for again."""
    assert (answer.status_code, REQUIRED in answer.headers) == (202, False), answer.text
    assert answer.headers["retry-after"]
    told = answer.json()["data"]
    assert told["state"] == "processing"
    return told


async def paid_credits(till, told):
    return await buyer_of(till, told).paid_credits()


# As it should be


@pytest.mark.parametrize("rpc", ["with a chain", "without a chain"])
async def test_a_facilitator_settles_and_the_buyer_has_the_credits(delegating, facilitating, payer, rpc):
    without = {} if rpc == "with a chain" else {"x402_rpc_url": None}
    till = await delegating(x402_wait_s=WAIT_S, **without)
    payment = till.sign(payer)
    answer = await till.ask(payment)
    bought = data_of(answer)
    assert bought["state"] == "succeeded"
    [settled] = facilitating.settled
    assert decoded(answer.headers[RESPONSE])["transaction"] == settled["transaction"]
    assert data_of(await till.ask(payment)) == {
        "state": "succeeded",
        "payment_attempt_id": bought["payment_attempt_id"],
    }
    assert (await paid_credits(till, bought), till.onchain.received) == (100, DOLLAR)
    assert facilitating.asked.count("/settle") == 1


async def test_what_the_facilitator_would_not_carry_out_is_not_claimed(trusting, payer):
    before = trusting.counts()
    error_of(await trusting.ask(trusting.sign(payer, signature=b"\1" * 65)), 402, "PAYMENT_REQUIRED")
    error_of(await trusting.ask(trusting.sign(payer, signed={"value": 1})), 402, "PAYMENT_REQUIRED")
    assert trusting.counts() == before


# An outcome that is not known


async def test_a_time_out_before_it_settled_is_waited_for_and_granted_once(checked, facilitating, payer):
    told = waits(await outcome_lost(checked, facilitating, "late_unsettled", checked.sign(payer)))
    key = settlement_of(checked, told["payment_attempt_id"])
    assert (await checked.row(key)).state == S.UNKNOWN
    facilitating.misbehave(None)
    row = await checked.settled(key)
    assert row.transaction_hash == facilitating.settled[0]["transaction"]
    assert (await paid_credits(checked, told), len(facilitating.settled)) == (100, 1)


async def test_without_a_chain_a_time_out_is_asked_again_until_the_facilitator_says_more(trusting, facilitating, payer):
    told = waits(await outcome_lost(trusting, facilitating, "late_unsettled", trusting.sign(payer)))
    key = settlement_of(trusting, told["payment_attempt_id"])
    facilitating.misbehave("nonsense")
    assert await trusting.turn(key, times=2) == S.UNKNOWN
    facilitating.misbehave(None)
    await trusting.settled(key)
    assert (await paid_credits(trusting, told), trusting.onchain.received) == (100, DOLLAR)


@pytest.mark.parametrize("kind", SETTLED_AND_LOST)
async def test_what_settled_although_nobody_said_so_is_found_on_the_chain(checked, facilitating, payer, kind):
    payment = checked.sign(payer)
    told = waits(await outcome_lost(checked, facilitating, kind, payment))
    assert waits(await checked.ask(payment))["payment_attempt_id"] == told["payment_attempt_id"]
    row = await checked.settled(settlement_of(checked, told["payment_attempt_id"]))
    assert row.transaction_hash == facilitating.settled[0]["transaction"]
    assert facilitating.asked.count("/settle") == 1, "the chain was asked first"
    assert (await paid_credits(checked, told), checked.onchain.received) == (100, DOLLAR)


@pytest.mark.parametrize("kind", SETTLED_AND_LOST)
async def test_without_a_chain_it_stays_unknown_until_the_facilitator_repeats_its_yes(
    trusting, facilitating, payer, kind
):
    """A nonce that is used may have been used by this payment: neither paid nor failed, however often it is asked."""
    payment = trusting.sign(payer)
    told = waits(await outcome_lost(trusting, facilitating, kind, payment))
    key = settlement_of(trusting, told["payment_attempt_id"])
    facilitating.misbehave(None)
    assert await trusting.turn(key, times=3) == S.UNKNOWN
    assert waits(await trusting.ask(payment))["payment_attempt_id"] == told["payment_attempt_id"]
    assert await paid_credits(trusting, told) == 0
    facilitating.misbehave("repeats_success")
    await trusting.settled(key)
    assert (await paid_credits(trusting, told), trusting.onchain.received) == (100, DOLLAR)


@pytest.mark.long
async def test_without_a_chain_a_window_that_closed_proves_nothing(trusting, facilitating, payer):
    told = waits(await outcome_lost(trusting, facilitating, "lost_after_settling", trusting.sign(payer)))
    key = settlement_of(trusting, told["payment_attempt_id"])
    trusting.pass_time(BEYOND_THE_WINDOW_S)
    asked = len(facilitating.asked)
    assert await trusting.turn(key, times=2) == S.UNKNOWN
    assert len(facilitating.asked) == asked


@pytest.mark.long
async def test_a_facilitator_that_cannot_be_reached_has_nothing_and_is_asked_again(checked, facilitating, payer):
    told = waits(await outcome_lost(checked, facilitating, "redirects", checked.sign(payer)))
    key = settlement_of(checked, told["payment_attempt_id"])
    assert facilitating.settled == []
    facilitating.misbehave(None)
    await checked.settled(key)
    assert await paid_credits(checked, told) == 100


@pytest.mark.long
async def test_a_buyer_is_not_kept_waiting_for_a_slow_facilitator_whose_yes_still_counts(
    checked, facilitating, payer, monkeypatch
):
    monkeypatch.setattr(advancing, "TURN_LEAST", timedelta(seconds=SHORT_S))
    facilitating.misbehave("late_settled")
    began = time.monotonic()
    told = waits(await checked.ask(checked.sign(payer)))
    assert time.monotonic() - began < TIMEOUT_S / 2
    [turning] = checked.native.desk.turns
    facilitating.misbehave(None)
    await turning
    key = settlement_of(checked, told["payment_attempt_id"])
    assert (await checked.row(key)).transaction_hash == facilitating.settled[0]["transaction"]
    await checked.settled(key)
    assert (await paid_credits(checked, told), facilitating.asked.count("/settle")) == (100, 1)


# Lies


async def test_a_yes_without_a_transaction_on_the_chain_grants_nothing(checked, facilitating, payer):
    facilitating.misbehave("lies_no_transaction")
    payment = checked.sign(payer)
    told = waits(await checked.ask(payment))
    key = settlement_of(checked, told["payment_attempt_id"])
    assert await checked.turn(key, times=3) in {S.SETTLING, S.UNKNOWN}
    assert RESPONSE not in (await checked.ask(payment)).headers
    assert await paid_credits(checked, told) == 0
    checked.pass_time(BEYOND_THE_WINDOW_S)
    checked.finalize()
    assert await checked.turn(key) == S.FAILED
    failed = await checked.ask(payment)
    error_of(failed, 402, "PAYMENT_FAILED")
    assert decoded(failed.headers[RESPONSE])["success"] is False
    assert (await paid_credits(checked, told), checked.onchain.received) == (0, 0)


@pytest.mark.long
async def test_a_yes_with_somebody_elses_transfer_grants_nothing_until_the_payers_own(
    checked, facilitating, payer, shared_chain
):
    """Of the same amount, to the same address, and by an authorization too."""
    stranger = shared_chain.payer()
    signed = stranger.authorize(to=shared_chain.treasury, value=DOLLAR)
    other = shared_chain.token.send(signed.call(TRANSFER_VRS))["transactionHash"]
    facilitating.misbehave("lies_other_transaction", transaction=other)
    told = waits(await checked.ask(checked.sign(payer)))
    key = settlement_of(checked, told["payment_attempt_id"])
    assert await checked.turn(key, times=3) in {S.SETTLING, S.UNKNOWN}
    assert await paid_credits(checked, told) == 0
    facilitating.misbehave(None)
    row = await checked.settled(key)
    assert row.transaction_hash == facilitating.settled[0]["transaction"] != other
    assert await paid_credits(checked, told) == 100


async def test_without_a_chain_one_transaction_pays_for_one_payment(trusting, facilitating, payer, shared_chain):
    """The word of a facilitator is all there is, but not the same word twice."""
    assert data_of(await trusting.ask(trusting.sign(payer)))["state"] == "succeeded"
    [settled] = facilitating.settled
    facilitating.misbehave("lies_other_transaction", transaction=settled["transaction"])
    told = waits(await trusting.ask(trusting.sign(shared_chain.payer())))
    key = settlement_of(trusting, told["payment_attempt_id"])
    assert await trusting.turn(key, times=2) == S.UNKNOWN
    assert await paid_credits(trusting, told) == 0


@pytest.mark.long
async def test_a_no_although_it_settled_is_found_on_the_chain_and_granted_once(checked, facilitating, payer):
    facilitating.misbehave("lies_failure")
    payment = checked.sign(payer)
    told = waits(await checked.ask(payment))
    key = settlement_of(checked, told["payment_attempt_id"])
    await checked.settled(key)
    assert data_of(await checked.ask(payment))["state"] == "succeeded"
    assert (await paid_credits(checked, told), checked.onchain.received) == (100, DOLLAR)
    assert facilitating.asked.count("/settle") == 1


@pytest.mark.long
async def test_a_yes_for_another_network_is_checked_on_ours(checked, facilitating, payer):
    facilitating.misbehave("wrong_network")
    told = waits(await checked.ask(checked.sign(payer)))
    await checked.settled(settlement_of(checked, told["payment_attempt_id"]))
    assert await paid_credits(checked, told) == 100


# Whether it can be offered


@pytest.mark.parametrize("rpc", ["with a chain", "without a chain"])
async def test_a_facilitator_without_our_network_is_told_as_the_reason(delegating, facilitating, payer, rpc):
    till = await delegating(**({} if rpc == "with a chain" else {"x402_rpc_url": None}))
    payment, before = till.sign(payer), till.counts()
    facilitating.misbehave("wrong_network")
    with pytest.raises(WrongFacilitator, match=NETWORK):
        await till.native.check()
    for answer in (await till.ask(), await till.ask(payment)):
        message = error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
        assert f"does not take exact on {NETWORK}" in message
        assert REQUIRED not in answer.headers
    methods = data_of(await till.client.get("/v1/payment-methods"))["methods"]
    [row] = [method for method in methods if method["method_id"] == X402.method_id]
    assert (row["available"], NETWORK in row["unavailable_reason"]) == (False, True)
    assert till.counts() == before
    facilitating.misbehave(None)
    await till.native.check()
    error_of(await till.ask(), 402, "PAYMENT_REQUIRED")


async def test_a_facilitator_that_refuses_our_credentials_is_told_without_them(delegating, facilitating):
    del facilitating
    till = await delegating(x402_facilitator_token=SecretStr("an-0ld-one"), x402_rpc_url=None)
    message = error_of(await till.ask(), 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
    assert "refuses our credentials" in message
    assert "an-0ld-one" not in message
