"""What contracts are called with: the bytes of each call that this service makes.

Sources: https://docs.soliditylang.org/en/latest/abi-spec.html, https://eips.ethereum.org/EIPS/eip-20,
https://eips.ethereum.org/EIPS/eip-3009 and https://eips.ethereum.org/EIPS/eip-1271.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from rails.evm.eip3009 import Authorization, signature_parts

_TRANSFER: Final = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32"


def _selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


VALID_SIGNATURE: Final = _selector("isValidSignature(bytes32,bytes)")
"""What EIP-1271 answers when a signature holds: the call's own selector."""

NAME: Final = _selector("name()")
VERSION: Final = _selector("version()")
DECIMALS: Final = _selector("decimals()")
DOMAIN_SEPARATOR: Final = _selector("DOMAIN_SEPARATOR()")


@dataclass(frozen=True, slots=True)
class Call:
    """`data` sent to the contract `to` by `sender`, without any of the chain's own coin."""

    sender: str
    to: str
    data: bytes


def transfer_by_parts(authorization: Authorization, signature: bytes) -> bytes:
    """`transferWithAuthorization` with `v`, `r` and `s`: the form that every EIP-3009 token has, for a payer's key.

    `ValueError` for a signature that `signature_parts` does not take.
    """
    parts = signature_parts(signature)
    if parts is None:
        raise ValueError("no signature of a key")
    v, r, s = parts
    return _transfer(authorization, ["uint8", "bytes32", "bytes32"], [v, r.to_bytes(32, "big"), s.to_bytes(32, "big")])


def transfer_by_bytes(authorization: Authorization, signature: bytes) -> bytes:
    """`transferWithAuthorization` with a signature of any form, as contract wallets (EIP-1271) make them."""
    return _transfer(authorization, ["bytes"], [signature])


def transfer(recipient: str, amount: int) -> bytes:
    """The token's own `transfer`, from whoever sends it. A token does not read what may stand behind the arguments."""
    return _selector("transfer(address,uint256)") + encode(["address", "uint256"], [recipient, amount])


def authorization_state(payer: str, nonce: bytes) -> bytes:
    """Whether the token has done with this nonce: carried out or cancelled."""
    return _selector("authorizationState(address,bytes32)") + encode(["address", "bytes32"], [payer, nonce])


def balance_of(address: str) -> bytes:
    """How much of the token an address has."""
    return _selector("balanceOf(address)") + encode(["address"], [address])


def is_valid_signature(digest: bytes, signature: bytes) -> bytes:
    """Whether the called wallet signed `digest`."""
    return VALID_SIGNATURE + encode(["bytes32", "bytes"], [digest, signature])


def _transfer(authorization: Authorization, kinds: list[str], values: list[object]) -> bytes:
    selector = _selector(f"{_TRANSFER},{','.join(kinds)})")
    fixed = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
    return selector + encode([*fixed, *kinds], [*authorization.arguments, *values])
