"""Money that goes back to who paid on chain: prepared here, signed by the treasury elsewhere, recorded when seen.

Theory of operation
-------------------
Nobody here holds the treasury's key. A refund is a `transfer` of exactly its amount to who paid, for whatever wallet
the treasury is to sign. Behind the arguments of the call stands a *tag*, 16 bytes that only this refund has. A token
does not read what stands there, and whoever carries the call out, also a contract that several people sign for, has it
in the input of the transaction: so the refund is recognized by it, and equal amounts to one payer are told apart.

To look for a refund is to read the transfers from the treasury to the payer, from when it was asked for to the last
block that the chain calls `finalized`: nobody waits for this news, and so it is never taken back. The id of a refund
names all that is needed for it, and is the same for the same request. Blocks without the refund that were read once
are not read again by this process; a process that starts anew begins at the beginning, window by window.

Source: https://docs.soliditylang.org/en/latest/abi-spec.html ("strict encoding mode": decoders need not look behind
what they decode).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from ledger import ids
from ledger.money import usdc_atomic_of_cents
from rails.evm import calls
from rails.evm.answers import Block, Log
from rails.evm.chain import Chain
from rails.money import BalanceTransaction, Incomprehensible, MoneyFact, RefundOrder, RefundSeen
from rails.rail import ProviderRefused, ProviderRequest, RailUnavailable, Reference
from rails.x402.messages import compact

KIND: Final = "refund"
"""The kind of reference that is read here."""
PREFIX: Final = "x402_refund:"
"""How ids of these refunds begin, and of nobody else's."""
PAYMENT_KIND: Final = "x402_authorization"
API_VERSION: Final = "x402_refund/1"
TAG_BYTES: Final = 16
CLOCKS_APART: Final = timedelta(hours=1)
"""So much earlier than the refund was asked for may a block's time be that holds it: clocks differ."""
WINDOW_BLOCKS: Final = 10_000
WINDOWS_MAX: Final = 50
READ_TIMEOUT_S: Final = 120.0
"""So many windows are read at a time (11 days of a chain with a block each 2 seconds), and for so long: the next look
goes on where one ended."""
REMEMBERED_MAX: Final = 1_000
"""Refunds of which is remembered how far they were looked for; the one that was begun first is forgotten first."""

