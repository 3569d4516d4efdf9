"""The service with a chain of its own: the demo walks its rail, a stock client buys, and a restart forgets nothing."""

import json
import signal

import httpx
import pytest

from api.running import local_chain
from sandbox.chain.packages import NotHere, anvil_binary
from tests.serving.purser import named, purser, serving, typed, whoami
from tests.x402.paying import pay_with_python

PRIVATE = 0o600


@pytest.fixture(scope="module")
def chain_can_be_had():
    try:
        return anvil_binary()
    except NotHere as why:
        pytest.skip(f"NOT RUN: a local chain needs anvil: {why}")


@pytest.mark.long
def test_the_demo_walks_every_rail_and_leaves_nothing(folder):
    why_not = local_chain.why_not()
    ended = purser(folder, "demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "credits still            1000" in ended.stdout
    if why_not is None:
        assert "25/25" in ended.stdout
        assert "credits now              70" in ended.stdout
        assert "succeeded; no token, no organization, no balance" in ended.stdout
        assert ended.stdout.count("balanced") == 5
    else:
        assert "16/16" in ended.stdout
        assert f"NOT RUN  x402.exact.usdc, where a wallet pays by itself: {why_not}" in ended.stdout
        assert ended.stdout.count("balanced") == 2
    assert "make serve" in ended.stdout
    assert list(folder.iterdir()) == []


def test_without_node_the_reason_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local_chain.why_not() == "Node and npm, which install anvil, are not installed"


@pytest.mark.long
def test_serving_with_a_chain_that_cannot_be_had_says_why(folder):
    ended = typed(folder, "serve", "--local-chain", HOME=str(folder), PATH=str(folder))
    assert ended.returncode == 1
    assert "The local chain does not start: Node and npm, which install anvil, are not installed." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_local_chain_beside_a_real_stripe_is_refused(folder):
    ended = typed(folder, "serve", "--local-chain", PURSER_STRIPE_SECRET_KEY="sk_test_of_the_tests")
    assert ended.returncode == 2
    assert "PURSER_LOCAL_CHAIN goes with the sandbox alone" in ended.stderr
    assert not (folder / ".purser").exists()


@pytest.mark.long
def test_a_stock_client_buys_from_a_service_with_a_local_chain_which_remembers_it(folder, chain_can_be_had):
    with serving(folder, "--local-chain") as service:
        file = folder / ".purser" / "chain" / "chain.json"
        told = json.loads(file.read_text())
        paid = pay_with_python(f"{service.url}/v1/x402/top-up/taster-100", key=told["wallet_key"])
        token = paid.answer.json()["data"]["token"]
        checked = purser(folder, "check")
        assert "x402: eip155:84532" in checked.stdout, "a command beside the service finds its chain"
        assert file.stat().st_mode & 0o777 == PRIVATE
        assert named(service.family, "anvil")
        service.end(signal.SIGKILL)
        assert service.left_over() == set()
    with serving(folder, "--local-chain") as service:
        assert whoami(service.url, token).status_code == 200
        told = json.loads(file.read_text())
        receipt = {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt"}
        transaction = paid.settlement["transaction"]
        found = httpx.post(told["rpc_url"], json={**receipt, "params": [transaction]}, timeout=60).json()["result"]
        assert found["status"] == "0x1", "the chain is the one that was paid on"
        assert told["wallet_key"] in service.said(), "the banner has a key to try it with"
        assert told["gas_key"] not in service.said()
        assert service.end(signal.SIGTERM) == 0, service.said()
        assert service.left_over() == set()
    assert not file.exists()
