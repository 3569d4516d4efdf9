"""Settlements as they are kept: what was signed, who looks after them next, and how they change state.

A settlement's lock is taken first of all. Who wants to look after one takes it by saying when the next may: two
processes then do not ask the chain twice, and one that dies delays it only by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.settlement_states import SettlementState as S
from billing.settlement_states import Turn, after
from billing.settling_tables import Settlement
from billing.tables import PaymentAttempt
from rails.evm.eip3009 import Authorization

PAYMENT_KIND: Final = "x402_authorization"
"""The kind of an external payment whose id is the authorization that paid: the chain itself carries each out once."""
ATOMIC_PER_CENT: Final = 10_000
LEASE: Final = timedelta(seconds=30)
"""For how long a settlement that was taken is left alone. Nothing is lost when whoever took it dies: it is looked at
again from what the rows and the chain say."""
TAKE_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Key:
    """Which settlement."""

    organization_id: UUID
    settlement_id: UUID


def key_of(row: Settlement) -> Key:
    """The settlement's key."""
    return Key(row.organization_id, row.id)


def authorization(row: Settlement) -> Authorization:
    """What its payer signed."""
    return Authorization(row.payer, row.pay_to, row.amount_atomic, row.valid_after, row.valid_before, row.nonce)


def payment_id(row: Settlement) -> str:
    """The payment's identity: chain, payer and nonce. It stays the same wherever a reorganization puts the payment."""
    return f"{row.network}:{row.payer.lower()}:0x{row.nonce.hex()}"


def cents(row: Settlement) -> int:
    """What it pays, in cents at par."""
    return row.amount_atomic // ATOMIC_PER_CENT


async def find(session: AsyncSession, *, network: str, asset: str, payer: str, nonce: bytes) -> Settlement | None:
    """The settlement of a signed payment, whoever presented it and for whatever."""
    query = select(Settlement).where(
        col(Settlement.network) == network,
        col(Settlement.asset) == asset,
        col(Settlement.payer) == payer,
        col(Settlement.nonce) == nonce,
    )
    return (await session.exec(query)).first()


async def of_attempt(session: AsyncSession, organization_id: UUID, attempt_id: UUID) -> Settlement | None:
    """The settlement that counts for an attempt: the newest, as all before it have failed."""
    query = (
        select(Settlement)
        .where(col(Settlement.organization_id) == organization_id, col(Settlement.attempt_id) == attempt_id)
        .order_by(col(Settlement.id).desc())
        .limit(1)
    )
    return (await session.exec(query)).first()


async def of_attempt_anywhere(session: AsyncSession, attempt_id: UUID) -> tuple[Settlement, PaymentAttempt] | None:
    """The same for an attempt whose organization is not known, with the attempt."""
    attempt = (await session.exec(select(PaymentAttempt).where(col(PaymentAttempt.id) == attempt_id))).first()
    row = await of_attempt(session, attempt.organization_id, attempt_id) if attempt is not None else None
    return (row, attempt) if row is not None and attempt is not None else None


async def read(sessions: Sessions, key: Key) -> Settlement:
    """The settlement as it stands. Raises `LookupError`."""
    async with sessions() as session:
        found = await session.get(Settlement, (key.organization_id, key.settlement_id))
    if found is None:
        raise LookupError(f"there is no settlement {key.settlement_id}")
    return found


async def locked(session: AsyncSession, key: Key) -> Settlement:
    """The settlement, locked. Raises `LookupError`."""
    found = await session.get(
        Settlement,
        (key.organization_id, key.settlement_id),
        with_for_update={"key_share": True},
        populate_existing=True,
    )
    if found is None:
        raise LookupError(f"there is no settlement {key.settlement_id}")
    return found


def move(row: Settlement, turn: Turn, now: datetime, *, reason: str | None = None) -> bool:
    """Change the state of a locked settlement as the table says. Whether it changed."""
    state = after(S(row.state), turn)
    if state == row.state:
        return False
    row.state, row.reason, row.updated_at = state, reason, now
    return True


async def take_due(sessions: Sessions, network: str, *, now: datetime) -> Sequence[Key]:
    """Settlements to look at, at most `TAKE_MAX`, longest due first; nobody else gets them for `LEASE`."""
    query = (
        select(Settlement)
        .where(~col(Settlement.final), col(Settlement.next_try_at) <= now, col(Settlement.network) == network)
        .order_by(col(Settlement.next_try_at))
        .limit(TAKE_MAX)
        .with_for_update(key_share=True, skip_locked=True)
    )
    async with sessions() as session, session.begin():
        taken = (await session.exec(query)).all()
        for row in taken:
            row.next_try_at = now + LEASE
        return [key_of(row) for row in taken]


async def look_again(sessions: Sessions, key: Key, *, after_that: timedelta, now: datetime) -> None:
    """Say when the settlement should be looked at next."""
    async with sessions() as session, session.begin():
        row = await locked(session, key)
        row.next_try_at, row.tries = now + after_that, row.tries + 1
