"""Payments that a reorganization takes out of the chain: taken back, granted again, and never both."""

from datetime import timedelta

import pytest
from sqlmodel import col, select

from billing.reversal_tables import PaymentReversal
from billing.settlement_states import SettlementState as S
from billing.settling import records
from billing.settling.own import SEND_AGAIN_AFTER
from ledger import posting, statements
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.usdc import TRANSFER_BYTES
from tests.x402.test_x402_gas import ETHER, paid_by_the_chain, set_base_fee
from tests.x402.test_x402_token_changes import cancelled
from tests.x402.till import DOLLAR, as_signed

GRANTED = {
    "usdc_clearing": DOLLAR, "conversion_usdc": DOLLAR, "conversion": 100, "deferred_revenue": 100,
    "wallet": 100, "issued": 100,
}  # fmt: skip
TAKEN_BACK = {"issued": 100, "clawed_back": 100}


async def spend(till, key, credits_):
    """So many credits, of the wallet that paid."""
    agent = (await till.attempt(key)).agent_id
    operation = Operation(key.organization_id, Kind.SPEND, agent, f"spend {credits_}", "test", credits=credits_)
    async with till.house.sessions() as session, session.begin():
        [answer] = await posting.post(session, [operation])
    assert answer.outcome is Outcome.POSTED


async def balance(till, key):
    async with till.house.sessions() as session:
        return await statements.balance(session, key.organization_id, till.clock())


async def reversals(till, key):
    """(kind, status, cents that are taken back) of each, oldest first."""
    query = select(PaymentReversal).where(col(PaymentReversal.organization_id) == key.organization_id)
    async with till.house.sessions() as session:
        found = (await session.exec(query.order_by(col(PaymentReversal.id)))).all()
    return [(one.kind, one.status, one.live_cents) for one in found]


async def lots(till, key):
    query = "SELECT count(*) FROM ledger.lots WHERE organization_id = $1::uuid"
    return till.database.rows(query, str(key.organization_id))[0][0]


async def thrown_out(till, key, *, depth=1):
    """The newest blocks are replaced by empty ones; the payment is seen to have vanished."""
    till.onchain.chain.reorg(depth)
    assert till.onchain.received == 0
    assert await till.turn(key) == S.VANISHED


async def carried_out_again(till, key):
    """What was thrown out is sent again by who looks after the gas wallet, and granted again."""
    till.clock.ahead += SEND_AGAIN_AFTER
    await till.tend()
    assert await till.turn(key) == S.SETTLED


async def test_a_payment_that_vanishes_is_taken_back_and_is_back_when_it_is_sent_again(till):
    key = await till.bought_by(till.onchain.payer())
    await till.tend()
    before = await till.row(key)
    assert await till.books(key.organization_id) == GRANTED

    await thrown_out(till, key)
    assert await till.books(key.organization_id) == TAKEN_BACK
    assert await reversals(till, key) == [("reorganization", "succeeded", 100)]
    await till.assert_verifies()

    await carried_out_again(till, key)
    assert await till.books(key.organization_id) == GRANTED
    assert (await reversals(till, key), await lots(till, key)) == ([("reorganization", "failed", 0)], 1)
    row = await till.row(key)
    assert row.transaction_hash == before.transaction_hash
    assert row.block_hash != before.block_hash
    assert (row.reorganizations, till.onchain.received) == (1, DOLLAR)


@pytest.mark.long
async def test_gas_is_booked_as_it_was_paid_in_the_block_that_stayed(till):
    key = await till.bought_by(till.onchain.payer())
    await till.tend()
    [before] = await till.signed(key)
    await thrown_out(till, key)
    set_base_fee(till, 2)
    await carried_out_again(till, key)
    till.finalize()
    assert await till.native.book_gas(now=till.clock()) == 1
    [after] = await till.signed(key)
    assert after.cost_wei == paid_by_the_chain(till, [after]) != before.cost_wei
    assert till.onchain.chain.balance(till.native.gas.address) == ETHER - after.cost_wei


async def test_credits_that_were_spent_meanwhile_are_owed_until_the_payment_is_back(till):
    key = await till.bought_by(till.onchain.payer())
    await spend(till, key, 70)
    await thrown_out(till, key)
    owing = await balance(till, key)
    assert (owing.spendable, owing.owed) == (0, 70)
    assert "usdc_clearing" not in await till.books(key.organization_id)
    await till.assert_verifies()
    await carried_out_again(till, key)
    back = await balance(till, key)
    assert (back.spendable, back.owed) == (30, 0)


@pytest.mark.long
async def test_each_time_that_it_vanishes_counts(till):
    key = await till.bought_by(till.onchain.payer())
    await till.tend()
    for time in (1, 2):
        await thrown_out(till, key)
        assert await till.turn(key, times=2) == S.VANISHED
        assert await till.spendable(key) == 0
        await carried_out_again(till, key)
        assert await till.turn(key, times=2) == S.SETTLED
        assert (await till.row(key)).reorganizations == time
        assert await till.spendable(key) == 100
        await till.assert_verifies()
    assert await reversals(till, key) == [("reorganization", "failed", 0)] * 2
    assert await lots(till, key) == 1


