"""What somebody can build who reads a payment on the chain, or while it waits to be put there."""

from __future__ import annotations

import time
from typing import Any

from eth_abi.abi import decode
from eth_utils.abi import function_signature_to_4byte_selector

from tests.evm.anvil import Anvil
from tests.evm.usdc import TRANSFER_BYTES, TRANSFER_VRS
from tests.x402.paying import decoded, encoded, requirement_in

WAIT_S = 60.0
_TERMS = ("from", "to", "value", "validAfter", "validBefore", "nonce")


def payment_in(call_data: str, required: str) -> str:
    """A `PAYMENT-SIGNATURE` header out of a transaction's call data, and of the offer that everybody is made.

    Addresses come in small letters, as they stand in the call; `accepted` is whatever the offer asks for.
    """
    raw = bytes.fromhex(call_data.removeprefix("0x"))
    signature = next(one for one in (TRANSFER_BYTES, TRANSFER_VRS) if raw[:4] == _selector(one))
    values = decode(signature[signature.index("(") + 1 : -1].split(","), raw[4:])
    signed = values[6] if signature == TRANSFER_BYTES else values[7] + values[8] + bytes([values[6]])
    wire = {name: _wire(value) for name, value in zip(_TERMS, values[:6], strict=True)}
    return encoded(
        {
            "x402Version": 2,
            "payload": {"signature": _wire(signed), "authorization": wire},
            "accepted": requirement_in(required),
            "resource": decoded(required)["resource"],
        }
    )


def call_of(chain: Anvil, transaction: str) -> str:
    """The call data of a transaction, which anybody can ask a node for."""
    return str(chain.rpc("eth_getTransactionByHash", transaction)["input"])


def waiting_call(chain: Anvil, to: str) -> str:
    """The call data of the one transaction to a contract that is in no block yet, as soon as the node has it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        pool = chain.rpc("txpool_content")["pending"].values()
        calls = [one["input"] for sent in pool for one in sent.values() if one["to"].lower() == to.lower()]
        if calls:
            (call,) = calls
            return str(call)
        time.sleep(0.02)
    raise AssertionError(f"nothing waits for {to} after {WAIT_S} s")


def _selector(signature: str) -> bytes:
    return function_signature_to_4byte_selector(signature)


def _wire(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
