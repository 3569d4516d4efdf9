"""A refund that was stored goes to the provider at once; whatever keeps it from there, the worker sends it again."""

from __future__ import annotations

import structlog

from api.wiring import House
from billing.refusals import Refusal, Refused
from billing.reversal_tables import RefundRequest
from billing.reversals import refunding
from ledger.ids import external
from rails.money import Refunder
from rails.rail import OutcomeUnknown, RailUnavailable

log = structlog.get_logger()


def refunder(house: House) -> Refunder:
    """Who refunds. Raises `Refused(PAYMENT_METHOD_UNAVAILABLE)` where no provider is configured."""
    if house.money is None:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, "no payment provider is configured here")
    return house.money


async def carry_out(house: House, request: RefundRequest) -> None:
    """Send it. That the provider refused it or did not answer stands on the request, and raises nothing."""
    try:
        await refunding.carry_out(house.sessions, refunder(house), request, clock=house.clock)
    except (OutcomeUnknown, RailUnavailable) as error:
        log.warning("refund_not_answered", refund_id=external(refunding.PREFIX, request.id), reason=str(error))


async def send_due(house: House) -> bool:
    """A chore of the worker: send refunds again that have no known outcome. Each failure is recorded, with back-off."""
    if house.money is None:
        return False
    waiting = await refunding.due(house.sessions, now=house.clock())
    for request in waiting:
        await carry_out(house, request)
    return False
