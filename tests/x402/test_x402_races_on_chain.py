"""Somebody else carries out what was signed: first, in our block, between two of our questions, or several at once."""

import pytest

from billing.settlement_states import SettlementState as S
from tests.evm.usdc import TRANSFER_BYTES, TRANSFER_VRS
from tests.x402.test_x402_gas import paid_by_the_chain
from tests.x402.test_x402_token_changes import first_in_the_block
from tests.x402.till import DOLLAR, as_signed, at_once

ETHER = 10**18


def in_one_transaction(till, calls):
    """Calls of the token in one transaction, as a batching contract makes them; here the code that would deploy one."""
    token = bytes.fromhex(till.onchain.token.address[2:])
    each, end = 44, 1
    code, data = b"", b""
    for call in (bytes.fromhex(one[2:]) for one in calls):
        size, offset = len(call).to_bytes(2, "big"), (each * len(calls) + end + len(data)).to_bytes(2, "big")
        code += bytes.fromhex("61") + size + bytes.fromhex("61") + offset + bytes.fromhex("600039")  # CODECOPY to 0
        code += bytes.fromhex("6000600061") + size + bytes.fromhex("6000600073") + token + bytes.fromhex("5af150")
        data += call
    assert len(code) == each * len(calls)
    sent = {"from": till.onchain.token.owner, "data": "0x" + (code + b"\0" + data).hex(), "gas": hex(3_000_000)}
    return till.onchain.chain.receipt(till.onchain.chain.rpc("eth_sendTransaction", sent))


@pytest.fixture
def stranger(till):
    """An account of somebody's who can pay gas."""
    return till.onchain.chain.unlocked[3]


async def test_a_payment_that_somebody_else_carries_out_first_is_granted_once_and_costs_us_nothing(till, stranger):
    key = await till.claimed_by(till.onchain.payer())
    theirs = till.onchain.token.send(as_signed(till, await till.row(key)).call(TRANSFER_VRS), sender=stranger)
    row = await till.settled(key)
    assert row.transaction_hash == theirs["transactionHash"]
    assert await till.signed(key) == []
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)
    assert till.onchain.chain.balance(till.native.gas.address) == ETHER


@pytest.mark.long
async def test_a_payment_that_is_carried_out_before_ours_in_the_same_block_costs_us_gas_and_nothing_else(till):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.chain.set_automine(False)
    assert await till.turn(key) == S.SETTLING
    theirs = first_in_the_block(till, as_signed(till, await till.row(key)).call(TRANSFER_BYTES))
    till.onchain.chain.mine()
    till.onchain.chain.set_automine(True)
    row = await till.settled(key)
    assert row.transaction_hash == theirs
    await till.tend()
    [ours] = await till.signed(key)
    assert till.onchain.chain.receipt(ours.hash)["status"] == "0x0"
    assert ours.cost_wei == paid_by_the_chain(till, [ours]) > 0
    assert (await till.wallet()).next_nonce == 1
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)
    till.finalize()
    assert await till.native.book_gas(now=till.clock()) == 1


@pytest.mark.long
async def test_a_payment_that_is_carried_out_while_we_look_is_not_said_to_have_failed(open_till, bad_node):
    till = await open_till(x402_rpc_url=bad_node.url)
    key = await till.claimed_by(till.onchain.payer())
    call = as_signed(till, await till.row(key)).call(TRANSFER_BYTES)

    def carried_out_first(ask, _params):
        till.onchain.token.send(call)
        return ask()

    with bad_node.faulty("eth_estimateGas", carried_out_first):
        assert await till.turn(key) == S.CLAIMED
    assert (await till.attempt(key)).state == "processing"
    await till.settled(key)
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)


async def test_turns_at_once_send_and_grant_once(till):
    key = await till.claimed_by(till.onchain.payer())
    for _ in range(4):
        raised = await at_once(*[till.turn(key) for _ in range(6)], till.tend())
        assert not [one for one in raised if isinstance(one, BaseException)]
    await till.settled(key)
    assert len(await till.signed(key)) == 1
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)


async def test_two_equal_payments_in_one_transaction_each_find_their_own_transfer(till):
    payer, other = till.onchain.payer(), till.onchain.payer()
    keys = [await till.claimed_by(who) for who in (payer, payer, other)]
    signed = [as_signed(till, await till.row(key)) for key in keys]
    unclaimed = payer.authorize(to=till.native.pay_to, value=DOLLAR)
    batch = in_one_transaction(till, [one.call(TRANSFER_BYTES) for one in (signed[1], unclaimed, *signed[::2])])
    assert till.onchain.received == 4 * DOLLAR
    rows = [await till.settled(key) for key in keys]
    assert {row.transaction_hash for row in rows} == {batch["transactionHash"]}
    assert [row.log_index for row in rows] == [5, 1, 7]
    assert [await till.spendable(key) for key in keys[1:]] == [200, 100]
    assert [await till.signed(key) for key in keys] == [[], [], []]


@pytest.mark.long
async def test_a_batch_around_our_own_transactions_does_not_take_their_transfers_away(till):
    payer = till.onchain.payer()
    keys = [await till.claimed_by(payer) for _ in range(2)]
    await till.settled(keys[0])
    theirs = in_one_transaction(
        till, [as_signed(till, await till.row(key)).call(TRANSFER_BYTES) for key in reversed(keys)]
    )
    row = await till.settled(keys[1])
    assert (row.transaction_hash, row.log_index) == (theirs["transactionHash"], 1)
    assert (await till.row(keys[0])).transaction_hash != row.transaction_hash
    assert till.onchain.received == 2 * DOLLAR


async def test_money_that_is_sent_without_the_signature_settles_nothing(till):
    payer = till.onchain.payer()
    key = await till.claimed_by(payer)
    row = await till.row(key)
    till.onchain.token.fund(till.native.pay_to, DOLLAR)
    till.onchain.token.send(payer.authorize(to=row.pay_to, value=DOLLAR).call(TRANSFER_BYTES))
    assert await till.turn(key) == S.SETTLING, "it is carried out as if nothing had come"
    await till.settled(key)
    assert till.onchain.received == 3 * DOLLAR
