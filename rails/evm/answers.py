"""What a node answers, read strictly: a field that is missing or of another form makes the whole answer unreadable.

Unreadable is not "no": a node that talks nonsense has said nothing about a payment. Hashes are kept in lower case hex
with `0x`, addresses in EIP-55 letters.
Sources: https://ethereum.github.io/execution-apis/ (the forms of JSON-RPC) and
https://docs.soliditylang.org/en/latest/abi-spec.html (what contracts return).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_REVERTED: Final = bytes.fromhex("08c379a0")
"""How the data of a revert begins that gives its reason in words: the selector of `Error(string)`."""
_COUNT_MAX: Final = 2**63 - 1
_LOG_INDEX_MAX: Final = 2**31 - 1
_TIMESTAMP_MAX: Final = 253_402_300_799
"""The last second that a date can be written of, in the year 9999."""
TEXT_LETTERS_MAX: Final = 200
"""So much is kept of a text that a contract says."""


class Unreadable(ValueError):
    """Not what such an answer looks like. Its text names the field, never what stood there."""


@dataclass(frozen=True, slots=True)
class Log:
    """An event of a contract, and where it stands. `index` counts within the block."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    index: int
    transaction_hash: str
    block_number: int
    block_hash: str
    removed: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a transaction did, in which block, and what its sender paid for it.

    `gas_price_wei` is what each gas cost (tip included); `l1_fee_wei` is what chains like Base take besides, for
    writing the transaction to Ethereum, and 0 elsewhere.
    """

    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    logs: tuple[Log, ...]
    gas_used: int
    gas_price_wei: int
    l1_fee_wei: int = 0

    @property
    def cost_wei(self) -> int:
        """All that the transaction cost its sender, apart from what it sent."""
        return self.gas_used * self.gas_price_wei + self.l1_fee_wei


@dataclass(frozen=True, slots=True)
class Block:
    """A block's head. `timestamp` is in Unix seconds; `base_fee_wei` is 0 on a chain without EIP-1559."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee_wei: int


def quantity(value: object, field: str) -> int:
    """A number as nodes write it, `0x1a`: at most 256 bits."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise Unreadable(f"{field} is no quantity")
    return int(value, 16)


def count(value: object, field: str, *, most: int = _COUNT_MAX) -> int:
    """A number of things, or a price: no honest one needs more than 63 bits, which is what a column holds."""
    number = quantity(value, field)
    if number > most:
        raise Unreadable(f"{field} is too large")
    return number


def data(value: object, field: str) -> bytes:
    """Bytes as nodes write them, `0x` and two digits each; of any length, as the answer's own is bounded."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise Unreadable(f"{field} is no data")
    return bytes.fromhex(value[2:])


def block_hash(value: object, field: str) -> str:
    """A hash of a block or a transaction: 32 bytes, in lower case."""
    return "0x" + _sized(value, field, 32).hex()


def log(value: object) -> Log:
    """An entry of a receipt's logs, or of `eth_getLogs`."""
    entry = _object(value, "log")
    topics = entry.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise Unreadable("topics is no list of at most four")
    return Log(
        address=to_checksum_address(_sized(entry.get("address"), "address", 20)),
        topics=tuple(_sized(topic, "topic", 32) for topic in topics),
        data=data(entry.get("data"), "data"),
        index=count(entry.get("logIndex"), "logIndex", most=_LOG_INDEX_MAX),
        transaction_hash=block_hash(entry.get("transactionHash"), "transactionHash"),
        block_number=count(entry.get("blockNumber"), "blockNumber"),
        block_hash=block_hash(entry.get("blockHash"), "blockHash"),
        removed=entry.get("removed", False) is not False,
    )


def logs(value: object) -> tuple[Log, ...]:
    """The answer of `eth_getLogs`."""
    if not isinstance(value, list):
        raise Unreadable("logs is no list")
    return tuple(log(entry) for entry in value)


def receipt(value: object) -> Receipt:
    """The answer of `eth_getTransactionReceipt`, whose logs must all be of that transaction and block."""
    entry = _object(value, "receipt")
    status = quantity(entry.get("status"), "status")
    if status > 1:
        raise Unreadable("status is neither 0 nor 1")
    found = Receipt(
        transaction_hash=block_hash(entry.get("transactionHash"), "transactionHash"),
        block_number=count(entry.get("blockNumber"), "blockNumber"),
        block_hash=block_hash(entry.get("blockHash"), "blockHash"),
        succeeded=status == 1,
        logs=logs(entry.get("logs")),
        gas_used=count(entry.get("gasUsed"), "gasUsed"),
        gas_price_wei=count(entry.get("effectiveGasPrice"), "effectiveGasPrice"),
        l1_fee_wei=0 if entry.get("l1Fee") is None else count(entry.get("l1Fee"), "l1Fee"),
    )
    place = (found.transaction_hash, found.block_number, found.block_hash)
    if any((one.transaction_hash, one.block_number, one.block_hash) != place for one in found.logs):
        raise Unreadable("a log of another transaction")
    return found


def block(value: object) -> Block:
    """The answer of `eth_getBlockByNumber`."""
    entry = _object(value, "block")
    return Block(
        number=count(entry.get("number"), "number"),
        hash=block_hash(entry.get("hash"), "hash"),
        parent_hash=block_hash(entry.get("parentHash"), "parentHash"),
        timestamp=count(entry.get("timestamp"), "timestamp", most=_TIMESTAMP_MAX),
        base_fee_wei=count(entry.get("baseFeePerGas", "0x0"), "baseFeePerGas"),
    )


def transaction(value: object) -> tuple[str, bytes]:
    """The hash and the input of the answer of `eth_getTransactionByHash`."""
    entry = _object(value, "transaction")
    return block_hash(entry.get("hash"), "hash"), data(entry.get("input"), "input")


def word(returned: bytes, field: str) -> bytes:
    """The single 32-byte word that a contract returned."""
    if len(returned) != 32:
        raise Unreadable(f"{field} is no word")
    return returned


def number(returned: bytes, field: str) -> int:
    """The single number that a contract returned."""
    return int.from_bytes(word(returned, field), "big")


def truth(returned: bytes, field: str) -> bool:
    """The single yes or no that a contract returned."""
    value = number(returned, field)
    if value > 1:
        raise Unreadable(f"{field} is neither yes nor no")
    return value == 1


def text(returned: bytes, field: str) -> str:
    """The single text that a contract returned: at most 200 letters of it, all printable."""
    try:
        (said,) = decode(["string"], returned)
    except (DecodingError, ValueError, OverflowError):
        raise Unreadable(f"{field} is no text") from None
    return "".join(letter if letter.isprintable() else "?" for letter in said[:TEXT_LETTERS_MAX])


def revert_reason(value: object) -> str:
    """Why a call was reverted, from the data of a node's error: the contract's own words, or none."""
    try:
        raw = data(value, "error data")
        return text(raw[4:], "reason") if raw[:4] == _REVERTED else ""
    except Unreadable:
        return ""


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{field} is no object")
    return value


def _sized(value: object, field: str, size: int) -> bytes:
    raw = data(value, field)
    if len(raw) != size:
        raise Unreadable(f"{field} has not {size} bytes")
    return raw
