"""A node that is dead, slow, behind or lying: nobody is asked to pay twice, and nothing is said that is not proven."""

from datetime import timedelta

import pytest

from billing.settlement_states import SettlementState as S
from billing.settling.own import RECEIPT_LATEST, SEND_AGAIN_AFTER
from billing.settling.records import Key
from ledger.ids import parse
from tests.evm.usdc import TRANSFER_BYTES
from tests.service import data_of, error_of, new_key
from tests.x402.paying import REQUIRED, SIGNATURE
from tests.x402.rpc_proxy import (
    EVERY_METHOD,
    SEND,
    answer_lost,
    changed,
    dead,
    no_logs,
    nothing,
    refused,
    slow,
    swallowed,
)
from tests.x402.till import DOLLAR, as_signed

BUY = "/v1/credit-purchases/x402"
RPC_TIMEOUT_S = 0.3
LOOKS_MAX = 100
AUTHORIZATION_STATE = "0xe94a0102"
ZERO = "0x" + "00" * 32
DEAD = {
    "dead": dead,
    "slow": slow(2 * RPC_TIMEOUT_S),
    "overloaded": refused(-32005, "rate limited", status=429),
    "lying about everything": changed(lambda _: {"no": "answer"}),
}


@pytest.fixture
async def till(open_till, bad_node):
    return await open_till(x402_rpc_url=bad_node.url)


@pytest.fixture
async def hasty(open_till, bad_node):
    """Another process, which waits for the node for a moment only, and has seen it, however often it had to look."""
    hasty = await open_till(x402_rpc_url=bad_node.url, x402_rpc_timeout_s=RPC_TIMEOUT_S)
    for _ in range(LOOKS_MAX):
        if hasty.native.standing.reason is None:
            return hasty
        await hasty.native.check()
    raise AssertionError(hasty.native.standing.reason)


def key_in(till, answer):
    """The settlement of an answer's attempt."""
    attempt_id = parse("payatt", answer.json()["data"]["payment_attempt_id"])
    query = "SELECT organization_id, id FROM billing.settlements WHERE attempt_id = $1::uuid"
    [row] = till.database.rows(query, str(attempt_id))
    return Key(*row)


def assert_waits(till, answer):
    """202, with when and where to ask again, and without anything to pay."""
    assert answer.status_code == 202, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert REQUIRED.lower() not in answer.headers
    told = answer.json()["data"]
    assert told["state"] == "processing"
    assert told["status_url"] == answer.headers["location"]
    assert told["status_url"].startswith(till.house.settings.url)


def behind(ask, params):
    """The chain as it was before the payment, for each method that tells of it."""
    call = params[0] if params else None
    if isinstance(call, dict) and call.get("data", "").startswith(AUTHORIZATION_STATE):
        return ZERO
    return ask()


class Behind:
    """For the length of the block the node knows nothing of what was sent lately."""

    def __init__(self, till, bad_node, head):
        self.faults = [
            bad_node.faulty("eth_call", behind),
            bad_node.faulty("eth_getTransactionReceipt", nothing),
            bad_node.faulty("eth_getTransactionCount", changed(lambda _: "0x0")),
            bad_node.faulty("eth_getLogs", no_logs),
            bad_node.faulty("eth_blockNumber", changed(lambda _: hex(head))),
            bad_node.faulty("eth_getBlockByNumber", _only_until(till.onchain.chain, head)),
        ]

    def __enter__(self):
        for fault in self.faults:
            fault.__enter__()

    def __exit__(self, *why):
        for fault in reversed(self.faults):
            fault.__exit__(*why)


def _only_until(chain, head):
    def behave(ask, params):
        found = ask()
        if found is None or int(found["number"], 16) <= head:
            return found
        return chain.block(head) if params[0] == "latest" else None

    return behave


