"""Transactions that wait for their block: replaced with higher fees under the same nonce, or by nothing at all."""

from datetime import timedelta

import pytest

from billing.settlement_states import SettlementState as S
from billing.settling.granting import UNPAID
from billing.settling.own import SEND_AGAIN_AFTER, STEP_BACK_AFTER
from tests.x402.rpc_proxy import changed
from tests.x402.test_x402_gas import ETHER, GWEI, limit, paid_by_the_chain, set_base_fee
from tests.x402.till import DOLLAR, at_once

BUMP_AFTER = timedelta(seconds=21)
DEAR = 12
"""Gwei that the first transaction, made at a base fee of one, does not offer, and the limit allows twice."""


@pytest.fixture
async def stuck(till):
    """A payment whose transaction the chain does not take, since gas has become dearer meanwhile; and its till."""
    limit(till, max_fee_wei=100 * GWEI)
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.chain.set_automine(False)
    assert await till.turn(key) == S.SETTLING
    set_base_fee(till, DEAR)
    assert await till.turn(key) == S.SETTLING
    return key


def mined(till, transactions):
    """Those that stand in a block."""
    found = [till.onchain.chain.rpc("eth_getTransactionReceipt", one.hash) for one in transactions]
    return [one for one, receipt in zip(transactions, found, strict=True) if receipt is not None]


async def test_a_stuck_transaction_is_replaced_under_its_nonce_and_one_of_both_is_mined(till, stuck):
    [first] = await till.signed(stuck)
    till.clock.ahead += BUMP_AFTER
    assert await till.turn(stuck) == S.SETTLING
    first, second = await till.signed(stuck)
    assert (first.nonce, second.nonce) == (0, 0)
    assert second.max_fee_wei * 100 >= first.max_fee_wei * 110
    assert second.tip_wei * 100 >= first.tip_wei * 110
    till.onchain.chain.mine()
    row = await till.settled(stuck)
    assert (row.transaction_hash, till.onchain.received) == (second.hash, DOLLAR)
    await till.tend()
    assert [one.hash for one in mined(till, await till.signed(stuck))] == [second.hash]
    cost = paid_by_the_chain(till, [second])
    assert [one.cost_wei for one in await till.signed(stuck)] == [None, cost]
    till.finalize()
    assert await till.native.book_gas(now=till.clock()) == 1
    till.onchain.chain.set_automine(True)
    [after] = await till.signed(await till.bought_by(till.onchain.payer()))
    assert after.nonce == 1


@pytest.mark.long
async def test_a_transaction_is_raised_until_the_limit_and_then_sent_again_as_it_is(till, stuck):
    limit(till, max_fee_wei=30 * GWEI)
    for _ in range(5):
        till.clock.ahead += BUMP_AFTER
        await till.turn(stuck)
    fees = [one.max_fee_wei for one in await till.signed(stuck)]
    assert fees == sorted(set(fees))
    assert fees[-1] <= 30 * GWEI
    till.onchain.chain.mine()
    await till.settled(stuck)
    assert till.onchain.received == DOLLAR


@pytest.mark.long
async def test_who_replaces_a_transaction_at_the_same_time_makes_one(till, stuck):
    till.clock.ahead += BUMP_AFTER
    await at_once(till.turn(stuck), till.turn(stuck), till.tend())
    assert len(await till.signed(stuck)) == 2


async def test_a_transaction_that_comes_too_late_is_cleared_and_the_payment_fails_only_when_that_is_final(till, stuck):
    limit(till, max_fee_wei=1000 * GWEI)
    set_base_fee(till, 4 * DEAR)
    till.pass_time(400)
    await till.turn(stuck)
    first, clearing = await till.signed(stuck)
    assert (clearing.purpose, clearing.nonce, clearing.gas_limit) == ("clearing", 0, 21_000)
    till.onchain.chain.mine()
    assert [one.hash for one in mined(till, [first, clearing])] == [clearing.hash]
    assert await till.turn(stuck, times=2) == S.UNKNOWN
    wallet = await till.wallet()
    assert (wallet.next_nonce, wallet.settlement_id) == (1, None)
    assert (await till.attempt(stuck)).state == "processing"

    till.finalize()
    assert await till.turn(stuck) == S.FAILED
    row = await till.row(stuck)
    assert (row.final, row.reason) == (True, UNPAID)
    assert (await till.attempt(stuck)).state == "failed"
    assert till.onchain.received == 0
    assert await till.native.book_gas(now=till.clock()) == 1, "the clearing one did cost gas"
    till.onchain.chain.set_automine(True)
    [after] = await till.signed(await till.bought_by(till.onchain.payer()))
    assert after.nonce == 1


async def test_a_payment_that_the_chain_takes_when_its_time_is_up_by_our_clock_is_granted(till, stuck):
    set_base_fee(till, 1)
    till.clock.ahead += SEND_AGAIN_AFTER
    assert await till.turn(stuck) == S.SETTLING
    till.clock.ahead += timedelta(seconds=400)
    till.onchain.chain.mine()
    row = await till.settled(stuck)
    assert [one.hash for one in await till.signed(stuck)] == [row.transaction_hash]
    assert till.onchain.received == DOLLAR


@pytest.mark.long
async def test_a_node_that_once_says_too_high_a_nonce_does_not_stop_all_payments(open_till, bad_node):
    till = await open_till(x402_rpc_url=bad_node.url)
    first, second = [await till.claimed_by(till.onchain.payer()) for _ in range(2)]
    with bad_node.faulty("eth_getTransactionCount", changed(lambda _: "0x5")):
        assert await till.turn(first) == S.SETTLING
    assert await till.turn(first) == S.SETTLING
    assert (await till.wallet()).next_nonce == 5
    till.clock.ahead += STEP_BACK_AFTER
    await till.settled(first)
    await till.settled(second)
    for _ in range(4):  # the first one's first transaction has nonce 5; it fails when it is at last carried out
        await till.bought_by(till.onchain.payer())
    await till.bought_by(till.onchain.payer())
    assert till.onchain.received == 7 * DOLLAR
    await till.tend()
    till.finalize()
    assert [one.nonce for one in await till.signed(first)] == [5, 0]
    await till.native.book_gas(now=till.clock())
    assert till.onchain.chain.balance(till.native.gas.address) == ETHER - await till.spent_on_gas()
