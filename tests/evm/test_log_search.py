"""Searching a chain for logs, of nodes that allow little, lie or never end."""

import pytest

from rails.evm import log_search
from rails.evm.answers import Log
from rails.evm.eip3009 import AUTHORIZATION_USED, TRANSFER
from rails.evm.log_search import CALLS_MAX, RANGE_BLOCKS_MAX
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import RailUnavailable
from tests.evm.nodes import Node, error, result

PAYER, NONCE, TRANSACTION, BLOCK = "0x" + "1a" * 20, b"\x07" * 32, "0x" + "ab" * 32, "0x" + "cd" * 32
TOKEN, OTHER = BASE_SEPOLIA.token_address, "0x" + "2b" * 20


def log_at(block, **changed):
    return {
        "address": TOKEN,
        "topics": ["0x" + AUTHORIZATION_USED.hex(), "0x" + "00" * 12 + PAYER[2:], "0x" + NONCE.hex()],
        "data": "0x",
        "logIndex": "0x4",
        "transactionHash": TRANSACTION,
        "blockNumber": hex(block),
        "blockHash": BLOCK,
        "removed": False,
    } | changed


def logs_of(*found, head=2000, longest=RANGE_BLOCKS_MAX, refusal=None):
    """A node with these logs, which refuses more than `longest` blocks at once."""

    def answer(method, params):
        if method == "eth_blockNumber":
            return result(hex(head))
        start, end = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
        assert start <= end <= head
        if end - start >= longest:
            return refusal
        return result([log for log in found if start <= int(log["blockNumber"], 16) <= end])

    return answer


REFUSALS = [
    error(-32005, "query returned more than 10000 results"),
    error(-32602, "Log response size exceeded. Try with this block range [0x0, 0x13]", status=400),
    error(-32614, "eth_getLogs is limited to a 5 range", status=413),
    error(-32000, "block range is too large"),
    error(-32701, "Please limit the query to at most 20 blocks"),
]


def transfer(sender, recipient):
    topics = ["0x" + TRANSFER.hex(), *("0x" + "00" * 12 + who[2:] for who in (sender, recipient))]
    return log_at(1900, topics=topics, data="0x" + "00" * 31 + "07")


async def test_transfers_of_anybody_are_found_and_no_others_are_believed():
    async with Node(logs_of(transfer(OTHER, PAYER))) as node:
        for sender, recipient in ((None, PAYER), (OTHER, None)):
            [found] = await node.chain.find_transfers(sender, recipient, from_block=1800)
            assert int.from_bytes(found.data, "big") == 7
        assert node.asked[1][1][0]["topics"][1] is None
        for sender, recipient in ((PAYER, None), (None, OTHER)):
            with pytest.raises(RailUnavailable, match="not asked for"):
                await node.chain.find_transfers(sender, recipient, from_block=1800)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_range_that_is_too_long_for_the_node_is_halved(refusal):
    async with Node(logs_of(log_at(1900), longest=20, refusal=refusal)) as node:
        found = await node.chain.find_authorization_used(PAYER, NONCE, from_block=100)
        assert isinstance(found, Log)
        assert (found.transaction_hash, found.block_number, found.index) == (TRANSACTION, 1900, 4)
        assert await node.chain.find_authorization_used(PAYER, NONCE, from_block=1901) is None


async def test_every_block_is_searched_exactly_once():
    async with Node(logs_of(head=1234, longest=100, refusal=REFUSALS[0])) as node:
        assert await node.chain.find_authorization_used(PAYER, NONCE, from_block=17) is None
        ranges = [(int(p[0]["fromBlock"], 16), int(p[0]["toBlock"], 16)) for m, p in node.asked if m == "eth_getLogs"]
        answered = [block for start, end in ranges if end - start < 100 for block in range(start, end + 1)]
        assert answered == list(range(17, 1235))


async def test_a_node_that_refuses_a_single_block_is_no_answer():
    async with Node(logs_of(longest=0, refusal=REFUSALS[0])) as node:
        with pytest.raises(RailUnavailable, match="single block"):
            await node.chain.find_authorization_used(PAYER, NONCE, from_block=0)


