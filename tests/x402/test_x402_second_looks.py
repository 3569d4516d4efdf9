"""A payment is looked for, sent and counted as often as it has to be: where a second look is what saves it."""

import json
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from billing.settlement_states import SettlementState as S
from billing.settling import granting, sighting
from billing.settling.own import STEP_BACK_AFTER
from tests.evm.anvil import CHAIN_ID
from tests.evm.usdc import TRANSFER_BYTES, call_data
from tests.service import error_of
from tests.x402.chains import key_of
from tests.x402.facilitating import facilitator_running
from tests.x402.rpc_proxy import changed
from tests.x402.test_x402_reorganized import thrown_out
from tests.x402.test_x402_token_changes import first_in_the_block
from tests.x402.till import DOLLAR, as_signed

ETHER_WEI = 10**18
SHORT_S = 0.5
CAIP2 = f"eip155:{CHAIN_ID}"

pytestmark = pytest.mark.long


async def test_what_a_stranger_carried_out_and_a_reorganization_threw_out_is_carried_out_by_us(till):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.token.send(as_signed(till, await till.row(key)).call(TRANSFER_BYTES))
    await till.settled(key)
    assert await till.signed(key) == []
    till.onchain.chain.reorg(1)
    gas = till.native.gas.address
    till.onchain.chain.set_balance(gas, 0)
    await till.turn(key, 3)  # the first try is refused, for want of ether, and withdrawn
    till.onchain.chain.set_balance(gas, ETHER_WEI)
    assert await till.turn(key, 4) == S.SETTLED
    assert (till.onchain.received, await till.spendable(key)) == (DOLLAR, 100)


async def test_a_contracts_payment_under_a_nonce_that_was_too_high_is_sent_again(open_till, bad_node):
    till = await open_till(x402_rpc_url=bad_node.url)
    payer = till.onchain.contract_payer()
    key = await till.claimed_by(payer)
    with bad_node.faulty("eth_getTransactionCount", changed(lambda _: "0x5")):
        assert await till.turn(key) == S.SETTLING
    till.clock.ahead += STEP_BACK_AFTER
    await till.settled(key)
    assert [one.nonce for one in await till.signed(key)] == [5, 0]


async def test_a_contracts_payment_that_failed_in_a_block_is_not_sent_again(till):
    key = await till.claimed_by(till.onchain.contract_payer())
    till.onchain.chain.set_automine(False)
    assert await till.turn(key) == S.SETTLING
    first_in_the_block(till, call_data("pause()"))
    till.onchain.chain.mine()
    till.onchain.chain.set_automine(True)
    assert await till.turn(key) == S.UNKNOWN
    till.onchain.token.unpause()
    assert await till.turn(key, 3) == S.UNKNOWN
    assert len(await till.signed(key)) == 1


async def test_a_payment_that_stands_in_a_block_leaves_its_payer_the_rest(open_till):
    till = await open_till(x402_finality=[(None, 5)])
    payer = till.onchain.payer(atomic=2 * DOLLAR)
    first = await till.claimed_by(payer)
    second = till.sign(payer)
    third = till.sign(payer)
    assert (await till.ask(second)).status_code == 202
    error_of(await till.ask(third), 409, "PAYER_BUSY")
    await till.turn(first, 3)
    assert till.onchain.received >= DOLLAR


async def test_where_no_chain_was_asked_the_search_begins_before_the_claim_however_long_ago_it_was(till, monkeypatch):
    monkeypatch.setattr(sighting, "BLOCKS_OF_A_DAY", 30)
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.token.send(as_signed(till, await till.row(key)).call(TRANSFER_BYTES))
    till.database.rows("UPDATE billing.settlements SET from_block = 0 WHERE id = $1::uuid", str(key.settlement_id))
    till.onchain.chain.rpc("anvil_mine", hex(100), hex(2))
    till.clock.ahead += timedelta(seconds=200)
    await till.settled(key)
    assert await till.spendable(key) == 100