async def test_a_payment_that_stands_elsewhere_when_we_look_has_only_moved(till):
    key = await till.bought_by(till.onchain.payer())
    await till.tend()
    before = await till.row(key)
    till.onchain.chain.reorg(1)
    theirs = till.onchain.token.send(as_signed(till, before).call(TRANSFER_BYTES))
    assert await till.turn(key) == S.SETTLED
    row = await till.row(key)
    assert row.transaction_hash == theirs["transactionHash"] != before.transaction_hash
    assert (row.block_number, row.block_hash) == (int(theirs["blockNumber"], 16), theirs["blockHash"])
    assert (row.reorganizations, await reversals(till, key)) == (0, [])

    till.onchain.chain.reorg(1)
    await till.tend()
    assert await till.turn(key) == S.SETTLED
    assert (await till.row(key)).transaction_hash == before.transaction_hash
    assert await till.spendable(key) == 100


@pytest.mark.long
async def test_a_vanished_payment_that_is_carried_out_by_somebody_else_is_back(till):
    key = await till.bought_by(till.onchain.payer())
    await thrown_out(till, key)
    theirs = till.onchain.token.send(as_signed(till, await till.row(key)).call(TRANSFER_BYTES))
    assert await till.turn(key) == S.SETTLED
    assert (await till.row(key)).transaction_hash == theirs["transactionHash"]
    assert await till.spendable(key) == 100
    await till.tend()
    assert (await till.turn(key), till.onchain.received) == (S.SETTLED, DOLLAR), "ours fails, and nothing else"


async def test_a_shorter_chain_proves_nothing_until_it_has_grown_again(till):
    key = await till.bought_by(till.onchain.payer())
    till.onchain.chain.rpc("anvil_rollback", 1)
    assert await till.turn(key) == S.SETTLED
    till.onchain.chain.mine()
    assert await till.turn(key) == S.VANISHED


async def test_a_vanished_payment_that_can_never_come_back_stays_taken_back(till):
    payer = till.onchain.payer()
    key = await till.bought_by(payer)
    await thrown_out(till, key)
    till.onchain.token.send(cancelled(till, payer, await till.row(key)))
    assert await till.turn(key, times=2) == S.VANISHED
    till.finalize()
    assert await till.turn(key) == S.FAILED
    assert (await till.row(key)).final
    assert (await till.books(key.organization_id), await till.spendable(key)) == (TAKEN_BACK, 0)
    assert await reversals(till, key) == [("reorganization", "succeeded", 100)]


@pytest.mark.long
async def test_a_final_payment_is_watched_no_more(till):
    key = await till.bought_by(till.onchain.payer())
    till.onchain.chain.mine(SLOTS_IN_AN_EPOCH)
    await till.turn(key)
    assert not (await till.row(key)).final
    till.finalize()
    await till.turn(key)
    assert (await till.row(key)).final
    due = await records.take_due(till.house.sessions, till.native.network.caip2, now=till.clock() + timedelta(days=1))
    assert key not in due


@pytest.mark.parametrize(("finality", "depth"), [([[None, 3]], 3), ([[None, "safe"]], SLOTS_IN_AN_EPOCH + 1)])
async def test_nothing_is_granted_before_the_policy_says_so_and_a_reorganization_until_then_is_none(
    open_till, finality, depth
):
    till = await open_till(x402_finality=finality)
    key = await till.claimed_by(till.onchain.payer())
    assert await till.turn(key, times=2) == S.SETTLING
    till.onchain.chain.mine(depth - 2)
    assert await till.turn(key, times=2) == S.SETTLING
    till.onchain.chain.reorg(depth - 1)
    assert (await till.turn(key), till.onchain.received) == (S.SETTLING, 0)
    till.clock.ahead += SEND_AGAIN_AFTER
    await till.tend()
    await till.turn(key)
    assert (await till.spendable(key), till.onchain.received) == (0, DOLLAR)
    till.onchain.chain.mine(depth - 1)
    assert await till.turn(key) == S.SETTLED
    assert (await till.spendable(key), await reversals(till, key)) == (100, [])
    await thrown_out(till, key, depth=depth)
    await carried_out_again_after(till, key, depth)


async def carried_out_again_after(till, key, depth):
    till.clock.ahead += SEND_AGAIN_AFTER
    await till.tend()
    assert await till.turn(key) == S.VANISHED, "back, and not yet as deep as the policy asks"
    till.onchain.chain.mine(depth - 1)
    assert await till.turn(key) == S.SETTLED
    assert await till.spendable(key) == 100
    assert {one.purpose for one in await till.signed(key)} == {"settlement"}, "nothing of it was cleared"
