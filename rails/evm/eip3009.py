"""A transfer that its payer signs and anybody may carry out: who signed it, and whether it is the one asked for.

Theory of operation
-------------------
The payer signs `TransferWithAuthorization` as EIP-712 has it, under the token's own domain. The token carries it out
once for each (payer, nonce), when the block's time is strictly inside the window. Who may have signed depends on the
payer's code on the chain, as in Circle's `SignatureChecker`: a payer without code signs with its key (`signer`), any
other, also a key's address that EIP-7702 gave code, is asked by EIP-1271 (`chain.is_valid_signature`). The token takes
the lower half of the curve for `s` only, and 27 or 28 for `v`; some signers write 0 or 1, which `signature_parts`
mends.
Sources: https://eips.ethereum.org/EIPS/eip-3009, https://eips.ethereum.org/EIPS/eip-712,
https://eips.ethereum.org/EIPS/eip-2 (the lower half), circlefin/stablecoin-evm contracts/v2/EIP3009.sol and
contracts/util/SignatureChecker.sol.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from eth_abi.abi import encode
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import is_hex_address, to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from rails.evm.networks import Network

_FIELDS: Final = (
    ("from", "address"),
    ("to", "address"),
    ("value", "uint256"),
    ("validAfter", "uint256"),
    ("validBefore", "uint256"),
    ("nonce", "bytes32"),
)
_DOMAIN_FIELDS: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)
_PRIMARY: Final = "TransferWithAuthorization"


def _typehash(name: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    return keccak(text=f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})")


TRANSFER_TYPEHASH: Final = _typehash(_PRIMARY, _FIELDS)
_DOMAIN_TYPEHASH: Final = _typehash("EIP712Domain", _DOMAIN_FIELDS)

TRANSFER: Final = keccak(text="Transfer(address,address,uint256)")
"""First topic of a transfer's log. The second and third are payer and payee; its data is the amount."""
AUTHORIZATION_USED: Final = keccak(text="AuthorizationUsed(address,bytes32)")
"""First topic of the log that a carried out authorization leaves. The second and third are payer and nonce."""
AUTHORIZATION_CANCELED: Final = keccak(text="AuthorizationCanceled(address,bytes32)")
"""First topic of the log of a nonce that its payer cancelled. The second and third are payer and nonce."""

SIGNATURE_BYTES: Final = 65
UINT256_MAX: Final = 2**256 - 1
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""How many points the curve secp256k1 has: `r` and `s` are below it, `s` at most at its half."""

SLACK_S: Final = 6
"""How long an authorization must still be valid to be taken on: the x402 packages' three blocks of Base."""

Disagreement = Literal[
    "invalid_exact_evm_payload_recipient_mismatch",
    "invalid_exact_evm_payload_authorization_value_mismatch",
    "invalid_exact_evm_payload_authorization_valid_after",
    "invalid_exact_evm_payload_authorization_valid_before",
]
"""Words of the protocol's list of errors (x402 2.25.0, mechanisms/evm/constants.py)."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a payer signed. Times are Unix seconds; `nonce` is 32 bytes; addresses are kept in EIP-55 letters.

    Every one that can be built can be hashed: `ValueError` for what the types of the EIP cannot hold.
    """

    from_: str
    to: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes

    def __post_init__(self) -> None:
        for field in ("from_", "to"):
            address = getattr(self, field)
            if not isinstance(address, str) or not address.startswith("0x") or not is_hex_address(address):
                raise ValueError(f"{field} is no address")
            object.__setattr__(self, field, to_checksum_address(address))
        if not all(0 <= number <= UINT256_MAX for number in (self.value, self.valid_after, self.valid_before)):
            raise ValueError("value, valid_after and valid_before are unsigned numbers of 256 bits")
        if len(self.nonce) != 32:
            raise ValueError("a nonce has 32 bytes")

    @property
    def arguments(self) -> tuple[str, str, int, int, int, bytes]:
        """The six fields in the order of the EIP."""
        return (self.from_, self.to, self.value, self.valid_after, self.valid_before, self.nonce)


def address_word(address: str) -> bytes:
    """An address as it stands among the topics of a log."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def typed_data(authorization: Authorization, network: Network) -> dict[str, Any]:
    """What a wallet is shown and signs, in the JSON form of EIP-712 (`eth_signTypedData_v4`)."""
    return {
        "types": {
            "EIP712Domain": [{"name": field, "type": kind} for field, kind in _DOMAIN_FIELDS],
            _PRIMARY: [{"name": field, "type": kind} for field, kind in _FIELDS],
        },
        "primaryType": _PRIMARY,
        "domain": {
            "name": network.token_name,
            "version": network.token_version,
            "chainId": network.chain_id,
            "verifyingContract": network.token_address,
        },
        "message": {field: value for (field, _), value in zip(_FIELDS, authorization.arguments, strict=True)},
    }


def domain_separator(network: Network) -> bytes:
    """The hash of the token's domain: what its `DOMAIN_SEPARATOR()` must say."""
    return keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                _DOMAIN_TYPEHASH,
                keccak(text=network.token_name),
                keccak(text=network.token_version),
                network.chain_id,
                network.token_address,
            ],
        )
    )


def digest(authorization: Authorization, network: Network) -> bytes:
    """The 32 bytes that are signed: of `typed_data`, by EIP-712."""
    struct = keccak(encode(["bytes32", *(kind for _, kind in _FIELDS)], [TRANSFER_TYPEHASH, *authorization.arguments]))
    return keccak(b"\x19\x01" + domain_separator(network) + struct)


def signature_parts(signature: bytes) -> tuple[int, int, int] | None:
    """`v` (27 or 28), `r` and `s` of a 65-byte signature; None for one that the token does not take."""
    if len(signature) != SIGNATURE_BYTES:
        return None
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    v = v + 27 if v in (0, 1) else v
    usable = v in (27, 28) and 0 < r < CURVE_ORDER and 0 < s <= CURVE_ORDER // 2
    return (v, r, s) if usable else None


def signer(authorization: Authorization, signature: bytes, network: Network) -> str | None:
    """The address whose key made `signature` for this authorization on `network`; None if no key can have.

    It is the payer's word only when it equals `authorization.from_`, and only of a payer that has no code.
    """
    parts = signature_parts(signature)
    if parts is None:
        return None
    v, r, s = parts
    try:
        made = Signature(vrs=(v - 27, r, s))
        return str(made.recover_public_key_from_msg_hash(digest(authorization, network)).to_checksum_address())
    except (BadSignature, ValidationError):
        return None


def disagreement(
    authorization: Authorization, *, payee: str, amount: int, now: datetime, slack_s: int = SLACK_S
) -> Disagreement | None:
    """Why this is not the transfer of `amount` to `payee` that was asked for, in x402's words; None when it is.

    It must be valid already and for `slack_s` seconds more. Whether the payer signed it is `signer`'s to say.
    """
    if authorization.to.lower() != payee.lower():
        return "invalid_exact_evm_payload_recipient_mismatch"
    if authorization.value != amount:
        return "invalid_exact_evm_payload_authorization_value_mismatch"
    if authorization.valid_before < now.timestamp() + slack_s:
        return "invalid_exact_evm_payload_authorization_valid_before"
    if authorization.valid_after > now.timestamp():
        return "invalid_exact_evm_payload_authorization_valid_after"
    return None
