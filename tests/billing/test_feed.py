"""The feed of an organization: written events and spends of the journal, merged, paged and found by what they name."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from api.settings import Settings
from api.wiring import House
from billing import activity, feed, identity, spending
from billing.activity import EventType
from billing.database import snapshot
from billing.feed import Page, Place, Used, Wanted
from billing.fresh import new_id
from billing.identity import Actor, Newcomer
from billing.tables import ActivityEvent
from ledger import ids, posting
from ledger.ids import external
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation
from tests.warm import house_of

PAGES_MAX = 200


class World:
    """One organization, what is done in it, and its feed."""

    def __init__(self, house: House, actor: Actor) -> None:
        self.house, self.actor = house, actor
        self.behalf = spending.Behalf(actor.organization_id, actor.agent_id, actor.agent_id)
        self.spent: list[UUID] = []
        self.happened: list[UUID] = []
        self.numbers = itertools.count()

    def key(self) -> str:
        return f"key-{next(self.numbers)}"

    async def post(self, operation: Operation) -> UUID:
        async with self.house.sessions() as session, session.begin():
            await posting.post(session, [operation])
        return operation.id

    async def grant(self) -> None:
        lot = LotOpening(LotCause.PROMOTIONAL, 1000, None, None)
        await self.post(Operation(self.actor.organization_id, Kind.GRANT, SYSTEM_SCOPE, self.key(), "test", lot=lot))

    async def spend(self) -> UUID:
        return await self._use(spending.spend(self.behalf, self.key(), 7))

    async def _use(self, operation: Operation) -> UUID:
        self.spent.append(await self.post(operation))
        self.happened.append(operation.id)
        return operation.id

    async def capture(self, *, parts: int = 1) -> UUID:
        """The hold that was made."""
        now = self.house.clock()
        deadline = now + timedelta(hours=1)
        hold_id = await self.post(spending.hold(self.behalf, self.key(), 9, deadline=deadline, now=now))
        for _ in range(parts):
            await self._use(spending.capture(self.behalf, self.key(), hold_id, 3, final=False))
        return hold_id

    async def refund(self) -> None:
        if self.spent:
            refund = spending.refund(self.behalf, self.key(), self.spent.pop(), 2)
            self.happened.append(await self.post(refund))

    async def event(self, type_: EventType = EventType.JOB_COMPLETED) -> UUID:
        now = self.house.clock()
        job_id = external("job", new_id(now))
        event = ActivityEvent(
            organization_id=self.actor.organization_id, id=new_id(now), type=type_, occurred_at=now, summary="Done.",
            operation="create", subject_type="job", subject_id=job_id, status="completed",
            links={"job_id": job_id, "asset_ids": []},
        )  # fmt: skip
        async with self.house.sessions() as session, session.begin():
            activity.tell(session, event)
        self.happened.append(event.id)
        return event.id

    async def page(self, limit: int = 100, **wanted: object) -> Page:
        async with snapshot(self.house.sessions) as session:
            return await feed.page(session, self.actor.organization_id, Wanted(limit, **wanted))  # type: ignore[arg-type]

    async def whole(self, **wanted: object) -> list[ActivityEvent]:
        """All pages, of one event each."""
        found: list[ActivityEvent] = []
        start: Place | None = None
        for _ in range(PAGES_MAX):
            page = await self.page(1, start=start, **wanted)
            found += page.events
            if (start := page.following) is None:
                return found
        raise AssertionError("the feed has no end")

    async def do(self, actions: list[str]) -> None:
        for action in actions:
            await getattr(self, action)()


@pytest.fixture
async def world(quiet_house: House) -> World:
    return await world_in(quiet_house)


async def world_in(house: House) -> World:
    done = await identity.sign_up(
        house.sessions, Newcomer(name="a", runtime="pytest"), want_token=True, presented=None, now=house.clock()
    )
    made = World(house, await identity.authenticate(house.bearers.agents, done.token or "", now=house.clock()))
    await made.grant()
    return made


@pytest.fixture(scope="module")
def lasting(quiet_database) -> Iterator[tuple[asyncio.Runner, House]]:
    """A house and a loop for all examples of a property."""
    with asyncio.Runner() as runner:
        house = house_of(Settings(database_url=SecretStr(quiet_database.run_url)), "feed")
        yield runner, house
        runner.run(house.close())


def age(event: ActivityEvent) -> tuple[int, bool]:
    """By what the feed is sorted, besides the order of each of its two lists."""
    is_usage = event.type == EventType.USAGE_CREDIT_CONSUMED
    return (int(event.occurred_at.timestamp() * 1000) if is_usage else event.id.int >> 80), not is_usage


ACTIONS = st.lists(st.sampled_from(["grant", "spend", "capture", "refund", "event"]), max_size=12)


@settings(max_examples=15, deadline=None)
@given(before=ACTIONS, meanwhile=st.lists(ACTIONS, max_size=3), sizes=st.lists(st.integers(1, 5), min_size=1))
def test_pages_of_any_size_give_each_event_once_in_order_while_new_ones_come(lasting, before, meanwhile, sizes):
    runner, house = lasting
    runner.run(walk(house, before, meanwhile, sizes))


async def walk(house: House, before: list[str], meanwhile: list[list[str]], sizes: list[int]) -> None:
    world = await world_in(house)
    await world.do(before)
    there = [event.id for event in (await world.page(100)).events]
    assert sorted(there) == sorted(world.happened)
    seen: list[ActivityEvent] = []
    start, comes = None, iter(meanwhile)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feed, "OPERATIONS_READ_MAX", 3)
        for size in itertools.islice(itertools.cycle(sizes), PAGES_MAX):
            page = await world.page(size, start=start)
            assert len(page.events) <= size
            seen += page.events
            if (start := page.following) is None:
                break
            assert feed.place_of(start.text()) == start
            await world.do(next(comes, []))
    assert start is None
    assert len({event.id for event in seen}) == len(seen)
    assert [event.id for event in seen if event.id in there] == there
    assert [age(event) for event in seen] == sorted(map(age, seen), reverse=True)


async def test_what_is_consumed_adds_up_over_all_events(world):
    await world.spend()
    hold_id = await world.capture(parts=2)
    await world.refund()
    found = await world.whole(type="usage.credit_consumed")
    assert [(event.status, event.cost) for event in found] == [
        ("refunded", {"credits": -2}),
        ("succeeded", {"credits": 3}),
        ("succeeded", {"credits": 3}),
        ("succeeded", {"credits": 7}),
    ]
    refund, last, first, spend = found
    agent_id = external("agt", world.actor.agent_id)
    assert [event.links["agent_id"] for event in found] == [agent_id] * 4
    assert refund.links["usage_event_id"] == last.links["usage_event_id"] == external("usage", last.id)
    assert refund.links["refunded_operation_id"] == last.links["operation_id"] == external("op", last.id)
    assert [event.links.get("hold_id") for event in found] == [None, *[external("hold", hold_id)] * 2, None]
    assert first.operation == "credits.capture"
    assert spend.operation == "credits.spend"


async def test_everything_that_an_event_names_finds_it(world):
    await world.spend()
    await world.capture(parts=2)
    await world.refund()
    await world.event()
    for event in await world.whole():
        for link in (external("evt", event.id), event.subject_id, *event.links.values()):
            if link and not link.startswith("agt_"):
                assert event.id in [found.id for found in await world.whole(reference=link)], link


async def test_a_hold_finds_its_captures_and_an_operation_its_refunds_alone(world):
    other = await world.spend()
    hold_id = await world.capture(parts=2)
    first, last = world.spent[-2:]
    await world.refund()
    await world.spend()
    refund = world.happened[-2]
    assert [event.id for event in await world.whole(reference=external("hold", hold_id))] == [last, first]
    assert [event.id for event in await world.whole(reference=external("op", last))] == [refund, last]
    assert [event.id for event in await world.whole(reference=external("evt", last))] == [last]
    assert [event.id for event in await world.whole(reference=external("usage", other))] == [other]


async def test_a_reference_in_a_long_history_is_walked_to_in_bounded_steps(world, monkeypatch):
    hold_id = await world.capture(parts=1)
    captured = world.spent[-1]
    await world.do(["grant"] * 9)
    monkeypatch.setattr(feed, "OPERATIONS_READ_MAX", 4)
    page = await world.page(reference=external("hold", hold_id))
    assert not page.events
    assert page.following is not None
    assert [event.id for event in await world.whole(reference=external("hold", hold_id))] == [captured]
    direct = await world.page(reference=external("op", captured))
    assert ([event.id for event in direct.events], direct.following) == ([captured], None)


async def test_another_organization_finds_nothing(world, quiet_house):
    hold_id = await world.capture()
    event_id = await world.event()
    stranger = await world_in(quiet_house)
    for name in (external("hold", hold_id), external("op", world.spent[-1]), external("evt", world.spent[-1]),
                 external("evt", event_id), external("usage", world.spent[-1])):  # fmt: skip
        page = await stranger.page(reference=name)
        assert (list(page.events), page.following) == ([], None)


async def test_types_are_kept_apart(world):
    await world.do(["spend", "event", "capture"])
    planned = await world.event(EventType.JOB_PLANNED)
    assert [event.id for event in await world.whole(type="job.planned")] == [planned]
    assert {event.type for event in await world.whole(type="usage.credit_consumed")} == {"usage.credit_consumed"}
    assert await world.whole(type="asset.uploaded") == []
    assert [event.id for event in await world.whole(type="job.planned", reference=external("evt", planned))] == [
        planned
    ]
    assert await world.whole(type="job.planned", reference=external("evt", world.spent[0])) == []


def usage(at: datetime) -> ActivityEvent:
    return ActivityEvent(id=UUID(int=0), occurred_at=at, type="usage.credit_consumed")


def test_what_is_written_after_a_page_is_never_put_behind_it():
    now = datetime(2026, 11, 21, tzinfo=UTC)
    used = Used([usage(now)], [5], 5, 1)
    page = feed.merged([], used, Place(UUID(int=(1 << 128) - 1), 6), limit=1)
    assert page.following is not None
    assert page.following.event_id < new_id(now)
    assert page.following.seq == 5


def test_nothing_is_told_before_what_the_rest_of_the_journal_may_hold():
    now = datetime(2026, 11, 21, tzinfo=UTC)
    event = ActivityEvent(id=new_id(now), occurred_at=now, type="job.planned")
    start = Place(UUID(int=(1 << 128) - 1), 9)
    assert feed.merged([event], Used([], [], 4, 1), start, limit=2) == Page([], Place(start.event_id, 4))
    assert feed.merged([event], Used([], [], 1, 1), start, limit=2) == Page([event], None)


@pytest.mark.parametrize("text", ["", "feed_", "evt_" + "0" * 26, "feed_0_" + "0" * 26, "feed_1_" + "0" * 25 + "!",
                                  "feed_1_" + "z" * 26, "feed_-1_" + "0" * 26, "feed_" + "9" * 19 + "_" + "0" * 26,
                                  "feed_1_" + "0" * 27])  # fmt: skip
def test_cursors_that_no_answer_gave_are_no_places(text):
    with pytest.raises(ids.MalformedId):
        feed.place_of(text)
