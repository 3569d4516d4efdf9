"""What agents tell us: stored once, told in the activity, and read by operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.activity import EventType, tell
from billing.contact_tables import Feedback
from billing.database import Sessions
from billing.fresh import new_id
from billing.identity import Actor
from billing.tables import ActivityEvent
from ledger.ids import external

PREFIX: Final = "sig"


async def give(
    sessions: Sessions, actor: Actor, said: Mapping[str, Any], *, dedupe_key: str | None, now: datetime
) -> tuple[Feedback, bool]:
    """Keep feedback, and whether it was kept before: the agent's first under a `dedupe_key` stays as it is."""
    async with sessions() as session, session.begin():
        row = insert(Feedback).values(
            organization_id=actor.organization_id,
            id=new_id(now),
            agent_id=actor.agent_id,
            dedupe_key=dedupe_key,
            said=dict(said),
            created_at=now,
        )
        added = await session.exec(row.on_conflict_do_nothing().returning(col(Feedback.id)))
        new = added.first()
        if new is None:
            return await _first(session, actor, dedupe_key), True
        tell(session, _event(actor, new[0], now))
        return await session.get_one(Feedback, (actor.organization_id, new[0])), False


async def listed(session: AsyncSession, *, before: UUID | None, limit: int) -> Sequence[Feedback]:
    """The feedback of all agents, newest first, from behind `before`."""
    query = select(Feedback)
    if before is not None:
        query = query.where(col(Feedback.id) < before)
    return (await session.exec(query.order_by(col(Feedback.id).desc()).limit(limit))).all()


async def _first(session: AsyncSession, actor: Actor, dedupe_key: str | None) -> Feedback:
    query = select(Feedback).where(
        col(Feedback.organization_id) == actor.organization_id,
        col(Feedback.agent_id) == actor.agent_id,
        col(Feedback.dedupe_key) == dedupe_key,
    )
    return (await session.exec(query)).one()


def _event(actor: Actor, feedback_id: UUID, now: datetime) -> ActivityEvent:
    """What was said stays out of it: events are told to others, and never change."""
    name = external(PREFIX, feedback_id)
    return ActivityEvent(
        organization_id=actor.organization_id,
        id=new_id(now),
        type=EventType.FEEDBACK_CREATED,
        occurred_at=now,
        summary="An agent gave feedback.",
        operation="feedback.create",
        subject_type="feedback",
        subject_id=name,
        status="succeeded",
        links={"feedback_id": name},
    )
