"""What is asked of a chain: about the token, blocks, receipts and fees, and to carry out a signed transaction.

Theory of operation
-------------------
Every question goes to one node, which may be dead, slow, behind or lying. Its answers are read strictly, and what is
asked for is compared with what comes back: another transaction's receipt, a log that the filter does not let through.
Whatever cannot be read has not been answered (`RailUnavailable`): "no" is only said when the node said it. Errors are
in our own words with the number of JSON-RPC's, since a node's words may repeat the request's URL.

Sending is the one call that changes something: there a lost answer is `OutcomeUnknown`, and the same signed bytes may
be sent again, as a transaction counts once by its nonce.
Sources: https://ethereum.github.io/execution-apis/ and, for what providers say to a range that is too long,
https://eips.ethereum.org/EIPS/eip-1474#error-codes and the pages of Alchemy and QuickNode on `eth_getLogs`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from eth_utils.crypto import keccak

from rails.evm import answers, calls
from rails.evm.answers import Block, Log, Receipt, Unreadable
from rails.evm.calls import Call
from rails.evm.eip3009 import AUTHORIZATION_USED, domain_separator
from rails.evm.networks import Network
from rails.evm.rpc import TIMEOUT_S, NoAnswer, NodeError, Rpc
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable

RANGE_BLOCKS_MAX: Final = 500
"""Blocks asked about in one search for logs: less than most providers allow, and halved when one allows less."""
SEARCH_CALLS_MAX: Final = 200
SEARCH_TIMEOUT_S: Final = 60.0
SIGNATURE_GAS_MAX: Final = 3_000_000
"""Gas that a wallet may use to check its signature: a passkey's takes a tenth, an endless loop stops here."""

_EXECUTION: Final = re.compile(
    r"revert|out of gas|opcode|invalid jump|stack (limit|underflow|overflow)|out of bounds|write protection"
    r"|uint64 overflow|call depth|balance for transfer|evm error|vm execution|execution aborted"
)
"""How the nodes say that a contract's code failed: not a fault of theirs, and a payer's contract can do it at will."""
_RANGE: Final = re.compile(r"range|more than \d|too (many|large|big)|size|exceed|limit")
_RATE: Final = re.compile(r"too many requests|\brate\b|per second|capacity|quota|credits")
_NO_BLOCK: Final = re.compile(r"not found|unknown block")
_KNOWN: Final = re.compile(r"already ?known|known transaction|already (imported|exists|in mempool)")
_REFUSALS: Final = (
    ("nonce_too_low", re.compile(r"nonce too low|nonce is too low|oldnonce")),
    ("insufficient_funds", re.compile(r"insufficient (funds|balance)")),
    ("underpriced", re.compile(r"underpriced|fee ?cap|fee too low|less than block base fee|gas price")),
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

    async def balance_of(self, address: str) -> int:
        """How much of the token `address` has, in atomic units."""
        return self._read("balanceOf", await self._token(calls.balance_of(address)), answers.number)

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
        return self._read("eth_getTransactionCount", answer, answers.quantity)

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

    async def find_authorization_used(self, payer: str, nonce: bytes, *, from_block: int) -> Log | None:
        """The log that says `nonce` was carried out, from `from_block` to the latest block; None when there is none.

        Ranges are bounded, and halved when the node finds one too long; `RailUnavailable` when not all could be read.
        """
        try:
            async with asyncio.timeout(SEARCH_TIMEOUT_S):
                return await self._search(payer, nonce, from_block)
        except TimeoutError:
            raise self._unavailable("did not finish a search for logs in time") from None

    async def simulate(self, call: Call) -> str | None:
        """None when `call` would succeed now; else why not, in the contract's words as far as it has any."""
        try:
            await self._call(_message(call.to, call.data) | {"from": call.sender}, at="latest")
        except _Reverted as reverted:
            return reverted.reason or "reverted without a reason"
        return None

    async def fees(self) -> Fees:
        """What gas costs now."""
        latest = await self.block("latest")
        if latest is None:
            raise self._unavailable("has no latest block")
        tip = await self._ask("eth_maxPriorityFeePerGas")
        return Fees(latest.base_fee_wei, self._read("eth_maxPriorityFeePerGas", tip, answers.quantity))

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
            raise _refused(error) from None
        except NoAnswer as error:
            if error.sent:
                raise OutcomeUnknown(self._in_words(str(error))) from None
            raise self._unavailable(str(error)) from None
        if not isinstance(answer, str) or answer.lower() != expected:
            raise OutcomeUnknown(self._in_words("took a transaction under another hash"))
        return expected

    async def _search(self, payer: str, nonce: bytes, from_block: int) -> Log | None:
        head = self._read("eth_blockNumber", await self._ask("eth_blockNumber"), answers.quantity)
        if from_block > head:
            raise self._unavailable(f"has not come to block {from_block}")
        start, length = from_block, RANGE_BLOCKS_MAX
        for _ in range(SEARCH_CALLS_MAX):
            if start > head:
                return None
            end = min(start + length - 1, head)
            found = await self._logs(payer, nonce, start, end)
            if found is None and length == 1:
                raise self._unavailable("does not serve the logs of a single block")
            if found:
                return found[0]
            start, length = (start, max(1, length // 2)) if found is None else (end + 1, length)
        raise self._unavailable(f"needs more than {SEARCH_CALLS_MAX} calls to search from block {from_block}")

    async def _logs(self, payer: str, nonce: bytes, start: int, end: int) -> Sequence[Log] | None:
        """The matching logs of a range; None when the node finds it too long."""
        token = self.network.token_address
        topics = (AUTHORIZATION_USED, bytes.fromhex(payer[2:]).rjust(32, b"\0"), nonce)
        wanted = {
            "address": token,
            "topics": ["0x" + topic.hex() for topic in topics],
            "fromBlock": hex(start),
            "toBlock": hex(end),
        }
        try:
            answer = await self._try("eth_getLogs", [wanted])
        except NodeError as error:
            said = error.said.lower()
            if _RANGE.search(said) and not _RATE.search(said):
                return None
            raise self._unavailable(f"answered eth_getLogs with {error}") from None
        found = self._read("eth_getLogs", answer, lambda value, _: answers.logs(value))
        if any(
            log.address.lower() != token.lower() or log.topics != topics or not start <= log.block_number <= end
            for log in found
        ):
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
        try:
            answer = await self._try("eth_call", [message, _tag(at)])
        except NodeError as error:
            if error.code == _REVERT_CODE or _EXECUTION.search(error.said.lower()):
                raise _Reverted(answers.revert_reason(error.data)) from None
            raise self._unavailable(f"answered eth_call with {error}") from None
        return self._read("eth_call", answer, answers.data)

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
    """The call was carried out by the node and failed. `reason` is the contract's, or empty."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _refused(error: NodeError) -> ProviderRefused:
    said = error.said.lower()
    code = next((code for code, words in _REFUSALS if words.search(said)), "refused")
    return ProviderRefused(code=code, message=f"the node refused the transaction ({error})")


def _message(to: str, data: bytes) -> dict[str, str]:
    return {"to": to, "data": "0x" + data.hex()}


def _tag(at: At) -> str:
    return hex(at) if isinstance(at, int) else at
