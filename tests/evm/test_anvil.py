"""The chain of these tests: how it is had, what it can do, and that it leaves nothing behind."""

import json
import os
import subprocess
import sys
import time

import pytest
from eth_account import Account

from sandbox.chain import packages
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.usdc import TRANSFER_BYTES
from tests.service import ROOT, until

VALUE = 1_000_000


@pytest.fixture
def payee():
    return Account.create().address


# How it is had


def test_the_lock_file_pins_versions_and_names_no_host():
    lock = json.loads((packages.HERE / "package-lock.json").read_text())
    pinned = {name: entry for name, entry in lock["packages"].items() if name}
    assert pinned["node_modules/@foundry-rs/anvil"]["version"] == "1.7.1"
    assert not [name for name, entry in pinned.items() if "resolved" in entry]
    # The index that the lock was made from has no binaries for other platforms, so their hashes are unknown.
    unhashed = {name.rpartition("/")[2] for name, entry in pinned.items() if "integrity" not in entry}
    assert unhashed == {"anvil-darwin-amd64", "anvil-darwin-arm64", "anvil-linux-arm64", "anvil-win32-amd64"}


def test_without_npm_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.NotHere, match="Node and npm"):
        packages.npm_packages()


@pytest.mark.parametrize(
    ("npm", "reason"),
    [
        pytest.param("mkdir node_modules; echo 'npm error code E404' >&2; exit 1", "npm error code E404", id="refused"),
        pytest.param("mkdir node_modules", "npm left @foundry-rs/anvil-.* out", id="left-out"),
    ],
)
def test_what_npm_cannot_get_is_said_and_nothing_half_made_stays(monkeypatch, tmp_path, npm, reason):
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    for program in ("npm", "node"):
        (tmp_path / program).write_text(f"#!/bin/sh\n{npm}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(packages.NotHere, match=reason):
        packages.npm_packages()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


# What it can do


def test_a_reorganization_takes_a_payment_away_and_it_can_be_sent_again(token, payer, payee, rewound):
    signed = payer.authorize(to=payee, value=VALUE)
    receipt = token.send(signed.call(TRANSFER_BYTES))
    height = token.chain.height
    token.chain.reorg(1)
    assert token.chain.height == height
    assert token.chain.block(height)["hash"] != receipt["blockHash"]
    assert token.chain.rpc("eth_getTransactionReceipt", receipt["transactionHash"]) is None
    assert (token.balance(payee), token.used(signed)) == (0, False)
    token.send(signed.call(TRANSFER_BYTES))
    assert token.balance(payee) == VALUE


def test_safe_and_finalized_follow_the_head(anvil):
    anvil.mine(3 * SLOTS_IN_AN_EPOCH)
    height = anvil.height
    assert int(anvil.block("safe")["number"], 16) == height - SLOTS_IN_AN_EPOCH
    assert int(anvil.block("finalized")["number"], 16) == height - 2 * SLOTS_IN_AN_EPOCH


def test_without_automining_a_transaction_waits_for_a_block(token, payer, payee, rewound):
    token.chain.set_automine(False)
    data = payer.authorize(to=payee, value=VALUE).call(TRANSFER_BYTES)
    sent = token.chain.rpc("eth_sendTransaction", {"from": token.owner, "to": token.address, "data": data})
    assert token.chain.rpc("eth_getTransactionReceipt", sent) is None
    token.chain.mine()
    assert token.chain.receipt(sent)["status"] == "0x1"


def test_what_is_rewound_includes_time_and_state(token, payer):
    before = token.chain.now, token.chain.height
    snapshot = token.chain.snapshot()
    token.chain.increase_time(10_000)
    token.pause()
    token.chain.revert(snapshot)
    assert (token.chain.now, token.chain.height) == before
    token.fund(payer.address, 1)
    assert abs(token.chain.now - time.time()) < 60


ORPHAN = """
import os, sys, time
from tests.evm.anvil import anvil_binary, anvil_running
with anvil_running(anvil_binary()) as chain:
    print(chain.pid, flush=True)
    time.sleep(300)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT RUN: only Linux ends children with their parent")
def test_the_chain_dies_with_a_test_process_that_is_killed(anvil):
    tests = subprocess.Popen([sys.executable, "-c", ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    pid = int(tests.stdout.readline())
    assert pid != anvil.pid
    tests.kill()
    tests.communicate()
    until(lambda: not alive(pid))


def alive(pid):
    """Whether it runs; one that has ended and that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - a process, not a file
            return stat.read().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it ends between the two
        return False
