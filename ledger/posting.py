"""The one way to write the books: a batch of operations through `ledger.post_v1`, one answer each.

`post` works inside the caller's transaction, through its session, never through its raw connection (SQLAlchemy sends
BEGIN only at its own first statement). It is the last statement before COMMIT: what the session still has to write is
flushed first, and the books stay locked until the transaction ends. The hot path has a road of its own: `ledger.lane`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from ledger.operations import LANE, MOVING_MONEY, SYSTEM_SCOPE, LotOpening, Operation
from ledger.outcomes import Outcome, Posted, PostingRefused

OPERATIONS_MAX: Final = 1000
CATCH_UPS_MAX: Final = 10_000
"""Calls that one book may need to post all that fell due in it: a hundred holds and lots each."""

_COLUMNS: Final = (
    ("organizations", "uuid"), ("kinds", "text"), ("scopes", "uuid"), ("keys", "text"), ("fingerprints", "bytea"),
    ("event_ats", "timestamptz"), ("causes", "text"), ("spenders", "uuid"), ("amounts", "bigint"), ("targets", "uuid"),
    ("deadlines", "timestamptz"), ("finals", "boolean"), ("groups", "integer"), ("details", "jsonb"),
)  # fmt: skip

ANSWER: Final = "item, outcome, replayed, seq, posted_at, accounting_date, available_after, held_after, paid_after"
_POST: Final = text(
    f"SELECT {ANSWER} FROM ledger.post_v1(CAST(:lane AS smallint), "  # noqa: S608 - names of our own
    + ", ".join(f"CAST(:{name} AS {type_}[])" for name, type_ in _COLUMNS)
    + ", true)"
)
_CATCH_UP: Final = text("SELECT ledger.catch_up_v1(CAST(:lane AS smallint), CAST(:organization AS uuid))")

_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


class BehindSchedule(Exception):
    """More fell due in a book than one call posts. The transaction must roll back; `catch_up` that book, then retry."""

    def __init__(self, organization_id: UUID) -> None:
        super().__init__(f"book {organization_id} has more due than one call posts")
        self.organization_id = organization_id


async def post(session: AsyncSession, operations: Sequence[Operation]) -> list[Posted]:
    """Post `operations` in order within each book, each with its own answer. At most `OPERATIONS_MAX` at a time.

    Raises `PostingRefused` when an operation of scope `system` is refused: the service wanted it, so the whole
    transaction must roll back. Raises `BehindSchedule` when such an operation's book must catch up first.
    """
    if len(operations) > OPERATIONS_MAX:
        raise ValueError(f"at most {OPERATIONS_MAX} operations are posted at a time")
    await session.flush()
    connection = await session.connection()
    order = posting_order(operations)
    arrays = dict(zip((name for name, _ in _COLUMNS), columns_of(operations[n] for n in order), strict=True))
    rows = (await connection.execute(_POST, {"lane": LANE, **arrays})).all()
    answers = answers_of(operations, order, rows)
    for operation, answer in zip(operations, answers, strict=True):
        if operation.scope == SYSTEM_SCOPE and answer.outcome is Outcome.CATCH_UP:
            raise BehindSchedule(operation.organization_id)
        if operation.scope == SYSTEM_SCOPE and answer.outcome is not Outcome.POSTED:
            raise PostingRefused(answer)
    return answers


async def catch_up(session: AsyncSession, organization_id: UUID) -> bool:
    """Post the next part of what fell due in a book; whether more is left. In a transaction of its own."""
    connection = await session.connection()
    known = {"lane": LANE, "organization": organization_id}
    return bool((await connection.execute(_CATCH_UP, known)).scalar_one())


def posting_order(operations: Sequence[Operation]) -> list[int]:
    """Indexes into `operations` sorted by book, as the function wants them; within a book as they were given."""
    return sorted(range(len(operations)), key=lambda n: operations[n].organization_id.int)


def columns_of(operations: Iterable[Operation]) -> list[list[Any]]:
    """The arrays of `ledger.post_v1`, in its order, between the lane and `p_wait`."""
    chosen = list(operations)
    columns = [list(column) for column in zip(*(row_of(o) for o in chosen), strict=True)]
    columns.insert(-1, [o.group for o in chosen])
    return columns


def row_of(o: Operation) -> tuple[Any, ...]:
    """One operation as the arrays take it, without its group, which is a matter of the batch and not of its content."""
    return (
        o.organization_id, o.kind.value, o.scope, o.key, o.fingerprint(), o.event_at, o.cause, o.spender, o.credits,
        o.target, o.deadline, o.final, _details(o),
    )  # fmt: skip


def answers_of(operations: Sequence[Operation], order: Sequence[int], rows: Sequence[Any]) -> list[Posted]:
    """The rows that `ledger.post_v1` gave for `operations` in `order`, as answers in the order of `operations`."""
    answers: list[Any] = [None] * len(operations)
    for n, row in zip(order, rows, strict=True):
        answers[n] = Posted(operations[n].id, _OUTCOMES[row[1]], *row[2:])
    return answers


def _details(operation: Operation) -> str | None:
    if operation.kind in MOVING_MONEY:
        transfers = [[t.debit, t.credit, t.money.amount] for t in operation.transfers]
        return json.dumps({"transfers": transfers} | ({"lot": _lot(operation.lot)} if operation.lot else {}))
    if operation.caps is not None:
        c = operation.caps
        return json.dumps({
            "per_spend": c.per_spend, "per_hour": c.per_hour, "per_day": c.per_day, "per_month": c.per_month,
            "total": c.total, "paused": c.paused,
        })  # fmt: skip
    return None


def _lot(lot: LotOpening) -> dict[str, Any]:
    return {
        "cause": lot.cause.value,
        "credits": lot.credits,
        "basis_amount": lot.basis.amount if lot.basis else None,
        "basis_currency": lot.basis.currency.value if lot.basis else None,
        "expires_at": lot.expires_at.isoformat() if lot.expires_at else None,
        "priority": lot.priority,
    }
