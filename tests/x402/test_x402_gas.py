"""Gas: an empty wallet, the bounds on what it may cost, and what it did cost in the platform's book."""

from dataclasses import replace

import pytest

from billing.packs import X402
from billing.settlement_states import SettlementState as S
from tests.service import data_of, error_of
from tests.x402.chains import key_of
from tests.x402.till import DOLLAR, at_once

GWEI = 10**9
ETHER = 10**18
HOUR_S = 3600
ROUNDS_MAX = 40


def limit(till, **changes):
    """Other limits for gas than the settings', from now on."""
    submitter = till.native.desk.submitter
    submitter._limits = replace(submitter._limits, **changes)


def set_base_fee(till, gwei):
    till.onchain.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
    till.onchain.chain.mine()


def paid_by_the_chain(till, transactions):
    """Wei that the transactions cost, as the chain's own receipts say."""
    receipts = [till.onchain.chain.receipt(one.hash) for one in transactions]
    return sum(int(one["gasUsed"], 16) * int(one["effectiveGasPrice"], 16) for one in receipts)


async def why_unavailable(till):
    """What the catalog says against the method; none when it can be used."""
    told = data_of(await till.client.get("/v1/payment-methods"))
    [method] = [one for one in told["methods"] if X402.method_id in one.values()]
    assert method["available"] is (method["unavailable_reason"] is None)
    return method["unavailable_reason"]


async def test_the_next_payment_frees_the_gas_wallet_of_the_one_before(till):
    for _ in range(3):
        await till.bought_by(till.onchain.payer())
    assert till.onchain.received == 3 * DOLLAR


async def test_payments_at_once_take_turns_with_the_nonce(till):
    keys = [await till.claimed_by(till.onchain.payer()) for _ in range(4)]
    states: list[object] = []
    for _ in range(ROUNDS_MAX):  # two for each, unless all of them come too late for the one that is free
        if (states := await at_once(*[till.turn(key) for key in keys])) == [S.SETTLED] * 4:
            break
    assert states == [S.SETTLED] * 4
    await till.tend()
    signed = [one for key in keys for one in await till.signed(key)]
    assert sorted(one.nonce for one in signed) == [0, 1, 2, 3]
    wallet = await till.wallet()
    assert (wallet.next_nonce, wallet.settlement_id) == (4, None)


