"""The token, the payer and the nonce after the claim: paused, blacklisted, poor, cancelled, used for something else."""

import pytest

from billing.settlement_states import SettlementState as S
from billing.settling.granting import UNPAID
from tests.evm.usdc import CANCEL_BYTES, TRANSFER_BYTES, call_data
from tests.x402.test_x402_by_hand import BY_BALANCE, BY_SIMULATION, assert_refused
from tests.x402.till import DOLLAR, as_signed

FIRST_IN_BLOCK = hex(50 * 10**9)
STRANGER = "0x857b06519E91e3A54538791bDbb0E22373e36b66"


def first_in_the_block(till, data):
    """A transaction of the token's owner that the next block has before ours, whatever was sent first."""
    call = {"from": till.onchain.token.owner, "to": till.onchain.token.address, "data": data}
    call |= {"maxFeePerGas": FIRST_IN_BLOCK, "maxPriorityFeePerGas": FIRST_IN_BLOCK}
    return till.onchain.chain.rpc("eth_sendTransaction", call)


def cancelled(till, payer, row):
    """The call that cancels a settlement's authorization."""
    terms = payer.authorize(to=row.pay_to, value=0, nonce=row.nonce, kind="CancelAuthorization")
    return terms.call(CANCEL_BYTES)


@pytest.fixture
async def reverted(till):
    """A payment of which our transaction stands in a block, and failed there: the token was paused just before."""
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.chain.set_automine(False)
    assert await till.turn(key) == S.SETTLING
    first_in_the_block(till, call_data("pause()"))
    till.onchain.chain.mine()
    till.onchain.chain.set_automine(True)
    assert await till.turn(key) == S.UNKNOWN
    return key


async def assert_proven_unpaid(till, key):
    """Nobody says that nothing was paid before a final block is past the signature's window."""
    till.pass_time(400)
    assert await till.turn(key) != S.FAILED
    assert (await till.attempt(key)).state == "processing"
    till.finalize()
    assert await till.turn(key) == S.FAILED
    row = await till.row(key)
    assert (row.final, row.reason) == (True, UNPAID)
    assert (await till.attempt(key)).state == "failed"
    assert await till.spendable(key) == 0


@pytest.mark.long
async def test_what_the_chain_would_refuse_leaves_nothing_behind(till):
    blocked, poor, payer = till.onchain.payer(), till.onchain.payer(atomic=DOLLAR - 1), till.onchain.payer()
    before = till.counts()
    till.onchain.token.blacklist(blocked.address)
    assert_refused(await till.ask(till.sign(blocked)), BY_SIMULATION)
    assert_refused(await till.ask(till.sign(poor)), BY_BALANCE)
    till.onchain.token.pause()
    assert_refused(await till.ask(till.sign(payer)), BY_SIMULATION)
    till.onchain.token.unpause()
    used = till.sign(payer)
    assert till.counts() == before
    assert (await till.ask(used)).status_code == 202
    assert till.counts() != before


@pytest.mark.long
async def test_a_token_that_is_paused_after_the_claim_is_not_sent_to(till):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.token.pause()
    assert await till.turn(key) == S.FAILED
    row = await till.row(key)
    assert not row.final, "the signature is still good"
    assert "was not sent" in row.reason
    assert await till.signed(key) == []
    assert (await till.attempt(key)).state == "failed"
    till.onchain.token.unpause()
    assert await till.turn(key) == S.FAILED, "what was told to be over is not sent"
    till.onchain.token.send(as_signed(till, row).call(TRANSFER_BYTES))
    await till.settled(key)
    assert await till.spendable(key) == 100, "money that arrives is honoured"


@pytest.mark.long
async def test_a_payment_that_was_never_sent_is_over_when_its_window_is(till):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.token.blacklist((await till.row(key)).payer)
    assert await till.turn(key) == S.FAILED
    till.pass_time(400)
    await till.turn(key)
    assert not (await till.row(key)).final
    till.finalize()
    await till.turn(key)
    assert (await till.row(key)).final


async def test_a_transaction_that_failed_on_chain_is_sent_anew_when_the_token_is_unpaused(till, reverted):
    assert (await till.attempt(reverted)).state == "processing"
    assert await till.turn(reverted, times=3) == S.UNKNOWN
    assert len(await till.signed(reverted)) == 1, "no gas is spent on what would fail"
    till.onchain.token.unpause()
    await till.settled(reverted)
    await till.tend()
    first, second = await till.signed(reverted)
    assert (first.nonce, second.nonce) == (0, 1)
    assert first.cost_wei > 0 < second.cost_wei
    assert (await till.spendable(reverted), till.onchain.received) == (100, DOLLAR)


@pytest.mark.long
async def test_a_token_that_stays_paused_makes_a_payment_fail_only_when_it_can_never_come(till, reverted):
    await assert_proven_unpaid(till, reverted)
    till.onchain.token.unpause()
    assert till.onchain.received == 0


async def test_a_payment_that_its_payer_cancels_before_we_send_it_grants_nothing(till):
    payer = till.onchain.payer()
    key = await till.claimed_by(payer)
    till.onchain.token.send(cancelled(till, payer, await till.row(key)))
    assert await till.turn(key, times=2) == S.CLAIMED
    assert await till.signed(key) == []
    await assert_proven_unpaid(till, key)


@pytest.mark.long
async def test_a_payment_that_is_cancelled_in_our_block_grants_nothing(till):
    payer = till.onchain.payer()
    key = await till.claimed_by(payer)
    till.onchain.chain.set_automine(False)
    await till.turn(key)
    first_in_the_block(till, cancelled(till, payer, await till.row(key)))
    till.onchain.chain.mine()
    till.onchain.chain.set_automine(True)
    assert await till.turn(key, times=2) == S.UNKNOWN
    await assert_proven_unpaid(till, key)
    assert (await till.wallet()).settlement_id is None


async def test_a_nonce_that_was_used_for_another_transfer_grants_nothing(till):
    payer = till.onchain.payer()
    key = await till.claimed_by(payer)
    other = payer.authorize(to=STRANGER, value=DOLLAR, nonce=(await till.row(key)).nonce)
    till.onchain.token.send(other.call(TRANSFER_BYTES))
    assert await till.turn(key, times=2) == S.CLAIMED
    await assert_proven_unpaid(till, key)
    assert till.onchain.received == 0


@pytest.mark.long
async def test_a_payer_who_has_spent_the_money_meanwhile_is_told_that_nothing_was_sent(till):
    payer = till.onchain.payer(atomic=DOLLAR)
    key = await till.claimed_by(payer)
    elsewhere = payer.authorize(to=STRANGER, value=DOLLAR)
    till.onchain.token.send(elsewhere.call(TRANSFER_BYTES))
    assert await till.turn(key) == S.FAILED
    assert (await till.attempt(key)).state == "failed"