@pytest.fixture
async def trusting(open_till, shared_chain):
    """A till with nothing but a facilitator's word."""
    with facilitator_running(shared_chain.chain.url, key_of(shared_chain.new_gas_wallet()), CHAIN_ID, token="t") as one:
        till = await open_till(
            x402_gas_key=None, x402_rpc_url=None, x402_facilitator_url=one.url, x402_facilitator_token=SecretStr("t")
        )
        await till.native.check()
        yield till


async def refused(till):
    """A payment that the facilitator, when it is handed over, will say no to before it sends anything."""
    key = await till.claimed_by(till.onchain.payer())
    said = {"success": False, "errorReason": "insufficient_funds", "transaction": "", "network": CAIP2}
    await till.native.facilitator._http.aclose()
    till.native.facilitator._http = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=httpx.ByteStream(json.dumps(said).encode())))
    )
    return key


async def test_without_a_chain_a_facilitators_first_no_ends_the_payment(trusting):
    key = await refused(trusting)
    assert await trusting.turn(key) == S.FAILED
    assert (await trusting.attempt(key)).state == "failed"


async def test_without_a_chain_a_no_that_is_not_the_first_answer_ends_nothing(trusting):
    key = await refused(trusting)
    given = "UPDATE billing.settlements SET handed_over = 1 WHERE id = $1::uuid"
    trusting.database.rows(given, str(key.settlement_id))
    assert await trusting.turn(key, 2) == S.UNKNOWN
    assert (await trusting.attempt(key)).state == "processing"


async def test_a_payment_that_vanished_is_handed_to_the_facilitator_again(open_till, shared_chain):
    with facilitator_running(shared_chain.chain.url, key_of(shared_chain.new_gas_wallet()), CHAIN_ID, token="t") as one:
        till = await open_till(x402_gas_key=None, x402_facilitator_url=one.url, x402_facilitator_token=SecretStr("t"))
        key = await till.bought_by(till.onchain.payer())
        asked = len(one.asked)
        await thrown_out(till, key)
        with one.impatient(SHORT_S):  # it counts its nonces on, and so waits for those that were thrown out
            await till.turn(key)
        assert len(one.asked) > asked


async def test_what_a_process_with_a_chain_has_seen_is_not_granted_early_by_one_without(open_till, shared_chain):
    till = await open_till(x402_finality=[(None, 5)])
    key = await till.claimed_by(till.onchain.payer())
    await till.turn(key, 2)
    assert (await till.row(key)).block_number is not None
    with facilitator_running(shared_chain.chain.url, key_of(shared_chain.new_gas_wallet()), CHAIN_ID, token="t") as one:
        beside = await open_till(
            x402_gas_key=None, x402_rpc_url=None, x402_facilitator_url=one.url, x402_facilitator_token=SecretStr("t")
        )
        assert await beside.turn(key, 2) == S.SETTLING
    assert await till.spendable(key) == 0
    till.onchain.chain.mine(5)
    assert await till.turn(key) == S.SETTLED


async def test_what_a_facilitator_is_carrying_out_is_not_said_to_be_unsent_by_us(till):
    key = await till.claimed_by(till.onchain.payer())
    given = "UPDATE billing.settlements SET state = 'settling', handed_over = 1 WHERE id = $1::uuid"
    till.database.rows(given, str(key.settlement_id))
    assert not await granting.fail(till.house.sessions, key, reason="never sent", is_final=False, now=till.clock())
    assert (await till.row(key)).state == S.SETTLING


async def test_who_saw_it_too_late_does_not_change_where_a_granted_payment_stands(till):
    key = await till.bought_by(till.onchain.payer())
    row = await till.row(key)
    stale = sighting.Sighting("0x" + "1" * 64, 7, row.block_number, "0x" + "2" * 64, row.paid_at)
    await granting.seen(till.house.sessions, key, stale)
    await granting.hold(till.house.sessions, key, stale, reason="late", now=till.clock())
    after = await till.row(key)
    assert (after.state, after.block_hash, after.transaction_hash) == (S.SETTLED, row.block_hash, row.transaction_hash)