async def test_without_ether_nobody_is_asked_to_pay(open_till, shared_chain):
    till = await open_till(x402_gas_key=key_of(shared_chain.new_gas_wallet(wei=0)))
    before = till.counts()
    assert await why_unavailable(till) == "the wallet that pays gas is empty"
    assert "gas is empty" in error_of(await till.ask(), 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
    answer = await till.ask(till.sign(till.onchain.payer()))
    assert "gas is empty" in error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")["message"]
    assert till.counts() == before
    till.onchain.chain.set_balance(till.native.gas.address, ETHER)
    await till.native.check()
    assert (await till.ask()).status_code == 402
    assert await why_unavailable(till) is None


@pytest.mark.long
async def test_a_wallet_that_could_not_pay_what_is_offered_is_as_good_as_empty(open_till, shared_chain):
    key = shared_chain.new_gas_wallet(wei=150_000 * 9 * GWEI)
    till = await open_till(x402_gas_key=key_of(key))
    assert (await till.ask()).status_code == 402
    set_base_fee(till, 5)
    await till.native.check()
    assert await why_unavailable(till) == "the wallet that pays gas is empty"


@pytest.mark.long
async def test_a_wallet_that_runs_dry_after_the_claim_withdraws_and_goes_on_when_it_is_filled(till):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.chain.set_balance(till.native.gas.address, 1)
    for _ in range(3):
        assert await till.turn(key) in {S.CLAIMED, S.SETTLING, S.UNKNOWN}
        wallet = await till.wallet()
        assert (wallet.next_nonce, wallet.settlement_id) == (0, None)
    signed = await till.signed(key)
    assert [one.refused_at for one in signed].count(None) == 0
    till.onchain.chain.set_balance(till.native.gas.address, ETHER)
    row = await till.settled(key)
    [mined] = [one for one in await till.signed(key) if one.hash == row.transaction_hash]
    assert (mined.nonce, mined.refused_at) == (0, None)
    assert till.onchain.received == DOLLAR


async def test_a_payer_is_told_to_wait_while_the_wallet_is_dry(till):
    payer = till.onchain.payer()
    payment = till.sign(payer)
    till.onchain.chain.set_balance(till.native.gas.address, 1)
    answer = await till.ask(payment)
    assert answer.status_code == 202
    assert answer.headers["retry-after"]
    assert "payment-required" not in answer.headers
    told = answer.json()["data"]
    assert told["state"] == "processing"
    assert told["status_url"] == f"{till.house.settings.url}/v1/x402/payments/{told['payment_attempt_id']}"
    again = await till.ask(payment)
    assert (again.status_code, again.json()["data"]["state"]) == (202, "processing")


@pytest.mark.long
async def test_the_gas_of_an_hour_is_bounded_and_the_payment_waits_for_the_next(till):
    first = await till.bought_by(till.onchain.payer())
    await till.tend()
    [one] = await till.signed(first)
    limit(till, wei_per_hour=one.cost_wei + one.worst_cost_wei // 2)
    till.pass_time(HOUR_S - 100)
    second = await till.claimed_by(till.onchain.payer())
    assert await till.turn(second, times=2) == S.CLAIMED
    assert await till.signed(second) == []
    till.pass_time(110)
    limit(till, wei_per_hour=2 * one.worst_cost_wei)
    await till.settled(second)
    assert till.onchain.received == 2 * DOLLAR


@pytest.mark.long
async def test_an_hours_bound_that_no_payment_fits_ends_as_never_sent(till):
    limit(till, wei_per_hour=GWEI)
    key = await till.claimed_by(till.onchain.payer())
    assert await till.turn(key, times=2) == S.CLAIMED
    till.pass_time(400)
    assert await till.turn(key) == S.FAILED
    assert not (await till.row(key)).final
    assert (await till.attempt(key)).state == "failed"
    till.finalize()
    await till.turn(key)
    assert (await till.row(key)).final
    assert till.onchain.received == 0


@pytest.mark.long
async def test_nothing_is_sent_while_gas_is_dearer_than_allowed(till):
    key = await till.claimed_by(till.onchain.payer())
    limit(till, max_fee_wei=20 * GWEI)
    set_base_fee(till, 50)
    assert await till.turn(key, times=2) == S.CLAIMED
    assert await till.signed(key) == []
    set_base_fee(till, 15)
    await till.settled(key)
    [one] = await till.signed(key)
    assert one.max_fee_wei == 20 * GWEI, "twice the base fee would be more than allowed"


async def test_dear_gas_takes_the_method_out_of_the_catalog(till):
    set_base_fee(till, 10_000)
    await till.native.check()
    error = error_of(await till.ask(), 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert "gas costs more" in error["message"]
    assert await why_unavailable(till) == "gas costs more than this service pays"


async def test_gas_is_booked_once_when_it_is_final_by_whoever_comes_first(till):
    before = await till.platform()
    keys = [await till.bought_by(till.onchain.payer()) for _ in range(3)]
    await till.tend()
    assert await till.native.book_gas(now=till.clock()) == 0, "no block of it is final yet"
    till.finalize()
    booked = await at_once(*[till.native.book_gas(now=till.clock()) for _ in range(2)])
    assert sum(booked) == 3
    assert await till.native.book_gas(now=till.clock()) == 0
    signed = [one for key in keys for one in await till.signed(key)]
    cost = paid_by_the_chain(till, signed)
    assert sum(one.cost_wei for one in signed) == cost
    fees = (await till.platform())["fees_onchain"] - before.get("fees_onchain", 0)
    wallet = await till.wallet()
    assert fees * GWEI + wallet.unbooked_wei == cost
    assert 0 <= wallet.unbooked_wei < GWEI
    assert till.onchain.chain.balance(till.native.gas.address) == ETHER - cost


@pytest.mark.long
async def test_a_gas_price_that_is_no_whole_gwei_is_carried_over(till):
    before = await till.platform()
    cost = 0
    for odd in (1_000_000_007, 1_000_000_009, 1_000_000_021):
        till.onchain.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(odd))
        key = await till.bought_by(till.onchain.payer())
        await till.tend()
        cost += paid_by_the_chain(till, await till.signed(key))
        till.finalize()
        await till.native.book_gas(now=till.clock())
    fees = (await till.platform())["fees_onchain"] - before.get("fees_onchain", 0)
    assert fees == cost // GWEI
