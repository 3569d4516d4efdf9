"""Asking the provider again what nobody told us: for an attempt that looks stuck, and for objects that are watched.

Theory of operation
-------------------
Whoever asks after an open attempt that was quiet for a while may make us look, but not often: to look is first to say
so in the attempt's row, which one of all processes does. The provider gets a short time; when it does not answer,
what is stored is the answer. Such a look only reads. Closing what is over is the sweep's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import col, select

from billing import facts, fulfillment, requests, watching
from billing.attempts import AttemptState
from billing.database import Sessions
from billing.judging import Judged, Verdict
from billing.requests import Clock
from billing.reversal_tables import WatchedObject
from billing.tables import CreditQuote, PaymentAttempt
from rails.money import Incomprehensible, MoneyReader
from rails.rail import ProviderRefused, Rail, RailUnavailable, Reference

POLLED_APART: Final = timedelta(seconds=20)
"""A letter usually comes within seconds. So one attempt makes us ask no more often, however it is polled."""
RETURNED_APART: Final = timedelta(seconds=3)
"""For a payer who comes back from paying: there is news, and a person who waits for it."""
LOOK_TIMEOUT_S: Final = 3.0
"""How long somebody who waits for an answer of ours is made to wait for the provider's."""


async def freshen(
    sessions: Sessions,
    attempt: PaymentAttempt,
    quote: CreditQuote,
    *,
    rails: Mapping[str, Rail],
    livemode: bool,
    clock: Clock,
    apart: timedelta,
) -> bool:
    """Read the attempt's object again if nothing was heard of it, nor asked, for `apart`. Whether that was tried.

    What it does not answer in time, or at all, is left to the sweep.
    """
    rail = rails.get(attempt.method)
    if rail is None or attempt.object_id is None or not _is_waiting(attempt, quote, clock()):
        return False
    quiet_since = clock() - apart
    if attempt.updated_at > quiet_since or not await _claimed(sessions, attempt, quiet_since, clock()):
        return False
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            found = await rail.look(attempt.object_id)
    except (RailUnavailable, ProviderRefused, TimeoutError):
        await _give_back(sessions, attempt)
        return True
    for fact in found:
        await fulfillment.apply(sessions, fact, livemode=livemode, now=clock())
    return True


def _is_waiting(attempt: PaymentAttempt, quote: CreditQuote, now: datetime) -> bool:
    """Whether there may be news that only have to be read. What is over is closed by the sweep, which looks then."""
    if attempt.state == AttemptState.PROCESSING:
        return True
    ending = attempt.cancel_requested_at is not None or quote.settled_at is not None or attempt.payable_until <= now
    return attempt.state == AttemptState.ACTION_REQUIRED and not ending


async def _claimed(sessions: Sessions, attempt: PaymentAttempt, quiet_since: datetime, now: datetime) -> bool:
    """Whether this caller is the one to look. Waits for nobody: whoever holds the row is changing it anyway."""
    query = (
        select(PaymentAttempt)
        .where(
            col(PaymentAttempt.organization_id) == attempt.organization_id,
            col(PaymentAttempt.id) == attempt.id,
            col(PaymentAttempt.looked_at) <= quiet_since,
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    async with sessions() as session, session.begin():
        found = (await session.exec(query)).first()
        if found is not None:
            found.looked_at = now
        return found is not None


async def _give_back(sessions: Sessions, attempt: PaymentAttempt) -> None:
    """A look that saw nothing does not count, or who polls would keep the sweep away for ever."""
    async with sessions() as session, session.begin():
        found = await requests.locked_attempt(session, attempt.organization_id, attempt.id)
        if found is not None:
            found.looked_at = min(found.looked_at, attempt.looked_at)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A watched object that a person should know of, in words. `broken` is an error of ours, for its trace."""

    kind: str
    external_id: str
    reason: str
    broken: Exception | None = None


async def look_at_watched(
    sessions: Sessions, money: MoneyReader, *, livemode: bool, clock: Clock
) -> tuple[int, list[Unfinished]]:
    """Read the watched objects that are due and apply what is true of them; how many, and what a person should know."""
    due = await watching.due(sessions, now=clock())
    told = []
    for watched in due:
        try:
            reason = await _look_at(sessions, money, watched, livemode=livemode, clock=clock)
        except Exception as error:  # noqa: BLE001 - one object must not hold up the others; the caller logs it
            told.append(Unfinished(watched.kind, watched.external_id, f"{type(error).__name__}: {error}", error))
            continue
        if reason is not None:
            told.append(Unfinished(watched.kind, watched.external_id, reason))
    return len(due), told


async def _look_at(
    sessions: Sessions, money: MoneyReader, watched: WatchedObject, *, livemode: bool, clock: Clock
) -> str | None:
    """What a person should know of it; none when all is well, or may become so by itself."""
    try:
        found = await money.read(Reference(watched.kind, watched.external_id))
    except RailUnavailable:
        return None  # the next look is due already, and of the provider's health others tell
    except ProviderRefused as error:
        return f"the provider refused to be read: {error}"
    except Incomprehensible as error:
        return str(error)
    reason = None
    for fact in found:
        judged = await facts.apply(sessions, fact, livemode=livemode, now=clock())
        if judged.verdict is Verdict.PARKED or _is_unknown(judged):
            reason = judged.reason
    if reason is None and watching.is_overdue(watched, now=clock()) and not await _is_done(sessions, watched):
        return f"not final since {watched.created_at.date()}"
    return reason


def _is_unknown(judged: Judged) -> bool:
    """Whether the object is about a payment of ours that is not in the books: a person must see why."""
    return judged.verdict is Verdict.NOT_YET or (judged.verdict is Verdict.NOTHING_NEW and judged.reason is not None)


async def _is_done(sessions: Sessions, watched: WatchedObject) -> bool:
    async with sessions() as session:
        now = await session.get_one(WatchedObject, (watched.kind, watched.external_id))
    return now.done_at is not None
