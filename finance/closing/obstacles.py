"""What keeps a month from being closed: what is not known yet, what nobody has looked at, what nobody compared.

An exception of sums (of an account, of a treasury's balance) is of no day: whichever month is closed, it stands in the
way. And a month is closed over nothing but a comparison that began after its end, where there is anything to compare:
one that had Stripe's lines up to the end, and what each treasury held at a block after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.attempts import RequestState
from finance.periods import Period
from finance.reconciling import clearing
from finance.statement_tables import ExceptionState
from finance.treasury import comparing as treasury


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something of the month that is not done: what, how many of it, and what to do about it."""

    name: str
    count: int
    remedy: str


# The newest run: one row, of nulls where there is none.
_RUN: Final = """(VALUES (1)) AS newest LEFT JOIN LATERAL (
              SELECT created_at, CAST(report ->> 'as_of' AS timestamptz) AS as_of,
                     CAST(report -> 'covered' ->> 'read_at' AS timestamptz) AS covered_to
              FROM finance.reconciliations ORDER BY id DESC LIMIT 1) AS run ON true"""
_AT_STRIPE: Final = """(
              EXISTS (SELECT FROM billing.balance_transactions WHERE currency = 'usd' AND occurred_at < :end)
              OR EXISTS (SELECT FROM finance.statement_lines WHERE occurred_at < :end))"""
_PAID_ON_CHAIN: Final = """billing.settlements
              WHERE state IN ('held', 'settled', 'kept') AND coalesce(paid_at, created_at) < :end"""
_ON_CHAIN: Final = f"EXISTS (SELECT FROM {_PAID_ON_CHAIN})"

_COUNTED: Final = (
    (
        "requests whose answer is not known",
        "SELECT count(*) FROM billing.provider_requests WHERE state = :unknown AND created_at < :end",
        "wait until `purser serve` has looked again, or see `purser attempts list --stuck`",
    ),
    (
        "refunds that are not answered",
        "SELECT count(*) FROM billing.refund_requests WHERE state IN (:stored, :unknown) AND created_at < :end",
        "see `purser refunds list`",
    ),
    (
        "payments of wallets that are not final",
        "SELECT count(*) FROM billing.settlements WHERE NOT final AND created_at < :end",
        "see `purser settlements list`",
    ),
    (
        "payouts whose lines are not all posted",
        "SELECT count(*) FROM billing.payouts WHERE NOT complete AND occurred_at < :end",
        "wait until `purser serve` has read them again",
    ),
    (
        "charges whose fee is not known",
        """SELECT count(*) FROM billing.watched_objects
           WHERE kind = 'payment_intent' AND done_at IS NULL AND created_at < :end""",
        "wait until `purser serve` has read them again",
    ),
    (
        "exceptions that nobody has acknowledged",
        """SELECT count(*) FROM finance.exceptions
           WHERE state IN (:open, :proposed) AND (occurred_at < :end OR source IN (:clearing, :treasury))""",
        "see `purser exceptions list`; resolve each, or acknowledge it with a reason",
    ),
    (
        "reconciliations that are missing since the month's end",
        f"""SELECT count(*) FROM {_RUN}
            WHERE ({_AT_STRIPE} OR {_ON_CHAIN}) AND (run.as_of < :end) IS NOT FALSE""",  # noqa: S608 - constants
        "run `purser reconcile`",
    ),
    (
        "reconciliations that did not ask Stripe since the month's end",
        f"""SELECT count(*) FROM {_RUN}
            WHERE {_AT_STRIPE} AND run.as_of >= :end AND (run.covered_to < :end) IS NOT FALSE""",  # noqa: S608 - constants
        "run `purser reconcile --from-stripe`",
    ),
    (
        "treasuries of which no balance since the month's end was compared",
        f"""SELECT count(*) FROM {_RUN}
            CROSS JOIN (SELECT DISTINCT network, lower(pay_to) AS treasury FROM {_PAID_ON_CHAIN}) AS used
            WHERE NOT EXISTS (
              SELECT FROM finance.treasury_readings AS r
              WHERE r.network = used.network AND r.treasury = used.treasury AND r.block_at >= :end
                AND r.created_at <= run.created_at)""",  # noqa: S608 - constants
        "run `purser treasury read` with a node of that chain (PURSER_X402_RPC_URL), and then `purser reconcile`",
    ),
)

_UNACKNOWLEDGED: Final = text("SELECT min(opened_at) FROM finance.exceptions WHERE state IN (:open, :proposed)")


async def standing(session: AsyncSession, period: Period) -> list[Obstacle]:
    """What of the period, or before it, is not done; empty when it can be closed."""
    connection = await session.connection()
    known = {
        "end": period.ends_at, "stored": RequestState.STORED, "unknown": RequestState.UNKNOWN,
        "open": ExceptionState.OPEN, "proposed": ExceptionState.PROPOSED,
        "clearing": clearing.SOURCE, "treasury": treasury.TREASURY,
    }  # fmt: skip
    found = []
    for name, statement, remedy in _COUNTED:
        asked = {key: value for key, value in known.items() if f":{key}" in statement}
        count = int((await connection.execute(text(statement), asked)).scalar_one())
        found += [Obstacle(name, count, remedy)] if count else []
    return found


async def unacknowledged_since(session: AsyncSession) -> datetime | None:
    """Since when the oldest exception waits that nobody has acknowledged or resolved; none when there is none.

    It waits since it was opened, or opened again, however its numbers change; a proposal has not ended that.
    """
    known = {"open": ExceptionState.OPEN, "proposed": ExceptionState.PROPOSED}
    found: datetime | None = (await (await session.connection()).execute(_UNACKNOWLEDGED, known)).scalar_one()
    return found
