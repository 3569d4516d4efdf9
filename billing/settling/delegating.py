"""A facilitator carries out a signed payment: it pays the gas, and its word is checked where a chain can be asked.

The same signed payment may be handed over any number of times: the token carries it out once, and a facilitator says
so again or that the nonce is used. What it says is kept as a hint where to look. Without a chain of our own its word
is all there is: then only a success counts, and everything else leaves the payment unknown until the facilitator says
more, or a person looks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from billing.database import Sessions
from billing.settlement_states import SettlementState, Turn
from billing.settling import records
from billing.settling.records import authorization, key_of
from billing.settling.submitting import Progress, Submission
from billing.settling_tables import Settlement
from rails.evm.networks import Network
from rails.x402.facilitator import Facilitator, payment_wire
from rails.x402.terms import NotPayable, Requirement


class FacilitatorSubmitter:
    """Fulfils `submitting.Submitter` with a facilitator. `timeout_s` is what the requirements offered."""

    name: Final = "facilitator"

    def __init__(
        self, sessions: Sessions, facilitator: Facilitator, network: Network, *, timeout_s: int, is_checked: bool
    ) -> None:
        """`is_checked`: a chain can be asked, so that the facilitator's word alone decides nothing."""
        self._sessions = sessions
        self._facilitator = facilitator
        self._network = network
        self._timeout_s = timeout_s
        self._is_checked = is_checked

    async def submit(self, row: Settlement, *, now: datetime) -> Submission:
        """Hand the payment over. See `submitting.Submitter`."""
        async with self._sessions() as session, session.begin():
            current = await records.locked(session, key_of(row))
            was_sent = current.state != SettlementState.CLAIMED
            records.move(current, Turn.SUBMITTED, now)
            current.handed_over += 1
        requirement = self._requirement(row)
        try:
            payment = payment_wire(requirement, authorization(row), row.signature, None)
            settled = await self._facilitator.settle(payment, requirement)
        except NotPayable as refused:
            # Said of a payment that was handed over before, it may only mean that it has been carried out.
            progress = Progress.DOUBTFUL if was_sent or self._is_checked else Progress.REFUSED
            return Submission(progress, refused.reason)
        async with self._sessions() as session, session.begin():
            current = await records.locked(session, key_of(row))
            if current.block_number is None:
                current.transaction_hash = settled.transaction_hash
        return Submission(Progress.SENT)

    async def hashes(self, row: Settlement) -> list[str]:
        """Where the facilitator says that the payment stands."""
        return [row.transaction_hash] if row.transaction_hash is not None else []

    async def sends_again(self, row: Settlement) -> bool:
        """Nobody knows what a facilitator does; to hand it over once more does no harm."""
        del row
        return False

    async def tend(self, *, now: datetime) -> None:
        """Nothing here is ours to look after."""

    def _requirement(self, row: Settlement) -> Requirement:
        return Requirement(
            network=row.network,
            asset=row.asset,
            amount_atomic=row.amount_atomic,
            pay_to=row.pay_to,
            timeout_s=self._timeout_s,
            token_name=self._network.token_name,
            token_version=self._network.token_version,
        )
