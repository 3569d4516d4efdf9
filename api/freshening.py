"""Whoever asks after a payment that looks stuck makes us read it again first, and is answered in any case."""

from __future__ import annotations

from datetime import timedelta

import structlog

from api.wiring import House
from billing import looking
from billing.tables import CreditQuote, PaymentAttempt
from ledger.ids import external

log = structlog.get_logger()


async def freshened(house: House, attempt: PaymentAttempt, quote: CreditQuote, *, apart: timedelta) -> bool:
    """Whether the provider was asked, so that the database may know more now. Raises nothing; see `looking`.

    One organization makes us ask the provider only so often, and all together only so many at a time: nobody may use up
    what the provider grants us by asking after payments.
    """
    try:
        if house.looking_now.locked() or house.looks.closed_s(str(attempt.organization_id), house.clock()):
            return False
        async with house.looking_now:
            looked = await looking.freshen(
                house.sessions,
                attempt,
                quote,
                rails=house.rails,
                livemode=house.livemode,
                clock=house.clock,
                apart=apart,
            )
    except Exception:
        log.exception("attempt_not_freshened", attempt_id=external("payatt", attempt.id))
        return False
    if looked:
        house.looks.wait_s(str(attempt.organization_id), house.clock())
    return looked
