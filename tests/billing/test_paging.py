"""The provider's own list of events is read into the inbox: all of it, each event once, however often it breaks off."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select
from structlog.testing import capture_logs

from api.wiring import build
from billing.attempts import AttemptState
from billing.refusals import Refused
from billing.requests import locked_attempt
from rails.rail import RailUnavailable, Reference
from rails.stripe_pages import Page
from webhooks import inbox, paging
from webhooks.paging import EventPager
from webhooks.tables import EventCursor, Letter

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Listing:
    """A provider's list of events, newest first, a few on each page; some calls fail."""

    def __init__(self, *ages: timedelta, page: int = 2) -> None:
        self.events_ = [event(NOW - age) for age in ages]
        self.page = page
        self.asked: list[tuple[datetime, datetime, str | None]] = []
        self.fails_at: set[int] = set()

    async def events(
        self, *, created_gte: datetime, created_lt: datetime, after: str | None = None, limit: int = 100
    ) -> Page:
        assert limit == 100
        self.asked.append((created_gte, created_lt, after))
        if len(self.asked) in self.fails_at:
            raise RailUnavailable("away")
        fits = [one for one in self.events_ if created_gte.timestamp() <= one["created"] < created_lt.timestamp()]
        fits.sort(key=lambda one: one["created"], reverse=True)
        start = [one["id"] for one in fits].index(after) + 1 if after else 0
        return Page(fits[start : start + self.page], start + self.page < len(fits))


class Knower:
    """Knows the events of one kind."""

    def references(self, event: Mapping[str, Any], /) -> Sequence[Reference]:
        return (Reference("thing", "1"),) if event["type"] == "known" else ()


def event(created: datetime, kind: str = "known") -> dict[str, Any]:
    return {"id": f"evt_{uuid.uuid4().hex}", "object": "event", "type": kind, "created": int(created.timestamp())}


@pytest.fixture
def name():
    """A source of letters of its own."""
    return f"source-{uuid.uuid4().hex}"


@pytest.fixture
async def pager(quiet_house, name):
    """`pager(source)`: reads for that source at noon, or at another time."""

    def make(source, *, now=NOW):
        return EventPager(name, source, [Knower()], sessions=quiet_house.sessions, clock=lambda: now)

    yield make
    async with quiet_house.sessions() as session, session.begin():
        for letter in (await session.exec(select(Letter).where(col(Letter.source) == name))).all():
            letter.state = "ignored"


async def letters(house, name):
    async with house.sessions() as session:
        return list((await session.exec(select(Letter).where(col(Letter.source) == name))).all())


async def cursor(house, name):
    async with house.sessions() as session:
        found = await session.get(EventCursor, name)
        return found.read_through if found else None


async def set_cursor(house, name, read_through):
    await paging._advance(house.sessions, name, read_through, now=NOW)


def hours(number):
    return timedelta(hours=number)


async def test_every_event_that_somebody_knows_is_stored_once_and_the_others_are_left(quiet_house, pager, name):
    await set_cursor(quiet_house, name, NOW - hours(6))
    listing = Listing(*[hours(number) for number in (1, 2, 3, 4, 5)])
    strange = event(NOW - hours(1), "strange")
    listing.events_.append(strange)
    first = await pager(listing).run()
    found = await letters(quiet_house, name)
    assert (first.new, first.more, len(found)) == (5, False, 5)
    assert {one.provider_event_id for one in found} == {one["id"] for one in listing.events_} - {strange["id"]}
    assert all(one.paged and json.loads(one.body)["id"] == one.provider_event_id for one in found)
    assert (await pager(listing, now=NOW + hours(1)).run()).new == 0


async def test_what_the_webhook_brought_is_nothing_new_and_what_it_brings_afterwards_counts_as_brought(
    quiet_house, pager, name
):
    await set_cursor(quiet_house, name, NOW - hours(3))
    listing = Listing(hours(1), hours(2))
    brought, fetched = listing.events_
    await inbox.store(quiet_house.sessions, envelope(name, brought), now=NOW)
    assert (await pager(listing).run()).new == 1
    assert not await inbox.store(quiet_house.sessions, envelope(name, fetched), now=NOW)
    assert [one.paged for one in await letters(quiet_house, name)] == [False, False]


