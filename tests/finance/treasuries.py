"""A treasury on a chain of the tests' making, and in the books: what the tests say happened there.

The chain is a node that answers over HTTP, so that it is asked as every other is. Payments are written as the rows that
settling leaves, without the agents and quotes that they would be of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg

from billing import bookings, posting_rules
from billing.database import Sessions, snapshot
from billing.settlements import Allotment
from finance.reconciling.found import Compared
from finance.treasury import comparing
from ledger.ids import external
from ledger.operations import PLATFORM, opening
from rails.evm.eip3009 import TRANSFER
from rails.evm.networks import BASE_SEPOLIA
from rails.money import BalanceTransaction
from tests.books.books import new_id, post
from tests.evm.nodes import error, result
from tests.unit.test_pricing_and_settlement import SETTLED

NETWORK, TOKEN = BASE_SEPOLIA.caip2, BASE_SEPOLIA.token_address
TREASURY, OTHER, PAYER = "0x" + "ab" * 20, "0x" + "cd" * 20, "0x" + "1a" * 20
BEGAN = 1_790_000_000
DOLLAR = 1_000_000
_CALL_ADDRESS = slice(-40, None)
_EMPTY = """
SET session_replication_role = replica;
TRUNCATE ledger.operations, ledger.lot_openings, ledger.books, ledger.accounts, ledger.lots, ledger.holds,
         billing.operator_actions, billing.settlements, billing.external_payments, billing.balance_transactions,
         finance.chain_transfers, finance.treasury_readings CASCADE;
