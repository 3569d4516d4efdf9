"""Nodes that are dead, slow, limited, mistaken or lying: an answer that cannot be read is never a "no"."""

import asyncio
import gzip
import json
import logging
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from rails.evm import rpc
from rails.evm.answers import Log
from rails.evm.calls import Call
from rails.evm.chain import RANGE_BLOCKS_MAX, SEARCH_CALLS_MAX, Chain
from rails.evm.eip3009 import AUTHORIZATION_USED
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable
from tests.service import HOST, free_port

ROOT = Path(__file__).parents[2]
SECRET = "k3y-that-is-secret"
PAYER, NONCE, TRANSACTION, BLOCK = "0x" + "1a" * 20, b"\x07" * 32, "0x" + "ab" * 32, "0x" + "cd" * 32
SIGNED = b"a signed transaction"
TOKEN = BASE_SEPOLIA.token_address


class Node:
    """A node of the test's making: `answer(method, params)` gives the HTTP status and the body, or None for silence."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self._over = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.chain = Chain(BASE_SEPOLIA, f"http://{HOST}:{port}/v2/{SECRET}", timeout_s=0.5)
        return self

    async def __aexit__(self, *_):
        self._over.set()
        await self.chain.aclose()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            self.asked.append((request["method"], request["params"]))
            said = self.answer(request["method"], request["params"])
            if said is None:
                await self._over.wait()
                return
            status, body, *headers = said
            extra = "".join(f"{line}\r\n" for line in headers)
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{extra}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def result(value, status=200):
    return status, json.dumps({"jsonrpc": "2.0", "id": 0, "result": value}).encode()


def error(code, message, status=200, **more):
    return status, json.dumps({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message, **more}}).encode()


QUESTIONS = {
    "check": lambda chain: chain.check(),
    "balance_of": lambda chain: chain.balance_of(PAYER),
    "authorization_state": lambda chain: chain.authorization_state(PAYER, NONCE),
    "is_valid_signature": lambda chain: chain.is_valid_signature(PAYER, bytes(32), b""),
    "code_of": lambda chain: chain.code_of(PAYER),
    "receipt": lambda chain: chain.receipt(TRANSACTION),
    "block": lambda chain: chain.block("latest"),
    "find_authorization_used": lambda chain: chain.find_authorization_used(PAYER, NONCE, from_block=0),
    "simulate": lambda chain: chain.simulate(Call(PAYER, TOKEN, b"")),
    "fees": lambda chain: chain.fees(),
    "nonce_of": lambda chain: chain.nonce_of(PAYER, pending=True),
}


def assert_keeps_the_secret(raised, chain):
    shown = "".join(traceback.format_exception(raised))
    while raised is not None:
        shown += repr(raised) + repr(raised.args)
        raised = raised.__cause__ or raised.__context__
    assert SECRET not in shown + repr(chain) + str(chain) + repr(chain._rpc)


def hangs(*_):
    return None


JUNK = {
    "HTML": (200, b"<html>hello</html>"),
    "nothing": (200, b""),
    "no JSON-RPC": (200, b'{"result": "0x1"}'),
    "another version": (200, b'{"jsonrpc": "1.0", "id": 0, "result": "0x1"}'),
    "a list": (200, b"[1]"),
    "a number": (200, b"7"),
    "null": (200, b"null"),
    "half of it": (200, b'{"jsonrpc": "2.0", "id": 0, "resu'),
    "a deep hole": (200, b"[" * 200_000),
    "no Unicode": (200, b"\xff\xfe\xff"),
    "a huge number": (200, b'{"jsonrpc": "2.0", "id": 0, "result": ' + b"9" * 5000 + b"}"),
    "an error of no form": (200, b'{"jsonrpc": "2.0", "id": 0, "error": "no"}'),
    "an error with no code": (200, b'{"jsonrpc": "2.0", "id": 0, "error": {"message": "no"}}'),
    "both": (200, b'{"jsonrpc": "2.0", "id": 0, "result": "0x1", "error": {"code": 1, "message": "no"}}'),
    "an HTTP error": (503, f"http://node/{SECRET} is down".encode()),
    "too many requests": (429, b"slow down"),
    "a result in an HTTP error": result("0x1", status=500),
    "elsewhere": (302, b"", f"location: http://{HOST}:1/{SECRET}"),
    "a bomb": (200, gzip.compress(b" " * (rpc.BODY_BYTES_MAX + 1)), "content-encoding: gzip"),
    "too much": (200, b" " * (rpc.BODY_BYTES_MAX + 1)),
    "an error": error(-32603, f"internal error at http://node/{SECRET}"),
    "a method that is not served": error(-32601, "the method does not exist"),
    "an HTTP error with an error": error(-32000, f"unauthorized: {SECRET}", status=401),
    "true": result(True),
    "words": result("hello"),
    "a negative": result("-0x1"),
    "an object": result({}),
    "an object of junk": result({"number": [], "logs": 7, "status": None}),
    "a list of junk": result([{}]),
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
    async with Node(hangs) as node:
        asked = (ask(node.chain) for ask in QUESTIONS.values())
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), timeout=3)
        assert {type(answer) for answer in answers} == {RailUnavailable}
        with pytest.raises(RailUnavailable, match="did not answer in time"):
            await node.chain.code_of(PAYER)


def test_asking_nodes_leaves_alone_how_deep_python_recurses():
    check = (
        "import pkgutil, sys; before = sys.getrecursionlimit(); import rails.evm\n"
        "for module in pkgutil.iter_modules(rails.evm.__path__, 'rails.evm.'): __import__(module.name)\n"
        "assert 'py_ecc' in sys.modules and sys.getrecursionlimit() == before"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, timeout=30)


async def test_the_url_of_the_node_is_in_no_log(caplog):
    caplog.set_level(logging.DEBUG)
    async with Node(lambda *_: result("0x7")) as node:
        assert await node.chain.nonce_of(PAYER, pending=False) == 7
    assert SECRET not in caplog.text


async def test_a_null_is_an_answer_where_something_may_be_missing_and_nowhere_else():
    async with Node(lambda *_: result(None)) as node:
        assert await node.chain.receipt(TRANSACTION) is None
        assert await node.chain.block(7) is None
        for question in QUESTIONS.keys() - {"receipt", "block"}:
            with pytest.raises(RailUnavailable):
                await QUESTIONS[question](node.chain)


async def test_a_receipt_that_is_in_no_block_yet_is_none():
    async with Node(lambda *_: result({"transactionHash": TRANSACTION, "blockHash": None})) as node:
        assert await node.chain.receipt(TRANSACTION) is None


async def test_another_transactions_receipt_is_no_answer():
    place = {"transactionHash": BLOCK, "blockNumber": "0x1", "blockHash": BLOCK, "status": "0x1", "logs": []}
    async with Node(lambda *_: result(place)) as node:
        with pytest.raises(RailUnavailable, match="another transaction"):
            await node.chain.receipt(TRANSACTION)
        assert (await node.chain.receipt(BLOCK)).succeeded


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
    ],
)
async def test_a_contract_that_fails_is_no_fault_of_the_node(failure):
    async with Node(lambda *_: failure) as node:
        assert await node.chain.is_valid_signature(PAYER, bytes(32), b"") is False
        assert await node.chain.simulate(Call(PAYER, TOKEN, b"")) == "reverted without a reason"
        with pytest.raises(RailUnavailable, match="refused a question"):
            await node.chain.balance_of(PAYER)


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
        with pytest.raises(RailUnavailable, match=f"more than {SEARCH_CALLS_MAX} calls"):
            await node.chain.find_authorization_used(PAYER, NONCE, from_block=0)
        assert len(node.asked) == SEARCH_CALLS_MAX + 1


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
        (f"no: {SECRET}", "refused"),
    ],
)
async def test_a_refused_transaction_is_refused_in_our_words(message, code):
    async with Node(lambda *_: error(-32000, message)) as node:
        with pytest.raises(ProviderRefused) as caught:
            await node.chain.send_raw(SIGNED)
        assert caught.value.code == code
        assert_keeps_the_secret(caught.value, node.chain)


@pytest.mark.parametrize("junk", [JUNK[name] for name in ("HTML", "null", "an HTTP error", "words", "true", "a list")])
async def test_a_sending_whose_answer_is_lost_may_have_happened(junk):
    async with Node(lambda *_: junk) as node:
        with pytest.raises(OutcomeUnknown) as caught:
            await node.chain.send_raw(SIGNED)
        assert_keeps_the_secret(caught.value, node.chain)


async def test_a_sending_that_takes_too_long_may_have_happened():
    async with Node(hangs) as node:
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