@pytest.mark.parametrize("behavior", DEAD.values(), ids=DEAD.keys())
async def test_a_payment_that_cannot_be_checked_is_not_taken_and_leaves_nothing(till, hasty, bad_node, behavior):
    payment, before = till.sign(till.onchain.payer()), till.counts()
    with bad_node.faulty(EVERY_METHOD, behavior):
        error = error_of(await hasty.ask(payment), 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert "send the same request again" in error["message"]
    assert till.counts() == before
    assert_waits(till, await till.ask(payment))


async def test_a_node_that_dies_after_the_claim_is_waited_for_and_nobody_is_asked_to_pay_again(till, bad_node):
    payment = till.sign(till.onchain.payer())
    with bad_node.faulty("eth_estimateGas", dead):
        answer = await till.ask(payment)
    assert_waits(till, answer)
    key = key_in(till, answer)
    with bad_node.unreachable():
        assert_waits(till, await till.ask(payment))
        assert data_of(await till.client.get(answer.headers["location"]))["state"] == "processing"
        assert await till.turn(key, times=2) == S.CLAIMED
    await till.settled(key)
    bought = data_of(await till.ask(payment))
    assert (bought["state"], till.onchain.received) == ("succeeded", DOLLAR)


@pytest.mark.long
async def test_an_unpaid_request_for_a_quote_that_is_being_paid_gets_no_fresh_402(till, bad_node):
    signed_up = await till.client.post(
        "/v1/agent-signups", json={"agent_name": "tester", "runtime": "pytest", "return_token": True}
    )
    headers = {"authorization": f"Bearer {data_of(signed_up)['token']}"}
    terms = {"payment_method": "x402.exact.usdc", "pack_id": "taster-100", "idempotency_key": new_key()}
    quote = data_of(await till.client.post("/v1/credit-quotes", json=terms, headers=headers))
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    unpaid = await till.client.post(BUY, json=body, headers=headers)
    assert unpaid.status_code == 402
    payment = till.sign(till.onchain.payer())
    with bad_node.faulty("eth_estimateGas", dead):
        paid = await till.client.post(BUY, json=body, headers={**headers, SIGNATURE: payment})
        assert_waits(till, paid)
        key = key_in(till, paid)
        assert_waits(till, await till.client.post(BUY, json=body, headers=headers))
        other = till.sign(till.onchain.payer())
        second = await till.client.post(BUY, json=body, headers={**headers, SIGNATURE: other})
        error_of(second, 409, "CREDIT_PURCHASE_IN_PROGRESS")
    await till.settled(key)
    again = data_of(await till.client.post(BUY, json=body, headers=headers))
    assert again["state"] == "succeeded"
    assert till.onchain.received == DOLLAR


async def test_a_transaction_whose_answer_is_lost_is_found_and_not_sent_twice(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    with bad_node.faulty(SEND, answer_lost):
        assert await till.turn(key) in {S.SETTLING, S.UNKNOWN}
    assert (await till.attempt(key)).state == "processing"
    row = await till.settled(key)
    [one] = await till.signed(key)
    assert (row.transaction_hash, bad_node.count(SEND)) == (one.hash, 1)
    assert till.onchain.received == DOLLAR


async def test_a_transaction_that_was_swallowed_is_sent_again_as_it_was(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    with bad_node.faulty(SEND, swallowed):
        assert await till.turn(key, times=2) == S.SETTLING
    till.clock.ahead += SEND_AGAIN_AFTER
    await till.settled(key)
    assert len({params[0] for method, params in bad_node.asked if method == SEND}) == 1
    assert (len(await till.signed(key)), till.onchain.received) == (1, DOLLAR)


async def test_a_transaction_that_never_reached_the_node_is_sent_again_as_it_was(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    with bad_node.faulty(SEND, dead):
        await till.turn(key, times=2)
    till.clock.ahead += SEND_AGAIN_AFTER
    await till.settled(key)
    assert (len(await till.signed(key)), till.onchain.received) == (1, DOLLAR)


@pytest.mark.long
async def test_a_node_that_hides_logs_cannot_make_a_payment_unmade(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    till.onchain.token.send(as_signed(till, await till.row(key)).call(TRANSFER_BYTES))
    with bad_node.faulty("eth_getLogs", no_logs):
        assert await till.turn(key, times=2) == S.CLAIMED
        till.pass_time(400)
        till.finalize()
        assert await till.turn(key, times=2) == S.CLAIMED
        assert (await till.attempt(key)).state == "processing"
    await till.settled(key)
    assert await till.spendable(key) == 100


async def test_a_node_that_hides_receipts_cannot_make_a_payment_unmade(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    with bad_node.faulty("eth_getTransactionReceipt", nothing):
        assert await till.turn(key, times=2) == S.SETTLING
        till.clock.ahead += RECEIPT_LATEST
        await till.turn(key, times=2)
        till.pass_time(400)
        till.finalize()
        assert await till.turn(key, times=2) in {S.SETTLING, S.UNKNOWN}
        assert (await till.attempt(key)).state == "processing"
    await till.settled(key)
    assert len(await till.signed(key)) == 1
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)


LIES = {
    "another transaction's": lambda told: told and {**told, "transactionHash": "0x" + "ab" * 32},
    "of another block": lambda told: told and {**told, "blockHash": "0x" + "ab" * 32},
    "without logs": lambda told: told and {**told, "logs": []},
    "of a failure": lambda told: told and {**told, "status": "0x0"},
    "for another amount": lambda told: told and {**told, "logs": [
        {**log, "data": log["data"][:-1] + "1" if len(log["data"]) > 2 else log["data"]} for log in told["logs"]
    ]},
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_receipt_that_is_not_ours_grants_nothing_and_ends_nothing(till, bad_node, lie):
    key = await till.claimed_by(till.onchain.payer())
    with bad_node.faulty("eth_getTransactionReceipt", changed(lie)):
        assert await till.turn(key, times=3) in {S.SETTLING, S.UNKNOWN}
        assert (await till.spendable(key), (await till.attempt(key)).state) == (0, "processing")
    await till.settled(key)
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)
    assert len(await till.signed(key)) == 1


async def test_a_node_that_is_behind_makes_us_send_the_same_again_and_nothing_else(till, bad_node):
    key = await till.claimed_by(till.onchain.payer())
    head = till.onchain.chain.height
    assert await till.turn(key) == S.SETTLING
    with Behind(till, bad_node, head):
        till.clock.ahead += SEND_AGAIN_AFTER
        assert await till.turn(key, times=2) in {S.SETTLING, S.UNKNOWN}
    await till.settled(key)
    with Behind(till, bad_node, head):
        assert await till.turn(key, times=2) == S.SETTLED, "what the node does not know yet has not vanished"
        till.clock.ahead += timedelta(seconds=60)
        await till.tend()
    assert {one.nonce for one in await till.signed(key)} == {0}
    assert {one.purpose for one in await till.signed(key)} == {"settlement"}
    assert (await till.spendable(key), till.onchain.received) == (100, DOLLAR)
    assert (await till.row(key)).reorganizations == 0
