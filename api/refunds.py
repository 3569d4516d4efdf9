"""A refund that was stored goes to who sends it at once; whatever keeps it from there, the worker sends it again.

The provider sends what it took. What a wallet paid on chain goes back out of our own treasury, whose key is not here:
for that the transaction is shown that has to be signed, and the chain is asked whether it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from api.wiring import House
from billing.attempts import RequestState
from billing.operating.refunds import Asked
from billing.posting_rules import ON_CHAIN
from billing.refusals import Refusal, Refused
from billing.reversal_tables import RefundRequest
from billing.reversals import refunding, rules
from ledger.ids import external
from rails.money import MoneyFact, MoneyReader, Refunder
from rails.rail import OutcomeUnknown, RailUnavailable, Reference
from rails.x402.treasury import TreasuryRefunds, is_on_chain

log = structlog.get_logger()


def refunder(house: House, payment_kind: str) -> Refunder:
    """Who refunds such payments. Raises `Refused(PAYMENT_METHOD_UNAVAILABLE)` where nobody does."""
    found = _refunder(house, on_chain=payment_kind in ON_CHAIN)
    if found is None:
        who = "no node of its chain" if payment_kind in ON_CHAIN else "no payment provider"
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{who} is configured here")
    return found


def _refunder(house: House, *, on_chain: bool) -> Refunder | None:
    return treasury(house) if on_chain else house.money


def treasury(house: House) -> TreasuryRefunds | None:
    """What prepares refunds on chain, and sees them; none without a node to ask."""
    return house.native.treasury if house.native is not None else None


async def carry_out(house: House, request: RefundRequest) -> None:
    """Send it. That the provider refused it or did not answer stands on the request, and raises nothing."""
    try:
        sent_by = refunder(house, request.payment_kind)
        await refunding.carry_out(house.sessions, sent_by, request, clock=house.clock)
    except (OutcomeUnknown, RailUnavailable) as error:
        log.warning("refund_not_answered", refund_id=external(refunding.PREFIX, request.id), reason=str(error))


async def send_due(house: House) -> bool:
    """A chore of the worker: send refunds again that have no known outcome. Each failure is recorded, with back-off."""
    for on_chain in (False, True):
        if _refunder(house, on_chain=on_chain) is not None:
            for request in await refunding.due(house.sessions, on_chain=on_chain, now=house.clock()):
                await carry_out(house, request)
    return False


def to_sign(house: House, found: Asked) -> dict[str, Any] | None:
    """The transaction that the treasury has still to sign and send; none when there is none, or it was seen.

    Nor is there one before the payment is final: what a reorganization takes out must not be sent back besides. It is
    made anew and compared with what was stored: who can write that table must not have anything else signed.
    """
    request, reversal, is_final = found
    prepares = treasury(house)
    if not is_final:
        return None
    if request.payment_kind not in ON_CHAIN or request.state != RequestState.ANSWERED or prepares is None:
        return None
    if reversal is not None and reversal.status in rules.FINAL:
        return None
    made = prepares.prepare_refund(refunding.order(request))
    if made.parameters != request.parameters:
        log.error("refund_is_another", refund_id=external(refunding.PREFIX, request.id))
        return None
    transaction: dict[str, Any] = json.loads(made.parameters)
    del transaction["refund_id"]
    return transaction


class _Everywhere:
    """Asks the chain about refunds on chain, and the provider about everything else."""

    def __init__(self, provider: MoneyReader | None, chain: MoneyReader | None) -> None:
        self._provider = provider
        self._chain = chain

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """Only the provider sends letters."""
        return self._provider.references(event) if self._provider is not None else ()

    async def read(self, reference: Reference, /) -> Sequence[MoneyFact]:
        """As who knows it reads it. `RailUnavailable` where that is not configured (any more)."""
        asked = self._chain if is_on_chain(reference) else self._provider
        if asked is None:
            raise RailUnavailable("who knows of it is not configured here")
        return await asked.read(reference)


def reader(house: House) -> MoneyReader | None:
    """Who reads what became of money; none where nobody can be asked."""
    chain = treasury(house)
    return _Everywhere(house.money, chain) if house.money is not None or chain is not None else None
