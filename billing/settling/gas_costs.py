"""What gas cost goes into the platform's book, in ether, each transaction once and only when its block is final.

In gwei; what is less is carried over to the next: so the book never differs from the chain by more than one gwei,
however many there are. What an ether is worth in dollars is the close's to say.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import and_, exists, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from billing.catching_up import once_more
from billing.database import Sessions
from billing.settling import nonces
from billing.settling_tables import GasTransaction, GasWallet
from ledger import posting
from ledger.money import ether
from ledger.operations import PLATFORM, SYSTEM_SCOPE, Kind, Operation, Transfer
from rails.evm.chain import Chain

BOOKED_MAX: Final = 50
"""Transactions that are booked at a time."""
WEI_PER_GWEI: Final = 10**9


async def book(sessions: Sessions, chain: Chain, *, now: datetime) -> int:
    """Book what has become final since the last time, of all wallets that ever paid gas here; how many transactions.

    Raises `RailUnavailable`.
    """
    finalized = await chain.block("finalized")
    if finalized is None:
        return 0
    async with sessions() as session:
        waiting = (await session.exec(_unbooked(chain.network.caip2, finalized.number))).all()
    booked = 0
    for one in waiting:
        receipt = await chain.receipt(one.hash)
        if receipt is not None and receipt.block_number <= finalized.number:
            cost = receipt.cost_wei
            booked += await once_more(sessions, partial(_book, sessions, one, cost, now))
    return booked


def _unbooked(network: str, finalized: int) -> SelectOfScalar[GasTransaction]:
    """What may have been carried out in a final block, those first that have been seen in one.

    Of transactions with one nonce one is ever carried out, and a reorganization may have put another in its place: so
    all are looked at whose nonce is used up, until one of them is booked.
    """
    one, booked = GasTransaction, aliased(GasTransaction)
    return (
        select(one)
        .join(GasWallet, and_(col(GasWallet.network) == one.network, col(GasWallet.address) == one.wallet))
        .where(
            col(one.network) == network,
            col(one.nonce) < col(GasWallet.next_nonce),
            col(one.booked_at).is_(None),
            func.coalesce(col(one.block_number), 0) <= finalized,
            ~exists().where(
                col(booked.network) == one.network,
                col(booked.wallet) == one.wallet,
                col(booked.nonce) == one.nonce,
                col(booked.booked_at).is_not(None),
            ),
        )
        .order_by(col(one.block_number).asc().nulls_last(), col(one.nonce).desc())
        .limit(BOOKED_MAX)
    )


async def _book(sessions: Sessions, transaction: GasTransaction, cost_wei: int, now: datetime) -> bool:
    async with sessions() as session, session.begin():
        wallet = await nonces.locked(session, transaction.network, transaction.wallet, now=now)
        row = await session.get_one(GasTransaction, transaction.hash, populate_existing=True)
        if row.booked_at is not None:
            return False
        row.cost_wei, row.booked_at = cost_wei, now
        gwei, wallet.unbooked_wei = divmod(wallet.unbooked_wei + cost_wei, WEI_PER_GWEI)
        if gwei:
            await posting.post(session, [_operation(row, gwei, now)])
    return True


def _operation(row: GasTransaction, gwei: int, now: datetime) -> Operation:
    return Operation(
        organization_id=PLATFORM,
        kind=Kind.MONEY,
        scope=SYSTEM_SCOPE,
        key=f"gas:{row.network}:{row.hash}",
        event_at=min(row.created_at, now),
        cause=f"gas of {row.purpose} {row.hash}",
        transfers=(Transfer("fees_onchain", "gas_wallet", ether(gwei)),),
    )
