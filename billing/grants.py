"""Credits that an operator gives: promotional ones as a gift, or a correction that puts something right.

Gifts of equal terms join one lot, so an expiry that is given in days ends with a UTC day. It is counted from when the
grant was first asked for: a repetition after midnight must find its first answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from billing import asking
from billing.database import Sessions, snapshot
from billing.fresh import new_key
from billing.refusals import Refusal, Refused
from billing.spending import Behalf, not_found
from ledger import statements
from ledger.ids import external
from ledger.lane import Lane
from ledger.operations import PRIORITY, Kind, LotCause, LotOpening, Operation
from ledger.outcomes import Outcome, Posted

EXPIRES_IN_DAYS_MAX: Final = 3_650
PRIORITY_MAX: Final = 1_000
CAUSES: Final = (LotCause.PROMOTIONAL, LotCause.CORRECTION)
"""What an operator may grant. Paid credits come from payments alone."""


@dataclass(frozen=True, slots=True)
class Gift:
    """What is given: `expires_at` or `expires_in_days` or neither, which is for ever. Small priorities burn first."""

    cause: LotCause
    credits: int
    reason: str | None = None
    expires_at: datetime | None = None
    expires_in_days: int | None = None
    priority: int = PRIORITY

    def expiry(self, asked_at: datetime) -> datetime | None:
        """When the credits expire if they are asked for at `asked_at`."""
        if self.expires_in_days is None:
            return self.expires_at
        last_day = asked_at.astimezone(UTC) + timedelta(days=self.expires_in_days)
        return last_day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def operation_of(behalf: Behalf, gift: Gift, key: str, *, asked_at: datetime) -> Operation:
    """The gift as an operation, asked for at `asked_at`."""
    return Operation(
        organization_id=behalf.organization_id,
        kind=Kind.GRANT,
        scope=behalf.scope,
        key=key,
        event_at=asked_at,
        cause=f"{gift.cause}: {gift.reason}" if gift.reason else gift.cause.value,
        lot=LotOpening(gift.cause, gift.credits, None, gift.expiry(asked_at), gift.priority),
    )


async def give(
    sessions: Sessions, lane: Lane, behalf: Behalf, gift: Gift, key: str, *, now: datetime
) -> tuple[Operation, Posted]:
    """Post the gift; what was posted, and the answer. A repetition of the same gift gets its first answer.

    Raises `Refused`: SPENDING_CONFLICT, INVALID_ARGUMENTS (it would have expired), NOT_FOUND; and as `asking.post`.
    """
    operation = operation_of(behalf, gift, key, asked_at=now)
    posted = await asking.post(lane, operation)
    if posted.outcome is Outcome.EXISTS_WITH_DIFFERENT_CONTENT and gift.expires_in_days is not None:
        async with snapshot(sessions) as session:
            first = await statements.operation(session, behalf.organization_id, operation.id)
        if first is not None:
            operation = operation_of(behalf, gift, key, asked_at=first.happened_at)
            posted = await asking.post(lane, operation)
    if posted.outcome is not Outcome.POSTED:
        raise _refused(operation, posted.outcome)
    return operation, posted


def _refused(operation: Operation, outcome: Outcome) -> Refused:
    match outcome:
        case Outcome.EXISTS_WITH_DIFFERENT_CONTENT:
            way_on = {"operation_id": external("op", operation.id), "idempotency_key": new_key("grant")}
            return Refused(Refusal.SPENDING_CONFLICT, recovery=way_on)
        case Outcome.EXPIRES_IN_THE_PAST:
            return Refused(Refusal.INVALID_ARGUMENTS, "expires_at must be a time that has not come yet")
        case Outcome.TOO_MANY_CREDITS:
            return Refused(Refusal.INVALID_ARGUMENTS, "credits are more than one organization can hold")
        case Outcome.BOOK_NOT_FOUND:
            return not_found(outcome)
    raise LookupError(f"a grant is never answered with {outcome}")
