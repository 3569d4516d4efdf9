"""A message that a wallet signs as text: its hash, and who signed it. Pure.

A key signs so (`personal_sign`); a contract wallet is asked about the same hash by EIP-1271.
Source: https://eips.ethereum.org/EIPS/eip-191, version 0x45.
"""

from __future__ import annotations

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from rails.evm.eip3009 import signature_parts


def checksummed(address: str) -> str:
    """The same address in EIP-55 letters, as `signer` gives it and as it is kept. `ValueError` for what is none."""
    return str(to_checksum_address(address))


def personal_digest(message: str) -> bytes:
    """The 32 bytes that are signed for `message`; its length counts in bytes of UTF-8."""
    text = message.encode()
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(text) + text)


def signer(digest: bytes, signature: bytes) -> str | None:
    """The address, in EIP-55 letters, whose key signed the 32 bytes `digest`; None if no key can have.

    It says who signed only of an address that has no code, and `signature` must be one that `signature_parts` takes.
    """
    parts = signature_parts(signature)
    if parts is None:
        return None
    v, r, s = parts
    try:
        made = Signature(vrs=(v - 27, r, s))
        return str(made.recover_public_key_from_msg_hash(digest).to_checksum_address())
    except (BadSignature, ValidationError):
        return None
