"""What an operator says of a payment that is held: grant it, or keep it without a grant until it is sent back.

To decide is to write the decision down, with its reason; the next turn carries it out. So a decision is neither lost
nor carried out twice when the chain cannot be asked just then.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from billing.database import Sessions
from billing.operator_actions import Act, Acting, record
from billing.refusals import Refusal, Refused
from billing.settlement_states import SettlementState
from billing.settling import records
from billing.settling.records import Key
from billing.settling_tables import Decision
from ledger.ids import external

ACTS: Final = {Decision.RELEASE: Act.RELEASE_PAYMENT, Decision.KEEP: Act.KEEP_PAYMENT}


async def decide(sessions: Sessions, key: Key, decision: Decision, *, reason: str, by: Acting, now: datetime) -> None:
    """Say that a held payment is to be granted, or kept without a grant until it is sent back.

    Raises `Refused(STATE_CONFLICT)` when it is not held, or was decided otherwise.
    """
    async with sessions() as session, session.begin():
        row = await records.locked(session, key)
        if row.state != SettlementState.HELD or row.decision not in {None, decision}:
            raise Refused(Refusal.STATE_CONFLICT, f"this payment is {row.state}; only a held one can be decided, once")
        row.decision, row.next_try_at, row.updated_at = decision, now, now
        await record(
            session,
            by,
            ACTS[decision],
            organization_id=row.organization_id,
            subject=external("payatt", row.attempt_id),
            reason=reason,
            details={"settlement_reason": row.reason},
            now=now,
        )
