"""The one way to write the books: a batch of operations through `ledger.post_v1`, inside the caller's transaction.

Called through the session, never through its raw connection (SQLAlchemy sends BEGIN only at its own first statement).
It is the last statement before COMMIT: what the session still has to write is flushed first, and the books stay locked
until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.operations import LANE, SYSTEM_SCOPE, Operation
from ledger.outcomes import Outcome, Posted, PostingRefused

OPERATIONS_MAX = 1000

_POST = text("""
    SELECT item, outcome, replayed, seq, posted_at, accounting_date, available_after, held_after
    FROM ledger.post_v1(
      CAST(:lane AS smallint),
      CAST(:organizations AS uuid[]), CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:scopes AS text[]),
      CAST(:keys AS text[]), CAST(:fingerprints AS bytea[]), CAST(:event_ats AS timestamptz[]),
      CAST(:causes AS text[]), CAST(:terms AS text[]),
      CAST(:transfer_items AS integer[]), CAST(:debits AS text[]), CAST(:credits AS text[]),
      CAST(:currencies AS text[]), CAST(:amounts AS bigint[]), CAST(:into_lot AS boolean[]),
      CAST(:lot_items AS integer[]), CAST(:lot_causes AS text[]), CAST(:lot_credits AS bigint[]),
      CAST(:lot_basis_amounts AS bigint[]), CAST(:lot_basis_currencies AS text[]),
      CAST(:lot_expires_ats AS timestamptz[]), CAST(:lot_priorities AS smallint[]))
""")


async def post(session: AsyncSession, operations: Sequence[Operation]) -> list[Posted]:
    """Post `operations` in order, each with its own answer.

    Raises `PostingRefused` when an operation of scope `system` is refused: the service wanted it, so the whole
    transaction must roll back. At most `OPERATIONS_MAX` at a time.
    """
    if len(operations) > OPERATIONS_MAX:
        raise ValueError(f"at most {OPERATIONS_MAX} operations are posted at a time")
    await session.flush()
    connection = await session.connection()
    rows = (await connection.execute(_POST, _parameters(operations))).all()
    answers = [
        Posted(
            operation_id=operations[row.item - 1].id,
            outcome=Outcome(row.outcome),
            replayed=row.replayed,
            seq=row.seq,
            posted_at=row.posted_at,
            accounting_date=row.accounting_date,
            available_after=row.available_after,
            held_after=row.held_after,
        )
        for row in rows
    ]
    for operation, answer in zip(operations, answers, strict=True):
        if operation.scope == SYSTEM_SCOPE and answer.outcome is not Outcome.POSTED:
            raise PostingRefused(answer)
    return answers


def _parameters(operations: Sequence[Operation]) -> dict[str, Any]:
    moved = [(item, t) for item, o in enumerate(operations, 1) for t in o.transfers]
    lots = [(item, o.lot) for item, o in enumerate(operations, 1) if o.lot]
    return {
        "lane": LANE,
        "organizations": [o.organization_id for o in operations],
        "ids": [o.id for o in operations],
        "kinds": [o.kind.value for o in operations],
        "scopes": [o.scope for o in operations],
        "keys": [o.key for o in operations],
        "fingerprints": [o.fingerprint() for o in operations],
        "event_ats": [o.event_at for o in operations],
        "causes": [o.cause for o in operations],
        "terms": [o.terms for o in operations],
        "transfer_items": [item for item, _ in moved],
        "debits": [t.debit for _, t in moved],
        "credits": [t.credit for _, t in moved],
        "currencies": [t.money.currency.value for _, t in moved],
        "amounts": [t.money.amount for _, t in moved],
        "into_lot": [t.into_lot for _, t in moved],
        "lot_items": [item for item, _ in lots],
        "lot_causes": [lot.cause.value for _, lot in lots],
        "lot_credits": [lot.credits for _, lot in lots],
        "lot_basis_amounts": [lot.basis.amount if lot.basis else None for _, lot in lots],
        "lot_basis_currencies": [lot.basis.currency.value if lot.basis else None for _, lot in lots],
        "lot_expires_ats": [lot.expires_at for _, lot in lots],
        "lot_priorities": [lot.priority for _, lot in lots],
    }
