"""What keeps a month from being closed: what is not known yet, and what nobody has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.attempts import RequestState
from finance.periods import Period
from finance.statement_tables import ExceptionState


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something of the month that is not done: what, how many of it, and what to do about it."""

    name: str
    count: int
    remedy: str


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
        "SELECT count(*) FROM finance.exceptions WHERE state IN (:open, :proposed) AND occurred_at < :end",
        "see `purser exceptions list`; resolve each, or acknowledge it with a reason",
    ),
)


async def standing(session: AsyncSession, period: Period) -> list[Obstacle]:
    """What of the period, or before it, is not done; empty when it can be closed."""
    connection = await session.connection()
    known = {
        "end": period.ends_at, "stored": RequestState.STORED, "unknown": RequestState.UNKNOWN,
        "open": ExceptionState.OPEN, "proposed": ExceptionState.PROPOSED,
    }  # fmt: skip
    found = []
    for name, statement, remedy in _COUNTED:
        asked = {key: value for key, value in known.items() if f":{key}" in statement}
        count = int((await connection.execute(text(statement), asked)).scalar_one())
        found += [Obstacle(name, count, remedy)] if count else []
    return found
