"""Caps on what an agent may spend: setting all of them at once, and pausing without touching them.

What a change makes depends on what stands: pausing keeps the caps, setting caps keeps the pause. So changes of one
organization wait for each other at its row, and a repetition is made of what its first time made, never of what has
been set since.

`Agent.limited_at` says that an operator limits the agent; then an owner may only tighten (why: `billing.limits`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.catching_up import catch_up
from billing.database import Sessions
from billing.fresh import new_key
from billing.limits import standing, tightens
from billing.refusals import Refusal, Refused
from billing.spending import unknown_agent
from billing.tables import Agent, Organization
from ledger import posting, statements
from ledger.ids import external
from ledger.operations import Caps, Kind, Operation, operation_id
from ledger.outcomes import Outcome, Posted

SET: Final = "caps"
PAUSE: Final = "pause"
RESUME: Final = "resume"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose caps change, when, by whom (the id of an operator key, or of an `owner`), and the idempotency key."""

    organization_id: UUID
    agent_id: UUID
    by: UUID
    key: str
    now: datetime
    owner: bool = False


async def set_all(sessions: Sessions, asked: Asked, wanted: Caps) -> tuple[Operation, Posted]:
    """Replace all caps; whether the agent is paused stays as it is. What was posted, and the answer.

    Raises `Refused`: NOT_FOUND, SPENDING_CONFLICT, and STATE_CONFLICT for an owner who loosens what an operator limits.
    """
    return await _change(sessions, asked, SET, lambda before: replace(wanted, paused=before.paused))


async def pause(sessions: Sessions, asked: Asked) -> tuple[Operation, Posted]:
    """Let the agent spend nothing until it is resumed; its caps stay. Raises `Refused` like `set_all`."""
    return await _change(sessions, asked, PAUSE, lambda before: replace(before, paused=True))


async def resume(sessions: Sessions, asked: Asked) -> tuple[Operation, Posted]:
    """End the pause; the caps stay. Raises `Refused` like `set_all`."""
    return await _change(sessions, asked, RESUME, lambda before: replace(before, paused=False))


async def agent_of(session: AsyncSession, organization_id: UUID, agent_id: UUID) -> Agent:
    """The agent of the organization, revoked ones included. Raises `Refused(NOT_FOUND)`, foreign agents too."""
    agent = await session.get(Agent, (organization_id, agent_id))
    if agent is None:
        raise unknown_agent()
    return agent


async def _change(
    sessions: Sessions, asked: Asked, cause: str, after: Callable[[Caps], Caps]
) -> tuple[Operation, Posted]:
    operation, posted = await _post(sessions, asked, cause, after)
    if posted.outcome is Outcome.CATCH_UP:
        await catch_up(sessions, asked.organization_id)
        operation, posted = await _post(sessions, asked, cause, after)
    match posted.outcome:
        case Outcome.POSTED:
            return operation, posted
        case Outcome.EXISTS_WITH_DIFFERENT_CONTENT:
            way_on = {"operation_id": external("op", operation.id), "idempotency_key": new_key(cause)}
            raise Refused(Refusal.SPENDING_CONFLICT, recovery=way_on)
        case Outcome.CATCH_UP:
            raise Refused(Refusal.SERVICE_UNAVAILABLE)
    raise LookupError(f"a change of caps is never answered with {posted.outcome}")


async def _post(
    sessions: Sessions, asked: Asked, cause: str, after: Callable[[Caps], Caps]
) -> tuple[Operation, Posted]:
    async with sessions() as session, session.begin():
        lock = select(Organization.id).where(col(Organization.id) == asked.organization_id)
        await session.exec(lock.with_for_update(key_share=True))
        agent = await agent_of(session, asked.organization_id, asked.agent_id)
        caps = await _wanted(session, asked, agent, after)
        operation = Operation(
            organization_id=asked.organization_id,
            kind=Kind.SET_CAPS,
            scope=asked.by,
            key=asked.key,
            cause=cause,
            spender=asked.agent_id,
            caps=caps,
        )
        posted = (await posting.post(session, [operation]))[0]
        if posted.outcome is Outcome.POSTED and not posted.replayed and not asked.owner:
            agent.limited_at = asked.now if caps != Caps() else None
        return operation, posted


async def _wanted(session: AsyncSession, asked: Asked, agent: Agent, after: Callable[[Caps], Caps]) -> Caps:
    """What the change makes of the caps that stand; under a key that has set caps already, of those that it set."""
    first_id = operation_id(asked.organization_id, asked.by, asked.key)
    first = await statements.operation(session, asked.organization_id, first_id)
    if first is not None and first.kind == Kind.SET_CAPS and first.terms is not None:
        return after(Caps(**json.loads(first.terms)))
    before = await standing(session, asked.organization_id, asked.agent_id)
    wanted = after(before)
    if asked.owner and agent.limited_at is not None and not tightens(before, wanted):
        raise Refused(Refusal.STATE_CONFLICT, "an operator limits this agent; an owner may only tighten that")
    return wanted
