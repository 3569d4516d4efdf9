"""What is asked of a chain: about the token, blocks, receipts and fees, and to carry out a signed transaction.

Theory of operation
-------------------
Every question goes to one node, which may be dead, slow, behind or lying. Its answers are read strictly, and what is
asked for is compared with what comes back: another transaction's receipt, a log that the filter does not let through.
Whatever cannot be read has not been answered (`RailUnavailable`): "no" is only said when the node said it. Errors are
in our own words with the number of JSON-RPC's, since a node's words may repeat the request's URL.

Sending is the one call that changes something: there a lost answer is `OutcomeUnknown`, and the same signed bytes may
be sent again, as a transaction counts once by its nonce.
Sources: https://ethereum.github.io/execution-apis/ and https://eips.ethereum.org/EIPS/eip-7825 (`GAS_MAX`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar

from eth_utils.crypto import keccak

from rails.evm import answers, calls, log_search
from rails.evm.answers import Block, Log, Receipt, Unreadable
from rails.evm.calls import Call
from rails.evm.eip3009 import (
    AUTHORIZATION_CANCELED,
    AUTHORIZATION_USED,
    TRANSFER,
    address_word,
    domain_separator,
)
from rails.evm.failures import NoAnswer, NodeError
from rails.evm.log_search import Unfinished, Wanted
from rails.evm.networks import Network
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable

TRANSFER_GAS_MAX: Final = 600_000
"""Gas that a transfer may use when it is tried: several times what a passkey's wallet takes. The payer's own code runs
in it, and without a bound it may keep the node busy for as long as the node allows."""
TIMEOUT_S: Final = 10.0
"""How long a whole call may take, the connection included."""
SIGNATURE_GAS_MAX: Final = 3_000_000
"""Gas that a wallet may use to check its signature: a passkey's takes a tenth, an endless loop stops here."""
GAS_MIN: Final = 21_000
GAS_MAX: Final = 2**24
"""What any transaction takes, and the most that one may take."""

_EXECUTION: Final = re.compile(
    r"revert|out of gas|opcode|invalid jump|stack (limit|underflow|overflow)|out of bounds|write protection"
    r"|uint64 overflow|call depth|balance for transfer|evm error|vm execution|execution aborted|gas required exceeds"
)
"""How the nodes say that a contract's code failed: not a fault of theirs, and a payer's contract can do it at will."""
_NO_BLOCK: Final = re.compile(r"not found|unknown block")
_KNOWN: Final = re.compile(r"already ?known|known transaction|already (imported|exists|in mempool)")
_REFUSALS: Final = (
    ("nonce_too_low", re.compile(r"nonce too low|nonce is too low|oldnonce")),
    ("insufficient_funds", re.compile(r"insufficient (funds|balance)")),
    ("underpriced", re.compile(r"underpriced|fee ?cap|fee too low|less than block base fee|gas price")),
    ("refused", re.compile(r"intrinsic gas|exceeds (block )?gas limit|invalid (sender|chain|signature)|max priority")),
)
_REVERT_CODE: Final = 3

At = int | Literal["latest", "safe", "finalized"]
"""A block: by its number, or by the chain's own word for how final it is."""

_Value = TypeVar("_Value")


class WrongChain(Exception):
    """The node serves another chain, or the token on it is not the one in `networks`. Its text is for people."""


@dataclass(frozen=True, slots=True)
class Fees:
    """What gas costs now (EIP-1559), in wei for each: the block's base fee, and the tip the node suggests."""

    base_fee_wei: int
    tip_wei: int


