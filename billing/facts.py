"""Whatever a provider says goes through here to where it is applied, any number of times, from whoever brings it."""

from __future__ import annotations

from datetime import datetime

from billing import clearing, fulfillment
from billing.database import Sessions
from billing.judging import Judged, LetterLock
from billing.reversals import applying
from rails.money import ChargeBooked, DisputeSeen, FraudWarned, MoneyFact, PayoutSeen, RefundSeen
from rails.rail import Fact


async def apply(
    sessions: Sessions, fact: Fact | MoneyFact, *, livemode: bool, now: datetime, letter: LetterLock | None = None
) -> Judged:
    """Apply `fact` once. `letter` is given with the last fact of a letter and becomes done in the same transaction.

    Raises only when something is broken; then nothing stays.
    """
    match fact:
        case Fact():
            return await fulfillment.apply(sessions, fact, livemode=livemode, now=now, letter=letter)
        case RefundSeen() | DisputeSeen() | FraudWarned():
            return await applying.apply(sessions, fact, livemode=livemode, now=now, letter=letter)
        case ChargeBooked() | PayoutSeen():
            return await clearing.apply(sessions, fact, livemode=livemode, now=now, letter=letter)
    raise TypeError(f"no rule for {type(fact).__name__}")