def envelope(name, event_):
    return inbox.Envelope(name, event_["id"], event_["type"], json.dumps(event_).encode())


async def test_the_cursor_moves_only_over_a_window_all_of_whose_pages_were_stored(quiet_house, pager, name):
    start = NOW - timedelta(minutes=30)
    await set_cursor(quiet_house, name, start)
    listing = Listing(*[timedelta(minutes=number) for number in range(1, 7)])
    listing.fails_at = {3}
    reading = pager(listing)
    with pytest.raises(RailUnavailable):
        await reading.run()
    assert await cursor(quiet_house, name) == start
    assert (await reading.run()).new == 2
    assert [after for _, _, after in listing.asked].count(None) == 1
    assert len(await letters(quiet_house, name)) == 6
    assert await cursor(quiet_house, name) == NOW - paging.NOT_NEARER


async def test_a_worker_that_died_in_a_window_leaves_it_to_the_next_one(quiet_house, pager, name):
    await set_cursor(quiet_house, name, NOW - timedelta(minutes=30))
    listing = Listing(*[timedelta(minutes=number) for number in range(1, 7)])
    listing.fails_at = {2}
    with pytest.raises(RailUnavailable):
        await pager(listing).run()
    assert (await pager(listing).run()).new == 4
    assert len(await letters(quiet_house, name)) == 6


async def test_a_run_is_bounded_and_the_next_one_goes_on_where_it_stopped(quiet_house, pager, name, monkeypatch):
    monkeypatch.setattr(paging, "PAGES_MAX", 2)
    await set_cursor(quiet_house, name, NOW - timedelta(minutes=30))
    listing = Listing(*[timedelta(minutes=number) for number in range(1, 10)])
    reading = pager(listing)
    runs = [await reading.run() for _ in range(3)]
    assert [(run.new, run.more) for run in runs] == [(4, True), (4, True), (1, False)]
    assert len(listing.asked) == 5


async def test_an_event_that_is_listed_late_or_was_too_new_is_still_found(quiet_house, pager, name):
    listing = Listing(timedelta(seconds=2))
    assert (await pager(listing).run()).new == 0
    listing.events_.append(event(NOW - timedelta(minutes=5)))
    assert (await pager(listing, now=NOW + timedelta(minutes=1)).run()).new == 2


async def test_days_are_read_in_windows_whose_cursor_is_kept(quiet_house, pager, name):
    await set_cursor(quiet_house, name, NOW - hours(10))
    listing = Listing(hours(9.5), hours(0.5))
    listing.fails_at = {6}
    with pytest.raises(RailUnavailable):
        await pager(listing).run()
    assert await cursor(quiet_house, name) == NOW - hours(5)
    assert (await pager(listing).run()).new == 1
    assert max(until - since for since, until, _ in listing.asked) <= paging.WINDOW_MAX + paging.OVERLAP


async def test_a_cursor_that_is_older_than_the_provider_keeps_events_is_told(quiet_house, pager, name):
    await set_cursor(quiet_house, name, NOW - timedelta(days=31))
    listing = Listing()
    with capture_logs() as lines:
        await pager(listing).run()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["events_lost"]
    assert listing.asked[0][0] == NOW - timedelta(days=30)


async def test_a_cursor_never_goes_back(quiet_house, name):
    await set_cursor(quiet_house, name, NOW)
    await set_cursor(quiet_house, name, NOW - hours(1))
    assert await cursor(quiet_house, name) == NOW


async def test_the_first_run_begins_where_the_oldest_open_attempt_was_made(quiet_house, pager, buyer, nowhere):
    here, quote = buyer.house, await buyer.quote()
    away = build(here.settings.model_copy(update={"stripe_api_base": nowhere}))
    long_ago = here.clock() - timedelta(days=3)
    buyer.house = replace(here, rails=away.rails, clock=lambda: long_ago)
    with pytest.raises(Refused):
        await buyer.buy(quote)
    attempt = (await buyer.status(quote)).attempt
    listing = Listing()
    await pager(listing, now=here.clock()).run()
    assert listing.asked[0][0] == attempt.created_at - paging.OVERLAP
    async with here.sessions() as session, session.begin():
        locked = await locked_attempt(session, attempt.organization_id, attempt.id)
        assert locked is not None
        locked.state = AttemptState.FAILED
    await away.close()
