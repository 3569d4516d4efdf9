"""The gas wallet's nonces: one in use at a time, kept in order over all processes by the wallet's row.

Theory of operation
-------------------
An account's transactions are carried out by their nonces, one after the other; a nonce that is never used holds up all
that come after it. So the row of the wallet is taken for one settlement, its transactions (the first, and those with
higher fees that replace it) all carry the same nonce, and the row is given back when the chain has used up that nonce.
A transaction is stored, signed, before the node sees it: after a crash the same bytes are sent again. Only a first
transaction that the node has certainly refused is withdrawn, and its nonce used for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.settling.records import Key
from billing.settling_tables import GasPurpose, GasTransaction, GasWallet
from rails.evm.gas import GasTerms, SignedTransaction

HOUR: Final = timedelta(hours=1)


async def locked(session: AsyncSession, network: str, address: str, *, now: datetime) -> GasWallet:
    """The wallet's row, locked; made when it is not there yet."""
    await session.exec(
        insert(GasWallet)
        .values(network=network, address=address, next_nonce=0, updated_at=now)
        .on_conflict_do_nothing()
    )
    return await session.get_one(
        GasWallet, (network, address), with_for_update={"key_share": True}, populate_existing=True
    )


def is_taken_by_another(wallet: GasWallet, key: Key) -> bool:
    """Whether the wallet's nonce is in use for another settlement."""
    return wallet.settlement_id is not None and wallet.settlement_id != key.settlement_id


def take(wallet: GasWallet, key: Key, *, chain_nonce: int, now: datetime) -> int:
    """Take the locked wallet for a settlement; the nonce to use.

    The chain may be ahead of the row (the key was used elsewhere, or the database restored); where it seems behind, the
    node is, or the chain is being reorganized, and what we sent will be carried out again.
    """
    wallet.next_nonce = max(wallet.next_nonce, chain_nonce)
    wallet.organization_id, wallet.settlement_id, wallet.updated_at = key.organization_id, key.settlement_id, now
    return wallet.next_nonce


def give_back(wallet: GasWallet, *, used: bool, now: datetime) -> None:
    """The nonce has been used up on the chain, or was certainly never given away."""
    wallet.next_nonce += used
    wallet.organization_id, wallet.settlement_id, wallet.updated_at = None, None, now


async def sent_with(session: AsyncSession, wallet: GasWallet) -> Sequence[GasTransaction]:
    """The transactions with the nonce that is in use, oldest first, those that were withdrawn excepted."""
    query = (
        select(GasTransaction)
        .where(
            col(GasTransaction.network) == wallet.network,
            col(GasTransaction.wallet) == wallet.address,
            col(GasTransaction.nonce) == wallet.next_nonce,
            col(GasTransaction.refused_at).is_(None),
        )
        .order_by(col(GasTransaction.created_at), col(GasTransaction.max_fee_wei))
        .execution_options(populate_existing=True)
    )
    return (await session.exec(query)).all()


async def passed_over(session: AsyncSession, wallet: GasWallet, chain_nonce: int) -> int | None:
    """The first nonce from the chain's to the one in use that nothing was signed with; none when there is none."""
    query = select(GasTransaction.nonce).where(
        col(GasTransaction.network) == wallet.network,
        col(GasTransaction.wallet) == wallet.address,
        col(GasTransaction.nonce) >= chain_nonce,
        col(GasTransaction.nonce) < wallet.next_nonce,
        col(GasTransaction.refused_at).is_(None),
    )
    signed = set((await session.exec(query)).all())
    return next((nonce for nonce in range(chain_nonce, wallet.next_nonce) if nonce not in signed), None)


async def of_settlement(session: AsyncSession, key: Key) -> Sequence[GasTransaction]:
    """All that was signed for a settlement, newest first, also what was withdrawn: a node may have it after all."""
    query = (
        select(GasTransaction)
        .where(
            col(GasTransaction.organization_id) == key.organization_id,
            col(GasTransaction.settlement_id) == key.settlement_id,
        )
        .order_by(col(GasTransaction.created_at).desc(), col(GasTransaction.max_fee_wei).desc())
        .execution_options(populate_existing=True)
    )
    return (await session.exec(query)).all()


async def was_signed_for(session: AsyncSession, key: Key) -> bool:
    """Whether a transaction was ever signed for a settlement, withdrawn or not."""
    query = select(GasTransaction.hash).where(
        col(GasTransaction.organization_id) == key.organization_id,
        col(GasTransaction.settlement_id) == key.settlement_id,
    )
    return (await session.exec(query.limit(1))).first() is not None


async def spent_in_the_last_hour(session: AsyncSession, wallet: GasWallet, *, by_contracts: bool, now: datetime) -> int:
    """Wei that the wallet's transactions of the last hour cost, or may cost at most while that is not known.

    Of transactions with one nonce only one is ever carried out: the dearest counts. `by_contracts`: only those of
    payers with code.
    """
    cost = func.coalesce(col(GasTransaction.cost_wei), col(GasTransaction.worst_cost_wei))
    dearest = (
        select(func.max(cost).label("wei"))
        .where(
            col(GasTransaction.network) == wallet.network,
            col(GasTransaction.wallet) == wallet.address,
            col(GasTransaction.created_at) > now - HOUR,
            col(GasTransaction.refused_at).is_(None),
            col(GasTransaction.by_contract).in_([True] if by_contracts else [True, False]),
        )
        .group_by(col(GasTransaction.nonce))
        .subquery()
    )
    return int((await session.exec(select(func.coalesce(func.sum(dearest.c.wei), 0)))).one())


async def store(
    session: AsyncSession,
    wallet: GasWallet,
    key: Key,
    terms: GasTerms,
    signed: SignedTransaction,
    *,
    purpose: GasPurpose,
    by_contract: bool,
    now: datetime,
) -> GasTransaction:
    """The row of a signed transaction, which is stored before it is sent.

    The same terms are the same transaction: one that was withdrawn before stands again.
    """
    known = await session.get(GasTransaction, signed.hash, with_for_update={"key_share": True}, populate_existing=True)
    if known is not None:
        if known.refused_at is not None:
            known.sent_at, known.refused_at, known.created_at = None, None, now
        return known
    row = GasTransaction(
        hash=signed.hash,
        network=wallet.network,
        wallet=wallet.address,
        nonce=terms.nonce,
        organization_id=key.organization_id,
        settlement_id=key.settlement_id,
        purpose=purpose,
        by_contract=by_contract,
        raw=signed.raw,
        gas_limit=terms.gas_limit,
        max_fee_wei=terms.max_fee_wei,
        tip_wei=terms.tip_wei,
        worst_cost_wei=terms.gas_limit * terms.max_fee_wei,
        created_at=now,
    )
    session.add(row)
    return row
