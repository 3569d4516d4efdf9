"""What operators do with letters: look at them, have one tried again, put one aside, be done with one.

Each act is recorded with it, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute, defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import operator_actions
from billing.database import Sessions
from billing.operator_actions import Act, Acting
from billing.refusals import Refusal, Refused
from ledger import ids
from webhooks.tables import Letter

PREFIX: Final = "letter"


def public_id(letter_id: UUID) -> str:
    """`letter_…`, as it is shown and asked for."""
    return ids.external(PREFIX, letter_id)


def parsed(letter_id: str) -> UUID:
    """The id inside `letter_…`. Raises `Refused(NOT_FOUND)` for what can be none."""
    try:
        return ids.parse(PREFIX, letter_id)
    except ids.MalformedId:
        raise _not_found() from None


async def listed(session: AsyncSession, *, state: str | None, before: UUID | None, limit: int) -> list[Letter]:
    """Letters, newest first, from behind `before`, without their bodies."""
    query = select(Letter).options(defer(cast("InstrumentedAttribute[bytes]", Letter.body)))
    if state is not None:
        query = query.where(col(Letter.state) == state)
    if before is not None:
        query = query.where(col(Letter.id) < before)
    return list((await session.exec(query.order_by(col(Letter.id).desc()).limit(limit))).all())


async def one(session: AsyncSession, letter_id: UUID) -> Letter:
    """The letter. Raises `Refused(NOT_FOUND)`."""
    letter = await session.get(Letter, letter_id)
    if letter is None:
        raise _not_found()
    return letter


async def retry(sessions: Sessions, letter_id: UUID, *, by: Acting, reason: str, now: datetime) -> Letter:
    """Let a parked or ignored letter be tried again at once. Raises `Refused`: NOT_FOUND, STATE_CONFLICT."""

    def changed(letter: Letter) -> None:
        letter.state, letter.tries, letter.next_try_at, letter.done_at = "pending", 0, now, None

    return await _change(
        sessions, letter_id, Act.RETRY_LETTER, ("parked", "ignored"), changed, by=by, reason=reason, now=now
    )


async def park(sessions: Sessions, letter_id: UUID, *, by: Acting, reason: str, now: datetime) -> Letter:
    """Put a waiting letter aside: nobody tries it until it is retried. Raises `Refused`: NOT_FOUND, STATE_CONFLICT."""

    def changed(letter: Letter) -> None:
        letter.state, letter.reason, letter.done_at = "parked", f"put aside by {by.holder}: {reason}", now

    return await _change(sessions, letter_id, Act.PARK_LETTER, ("pending",), changed, by=by, reason=reason, now=now)


async def ignore(sessions: Sessions, letter_id: UUID, *, by: Acting, reason: str, now: datetime) -> Letter:
    """Be done with a parked letter that nothing is to be done about. Raises `Refused`: NOT_FOUND, STATE_CONFLICT."""

    def changed(letter: Letter) -> None:
        letter.state, letter.reason, letter.done_at = "ignored", f"ignored by {by.holder}: {reason}", now

    return await _change(sessions, letter_id, Act.IGNORE_LETTER, ("parked",), changed, by=by, reason=reason, now=now)


async def _change(
    sessions: Sessions,
    letter_id: UUID,
    act: Act,
    states: Sequence[str],
    changed: Callable[[Letter], None],
    *,
    by: Acting,
    reason: str,
    now: datetime,
) -> Letter:
    """Change a letter that is in one of `states`, and record how it was before."""
    query = select(Letter).where(col(Letter.id) == letter_id).with_for_update(key_share=True)
    async with sessions() as session, session.begin():
        letter = (await session.exec(query)).first()
        if letter is None:
            raise _not_found()
        if letter.state not in states:
            message = f"the letter is {letter.state}; it would have to be {' or '.join(states)}"
            raise Refused(Refusal.STATE_CONFLICT, message, recovery={"state": letter.state})
        before = {"state": letter.state, "reason": letter.reason, "tries": letter.tries}
        changed(letter)
        await operator_actions.record(
            session,
            by,
            act,
            organization_id=None,
            subject=public_id(letter_id),
            reason=reason,
            details=before,
            now=now,
        )
        return letter


def _not_found() -> Refused:
    return Refused(Refusal.NOT_FOUND, "there is no such letter")
