"""Objects of the provider that are not final yet: each is read again when its time comes, letter or no letter.

Theory of operation
-------------------
Whoever learns of an object that will change again (a charge whose fee is not known, a refund on its way, an open
dispute, a payout) watches it in the same transaction; whoever learns that it is final finishes it. The worker takes
what is due, reads it and has it applied. To take an object is to say when it is taken next, so that a worker that dies,
a provider that is away and an object that stays as it is all end in the same: a later look. The pauses double from
`PAUSE_MIN` to `PAUSE_MAX`; after `PATIENCE` the object is looked at each `PAUSE_LATE`, and a person is told each time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.reversal_tables import WatchedObject

DUE_MAX: Final = 20
PAUSE_MIN: Final = timedelta(minutes=10)
PAUSE_MAX: Final = timedelta(days=1)
PATIENCE: Final = timedelta(days=180)
"""Longer than any dispute takes and than any refund may be pending. Source: Stripe, "Disputes", "Refunds"."""
PAUSE_LATE: Final = timedelta(days=7)


async def watch(session: AsyncSession, kind: str, external_id: str, *, now: datetime, after: timedelta) -> None:
    """Read the object again from `now + after` on. One that is watched stays as it is, a finished one begins anew.

    What was final may change after all: a lost dispute is appealed, a refund fails after it succeeded. `kind` is a kind
    of reference that the `MoneyReader` reads. Commits with the caller's transaction.
    """
    made = insert(WatchedObject).values(
        kind=kind, external_id=external_id, looks=0, next_look_at=now + after, created_at=now
    )
    again = made.on_conflict_do_update(
        index_elements=[col(WatchedObject.kind), col(WatchedObject.external_id)],
        set_={"looks": 0, "next_look_at": made.excluded.next_look_at, "done_at": None},
        where=col(WatchedObject.done_at).is_not(None),
    )
    await session.exec(again)


async def finish(session: AsyncSession, kind: str, external_id: str, *, now: datetime) -> None:
    """The object is final: it is not looked at any more. Nothing happens to one that is not watched."""
    statement = (
        update(WatchedObject)
        .where(
            col(WatchedObject.kind) == kind,
            col(WatchedObject.external_id) == external_id,
            col(WatchedObject.done_at).is_(None),
        )
        .values(done_at=now)
    )
    await session.exec(statement)


async def due(sessions: Sessions, *, now: datetime) -> list[WatchedObject]:
    """The objects whose time has come, at most `DUE_MAX`; nobody else gets them before their next pause is over."""
    query = (
        select(WatchedObject)
        .where(col(WatchedObject.done_at).is_(None), col(WatchedObject.next_look_at) <= now)
        .order_by(col(WatchedObject.next_look_at))
        .limit(DUE_MAX)
        .with_for_update(skip_locked=True)
    )
    async with sessions() as session, session.begin():
        watched = list((await session.exec(query)).all())
        for one in watched:
            one.looks += 1
            one.next_look_at = now + pause(one, now=now)
        return watched


def is_overdue(watched: WatchedObject, *, now: datetime) -> bool:
    """Whether the object should have become final long ago, so that a person must look at it."""
    return now - watched.created_at > PATIENCE


def pause(watched: WatchedObject, *, now: datetime) -> timedelta:
    """How long the object rests after its `looks`-th look."""
    if is_overdue(watched, now=now):
        return PAUSE_LATE
    doubled: timedelta = PAUSE_MIN * 2 ** min(watched.looks - 1, 10)
    return min(doubled, PAUSE_MAX)
