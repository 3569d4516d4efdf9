"""A wallet that signs what a 402 of x402 asks for: `python -m sandbox.wallet`, in a process of its own.

From standard input one JSON object: {"key": a private key in hex, "required": the PAYMENT-REQUIRED header, "now"?: what
it takes for the time, in Unix seconds}. To standard output the PAYMENT-SIGNATURE header: an authorization (EIP-3009)
for exactly what is asked, under a nonce made at random, good for as long as the requirement says. It signs whatever it
is shown: use it with worthless keys only.
Source: specs/schemes/exact/scheme_exact_evm.md of x402 version 2.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from base64 import b64decode, b64encode
from typing import Any, Final

from eth_account import Account

KIND: Final = "TransferWithAuthorization"
TYPES: Final = {
    KIND: [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


def payment(required: dict[str, Any], key: str, *, now: int) -> dict[str, Any]:
    """The signed payment of the first way to pay that is offered. Raises what a malformed offer raises."""
    requirement = required["accepts"][0]
    account = Account.from_key(key)
    domain = {
        "name": requirement["extra"]["name"],
        "version": requirement["extra"]["version"],
        "chainId": int(requirement["network"].partition(":")[2]),
        "verifyingContract": requirement["asset"],
    }
    authorization = {
        "from": account.address,
        "to": requirement["payTo"],
        "value": int(requirement["amount"]),
        "validAfter": 0,
        "validBefore": now + int(requirement["maxTimeoutSeconds"]),
        "nonce": secrets.token_bytes(32),
    }
    signature = bytes(account.sign_typed_data(domain, TYPES, authorization).signature)
    return {
        "x402Version": 2,
        "resource": required["resource"],
        "accepted": requirement,
        "payload": {
            "signature": "0x" + signature.hex(),
            "authorization": {name: _wire(value) for name, value in authorization.items()},
        },
    }


def _wire(value: str | int | bytes) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def main() -> None:
    """Sign once."""
    asked = json.loads(sys.stdin.read())
    signed = payment(json.loads(b64decode(asked["required"])), asked["key"], now=int(asked.get("now", time.time())))
    sys.stdout.write(b64encode(json.dumps(signed).encode()).decode())


if __name__ == "__main__":
    main()
