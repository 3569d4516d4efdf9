"""The node of the tests that goes wrong when told, and what a chain behind it is like."""

import threading
import time

import httpx
import pytest
from eth_account import Account

from tests.evm.anvil import CHAIN_ID
from tests.service import ANSWER_S
from tests.x402.rpc_proxy import (
    EVERY_METHOD,
    HELD_S_MAX,
    SEND,
    answer_lost,
    changed,
    dead,
    held,
    nothing,
    refused,
    slow,
    swallowed,
)

WEI = 10**15


def call(proxy, method, *params):
    asked = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return httpx.post(proxy.url, json=asked, trust_env=False, timeout=ANSWER_S)


def result(proxy, method, *params):
    return call(proxy, method, *params).json()["result"]


@pytest.fixture
def transfer(onchain):
    """A signed transaction that nobody has sent, and its hash."""
    sender = onchain.new_gas_wallet()
    terms = {
        "chainId": CHAIN_ID, "nonce": 0, "to": Account.create().address, "value": WEI, "gas": 21_000,
        "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9,
    }  # fmt: skip
    signed = sender.sign_transaction(terms)
    return "0x" + bytes(signed.raw_transaction).hex(), "0x" + bytes(signed.hash).hex()


def receipt(onchain, transaction):
    return onchain.chain.rpc("eth_getTransactionReceipt", transaction)


def test_it_passes_on_what_is_asked_and_remembers_it(rpc_proxy, onchain):
    before, counted = len(rpc_proxy.asked), rpc_proxy.count("eth_chainId")
    assert result(rpc_proxy, "eth_chainId") == hex(CHAIN_ID)
    assert call(rpc_proxy, "eth_nothing").json()["error"]["code"] == -32601
    assert rpc_proxy.count("eth_chainId") == counted + 1
    assert rpc_proxy.asked[before:] == [("eth_chainId", []), ("eth_nothing", [])]


def test_a_lost_answer_was_carried_out_and_a_swallowed_one_was_not(rpc_proxy, onchain, transfer):
    raw, transaction = transfer
    with rpc_proxy.faulty(SEND, swallowed):
        assert result(rpc_proxy, SEND, raw) == transaction
    assert receipt(onchain, transaction) is None
    with rpc_proxy.faulty(SEND, dead), pytest.raises(httpx.TransportError):
        call(rpc_proxy, SEND, raw)
    assert receipt(onchain, transaction) is None
    with rpc_proxy.faulty(SEND, answer_lost), pytest.raises(httpx.TransportError):
        call(rpc_proxy, SEND, raw)
    assert onchain.chain.receipt(transaction)["status"] == "0x1"
    with rpc_proxy.faulty("eth_getTransactionReceipt", nothing):
        assert result(rpc_proxy, "eth_getTransactionReceipt", transaction) is None


def test_it_refuses_lies_and_is_slow_as_told_and_only_then(rpc_proxy, onchain):
    with rpc_proxy.faulty(EVERY_METHOD, refused(-32005, "slow down", status=429)):
        answer = call(rpc_proxy, "eth_chainId")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, -32005)
    with rpc_proxy.faulty("eth_blockNumber", changed(lambda height: hex(int(height, 16) + 1000))):
        assert int(result(rpc_proxy, "eth_blockNumber"), 16) == onchain.chain.height + 1000
        assert result(rpc_proxy, "eth_chainId") == hex(CHAIN_ID)
    began = time.monotonic()
    with rpc_proxy.faulty("eth_blockNumber", slow(0.2)):
        assert int(result(rpc_proxy, "eth_blockNumber"), 16) == onchain.chain.height
    assert time.monotonic() - began >= 0.2
    with rpc_proxy.unreachable(), pytest.raises(httpx.ConnectError):
        call(rpc_proxy, "eth_chainId")
    assert result(rpc_proxy, "eth_chainId") == hex(CHAIN_ID)


def test_a_call_can_be_held_until_it_may_go_on(rpc_proxy):
    reached, released, said = threading.Event(), threading.Event(), []
    with rpc_proxy.faulty("eth_chainId", held(released, reached=reached)):
        asking = threading.Thread(target=lambda: said.append(result(rpc_proxy, "eth_chainId")))
        asking.start()
        assert reached.wait(HELD_S_MAX)
        assert not said
        released.set()
        asking.join()
    assert said == [hex(CHAIN_ID)]
