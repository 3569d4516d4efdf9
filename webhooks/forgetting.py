"""Letters without the person they are about: for one contact, or for all that are old.

A letter is kept as the bytes that were signed, and stays of use without its person: what it is about are ids, which
are read again from the provider. What is forgotten cannot be proven by its signature any more; it was checked at the
door. All letters are walked in pages, each a transaction of its own, and forgetting twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import erasing
from billing.database import Sessions, snapshot
from billing.erasing import Erased
from billing.operator_actions import Acting
from billing.refusals import Refusal, Refused
from ledger.ids import external, uuid7
from webhooks import redaction
from webhooks.tables import Letter

PAGE_LETTERS: Final = 500
"""Letters that one statement looks through: some megabytes."""
_FIRST: Final = UUID(int=0)
_ABOUT: Final = """EXISTS (
    SELECT FROM (SELECT lower(encode(letters.body, 'escape') || coalesce(letters.reason, '')) AS said OFFSET 0) AS t,
                unnest(CAST(:wanted AS text[])) AS w WHERE strpos(t.said, w) > 0)"""
"""Whether a letter says any of `wanted`; what it says is spelt once for all of them."""


async def forget_contact(sessions: Sessions, contact: str, *, by: Acting, reason: str, now: datetime) -> Erased:
    """Erase a contact everywhere: in the provider's letters first, then in everything that billing knows of it.

    Letters lose all that they say of persons when they name the contact, one of its organizations or their payments.
    The rest is one transaction, and so is its record (`billing.erasing`). Raises `Refused(NOT_FOUND)` when nothing
    stands here of the contact, and has changed nothing then.
    """
    wanted = contact.strip().lower()
    async with snapshot(sessions) as session:
        known = await erasing.traces(session, wanted)
    about = [wanted, *(external("org", one) for one in known.organizations), *known.payments]
    letters = 0
    async for after, last in _pages(sessions, _FIRST, None):
        letters += await _forget_about(sessions, after, last, list(_spellings(about)), wanted)
    async with sessions() as session, session.begin():
        erased = await erasing.erase(session, wanted, letters=letters, by=by, reason=reason, now=now)
        if not erased.found:
            raise Refused(Refusal.NOT_FOUND, "nothing stands here of that contact")
        return erased


async def forget_older(sessions: Sessions, *, before: datetime) -> int:
    """Take persons out of the letters that arrived before a time and that nobody works on any more; in how many."""
    done, until = 0, uuid7(before, bytes(10))
    async for after, last in _pages(sessions, _FIRST, until):
        async with sessions() as session, session.begin():
            query = select(Letter).where(
                col(Letter.id) > after, col(Letter.id) <= last, col(Letter.state).in_(("done", "ignored"))
            )
            letters = (await session.exec(query.with_for_update(key_share=True))).all()
            done += sum(_forget(letter, None) for letter in letters)
    return done


async def _pages(sessions: Sessions, after: UUID, until: UUID | None) -> AsyncIterator[tuple[UUID, UUID]]:
    """The letters from behind `after` in pages: behind which, and up to which id. Ends with the last letter."""
    while True:
        async with snapshot(sessions) as session:
            last = await _last_of_page(session, after, until)
        if last is None:
            return
        yield after, last
        after = last


async def _last_of_page(session: AsyncSession, after: UUID, until: UUID | None) -> UUID | None:
    query = select(Letter.id).where(col(Letter.id) > after)
    if until is not None:
        query = query.where(col(Letter.id) < until)
    page = (await session.exec(query.order_by(col(Letter.id)).limit(PAGE_LETTERS))).all()
    return page[-1] if page else None


async def _forget_about(sessions: Sessions, after: UUID, last: UUID, wanted: Sequence[str], contact: str) -> int:
    about = text(_ABOUT).bindparams(wanted=list(wanted))
    query = select(Letter).where(col(Letter.id) > after, col(Letter.id) <= last, about).order_by(col(Letter.id))
    async with sessions() as session, session.begin():
        letters = (await session.exec(query.with_for_update(key_share=True))).all()
        return sum(_forget(letter, contact) for letter in letters)


def _forget(letter: Letter, contact: str | None) -> bool:
    """Whether anything had to go."""
    body = redaction.impersonal(letter.body, contact=contact)
    reason = redaction.without_addresses(letter.reason, contact=contact) if letter.reason is not None else None
    changed = (body, reason) != (letter.body, letter.reason)
    letter.body, letter.reason = body, reason
    return changed


def _spellings(wanted: Iterable[str]) -> Iterator[str]:
    """As JSON may write them, in PostgreSQL's `escape` format of bytes and in lower case."""
    for one in wanted:
        for spelt in dict.fromkeys((one, json.dumps(one)[1:-1])):
            yield "".join(_octet(byte) for byte in spelt.encode()).lower()


def _octet(byte: int) -> str:
    if byte == ord("\\"):
        return "\\\\"
    return chr(byte) if byte < 0x80 else f"\\{byte:03o}"
