"""The account that pays for gas: it signs the transactions that carry out what others have signed.

Signing is deterministic (RFC 6979): the same terms give the same bytes and the same hash on every machine, so what was
stored before it was sent is what any process would have sent. The key is in no `repr`, error or pickle of this module.
Sources: https://eips.ethereum.org/EIPS/eip-1559 (the terms), https://eips.ethereum.org/EIPS/eip-2718 (the hash),
https://eips.ethereum.org/EIPS/eip-2681 (nonces).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from eth_utils.address import is_hex_address, to_checksum_address
from eth_utils.crypto import keccak

from rails.evm import recursion
from rails.evm.eip3009 import CURVE_ORDER, UINT256_MAX

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

_KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})", re.ASCII)
_UINT64_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class GasTerms:
    """A transaction of EIP-1559 before it is signed. Prices are wei for each gas; `to` is kept in EIP-55 letters.

    All that can be built can be signed: `ValueError` for what the types of the EIP cannot hold.
    """

    chain_id: int
    nonce: int
    to: str
    data: bytes
    value_wei: int
    gas_limit: int
    max_fee_wei: int
    tip_wei: int

    def __post_init__(self) -> None:
        if not self.to.startswith("0x") or not is_hex_address(self.to):
            raise ValueError("to is no address")
        object.__setattr__(self, "to", to_checksum_address(self.to))
        if self.chain_id < 1 or not all(0 <= number < _UINT64_MAX for number in (self.nonce, self.gas_limit)):
            raise ValueError("a chain's id is positive; nonce and gas_limit are unsigned numbers of 64 bits")
        if not all(0 <= number <= UINT256_MAX for number in (self.chain_id, self.value_wei, self.max_fee_wei)):
            raise ValueError("chain_id, value_wei and max_fee_wei are unsigned numbers of 256 bits")
        if not 0 <= self.tip_wei <= self.max_fee_wei:
            raise ValueError("a tip is part of the highest fee")


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What is sent, byte for byte, and the hash that every node will know it by (lower case, with `0x`)."""

    raw: bytes = field(repr=False)
    hash: str


class GasWallet:
    """An account and its key. Stateless: whose nonce is next is the caller's to know."""

    __slots__ = ("_account", "address")

    def __init__(self, private_key: str) -> None:
        """`private_key` has 64 hex digits, with or without `0x`. Raises `ValueError` in words that do not repeat it."""
        account = _account_of(private_key)
        del private_key  # no traceback that shows variables has it from here
        if account is None:
            raise ValueError("the gas wallet's key is no private key: 64 hex digits, with or without 0x")
        self._account = account
        self.address: Final[str] = account.address
        """In EIP-55 letters."""

    def __repr__(self) -> str:
        return f"GasWallet({getattr(self, 'address', 'without a key')})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a gas wallet is not copied or pickled: its key would be")

    def sign(self, terms: GasTerms) -> SignedTransaction:
        """The signed transaction; the same for the same terms."""
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": terms.chain_id,
                "nonce": terms.nonce,
                "to": bytes.fromhex(terms.to[2:]),
                "data": terms.data,
                "value": terms.value_wei,
                "gas": terms.gas_limit,
                "maxFeePerGas": terms.max_fee_wei,
                "maxPriorityFeePerGas": terms.tip_wei,
            }
        )
        raw = bytes(signed.raw_transaction)
        return SignedTransaction(raw=raw, hash="0x" + keccak(raw).hex())


def _account_of(private_key: str) -> LocalAccount | None:
    """None for what is no key: an error raised in here, or in a library, could carry it."""
    digits = _KEY.fullmatch(private_key)
    if digits is None or not 0 < int(digits[1], 16) < CURVE_ORDER:
        return None
    with recursion.limit_kept():  # loaded here, because it takes long and most processes have no key
        from eth_account import Account  # noqa: PLC0415
    return Account.from_key(bytes.fromhex(digits[1]))  # type: ignore[no-any-return]