"""
_numbers = count(1)


def time_of(block: int) -> datetime:
    """Blocks are two seconds apart."""
    return datetime.fromtimestamp(BEGAN + 2 * block, UTC)


def hash_of(number: int, *, fork: int = 0) -> str:
    return f"0x{fork:02x}{number:062x}"


@dataclass(frozen=True)
class Moved:
    """A transfer on the chain."""

    block: int
    sender: str
    recipient: str
    amount: int
    index: int = field(default_factory=lambda: next(_numbers))
    hidden: bool = False

    @property
    def transaction_hash(self) -> str:
        return hash_of(self.index, fork=0xFE)

    @property
    def place(self) -> str:
        return f"{NETWORK}:{self.transaction_hash}:{self.index}"

    def log(self) -> dict[str, Any]:
        topics = [TRANSFER.hex(), *("00" * 12 + who[2:] for who in (self.sender, self.recipient))]
        return {
            "address": TOKEN,
            "topics": ["0x" + topic for topic in topics],
            "data": f"0x{self.amount:064x}",
            "logIndex": hex(self.index),
            "transactionHash": self.transaction_hash,
            "blockNumber": hex(self.block),
            "blockHash": hash_of(self.block),
        }


def paid(block: int, amount: int = DOLLAR, *, to: str = TREASURY) -> Moved:
    return Moved(block, PAYER, to, amount)


def sent(block: int, amount: int = DOLLAR, *, by: str = TREASURY) -> Moved:
    return Moved(block, by, PAYER, amount)


@dataclass
class ChainOfTests:
    """What the node says. `fails_from`: it serves no logs from that block on; `fork`: it is on another chain."""

    moved: list[Moved] = field(default_factory=list)
    final: int | None = 1_000
    fails_from: int | None = None
    fork: int = 0

    def __call__(self, method: str, params: Sequence[Any]) -> tuple[int, bytes]:
        if method == "eth_blockNumber":
            return result(hex((self.final or 0) + 64))
        if method == "eth_getBlockByNumber":
            return result(self._block(params[0]))
        if method == "eth_call":
            return result(f"0x{self.balance('0x' + params[0]['data'][_CALL_ADDRESS], int(params[1], 16)):064x}")
        asked = params[0]
        start, end = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        if self.fails_from is not None and end >= self.fails_from:
            return error(-32000, "header not found")
        return result([log for log in self._logs(start, end) if _fits(asked["topics"], log["topics"])])

    def _block(self, tag: str) -> dict[str, Any] | None:
        number = self.final if tag == "finalized" else int(tag, 16)
        if number is None:
            return None
        return {
            "number": hex(number),
            "hash": hash_of(number, fork=self.fork),
            "parentHash": hash_of(number - 1 if number else 0),
            "timestamp": hex(BEGAN + 2 * number),
        }

    def _logs(self, start: int, end: int) -> list[dict[str, Any]]:
        return [one.log() for one in self.moved if start <= one.block <= end and not one.hidden]

    def balance(self, who: str, at: int) -> int:
        came = sum(one.amount for one in self.moved if one.recipient == who and one.block <= at)
        return came - sum(one.amount for one in self.moved if one.sender == who and one.block <= at)


def _fits(wanted: Sequence[str | None], topics: Sequence[str]) -> bool:
    return all(one in {None, topic} for one, topic in zip(wanted, topics, strict=True))


@dataclass
class Treasury:
    """The books' side: payments and refunds on chain as billing leaves them, with what was posted for them."""

    books: Sessions
    owner: asyncpg.Connection

    async def empty(self) -> None:
        """Nothing but the platform's empty book."""
        await self.owner.execute(_EMPTY)
        await post(self.books, opening(organization_id=PLATFORM, event_at=time_of(0)))

    async def booked(self, at: Moved, *, cents: int | None = None, treasury: str = TREASURY, **changes: Any) -> str:
        """A payment that is booked as standing where `at` is; its id."""
        book, attempt, number = new_id(), new_id(), next(_numbers)
        await post(self.books, opening(organization_id=book, event_at=time_of(0)))
        cents = at.amount // 10_000 if cents is None else cents
        name = f"{NETWORK}:{PAYER}:0x{number:064x}"
        fact = replace(SETTLED, payment_kind="x402_authorization", payment_id=name, subtotal=cents, total=cents)
        operation = posting_rules.purchase(
            fact, organization_id=book, allotted=Allotment(cents, cents, 0), expire_after_days=None,
            settled_at=time_of(at.block),
        )  # fmt: skip
        await post(self.books, operation)
        await self._settlement(at, book, attempt, number, treasury, **{"state": "settled", **changes})
        await self.owner.execute(
            "INSERT INTO billing.external_payments (kind, external_id, organization_id, attempt_id, purpose,"
            " amount_cents, operation_id, created_at) VALUES ('x402_authorization', $1, $2, $3, 'granted', $4, $5, $6)",
            name, book, attempt, cents, operation.id, time_of(at.block),
        )  # fmt: skip
        return name

    async def held(self, at: Moved) -> UUID:
        """A payment that arrived and that nobody booked yet; the id of its attempt."""
        attempt = new_id()
        await self._settlement(at, new_id(), attempt, next(_numbers), TREASURY, state="held")
        return attempt

    async def _settlement(
        self, at: Moved, book: UUID, attempt: UUID, number: int, treasury: str, *, state: str,
        log_index: int | None = None, block_hash: str | None = None,
    ) -> None:  # fmt: skip
        await self.owner.execute(
            "INSERT INTO billing.settlements (organization_id, id, attempt_id, network, asset, payer, nonce, digest,"
            " signature, pay_to, amount_atomic, valid_after, valid_before, submitter, state, from_block,"
            " transaction_hash, log_index, block_number, block_hash, paid_at, next_try_at, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $7, '', $8, $9, 0, 0, 'own', $10, $11, $12, $13, $11, $14,"
            " $15, $15, $15, $15)",
            book, new_id(), attempt, NETWORK, TOKEN, PAYER, number.to_bytes(32, "big"),
            treasury.upper().replace("X", "x"), at.amount, state, at.block, at.transaction_hash,
            at.index if log_index is None else log_index,
            hash_of(at.block) if block_hash is None else block_hash, time_of(at.block),
        )  # fmt: skip

    async def line(self, line_id: str, cents: int, *, category: str, source: str, block: int) -> None:
        """A line of a refund on chain, or of a reorganization, kept and posted as billing does."""
        line = BalanceTransaction(line_id, category, cents, 0, cents, "usdc", source, time_of(block))
        book = new_id()
        await post(self.books, opening(organization_id=book, event_at=time_of(0)))
        operation = bookings.booking(line, organization_id=book, account="refunds_payable")
        assert operation is not None
        await post(self.books, operation)
        await self.owner.execute(
            "INSERT INTO billing.balance_transactions (id, organization_id, source_id, category, amount_cents,"
            " fee_cents, net_cents, currency, operation_id, occurred_at, created_at)"
            " VALUES ($1, $2, $3, $4, $5, 0, $5, 'usdc', $6, $7, $7)",
            line_id, book, source, category, cents, operation.id, time_of(block),
        )  # fmt: skip

    async def refunded(self, at: Moved, payment: str) -> None:
        """A refund that was seen where `at` is."""
        cents = at.amount // 10_000
        key = f"refund:{external('payatt', new_id())}"
        source = f"x402_refund:{payment}:{TREASURY}:{cents}:{key}"
        await self.line(at.place, -cents, category="refund", source=source, block=at.block)

    async def reorganized(self, payment: str, cents: int, *, back: bool) -> None:
        """A payment that a reorganization took out, and perhaps brought back."""
        for way, sign in (("out", -1), ("back", 1))[: 1 + back]:
            name = f"{payment}:1"
            await self.line(f"{name}:{way}", sign * cents, category="reorganization", source=name, block=1)

    async def compared(self) -> tuple[Compared, Compared]:
        async with snapshot(self.books) as session:
            return await comparing.compared(session, now=time_of(10**6))
