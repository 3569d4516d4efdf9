"""What the chain says of a treasury: every transfer of USDC into and out of it, and its balance at pinned blocks.

Theory of operation
-------------------
Reading begins at an opening block, whose balance is kept as the first reading: what was there before is not looked at.
From there on it goes in parts, each up to a block that the chain calls `finalized`, and each kept whole, transfers and
balance in one transaction: a node that fails leaves what was read before it, and the next reading goes on there. The
node must know the state of the blocks at the parts' ends (an archive node does).

A transfer of nothing, which everybody can make between any addresses, and one from the treasury to itself move no money
and are not kept. A transfer between two treasuries of ours is kept once for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.settling_tables import Settlement
from finance.statement_tables import ChainTransfer, TreasuryReading
from rails.evm.answers import Block, Log
from rails.evm.chain import Chain
from rails.rail import RailUnavailable

PART_BLOCKS: Final = 10_000
"""Blocks that are kept at a time: within what a search for logs may take of a node that allows 50 blocks at once."""
PARTS_MAX: Final = 300
"""Parts of one reading: 69 days of a chain with a block each 2 seconds. The next reading goes on."""
BLOCKS_AT_ONCE: Final = 8
ROWS_AT_ONCE: Final = 1_000
AMOUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Read:
    """How far a treasury was read: the last reading, how many transfers were new, how many final blocks are left."""

    reading: TreasuryReading
    new_transfers: int
    blocks_left: int


async def read(
    sessions: Sessions, chain: Chain, *, treasury: str, from_block: int | None = None, now: datetime
) -> Read:
    """Read on to the newest finalized block, at most `PARTS_MAX` parts.

    The first reading opens at `from_block`: without it, before the first payment that is known to have gone there, or
    else now. Later `from_block` reads again from there, no further back than the opening, and keeps what was missed.
    Raises `RailUnavailable`; what was kept before that stays.
    """
    treasury, network = treasury.lower(), chain.network.caip2
    final = await chain.block("finalized")
    if final is None:
        raise RailUnavailable(f"the node of {network} names no finalized block")
    async with sessions() as session:
        first, last = await _ends(session, network, treasury)
        start = from_block if from_block is not None else await _before_payments(session, network, treasury)
    if first is None or last is None:
        first = last = await _open(sessions, chain, treasury, _within(start, final), now)
    else:
        await _require_same_chain(chain, last)
        if from_block is not None:
            last = await _back_to(sessions, max(from_block - 1, first.block_number), last)
    new = 0
    for _ in range(PARTS_MAX):
        if last.block_number >= final.number:
            break
        last, kept = await _part(sessions, chain, last, min(last.block_number + PART_BLOCKS, final.number), now)
        new += kept
    return Read(last, new, max(0, final.number - last.block_number))


async def _ends(
    session: AsyncSession, network: str, treasury: str
) -> tuple[TreasuryReading | None, TreasuryReading | None]:
    """The first and the last reading of a treasury."""
    query = select(TreasuryReading).where(
        col(TreasuryReading.network) == network, col(TreasuryReading.treasury) == treasury
    )
    number = col(TreasuryReading.block_number)
    first = (await session.exec(query.order_by(number).limit(1))).first()
    return first, (await session.exec(query.order_by(number.desc()).limit(1))).first()


async def _before_payments(session: AsyncSession, network: str, treasury: str) -> int | None:
    """The block before the first in which a payment to the treasury can stand; none without such payments."""
    began = func.min(func.coalesce(func.nullif(col(Settlement.from_block), 0), col(Settlement.block_number)))
    query = select(began).where(col(Settlement.network) == network, func.lower(col(Settlement.pay_to)) == treasury)
    found = (await session.exec(query)).one()
    return found - 1 if found is not None else None


async def _back_to(sessions: Sessions, block_number: int, last: TreasuryReading) -> TreasuryReading:
    """The reading at or before a block, to go on from there once more."""
    query = (
        select(TreasuryReading)
        .where(
            col(TreasuryReading.network) == last.network,
            col(TreasuryReading.treasury) == last.treasury,
            col(TreasuryReading.block_number) <= block_number,
        )
        .order_by(col(TreasuryReading.block_number).desc())
        .limit(1)
    )
    async with sessions() as session:
        return (await session.exec(query)).one()


def _within(start: int | None, final: Block) -> int:
    return final.number if start is None else max(0, min(start, final.number))


async def _require_same_chain(chain: Chain, last: TreasuryReading) -> None:
    if (await _block(chain, last.block_number)).hash != last.block_hash:
        raise RailUnavailable(
            f"block {last.block_number} of the node of {last.network} is not the one that the treasury was read up to"
        )


async def _open(sessions: Sessions, chain: Chain, treasury: str, number: int, now: datetime) -> TreasuryReading:
    opening = await _reading(chain, treasury, number, now)
    async with sessions() as session, session.begin():
        # Two who read it for the first time at once must begin at one block, or what lies between is never read.
        await session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(f"treasury {treasury}", 0))))
        first, _ = await _ends(session, opening.network, treasury)
        if first is not None:
            return first
        await _keep(session, TreasuryReading, [opening.model_dump()])
    return opening


async def _part(
    sessions: Sessions, chain: Chain, last: TreasuryReading, end: int, now: datetime
) -> tuple[TreasuryReading, int]:
    """Read the blocks behind `last` up to `end` and keep them: the reading there, and how many transfers were new."""
    start, treasury = last.block_number + 1, last.treasury
    incoming = await chain.find_transfers(None, treasury, from_block=start, to_block=end)
    outgoing = await chain.find_transfers(treasury, None, from_block=start, to_block=end)
    moving = [(log, True) for log in incoming] + [(log, False) for log in outgoing]
    moving = [(log, is_in) for log, is_in in moving if _amount(log) and log.topics[1] != log.topics[2]]
    times = await _times(chain, [log for log, _ in moving])
    reading = await _reading(chain, treasury, end, now)
    rows = [
        {
            "network": last.network,
            "transaction_hash": log.transaction_hash,
            "log_index": log.index,
            "treasury": treasury,
            "block_number": log.block_number,
            "incoming": is_in,
            "amount": _bounded(_amount(log), chain),
            "occurred_at": times[log.block_number],
            "created_at": now,
        }
        for log, is_in in moving
    ]
    async with sessions() as session, session.begin():
        kept = await _keep(session, ChainTransfer, rows)
        await _keep(session, TreasuryReading, [reading.model_dump()])
    return reading, kept


async def _keep(session: AsyncSession, table: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Insert what is not there yet; how many rows that were."""
    kept = 0
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        inserted = await session.exec(insert(table).values(some).on_conflict_do_nothing())
        kept += inserted.rowcount
    return kept


