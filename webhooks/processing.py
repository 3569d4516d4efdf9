"""A letter becomes facts, and facts are applied.

The message is only a nudge: the objects it is about are read again from the provider, with nothing locked, and what
they are now is applied. The letter is done in the transaction of its last fact. What cannot be applied yet is tried
again with back-off; what a person must look at is parked, with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import structlog

from billing import clearing, watching
from billing import facts as facts_of
from billing.database import Sessions
from billing.judging import Verdict
from billing.requests import Clock
from ledger.ids import external
from rails.money import Incomprehensible, MoneyFact, MoneyReader
from rails.rail import Fact, ProviderRefused, Rail, RailUnavailable
from webhooks import inbox
from webhooks.inbox import Hold
from webhooks.tables import Letter

LONG_READS: Final = frozenset({clearing.PAYOUT})
"""Kinds of objects that are read by the chore of watched objects only."""

log = structlog.get_logger()


Reader = Rail | MoneyReader
"""Who knows what a letter is about: a rail, of payments, and the reader of what becomes of their money."""


async def process_due(sessions: Sessions, *, readers: Iterable[Reader], livemode: bool, clock: Clock) -> int:
    """Process the letters that are due, all of a claim at once; how many there were.

    A provider that hangs then delays a claim by one time-out and not by one for each letter, which would outlast it.
    """
    known = list(readers)
    letters = await inbox.claim(sessions, now=clock())
    async with asyncio.TaskGroup() as group:
        for letter in letters:
            group.create_task(process(sessions, letter, readers=known, livemode=livemode, clock=clock))
    return len(letters)


async def process(
    sessions: Sessions, letter: Letter, *, readers: Iterable[Reader], livemode: bool, clock: Clock
) -> None:
    """Process one claimed letter. What goes wrong is written on the letter; raises only when even that fails."""
    try:
        if await _noted(sessions, letter, readers, clock):
            return
        facts = await _facts(letter, readers)
        if facts is None:
            await inbox.finish(sessions, letter.id, "ignored", reason="nobody here knows this event", now=clock())
            return
        await _apply(sessions, letter, facts, livemode=livemode, clock=clock)
    except Incomprehensible as error:
        await inbox.finish(sessions, letter.id, "parked", reason=str(error), now=clock())
        log.error(  # noqa: TRY400 - the provider's words are the news, not where they were read
            "letter_parked", letter_id=external("letter", letter.id), type=letter.type, reason=str(error)
        )
    except RailUnavailable as error:
        await _later(sessions, letter, f"the provider could not be read: {error}", clock, patient=True)
    except ProviderRefused as error:
        await _later(sessions, letter, f"the provider refused to be read: {error}", clock)
    except Exception as error:
        log.exception("letter_failed", letter_id=external("letter", letter.id), type=letter.type)
        await _later(sessions, letter, f"{type(error).__name__}", clock)


async def _noted(sessions: Sessions, letter: Letter, readers: Iterable[Reader], clock: Clock) -> bool:
    """A payout may have a hundred thousand lines: its letter only says that it is to be read, and holds up no other."""
    event: dict[str, Any] = json.loads(letter.body)
    asked = [reference for reader in readers for reference in reader.references(event)]
    if not asked or any(reference.kind not in LONG_READS for reference in asked):
        return False
    now = clock()
    async with sessions() as session, session.begin():
        hold = Hold(letter.id)
        if await hold.lock(session):
            for reference in asked:
                await watching.watch(session, reference.kind, reference.external_id, now=now, after=timedelta())
            await hold.done(session, now)
    return True


async def _facts(letter: Letter, readers: Iterable[Reader]) -> list[Fact | MoneyFact] | None:
    """What is true now of the objects the letter is about; none when it is about nothing of ours."""
    event: dict[str, Any] = json.loads(letter.body)
    asked = [(reader, reference) for reader in readers for reference in reader.references(event)]
    if not asked:
        return None
    return [fact for reader, reference in asked for fact in await reader.read(reference)]


async def _apply(
    sessions: Sessions, letter: Letter, facts: list[Fact | MoneyFact], *, livemode: bool, clock: Clock
) -> None:
    if not facts:
        await inbox.finish(sessions, letter.id, "ignored", reason="about nothing of ours", now=clock())
        return
    for position, fact in enumerate(facts, 1):
        last = Hold(letter.id) if position == len(facts) else None
        judged = await facts_of.apply(sessions, fact, livemode=livemode, now=clock(), letter=last)
        if judged.verdict is Verdict.PARKED:
            await inbox.finish(sessions, letter.id, "parked", reason=judged.reason, now=clock())
            log.error("letter_parked", letter_id=external("letter", letter.id), type=letter.type, reason=judged.reason)
            return
        if judged.verdict is Verdict.NOT_YET:
            await _later(sessions, letter, judged.reason or "not applicable yet", clock)
            return


async def _later(sessions: Sessions, letter: Letter, reason: str, clock: Clock, *, patient: bool = False) -> None:
    if await inbox.postpone(sessions, letter, reason=reason, patient=patient, now=clock()):
        log.error("letter_parked", letter_id=external("letter", letter.id), type=letter.type, reason=reason)
    else:
        log.warning(
            "letter_postponed",
            letter_id=external("letter", letter.id),
            type=letter.type,
            reason=reason,
            tries=letter.tries,
        )
