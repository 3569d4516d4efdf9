"""A real EVM on loopback, one process a test worker: the sandbox's anvil (`sandbox/chain`), and what tests do to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.chain.node import CALL_TIMEOUT_S, CHAIN_ID, Node, RpcError, started, stop
from sandbox.chain.packages import INSTALL_TIMEOUT_S, NotHere, alone, anvil_binary

__all__ = [
    "CALL_TIMEOUT_S",
    "CHAIN_ID",
    "INSTALL_TIMEOUT_S",
    "SLOTS_IN_AN_EPOCH",
    "Anvil",
    "NotHere",
    "RpcError",
    "alone",
    "anvil_binary",
    "anvil_running",
]

MINED_WITHIN_S = 60.0
SLOTS_IN_AN_EPOCH = 8  # `safe` is this many blocks behind the head, `finalized` twice as many


@dataclass(frozen=True)
class Anvil:
    """A running chain. Amounts are wei, times are seconds, blocks are counted; every call has a time-out."""

    url: str
    pid: int
    _node: Node

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call; raises `RpcError`."""
        return self._node.rpc(method, *params)

    def block(self, which: str | int = "latest") -> dict[str, Any]:
        """A block by number or tag, without its transactions' bodies."""
        found: dict[str, Any] = self.rpc("eth_getBlockByNumber", which if isinstance(which, str) else hex(which), False)
        return found

    @property
    def height(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    @property
    def now(self) -> int:
        """The time of the newest block; it is ahead of the machine's clock after `increase_time`."""
        return int(self.block()["timestamp"], 16)

    @property
    def unlocked(self) -> list[str]:
        """Accounts that anvil signs for (`eth_sendTransaction`), rich in ether."""
        accounts: list[str] = self.rpc("eth_accounts")
        return accounts

    def mine(self, blocks: int = 1) -> None:
        self.rpc("anvil_mine", hex(blocks))

    def reorg(self, depth: int) -> None:
        """Replace the newest `depth` blocks with as many empty ones; what was in them is gone, not pending."""
        self.rpc("anvil_reorg", depth, [])

    def balance(self, address: str) -> int:
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def set_balance(self, address: str, wei: int) -> None:
        self.rpc("anvil_setBalance", address, hex(wei))

    def set_automine(self, automine: bool) -> None:  # noqa: FBT001 - as the RPC method has it
        """Whether every transaction gets a block at once; off, they stay pending until `mine`."""
        self.rpc("evm_setAutomine", automine)

    def increase_time(self, seconds: int) -> None:
        """The next block, mined at once, and all later ones are this much later."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.mine()

    def snapshot(self) -> str:
        snapshot: str = self.rpc("evm_snapshot")
        return snapshot

    def revert(self, snapshot: str) -> None:
        """State, blocks and time as they were; a snapshot can be used once."""
        assert self.rpc("evm_revert", snapshot) is True

    def receipt(self, transaction: str, *, within_s: float = MINED_WITHIN_S) -> dict[str, Any]:
        """The receipt of a transaction, as soon as it is in a block: soon after it was sent, not at once."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction)
            if found is not None:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{transaction} is in no block after {within_s} s")


@contextmanager
def anvil_running(binary: Path) -> Iterator[Anvil]:
    """A fresh chain with blocks on demand; it ends with the block, or with this process, however that dies."""
    process, url = started(binary, ["--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH)])
    node = Node(url)
    try:
        yield Anvil(url=url, pid=process.pid, _node=node)
    finally:
        node.close()
        stop(process)
