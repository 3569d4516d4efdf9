"""Nodes that are dead, slow, limited, mistaken or lying: an answer that cannot be read is never a "no"."""

import asyncio
import logging
import socket
import subprocess
import sys
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path

import pytest

from rails.evm import rpc
from rails.evm.calls import Call
from rails.evm.chain import GAS_MAX, TIMEOUT_S, Chain
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable
from tests.evm.nodes import IMPATIENCE_S, JUNK, PATIENCE_S, SECRET, Node, assert_keeps_the_secret, error, hangs, result
from tests.rails.test_stripe_door import let_pass
from tests.service import HOST, free_port

ROOT = Path(__file__).parents[2]
PAYER, NONCE, TRANSACTION, BLOCK = "0x" + "1a" * 20, b"\x07" * 32, "0x" + "ab" * 32, "0x" + "cd" * 32
SIGNED = b"a signed transaction"
TOKEN = BASE_SEPOLIA.token_address


QUESTIONS = {
    "check": lambda chain: chain.check(),
    "balance_of": lambda chain: chain.balance_of(PAYER),
    "authorization_state": lambda chain: chain.authorization_state(PAYER, NONCE),
    "is_valid_signature": lambda chain: chain.is_valid_signature(PAYER, bytes(32), b""),
    "code_of": lambda chain: chain.code_of(PAYER),
    "receipt": lambda chain: chain.receipt(TRANSACTION),
    "block": lambda chain: chain.block("latest"),
    "find_authorization_used": lambda chain: chain.find_authorization_used(PAYER, NONCE, from_block=0),
    "find_authorization_canceled": lambda chain: chain.find_authorization_canceled(PAYER, NONCE, from_block=0),
    "find_transfers": lambda chain: chain.find_transfers(PAYER, TOKEN, from_block=0),
    "head": lambda chain: chain.head(),
    "transaction_input": lambda chain: chain.transaction_input(TRANSACTION),
    "simulate": lambda chain: chain.simulate(Call(PAYER, TOKEN, b"")),
    "estimate_gas": lambda chain: chain.estimate_gas(Call(PAYER, TOKEN, b"")),
    "ether_of": lambda chain: chain.ether_of(PAYER),
    "fees": lambda chain: chain.fees(),
    "nonce_of": lambda chain: chain.nonce_of(PAYER, pending=True),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
async def test_junk_is_no_answer_to_any_question(junk):
    async with Node(lambda *_: junk) as node:
        for ask in QUESTIONS.values():
            with pytest.raises(RailUnavailable) as caught:
                await ask(node.chain)
            assert type(caught.value) is RailUnavailable
            assert "the node of eip155:84532" in str(caught.value)
            assert_keeps_the_secret(caught.value, node.chain)


@pytest.mark.parametrize("question", QUESTIONS.keys())
async def test_a_dead_node_is_no_answer(question):
    chain = Chain(BASE_SEPOLIA, f"http://{HOST}:{free_port()}/v2/{SECRET}")
    with pytest.raises(RailUnavailable, match="cannot be reached") as caught:
        await QUESTIONS[question](chain)
    assert_keeps_the_secret(caught.value, chain)
    await chain.aclose()


async def test_a_slow_node_is_not_waited_for():
    async with Node(hangs, timeout_s=IMPATIENCE_S) as node:
        asked = (ask(node.chain) for ask in QUESTIONS.values())
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), timeout=TIMEOUT_S - 1)
        assert {type(answer) for answer in answers} == {RailUnavailable}
        with pytest.raises(RailUnavailable, match="did not answer in time"):
            await node.chain.code_of(PAYER)


