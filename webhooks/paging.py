"""Letters that nobody brought: the provider's own list of events is read into the same inbox.

Theory of operation
-------------------
A cursor in the database says through when the list has been read. Each window begins `OVERLAP` before it, since an
event may be listed late, and ends `NOT_NEARER` before now, since those are still being brought by the webhook. The
list shows the newest first, so that only a window all of whose pages were read and stored proves anything: then the
cursor moves, and only forward. A run reads a bounded number of pages and goes on in the same window next time; a worker
that dies begins the window again. An event that is in the inbox already is nothing new, and one that no reader knows is
left where it is. Source: https://docs.stripe.com/api/events/list; events are kept for 30 days.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select

from billing.attempts import OPEN_STATES
from billing.database import Sessions
from billing.tables import PaymentAttempt
from rails.rail import ProviderRefused, RailUnavailable, Reference
from rails.stripe_pages import CLOCK_SKEW, PAGE, Page
from webhooks import inbox
from webhooks.inbox import Envelope
from webhooks.tables import EventCursor

OVERLAP: Final = timedelta(minutes=10) + CLOCK_SKEW
NOT_NEARER: Final = timedelta(seconds=5)
WINDOW_MAX: Final = timedelta(hours=1)
"""How far the cursor moves at most at once, so that a worker that dies does not begin with days again."""
PAGES_MAX: Final = 20
"""Pages a run; there may be more, which the next run reads."""
KEPT_FOR: Final = timedelta(days=30)
FIRST_AGE: Final = timedelta(days=1)
"""Where a first run begins, unless an attempt has been open for longer."""

log = structlog.get_logger()


class EventSource(Protocol):
    """The provider's list of events. Raises `RailUnavailable` or `ProviderRefused`."""

    async def events(
        self, *, created_gte: datetime, created_lt: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page:
        """A page of a time's events, newest first; `after` is the cursor."""


class Knower(Protocol):
    """A rail or a reader of money: whoever knows what an event is about."""

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        """Which objects it is about; empty when none."""


@dataclass(slots=True)
class _Window:
    """From `since` until before `until`; `after` is the last event that was read of it."""

    since: datetime
    until: datetime
    is_newest: bool
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a run came to: how many letters were `new`, and whether there is `more` to read at once."""

    new: int
    more: bool


class EventPager:
    """Reads one provider's events into the inbox. One for each worker; several do each other no harm."""

    def __init__(
        self,
        name: str,
        source: EventSource,
        readers: Sequence[Knower],
        *,
        sessions: Sessions,
        clock: Callable[[], datetime],
    ) -> None:
        """`name` is the source of the letters, as the webhook calls it."""
        self._name = name
        self._source = source
        self._readers = readers
        self._sessions = sessions
        self._clock = clock
        self._window: _Window | None = None

    async def run(self) -> Fetched:
        """Read on, at most `PAGES_MAX` pages. Raises `RailUnavailable` or `ProviderRefused`; the next run goes on."""
        new = 0
        for _ in range(PAGES_MAX):
            window = self._window = self._window or await self._next_window()
            if window is None:
                return Fetched(new, more=False)
            page = await self._page(window)
            for event in page.items:
                new += await self._keep(event)
            if page.has_more:
                window.after = page.items[-1]["id"]
                continue
            await _advance(self._sessions, self._name, window.until, now=self._clock())
            self._window = None
            if window.is_newest:
                return Fetched(new, more=False)
        return Fetched(new, more=True)

    async def _page(self, window: _Window) -> Page:
        try:
            page = await self._source.events(
                created_gte=window.since, created_lt=window.until, after=window.after, limit=PAGE
            )
        except ProviderRefused:
            self._window = None  # the place in it may be what was refused
            raise
        if page.has_more and not page.items:
            raise RailUnavailable("the list of events goes on and shows nothing of it")
        return page

    async def _keep(self, event: Mapping[str, Any]) -> bool:
        """Store the event if anybody here knows what it is about; whether it is new."""
        if not any(reader.references(event) for reader in self._readers):
            return False
        envelope = Envelope(self._name, event["id"], event["type"], json.dumps(event).encode(), paged=True)
        return await inbox.store(self._sessions, envelope, now=self._clock())

    async def _next_window(self) -> _Window | None:
        now = self._clock()
        read_through = await _cursor(self._sessions, self._name, now=now)
        kept_since = now - KEPT_FOR
        if read_through < kept_since:
            log.error("events_lost", source=self._name, since=read_through.isoformat(), until=kept_since.isoformat())
            read_through = kept_since
        if read_through > now + CLOCK_SKEW:
            # Some clock ran ahead, and nobody knows for how long: what happened meanwhile is read again.
            log.error("event_cursor_in_the_future", source=self._name, read_through=read_through.isoformat())
            read_through = max(now - FIRST_AGE, kept_since)
            await _set_back(self._sessions, self._name, read_through, now=now)
        newest = now - NOT_NEARER
        if newest <= read_through:
            return None
        until = min(read_through + WINDOW_MAX, newest)
        return _Window(max(read_through - OVERLAP, kept_since), until, is_newest=until == newest)


async def _cursor(sessions: Sessions, name: str, *, now: datetime) -> datetime:
    """Through when the list was read. Before the first run, from when on it may hold something for us."""
    async with sessions() as session:
        cursor = await session.get(EventCursor, name)
        if cursor is not None:
            return cursor.read_through
        oldest_open = select(func.min(col(PaymentAttempt.created_at))).where(col(PaymentAttempt.state).in_(OPEN_STATES))
        oldest = (await session.exec(oldest_open)).one()
    first = min(now - FIRST_AGE, oldest) if oldest is not None else now - FIRST_AGE
    return max(first, now - KEPT_FOR)


async def _set_back(sessions: Sessions, name: str, read_through: datetime, *, now: datetime) -> None:
    async with sessions() as session, session.begin():
        cursor = await session.get(EventCursor, name, with_for_update=True, populate_existing=True)
        if cursor is not None and cursor.read_through > now:
            cursor.read_through, cursor.updated_at = read_through, now


async def _advance(sessions: Sessions, name: str, read_through: datetime, *, now: datetime) -> None:
    """Move the cursor forward; another worker may have moved it further."""
    made = insert(EventCursor).values(source=name, read_through=read_through, updated_at=now)
    moved = made.on_conflict_do_update(
        index_elements=[col(EventCursor.source)],
        set_={"read_through": made.excluded.read_through, "updated_at": made.excluded.updated_at},
        where=col(EventCursor.read_through) < made.excluded.read_through,
    )
    async with sessions() as session, session.begin():
        await session.exec(moved)