async def _reading(chain: Chain, treasury: str, number: int, now: datetime) -> TreasuryReading:
    block = await _block(chain, number)
    return TreasuryReading(
        network=chain.network.caip2,
        treasury=treasury,
        block_number=number,
        block_hash=block.hash,
        balance=_bounded(await chain.balance_of(treasury, at=number), chain),
        block_at=_at(block),
        created_at=now,
    )


async def _times(chain: Chain, logs: Sequence[Log]) -> dict[int, datetime]:
    """When each block was made that holds one of `logs`."""
    hashes = {log.block_number: log.block_hash for log in logs}
    times: dict[int, datetime] = {}
    numbers = list(hashes)
    for start in range(0, len(numbers), BLOCKS_AT_ONCE):
        some = numbers[start : start + BLOCKS_AT_ONCE]
        for block in await asyncio.gather(*(_block(chain, number) for number in some)):
            if block.hash != hashes[block.number]:
                raise RailUnavailable(f"the node showed a log of another block {block.number} than the chain's")
            times[block.number] = _at(block)
    return times


async def _block(chain: Chain, number: int) -> Block:
    block = await chain.block(number)
    if block is None:
        raise RailUnavailable(f"the node of {chain.network.caip2} does not know block {number}")
    return block


def _at(block: Block) -> datetime:
    return datetime.fromtimestamp(block.timestamp, UTC)


def _amount(log: Log) -> int:
    return int.from_bytes(log.data, "big")


def _bounded(amount: int, chain: Chain) -> int:
    if amount > AMOUNT_MAX:
        raise RailUnavailable(f"the node of {chain.network.caip2} tells of more USDC than there can be")
    return amount