@pytest.mark.parametrize(
    "message", ["rate limit exceeded", "too many requests, 50 per second", "exceeded its capacity"]
)
async def test_a_node_that_has_had_enough_of_us_is_not_asked_again(message):
    async with Node(logs_of(longest=0, refusal=error(-32005, message))) as node:
        with pytest.raises(RailUnavailable, match="JSON-RPC error -32005"):
            await node.chain.find_authorization_used(PAYER, NONCE, from_block=0)
        assert [method for method, _ in node.asked].count("eth_getLogs") == 1


async def test_a_search_has_an_end():
    async with Node(logs_of(head=10**9, longest=1, refusal=REFUSALS[0])) as node:
        with pytest.raises(RailUnavailable, match=f"more than {CALLS_MAX} calls"):
            await node.chain.find_authorization_used(PAYER, NONCE, from_block=0)
        assert len(node.asked) == CALLS_MAX + 1


@pytest.mark.parametrize(
    "lie",
    [
        {"address": PAYER},
        {"topics": ["0x" + AUTHORIZATION_USED.hex(), "0x" + "00" * 12 + PAYER[2:], "0x" + "08" * 32]},
        {"topics": []},
        {"blockNumber": "0x7d1"},
    ],
)
async def test_logs_that_were_not_asked_for_are_no_answer(lie):
    def lies(method, _):
        return result("0x7d0") if method == "eth_blockNumber" else result([log_at(1900, **lie)])

    async with Node(lies) as node:
        with pytest.raises(RailUnavailable, match="not asked for"):
            await node.chain.find_authorization_used(PAYER, NONCE, from_block=1800)


async def test_a_log_that_was_taken_back_is_not_found():
    async with Node(logs_of(log_at(1900, removed=True))) as node:
        assert await node.chain.find_authorization_used(PAYER, NONCE, from_block=1800) is None


def transfer_at(block, **changed):
    topics = ["0x" + TRANSFER.hex(), "0x" + "00" * 12 + PAYER[2:], "0x" + "00" * 12 + TOKEN[2:].lower()]
    return log_at(block, topics=topics, data=f"0x{block:064x}", **changed)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_all_transfers_of_all_ranges_are_found_in_their_order(refusal):
    blocks = [17, 18, 600, 601, 1999, 2000]
    made = [transfer_at(block) for block in blocks] + [transfer_at(600, logIndex="0x2")]
    async with Node(logs_of(*made, longest=100, refusal=refusal)) as node:
        found = await node.chain.find_transfers(PAYER, TOKEN, from_block=17)
    assert [(log.block_number, log.index) for log in found] == sorted([(block, 4) for block in blocks] + [(600, 2)])
    assert {int.from_bytes(log.data, "big") for log in found} == set(blocks)


async def test_a_transfer_without_an_amount_is_no_answer():
    async with Node(logs_of(transfer_at(1900) | {"data": "0x"})) as node:
        with pytest.raises(RailUnavailable, match="no amount"):
            await node.chain.find_transfers(PAYER, TOKEN, from_block=1800)


async def test_more_logs_than_are_read_are_no_answer(monkeypatch):
    monkeypatch.setattr(log_search, "LOGS_MAX", 3)
    made = [transfer_at(block) for block in (1, 2, 3, 4)]
    async with Node(logs_of(*made)) as node:
        with pytest.raises(RailUnavailable, match="more than 3 such logs"):
            await node.chain.find_transfers(PAYER, TOKEN, from_block=1)
        assert len(await node.chain.find_transfers(PAYER, TOKEN, from_block=2)) == 3


async def test_a_search_that_just_ends_in_time_has_found_what_there_is():
    async with Node(logs_of(head=CALLS_MAX * RANGE_BLOCKS_MAX - 1)) as node:
        assert await node.chain.find_transfers(PAYER, TOKEN, from_block=0) == []
