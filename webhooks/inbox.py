"""Letters are stored once, as the bytes that were signed, and claimed in batches that no other worker claims."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Update, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id
from webhooks.tables import Letter

CLAIM_MAX: Final = 10
CLAIM_FOR: Final = timedelta(seconds=60)
"""A worker that dies with claimed letters delays them by this long; nothing is lost."""
TRIES_MAX: Final = 12
"""With the back-off below a letter is tried for 74 minutes before it is parked."""
PATIENT_RETRY: Final = timedelta(seconds=20)
"""How often a letter whose object cannot be read is tried while the provider is away."""
_FIRST_RETRY: Final = timedelta(seconds=2)
_RETRY_MAX: Final = timedelta(minutes=20)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of a letter before it is understood. `paged`: it was fetched, the webhook has not brought it."""

    source: str
    provider_event_id: str
    type: str
    body: bytes
    paged: bool = False


async def store(sessions: Sessions, envelope: Envelope, *, now: datetime) -> bool:
    """Keep the letter; False when it was here already. Committed when this returns.

    A letter that was fetched first and is brought by the webhook afterwards counts as brought.
    """
    statement = (
        insert(Letter)
        .values(
            id=new_id(now),
            source=envelope.source,
            provider_event_id=envelope.provider_event_id,
            type=envelope.type,
            body=envelope.body,
            paged=envelope.paged,
            next_try_at=now,
            received_at=now,
        )
        .on_conflict_do_nothing(constraint="one_letter_per_event")
        .returning(col(Letter.id))
    )
    async with sessions() as session, session.begin():
        is_new = (await session.exec(statement)).first() is not None
        if not is_new and not envelope.paged:
            await session.exec(_brought(envelope))
        return is_new


def _brought(envelope: Envelope) -> Update:
    return (
        update(Letter)
        .where(
            col(Letter.source) == envelope.source,
            col(Letter.provider_event_id) == envelope.provider_event_id,
            col(Letter.paged),
        )
        .values(paged=False)
    )


async def claim(sessions: Sessions, *, now: datetime) -> list[Letter]:
    """The letters that are due, oldest first, at most `CLAIM_MAX`; nobody else gets them for `CLAIM_FOR`."""
    query = (
        select(Letter)
        .where(col(Letter.state) == "pending", col(Letter.next_try_at) <= now)
        .order_by(col(Letter.next_try_at), col(Letter.id))
        .limit(CLAIM_MAX)
        .with_for_update(skip_locked=True)
    )
    async with sessions() as session, session.begin():
        letters = list((await session.exec(query)).all())
        for letter in letters:
            letter.tries += 1
            letter.next_try_at = now + CLAIM_FOR
        return letters


@dataclass(frozen=True, slots=True)
class Hold:
    """The lock that fulfillment takes on a letter: first in the lock order, done before the books are touched."""

    letter_id: UUID

    async def lock(self, session: AsyncSession) -> bool:
        """Lock the letter; False when it is no longer waiting."""
        query = select(Letter.state).where(col(Letter.id) == self.letter_id).with_for_update(key_share=True)
        return (await session.exec(query)).first() == "pending"

    async def done(self, session: AsyncSession, now: datetime) -> None:
        """Mark the letter done in this transaction."""
        statement = (
            update(Letter).where(col(Letter.id) == self.letter_id).values(state="done", done_at=now, reason=None)
        )
        await session.exec(statement)


async def finish(sessions: Sessions, letter_id: UUID, state: str, *, reason: str | None, now: datetime) -> None:
    """Move a waiting letter to `done`, `ignored` or `parked`. A letter that is not waiting any more stays as it is."""
    statement = (
        update(Letter)
        .where(col(Letter.id) == letter_id, col(Letter.state) == "pending")
        .values(state=state, reason=reason, done_at=now)
    )
    async with sessions() as session, session.begin():
        await session.exec(statement)


async def postpone(sessions: Sessions, letter: Letter, *, reason: str, patient: bool, now: datetime) -> bool:
    """Try the letter again later, or park it after `TRIES_MAX` tries. Whether it was parked.

    `patient`: it is not the letter's fault, so it is never parked.
    """
    if letter.tries >= TRIES_MAX and not patient:
        await finish(sessions, letter.id, "parked", reason=f"after {letter.tries} tries: {reason}", now=now)
        return True
    # A try that could not go well is not counted, or the first small trouble after an outage would park the letter.
    pause, tries = (PATIENT_RETRY, letter.tries - 1) if patient else (_back_off(letter.tries), letter.tries)
    statement = (
        update(Letter)
        .where(col(Letter.id) == letter.id, col(Letter.state) == "pending")
        .values(next_try_at=now + pause, tries=tries, reason=reason)
    )
    async with sessions() as session, session.begin():
        await session.exec(statement)
    return False


def _back_off(tries: int) -> timedelta:
    doubled: timedelta = _FIRST_RETRY * 2 ** min(tries, 10)
    return min(doubled, _RETRY_MAX)
