"""Payments of wallets, the books and what gas cost agree; whoever changes one of them is found."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from api.wiring import async_url
from billing import proofs, settlement_proofs
from billing.settlement_states import SettlementState as S

SETTLEMENT = "UPDATE billing.settlements SET {} WHERE id = :settlement"
IN_BOOKS, HAS_ONE = "settled payment is in the books", "payment on chain has its settlement"
VANISHED, GAS = "vanished payment is taken back", "gas is booked"
TAMPERING = [
    (SETTLEMENT.format("amount_atomic = amount_atomic + 1"), {IN_BOOKS}),
    (SETTLEMENT.format("payer = '0x0000000000000000000000000000000000000001'"), {IN_BOOKS, HAS_ONE}),
    (SETTLEMENT.format("nonce = digest"), {IN_BOOKS, HAS_ONE}),
    (SETTLEMENT.format("state = 'unknown'"), {HAS_ONE}),
    (SETTLEMENT.format("state = 'kept'"), {IN_BOOKS}),
    (SETTLEMENT.format("state = 'vanished'"), {VANISHED}),
    (SETTLEMENT.format("state = 'failed', final = true"), {VANISHED}),
    ("DELETE FROM billing.settlements WHERE id = :settlement", {HAS_ONE}),
    ("DELETE FROM billing.external_payments WHERE attempt_id = :attempt", {IN_BOOKS}),
    ("UPDATE billing.gas_transactions SET cost_wei = cost_wei + 1 WHERE settlement_id = :settlement", {GAS}),
    ("UPDATE billing.gas_wallets SET unbooked_wei = unbooked_wei + 1", {GAS}),
    ("DELETE FROM billing.gas_transactions WHERE settlement_id = :settlement", {GAS}),
]


async def found_after(till, key, change):
    """The checks that complain of `change`, which is undone again."""
    engine = create_async_engine(async_url(till.database.owner_url))
    row = await till.row(key)
    try:
        async with AsyncSession(engine) as session:
            connection = await session.connection()
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            done = await connection.execute(text(change), {"settlement": row.id, "attempt": row.attempt_id})
            assert done.rowcount == 1
            problems = await proofs.problems(session, None, limit=100)
            await session.rollback()
    finally:
        await engine.dispose()
    return {one.check for one in problems}


async def test_whatever_is_changed_of_a_settled_payment_is_found(till):
    key = await till.bought_by(till.onchain.payer())
    await till.tend()
    till.finalize()
    assert await till.native.book_gas(now=till.clock()) == 1
    named = {check.name for check in settlement_proofs.CHECKS}
    for change, checks in TAMPERING:
        assert checks <= await found_after(till, key, change) & named, change
    assert (await till.row(key)).state == S.SETTLED


@pytest.mark.parametrize("check", settlement_proofs.CHECKS, ids=lambda check: check.name)
def test_every_check_is_tried(check):
    assert any(check.name in checks for _, checks in TAMPERING)