class Chain:
    """A network as one node shows it. Safe to share between tasks of one event loop.

    Questions raise `RailUnavailable` only; `send_raw` and `check` say what else they raise.
    """

    def __init__(self, network: Network, rpc_url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`rpc_url` may hold a key and is shown nowhere; `timeout_s` bounds each call."""
        self.network = network
        from rails.evm.rpc import Rpc  # noqa: PLC0415 - web3 takes long to load, and most processes ask no node

        self._rpc = Rpc(rpc_url, timeout_s=timeout_s)

    def __repr__(self) -> str:
        return f"Chain({self.network.caip2!r})"

    async def aclose(self) -> None:
        """Close the connections to the node."""
        await self._rpc.aclose()

    async def check(self) -> None:
        """Compare the chain and its token with `network`. Raises `WrongChain` in words, or `RailUnavailable`."""
        network = self.network
        chain_id = self._read("eth_chainId", await self._ask("eth_chainId"), answers.quantity)
        self._agree("chain id", network.chain_id, chain_id)
        if not await self.code_of(network.token_address):
            raise WrongChain(f"{network.caip2}: there is no contract at the token's address {network.token_address}")
        self._agree("token's decimals", network.token_decimals, await self._told(calls.DECIMALS, answers.number))
        self._agree("token's name", network.token_name, await self._told(calls.NAME, answers.text))
        self._agree("token's version", network.token_version, await self._told(calls.VERSION, answers.text))
        separator = await self._told(calls.DOMAIN_SEPARATOR, answers.word)
        self._agree("token's DOMAIN_SEPARATOR", domain_separator(network).hex(), separator.hex())

    async def balance_of(self, address: str, *, at: At = "latest") -> int:
        """How much of the token `address` has as of a block, in atomic units. Not every node knows it of old blocks."""
        return self._read("balanceOf", await self._token(calls.balance_of(address), at=at), answers.number)

    async def authorization_state(self, payer: str, nonce: bytes, *, at: At = "latest") -> bool:
        """Whether the token has done with `nonce` as of a block. True also of a nonce that its payer cancelled."""
        returned = await self._token(calls.authorization_state(payer, nonce), at=at)
        return self._read("authorizationState", returned, answers.truth)

    async def is_valid_signature(self, wallet: str, digest: bytes, signature: bytes) -> bool:
        """Whether the contract `wallet` says that it signed (EIP-1271). False when it fails, or is no contract."""
        data = calls.is_valid_signature(digest, signature)
        try:
            returned = await self._call(_message(wallet, data) | {"gas": hex(SIGNATURE_GAS_MAX)}, at="latest")
        except _Reverted:
            return False
        return returned[:32] == calls.VALID_SIGNATURE.ljust(32, b"\0")

    async def code_of(self, address: str) -> bytes:
        """The code at `address` now; empty for an address that only has a key."""
        return self._read("eth_getCode", await self._ask("eth_getCode", address, "latest"), answers.data)

    async def nonce_of(self, address: str, *, pending: bool) -> int:
        """How many transactions `address` has sent: in blocks, or with those that the node holds for the next one."""
        answer = await self._ask("eth_getTransactionCount", address, "pending" if pending else "latest")
        return self._read("eth_getTransactionCount", answer, answers.count)

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        """What a transaction did; None while it is in no block that this node knows."""
        answer = await self._ask("eth_getTransactionReceipt", transaction_hash)
        if answer is None or (isinstance(answer, dict) and answer.get("blockHash", "") is None):
            return None
        found = self._read("eth_getTransactionReceipt", answer, lambda value, _: answers.receipt(value))
        if found.transaction_hash != transaction_hash.lower():
            raise self._unavailable("answered with the receipt of another transaction")
        return found

    async def block(self, at: At) -> Block | None:
        """The head of a block; None when the chain has none of that number, or none that is so final yet."""
        try:
            answer = await self._try("eth_getBlockByNumber", [_tag(at), False])
        except NodeError as error:
            if _NO_BLOCK.search(error.said.lower()):
                return None
            raise self._unavailable(f"answered eth_getBlockByNumber with {error}") from None
        if answer is None:
            return None
        found = self._read("eth_getBlockByNumber", answer, lambda value, _: answers.block(value))
        if isinstance(at, int) and found.number != at:
            raise self._unavailable("answered with another block")
        return found

    async def head(self) -> int:
        """The number of the latest block."""
        return self._read("eth_blockNumber", await self._ask("eth_blockNumber"), answers.count)

    async def transaction_input(self, transaction_hash: str) -> bytes | None:
        """What a transaction, in a block or waiting for one, calls its contract with; None when the node has it not."""
        answer = await self._ask("eth_getTransactionByHash", transaction_hash)
        if answer is None:
            return None
        found_hash, data = self._read("eth_getTransactionByHash", answer, lambda value, _: answers.transaction(value))
        if found_hash != transaction_hash.lower():
            raise self._unavailable("answered with another transaction")
        return data

    async def find_authorization_used(self, payer: str, nonce: bytes, *, from_block: int) -> Log | None:
        """The log that says `nonce` was carried out, from `from_block` to the latest block; None when there is none.

        `RailUnavailable` when not every block could be read.
        """
        topics = (AUTHORIZATION_USED, address_word(payer), nonce)
        return next(iter(await self._search(topics, from_block=from_block, first_only=True)), None)

    async def find_authorization_canceled(self, payer: str, nonce: bytes, *, from_block: int) -> Log | None:
        """The log that says its payer cancelled `nonce`, searched for like `find_authorization_used`."""
        topics = (AUTHORIZATION_CANCELED, address_word(payer), nonce)
        return next(iter(await self._search(topics, from_block=from_block, first_only=True)), None)

    async def find_transfers(
        self, sender: str | None, recipient: str | None, *, from_block: int, to_block: int | None = None
    ) -> Sequence[Log]:
        """The logs of all transfers of the token between the two, from `from_block` to `to_block`, oldest first.

        None is anybody. Both blocks inclusive; without `to_block` to the latest. `data` of each is the amount, in 32
        bytes. Some may be of 0: everybody can make those, between any addresses. `RailUnavailable` when not every block
        could be read.
        """
        topics = (TRANSFER, *(address_word(who) if who is not None else None for who in (sender, recipient)))
        found = await self._search(topics, from_block=from_block, to_block=to_block, first_only=False)
        if any(len(log.data) != 32 for log in found):
            raise self._unavailable("answered with a transfer that has no amount")
        return sorted(found, key=lambda log: (log.block_number, log.index))

    async def simulate(self, call: Call) -> str | None:
        """None when `call` would succeed now; else why not, in the contract's words as far as it has any."""
        try:
            await self._call(_sent_by(call) | {"gas": hex(TRANSFER_GAS_MAX)}, at="latest")
        except _Reverted as reverted:
            return reverted.in_words
        return None

    async def estimate_gas(self, call: Call) -> int | str:
        """How much gas `call` would use now, as the node guesses; else why it would fail, as `simulate` says it."""
        try:
            answer = await self._execute("eth_estimateGas", [_sent_by(call) | {"gas": hex(TRANSFER_GAS_MAX)}])
        except _Reverted as reverted:
            return reverted.in_words
        gas = self._read("eth_estimateGas", answer, answers.quantity)
        if gas < GAS_MIN:
            raise self._unavailable("answered eth_estimateGas with less than any transaction takes")
        return gas if gas <= GAS_MAX else "takes more gas than a transaction may"

    async def ether_of(self, address: str) -> int:
        """How much of the chain's own coin `address` has now, in wei."""
        return self._read("eth_getBalance", await self._ask("eth_getBalance", address, "latest"), answers.quantity)

    async def fees(self) -> Fees:
        """What gas costs now."""
        latest = await self.block("latest")
        if latest is None:
            raise self._unavailable("has no latest block")
        tip = await self._ask("eth_maxPriorityFeePerGas")
        return Fees(latest.base_fee_wei, self._read("eth_maxPriorityFeePerGas", tip, answers.count))

    async def send_raw(self, signed: bytes) -> str:
        """Hand a signed transaction to the node and give its hash. One that the node has already is a success.

        `ProviderRefused` (`nonce_too_low`, also when this very transaction is in a block; `insufficient_funds`;
        `underpriced`; `refused`), `RailUnavailable` when it did not leave, else `OutcomeUnknown`.
        """
        expected = "0x" + keccak(signed).hex()
        try:
            answer = await self._rpc.ask("eth_sendRawTransaction", ["0x" + signed.hex()])
        except NodeError as error:
            if _KNOWN.search(error.said.lower()):
                return expected
            refused = _refused(error)
            if refused is not None:
                raise refused from None
            raise OutcomeUnknown(self._in_words(f"answered eth_sendRawTransaction with {error}")) from None
        except NoAnswer as error:
            if error.sent:
                raise OutcomeUnknown(self._in_words(str(error))) from None
            raise self._unavailable(str(error)) from None
        if not isinstance(answer, str) or answer.lower() != expected:
            raise OutcomeUnknown(self._in_words("took a transaction under another hash"))
        return expected

    async def _search(
        self, topics: tuple[bytes | None, ...], *, from_block: int, to_block: int | None = None, first_only: bool
    ) -> Sequence[Log]:
        wanted = Wanted(self.network.token_address, topics)
        head = await self.head()
        end = head if to_block is None else to_block
        if max(from_block, end) > head:
            raise self._unavailable(f"has not come to block {max(from_block, end)}")
        ask = partial(self._logs, wanted)
        try:
            async with asyncio.timeout(log_search.TIMEOUT_S):
                return await log_search.search(ask, from_block=from_block, head=end, first_only=first_only)
        except TimeoutError:
            raise self._unavailable("did not finish a search for logs in time") from None
        except Unfinished as unfinished:
            raise self._unavailable(str(unfinished)) from None

    async def _logs(self, wanted: Wanted, start: int, end: int) -> Sequence[Log] | None:
        try:
            answer = await self._try("eth_getLogs", [wanted.asked(start, end)])
        except NodeError as error:
            if log_search.finds_too_long(error):
                return None
            raise self._unavailable(f"answered eth_getLogs with {error}") from None
        found = self._read("eth_getLogs", answer, lambda value, _: answers.logs(value))
        if not all(wanted.lets_through(log, start, end) for log in found):
            raise self._unavailable("answered with logs that were not asked for")
        return [log for log in found if not log.removed]

    async def _told(self, selector: bytes, read: Callable[[bytes, str], _Value]) -> _Value:
        """What the token says of itself; `WrongChain` when it does not know the question."""
        problem = f"{self.network.caip2}: the token does not answer like an EIP-3009 token with EIP-712"
        try:
            return read(await self._call(_message(self.network.token_address, selector), at="latest"), "")
        except (_Reverted, Unreadable):
            raise WrongChain(problem) from None

    async def _token(self, data: bytes, *, at: At = "latest") -> bytes:
        try:
            return await self._call(_message(self.network.token_address, data), at=at)
        except _Reverted:
            raise self._unavailable("says that the token refused a question") from None

    async def _call(self, message: dict[str, str], *, at: At) -> bytes:
        return self._read("eth_call", await self._execute("eth_call", [message, _tag(at)]), answers.data)

    async def _execute(self, method: str, parameters: Sequence[Any]) -> Any:
        """Let the node run a contract's code; `_Reverted` when that failed."""
        try:
            return await self._try(method, parameters)
        except NodeError as error:
            if error.code == _REVERT_CODE or _EXECUTION.search(error.said.lower()):
                raise _Reverted(answers.revert_reason(error.data)) from None
            raise self._unavailable(f"answered {method} with {error}") from None

    async def _ask(self, method: str, *parameters: object) -> Any:
        try:
            return await self._try(method, parameters)
        except NodeError as error:
            raise self._unavailable(f"answered {method} with {error}") from None

    async def _try(self, method: str, parameters: Sequence[Any]) -> Any:
        try:
            return await self._rpc.ask(method, parameters)
        except NoAnswer as error:
            raise self._unavailable(str(error)) from None

    def _read(self, method: str, answer: Any, read: Callable[[Any, str], _Value]) -> _Value:
        try:
            return read(answer, method)
        except Unreadable as error:
            raise self._unavailable(f"answered {method} with something else: {error}") from None

    def _agree(self, what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            raise WrongChain(f"{self.network.caip2}: the {what} should be {ours!r} and is {theirs!r}")

    def _unavailable(self, what: str) -> RailUnavailable:
        return RailUnavailable(self._in_words(what))

    def _in_words(self, what: str) -> str:
        return f"the node of {self.network.caip2} {what}"


class _Reverted(Exception):
    """The call was carried out by the node and failed. `reason` is the contract's, or empty; `in_words` never is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.in_words = reason or "reverted without a reason"


def _refused(error: NodeError) -> ProviderRefused | None:
    """Why a node did not take a transaction; none when its words do not say for certain that it did not."""
    said = error.said.lower()
    code = next((code for code, words in _REFUSALS if words.search(said)), None)
    return ProviderRefused(code=code, message=f"the node refused the transaction ({error})") if code else None


def _message(to: str, data: bytes) -> dict[str, str]:
    return {"to": to, "data": "0x" + data.hex()}


def _sent_by(call: Call) -> dict[str, str]:
    return _message(call.to, call.data) | {"from": call.sender}


def _tag(at: At) -> str:
    return hex(at) if isinstance(at, int) else at
