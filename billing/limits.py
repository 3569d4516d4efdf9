"""What limits an agent's spending stays on it: the agent takes it off neither by a human of its own nor by a sibling.

Caps are of one agent and credits are of its whole organization. So an agent that is paused or has any cap makes no
sibling without caps, ends none, and names no human who could give it a sibling's token. An owner is whoever opened a
link that an agent had sent, perhaps the agent itself; therefore what an operator limits, an owner may only tighten.
"""

from __future__ import annotations

from dataclasses import fields
from uuid import UUID

from sqlmodel.ext.asyncio.session import AsyncSession

from billing.refusals import Refusal, Refused
from ledger import statements
from ledger.operations import Caps


async def standing(session: AsyncSession, organization_id: UUID, agent_id: UUID) -> Caps:
    """The caps that the agent has now; they stay so for who holds the organization's lock."""
    row = await statements.spender(session, organization_id, agent_id)
    if row is None:
        return Caps()
    return Caps(row.per_spend, row.per_hour, row.per_day, row.per_month, row.total, row.paused)


async def require_unlimited(session: AsyncSession, organization_id: UUID, agent_id: UUID) -> None:
    """Raise `Refused(SPENDER_LIMITED)` for an agent with a cap or a pause. The caller holds the organization's lock."""
    if await standing(session, organization_id, agent_id) != Caps():
        raise Refused(Refusal.SPENDER_LIMITED)


def tightens(before: Caps, after: Caps) -> bool:
    """Whether `after` allows nothing that `before` does not: each cap stays or becomes smaller, a pause stays."""
    return all(_within(getattr(before, one.name), getattr(after, one.name)) for one in fields(Caps))


def _within(before: int | None, after: int | None) -> bool:
    """A pause is compared as it is written: true stays true, and false may become true."""
    if isinstance(before, bool):
        return bool(after) or not before
    return before is None or (after is not None and after <= before)