_PAYMENT: Final = re.compile(r"(eip155:[1-9][0-9]{0,18}):(0x[0-9a-f]{40}):(0x[0-9a-f]{64})", re.ASCII)
_REFUND: Final = re.compile(
    rf"{PREFIX}({_PAYMENT.pattern}):(0x[0-9a-f]{{40}}):([1-9][0-9]{{0,15}}):([a-z0-9_:]{{1,120}})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class _Refund:
    """What an id says. Addresses are in lower case; `key` is the provider key of the request that asks for it."""

    payment_id: str
    network: str
    payer: str
    treasury: str
    cents: int
    key: str
    asked_at: datetime

    @property
    def refund_id(self) -> str:
        return f"{PREFIX}{self.payment_id}:{self.treasury}:{self.cents}:{self.key}"

    @property
    def amount_atomic(self) -> int:
        return usdc_atomic_of_cents(self.cents)

    @property
    def call(self) -> bytes:
        """The transfer, as every other one of this amount to this payer would call it."""
        return calls.transfer(self.payer, self.amount_atomic)

    @property
    def tagged_call(self) -> bytes:
        """The transfer as only this refund calls it."""
        return self.call + hashlib.sha256(self.key.encode()).digest()[:TAG_BYTES]


class TreasuryRefunds:
    """Refunds of payments on one chain. Keeps what `rails.money.Refunder` and `rails.money.MoneyReader` promise."""

    def __init__(self, chain: Chain, *, treasury: str, livemode: bool, clock: Callable[[], datetime]) -> None:
        """`treasury` is the address that refunds leave from; the chain stays its owner's to close."""
        self._chain = chain
        self._treasury = treasury
        self._livemode = livemode
        self._clock = clock
        self._searched: dict[str, int] = {}

    def prepare_refund(self, order: RefundOrder, /) -> ProviderRequest:
        """The transaction that the treasury is to send, and the id that the refund will have. Pure.

        `ProviderRefused` for a payment on another chain.
        """
        network = self._chain.network
        found = _PAYMENT.fullmatch(order.payment_id)
        if found is None or found[1] != network.caip2:
            raise ProviderRefused(code="other_chain", message=f"refunds are sent on {network.caip2} only")
        refund = _Refund(
            payment_id=order.payment_id,
            network=network.caip2,
            payer=found[2],
            treasury=self._treasury.lower(),
            cents=order.amount,
            key=order.provider_key,
            asked_at=_asked_at(order.provider_key),
        )
        parameters = {
            "refund_id": refund.refund_id,
            "network": network.caip2,
            "chain_id": network.chain_id,
            "from": self._treasury,
            "to": network.token_address,
            "value": "0",
            "data": "0x" + refund.tagged_call.hex(),
            "recipient": refund.payer,
            "amount_atomic": str(refund.amount_atomic),
        }
        return ProviderRequest(order.provider_key, compact(parameters), API_VERSION)

    async def start_refund(self, request: ProviderRequest, /) -> str:
        """The id of the refund that `request` is; nothing is sent, as only the treasury can."""
        return _id_in(request)

    async def find_refund(self, _payment_id: str, request: ProviderRequest, /) -> str | None:
        """The same id: the refund is there since it was prepared, whether it was signed or not."""
        return _id_in(request)

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """None: no provider sends letters about these refunds."""
        del event
        return ()

    async def read(self, reference: Reference, /) -> Sequence[MoneyFact]:
        """`pending` until the refund stands in a finalized block, then `succeeded` with what left the treasury.

        Empty for what is no refund of this form. Raises `RailUnavailable`, also while not all blocks were read, and
        `Incomprehensible` for a transaction in which it cannot be told which transfer it is.
        """
        read_at = self._clock()
        refund = _parsed(reference)
        if refund is None:
            return ()
        if refund.network != self._chain.network.caip2:
            raise RailUnavailable(f"this service asks {self._chain.network.caip2}, and the refund is on another chain")
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                sent = await self._sent(refund)
        except TimeoutError:
            raise RailUnavailable(
                f"{refund.refund_id} could not be looked for in time; the next look goes on"
            ) from None
        lines = [_line(refund, log, min(_time(block), read_at)) for log, block in sent]
        where = {"network": refund.network, "transaction_hash": sent[0][0].transaction_hash} if sent else {}
        return (
            RefundSeen(
                livemode=self._livemode,
                occurred_at=refund.asked_at,
                read_at=read_at,
                payment_kind=PAYMENT_KIND,
                payment_id=refund.payment_id,
                refund_id=refund.refund_id,
                amount=refund.cents,
                currency="usd",
                status="succeeded" if sent else "pending",
                request_key=refund.key,
                details=where,
                transactions=lines,
            ),
        )

    async def _sent(self, refund: _Refund) -> Sequence[tuple[Log, Block]]:
        """Where the refund stands in finalized blocks: once, unless the treasury sent it twice. Empty: not sent yet."""
        final = await self._chain.block("finalized")
        if final is None:
            return ()
        start = self._searched.get(refund.refund_id)
        if start is None:
            start = await self._first_block(refund.asked_at - CLOCKS_APART, final)
        for _ in range(WINDOWS_MAX):
            if start > final.number:
                return ()
            end = min(start + WINDOW_BLOCKS - 1, final.number)
            found = await self._between(refund, start, end)
            if found:
                return [(log, await self._block_of(log)) for log in found]
            start = end + 1
            self._remember(refund, start)
        raise RailUnavailable(
            f"refund {refund.refund_id} was looked for up to block {start - 1}; the next look goes on"
        )

    def _remember(self, refund: _Refund, start: int) -> None:
        self._searched[refund.refund_id] = start
        if len(self._searched) > REMEMBERED_MAX:
            del self._searched[next(iter(self._searched))]

    async def _first_block(self, at: datetime, final: Block) -> int:
        """The number of the first block that is not older than `at`; the one behind `final` when all are older."""
        low, high = 0, final.number + 1
        if _time(final) < at:
            return high
        while low < high:  # halved each time: 63 times at most
            middle = (low + high) // 2
            if _time(await self._block(middle)) < at:
                low = middle + 1
            else:
                high = middle
        return low

    async def _between(self, refund: _Refund, start: int, end: int) -> Sequence[Log]:
        logs = await self._chain.find_transfers(refund.treasury, refund.payer, from_block=start, to_block=end)
        equal = (log for log in logs if int.from_bytes(log.data, "big") == refund.amount_atomic)
        found: list[Log] = []
        for transaction_hash, of_one in groupby(equal, key=lambda log: log.transaction_hash):
            data = await self._chain.transaction_input(transaction_hash)
            if data is None:
                raise RailUnavailable(f"the node showed a log of {transaction_hash} and does not know the transaction")
            found += _ours(refund, data, list(of_one))
        return found

    async def _block_of(self, log: Log) -> Block:
        block = await self._block(log.block_number)
        if block.hash != log.block_hash:
            raise RailUnavailable(f"the node showed a log of another block {log.block_number} than the chain's")
        return block

    async def _block(self, number: int) -> Block:
        block = await self._chain.block(number)
        if block is None:
            raise RailUnavailable(f"the node does not know block {number}, which others build on")
        return block


def is_on_chain(reference: Reference) -> bool:
    """Whether the object is a refund that a treasury sends on chain, and not one of a provider's."""
    return reference.kind == KIND and reference.external_id.startswith(PREFIX)


def _ours(refund: _Refund, data: bytes, logs: Sequence[Log]) -> Sequence[Log]:
    """Which of a transaction's equal transfers are this refund's, told by the calls that stand in its input.

    A transaction may carry out several calls, in the order in which they stand there; some may carry other tags.
    """
    tagged = [data.startswith(refund.tagged_call, at) for at in _places(refund.call, data)]
    if not any(tagged):
        return ()
    if all(tagged) and len(logs) <= len(tagged):
        return logs
    if len(logs) == len(tagged):
        return [log for log, is_ours in zip(logs, tagged, strict=True) if is_ours]
    raise Incomprehensible(
        f"{logs[0].transaction_hash} calls for {len(tagged)} equal transfers and made {len(logs)}: which of them is "
        f"{refund.refund_id} cannot be told"
    )


def _places(part: bytes, data: bytes) -> list[int]:
    found, at = [], data.find(part)
    while at >= 0:
        found.append(at)
        at = data.find(part, at + len(part))
    return found


def _line(refund: _Refund, log: Log, at: datetime) -> BalanceTransaction:
    return BalanceTransaction(
        transaction_id=f"{refund.network}:{log.transaction_hash}:{log.index}",
        category="refund",
        amount=-refund.cents,
        fee=0,
        net=-refund.cents,
        currency="usdc",
        source_id=refund.refund_id,
        occurred_at=at,
    )


def _parsed(reference: Reference) -> _Refund | None:
    found = _REFUND.fullmatch(reference.external_id) if reference.kind == KIND else None
    if found is None:
        return None
    payment_id, network, payer, _, treasury, cents, key = found.groups()
    try:
        return _Refund(payment_id, network, payer, treasury, int(cents), key, _asked_at(key))
    except ValueError:
        return None


def _asked_at(provider_key: str) -> datetime:
    """When a refund was asked for: its own id, with which the key ends, begins with the time."""
    asked = ids.parse("refund", provider_key.rpartition(":")[2])
    return datetime.fromtimestamp((asked.int >> 80) / 1000, UTC)


def _time(block: Block) -> datetime:
    return datetime.fromtimestamp(block.timestamp, UTC)


def _id_in(request: ProviderRequest) -> str:
    return str(json.loads(request.parameters)["refund_id"])