async def test_a_question_that_waits_for_a_connection_is_answered_like_the_one_before_it(monkeypatch):
    monkeypatch.setattr(rpc, "CONNECT_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(rpc, "CONNECTIONS_MAX", 1)
    came, go = asyncio.Event(), asyncio.Event()

    async def late():
        came.set()
        await go.wait()
        return result("0x10")

    slow = Node(lambda *_: late())
    async with slow as node, aclosing(Chain(BASE_SEPOLIA, node.url, timeout_s=4 * PATIENCE_S)) as chain:
        asked = asyncio.gather(*(chain.nonce_of(PAYER, pending=True) for _ in range(3)))
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        let_pass(PATIENCE_S + 1)
        await asyncio.sleep(0.1)
        go.set()
        assert await asked == [16] * 3


@contextmanager
def behind_a_full_queue():
    """The URL of a node whose program takes no connection any more: the system answers no new one."""
    with socket.create_server((HOST, 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield f"http://{HOST}:{full.getsockname()[1]}/v2/{SECRET}"


@contextmanager
def without_tls():
    """The URL of a node that takes connections and says nothing of TLS on them."""
    with socket.create_server((HOST, 0)) as silent:
        yield f"https://{HOST}:{silent.getsockname()[1]}/v2/{SECRET}"


@pytest.mark.parametrize("node", [behind_a_full_queue, without_tls])
async def test_a_node_that_lets_nobody_in_is_given_up_soon_and_was_sent_nothing(monkeypatch, node):
    monkeypatch.setattr(rpc, "CONNECT_TIMEOUT_S", 0.2)
    with node() as url:
        async with aclosing(Chain(BASE_SEPOLIA, url, timeout_s=PATIENCE_S)) as chain:
            with pytest.raises(RailUnavailable, match="cannot be reached") as caught:
                await chain.send_raw(SIGNED)
        assert type(caught.value) is RailUnavailable
        assert_keeps_the_secret(caught.value, chain)


async def test_a_node_that_took_a_request_has_longer_than_to_be_reached_and_may_have_carried_it_out(monkeypatch):
    monkeypatch.setattr(rpc, "CONNECT_TIMEOUT_S", PATIENCE_S)
    came = asyncio.Event()
    silent = Node(lambda *_: came.set())
    async with silent as node, aclosing(Chain(BASE_SEPOLIA, node.url, timeout_s=4 * PATIENCE_S)) as chain:
        asked = asyncio.create_task(chain.send_raw(SIGNED))
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        let_pass(PATIENCE_S + 1)
        await asyncio.sleep(0.1)
        assert not asked.done()
        let_pass(3 * PATIENCE_S)
        with pytest.raises(OutcomeUnknown, match="did not answer in time"):
            await asyncio.wait_for(asked, PATIENCE_S)


def test_asking_nodes_leaves_alone_how_deep_python_recurses():
    check = (
        "import pkgutil, sys; before = sys.getrecursionlimit(); import rails.evm\n"
        "for module in pkgutil.iter_modules(rails.evm.__path__, 'rails.evm.'): __import__(module.name)\n"
        "assert 'py_ecc' in sys.modules and sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, timeout=300)


async def test_the_url_of_the_node_is_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with Node(lambda *_: result("0x7")) as node:
        assert await node.chain.nonce_of(PAYER, pending=False) == 7
    assert SECRET not in caplog.text


async def test_a_null_is_an_answer_where_something_may_be_missing_and_nowhere_else():
    async with Node(lambda *_: result(None)) as node:
        assert await node.chain.receipt(TRANSACTION) is None
        assert await node.chain.block(7) is None
        assert await node.chain.transaction_input(TRANSACTION) is None
        for question in QUESTIONS.keys() - {"receipt", "block", "transaction_input"}:
            with pytest.raises(RailUnavailable):
                await QUESTIONS[question](node.chain)


async def test_a_receipt_that_is_in_no_block_yet_is_none():
    async with Node(lambda *_: result({"transactionHash": TRANSACTION, "blockHash": None})) as node:
        assert await node.chain.receipt(TRANSACTION) is None


async def test_another_transactions_receipt_is_no_answer():
    place = {"transactionHash": BLOCK, "blockNumber": "0x1", "blockHash": BLOCK, "status": "0x1", "logs": []}
    async with Node(lambda *_: result(place | {"gasUsed": "0x5208", "effectiveGasPrice": "0x1"})) as node:
        with pytest.raises(RailUnavailable, match="another transaction"):
            await node.chain.receipt(TRANSACTION)
        assert (await node.chain.receipt(BLOCK)).succeeded


async def test_another_transaction_is_no_answer():
    async with Node(lambda *_: result({"hash": BLOCK, "input": "0x0102"})) as node:
        with pytest.raises(RailUnavailable, match="another transaction"):
            await node.chain.transaction_input(TRANSACTION)
        assert await node.chain.transaction_input(BLOCK) == b"\1\2"


@pytest.mark.parametrize("number", [2**63, 2**255])
async def test_a_number_that_no_column_holds_is_no_answer(number):
    async with Node(lambda *_: result(hex(number))) as node:
        for question in ("head", "nonce_of"):
            with pytest.raises(RailUnavailable, match="too large"):
                await QUESTIONS[question](node.chain)


async def test_a_guess_of_gas_that_no_transaction_takes_is_no_answer():
    async with Node(lambda *_: result(hex(20_999))) as node:
        with pytest.raises(RailUnavailable, match="less than any transaction"):
            await QUESTIONS["estimate_gas"](node.chain)


@pytest.mark.parametrize(
    ("gas", "answer"), [(21_000, 21_000), (GAS_MAX, GAS_MAX), (GAS_MAX + 1, "takes more gas than a transaction may")]
)
async def test_a_call_that_takes_more_gas_than_a_transaction_may_would_fail(gas, answer):
    async with Node(lambda *_: result(hex(gas))) as node:
        assert await QUESTIONS["estimate_gas"](node.chain) == answer


async def test_another_block_is_no_answer():
    head = {"number": "0x8", "hash": BLOCK, "parentHash": BLOCK, "timestamp": "0x1"}
    async with Node(lambda *_: result(head)) as node:
        with pytest.raises(RailUnavailable, match="another block"):
            await node.chain.block(7)
        assert (await node.chain.block(8)).base_fee_wei == 0


@pytest.mark.parametrize("message", ["safe block not found", "Unknown block"])
async def test_a_block_that_is_not_so_final_yet_is_none(message):
    async with Node(lambda *_: error(-39001, message)) as node:
        assert await node.chain.block("safe") is None


@pytest.mark.parametrize(
    "failure",
    [
        error(3, "execution reverted", data="0x"),
        error(3, f"execution reverted: {SECRET}"),
        error(-32000, "out of gas"),
        error(-32000, "invalid opcode: INVALID"),
        error(-32000, "stack underflow (0 <=> 2)"),
        error(-32000, "return data out of bounds"),
        error(-32015, "VM execution error."),
        error(-32003, "EVM error InvalidFEOpcode"),
        error(-32000, "execution aborted (timeout = 5s)"),
        error(-32000, "gas required exceeds allowance (25000000)"),
    ],
)
async def test_a_contract_that_fails_is_no_fault_of_the_node(failure):
    async with Node(lambda *_: failure) as node:
        assert await node.chain.is_valid_signature(PAYER, bytes(32), b"") is False
        assert await node.chain.simulate(Call(PAYER, TOKEN, b"")) == "reverted without a reason"
        assert await node.chain.estimate_gas(Call(PAYER, TOKEN, b"")) == "reverted without a reason"
        with pytest.raises(RailUnavailable, match="refused a question"):
            await node.chain.balance_of(PAYER)


@pytest.mark.parametrize(
    "message",
    ["already known", "AlreadyKnown", "known transaction: abcd", "transaction already imported", "Known transaction"],
)
async def test_a_transaction_that_is_known_is_sent(message):
    async with Node(lambda *_: error(-32000, message)) as node:
        assert len(await node.chain.send_raw(SIGNED)) == 66


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nonce too low: next nonce 5, tx nonce 4", "nonce_too_low"),
        ("insufficient funds for gas * price + value: balance 0", "insufficient_funds"),
        ("replacement transaction underpriced", "underpriced"),
        ("max fee per gas less than block base fee", "underpriced"),
        (f"intrinsic gas too low {SECRET}", "refused"),
    ],
)
async def test_a_refused_transaction_is_refused_in_our_words(message, code):
    async with Node(lambda *_: error(-32000, message)) as node:
        with pytest.raises(ProviderRefused) as caught:
            await node.chain.send_raw(SIGNED)
        assert caught.value.code == code
        assert_keeps_the_secret(caught.value, node.chain)


@pytest.mark.parametrize("message", ["upstream request timed out", "internal error", f"no: {SECRET}"])
async def test_a_transaction_that_is_refused_in_words_that_say_nothing_may_have_been_taken(message):
    async with Node(lambda *_: error(-32603, message)) as node:
        with pytest.raises(OutcomeUnknown) as caught:
            await node.chain.send_raw(SIGNED)
        assert_keeps_the_secret(caught.value, node.chain)


@pytest.mark.parametrize("junk", [JUNK[name] for name in ("HTML", "null", "an HTTP error", "words", "true", "a list")])
async def test_a_sending_whose_answer_is_lost_may_have_happened(junk):
    async with Node(lambda *_: junk) as node:
        with pytest.raises(OutcomeUnknown) as caught:
            await node.chain.send_raw(SIGNED)
        assert_keeps_the_secret(caught.value, node.chain)


async def test_a_sending_that_takes_too_long_may_have_happened():
    async with Node(hangs, timeout_s=IMPATIENCE_S) as node:
        with pytest.raises(OutcomeUnknown, match="in time"):
            await node.chain.send_raw(SIGNED)


async def test_a_sending_that_never_left_has_not_happened():
    chain = Chain(BASE_SEPOLIA, f"http://{HOST}:{free_port()}/v2/{SECRET}")
    with pytest.raises(RailUnavailable):
        await chain.send_raw(SIGNED)
    await chain.aclose()


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host/k3y-that-is-secret", "http://[k3y-that-is-secret"])
async def test_a_url_that_is_none_is_no_answer_and_is_not_shown(url):
    chain = Chain(BASE_SEPOLIA, url)
    with pytest.raises(RailUnavailable) as caught:
        await chain.code_of(PAYER)
    assert_keeps_the_secret(caught.value, chain)
    await chain.aclose()
