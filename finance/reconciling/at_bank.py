"""Both sides of the bank's account, from the database: the lines of its statement, and the trades in our books.

The third side, payouts, comes with what the provider says of them (`reading.payouts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Text, cast, exists, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.operator_actions import Act
from billing.reversal_tables import OperatorAction
from finance.reconciling.comparing import BANK
from finance.reconciling.pairing import Booked, Expected, Kind, Paired
from finance.reconciling.reading import TooMuchIsWrong
from finance.statement_tables import BankLine, ExceptionState, Finding, ReconciliationException

BANK_LINES_MAX: Final = 500_000
TRADES_MAX: Final = 100_000

# A person has decided of the line, for which the books had nothing: that it is known, adjusted, or to be adjusted.
_SETTLED: Final = exists().where(
    col(ReconciliationException.source) == BANK,
    col(ReconciliationException.subject) == cast(BankLine.id, Text),
    col(ReconciliationException.state).in_(
        (ExceptionState.ACKNOWLEDGED, ExceptionState.PROPOSED, ExceptionState.RESOLVED)
    ),
    col(ReconciliationException.finding) == Finding.MISSING_HERE,
)


async def lines(session: AsyncSession) -> list[Booked]:
    """The lines of the bank. Raises `TooMuchIsWrong` for more than `BANK_LINES_MAX`."""
    query = select(BankLine, _SETTLED).order_by(col(BankLine.booked_on), col(BankLine.id)).limit(BANK_LINES_MAX + 1)
    rows = (await session.exec(query)).all()
    if len(rows) > BANK_LINES_MAX:
        raise TooMuchIsWrong(f"more than {BANK_LINES_MAX} lines of the bank cannot be compared at once")
    return [
        Booked(row.id, row.booked_on, row.amount_cents, row.currency, f"{row.reference} {row.description}".strip(),
               row.known_as, settled=settled)
        for row, settled in rows
    ]  # fmt: skip


async def trades(session: AsyncSession) -> list[Expected]:
    """Sales of USDC and purchases of ether that moved money at the bank, in the order of booking.

    Raises `TooMuchIsWrong` for more than `TRADES_MAX`.
    """
    query = select(OperatorAction).where(col(OperatorAction.action).in_((Act.SOLD_USDC, Act.BOUGHT_ETHER)))
    acts = (await session.exec(query.order_by(col(OperatorAction.id)).limit(TRADES_MAX + 1))).all()
    if len(acts) > TRADES_MAX:
        raise TooMuchIsWrong(f"more than {TRADES_MAX} trades cannot be compared at once")
    return [found for act in acts if (found := _trade(act)).amount]


def _trade(act: OperatorAction) -> Expected:
    said: dict[str, Any] = act.details
    sold = act.action == Act.SOLD_USDC
    return Expected(
        name=act.subject,
        amount=said["received_cents"] if sold else -said["paid_cents"],
        currency="usd",
        day=datetime.fromisoformat(said["sold_at" if sold else "bought_at"]).astimezone(UTC).date(),
        kind=Kind.SALE if sold else Kind.PURCHASE,
        words=tuple(word for word in (said["reference"], said.get("transaction_hash")) if word),
    )


async def keep_pairs(session: AsyncSession, paired: Paired) -> None:
    """Write down what each line of the bank is, where that is sure and new.

    What another line was kept as until now is taken from it first: no two lines are the same, not even for a moment.
    """
    new = [(one.name, line.line_id) for one, line in paired.sure if line.known_as != one.name]
    lines_of_bank = (*(line for _, line in (*paired.sure, *paired.guessed)), *paired.lines)
    kept = {line.known_as for line in lines_of_bank}
    known_as = col(BankLine.known_as)
    for name in (name for name, _ in new if name in kept):
        await session.exec(update(BankLine).where(known_as == name).values(known_as=None))
    for name, line_id in new:
        await session.exec(update(BankLine).where(col(BankLine.id) == line_id).values(known_as=name))


def first_day(lines_of_bank: Sequence[Booked]) -> date | None:
    """Where the bank's statement begins; none where there is none."""
    return min((line.booked_on for line in lines_of_bank), default=None)
