"""The USDC of such a chain: our contract at Base Sepolia's official address, and dollars out of nothing."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

CONTRACTS: Final = Path(__file__).parent / "contract"
ADDRESS: Final = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
NAME: Final = "USDC"
VERSION: Final = "2"
DOLLAR: Final = 1_000_000
"""Atomic units of the token."""
RECEIPT_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.02


class Rpc(Protocol):
    """Who asks a node."""

    def __call__(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call."""


@cache
def artefact(contract: str) -> dict[str, Any]:
    """What contract/compile.py wrote: abi, bytecode, deployedBytecode, compiler, settings, source_sha256."""
    found: dict[str, Any] = json.loads((CONTRACTS / f"{contract}.json").read_text(encoding="utf-8"))
    return found


def call_data(signature: str, *arguments: Any) -> str:
    """A call of `name(type,…)`, as hex."""
    types = signature[signature.index("(") + 1 : -1]
    encoded = encode(types.split(",") if types else [], arguments)
    return "0x" + (function_signature_to_4byte_selector(signature) + encoded).hex()


def is_placed(rpc: Rpc) -> bool:
    """Whether there is a contract at the address."""
    return len(rpc("eth_getCode", ADDRESS, "latest")) > len("0x")


def place(rpc: Rpc, *, owner: str, address: str = ADDRESS, name: str = NAME, version: str = VERSION) -> None:
    """Put the contract at the address, where nothing may be yet, in the hands of `owner`, an unlocked account."""
    rpc("anvil_setCode", address, artefact("UsdcLike")["deployedBytecode"])
    _send(rpc, owner, address, call_data("initialize(string,string,address)", name, version, owner))


def mint(rpc: Rpc, *, owner: str, to: str, atomic: int) -> None:
    """Give somebody this much of the token, in atomic units."""
    _send(rpc, owner, ADDRESS, call_data("mint(address,uint256)", to, atomic))


def balance(rpc: Rpc, address: str) -> int:
    """What somebody has, in atomic units."""
    return int(rpc("eth_call", {"to": ADDRESS, "data": call_data("balanceOf(address)", address)}, "latest"), 16)


def _send(rpc: Rpc, sender: str, to: str, data: str) -> None:
    """A transaction of an unlocked account, until it has succeeded. Raises `RuntimeError`."""
    sent = rpc("eth_sendTransaction", {"from": sender, "to": to, "data": data})
    deadline = time.monotonic() + RECEIPT_TIMEOUT_S
    while time.monotonic() < deadline:
        receipt = rpc("eth_getTransactionReceipt", sent)
        if receipt is not None and receipt["status"] == "0x1":
            return
        if receipt is not None:
            raise RuntimeError(f"the token refused {data[:10]} of {sender}")
        time.sleep(_POLL_S)
    raise RuntimeError(f"{sent} is in no block after {RECEIPT_TIMEOUT_S:.0f} s")
