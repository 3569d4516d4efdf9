"""An event becomes one delivery for each endpoint that wants it, whoever dies or runs beside whom."""

import asyncio
import json
from itertools import count

import pytest
from sqlalchemy import text

from billing import activity
from billing.activity import EventType
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from billing.subscriptions import endpoints, measures, spreading
from ledger.ids import external
from tests.webhooks_out.conftest import name_of
from tests.webhooks_out.dying import Died, dying, some_lines_or_all

URL = "http://127.0.0.1:9/hook"
LINES_MAX = 300


async def test_each_endpoint_that_wants_the_type_gets_it_once(world):
    everything, one_type = await world.endpoint(URL), await world.endpoint(URL, EventType.JOB_COMPLETED)
    disabled = await world.endpoint(URL)
    await endpoints.disable(world.house.sessions, disabled.endpoint.id, by=COMMAND_LINE, reason="-", now=world.clock())
    [feedback] = await world.happens(EventType.FEEDBACK_CREATED)
    [job] = await world.happens(EventType.JOB_COMPLETED)
    assert await world.spread() == 2
    assert await world.spread() == 0
    expected = [(everything.endpoint.id, feedback), (everything.endpoint.id, job), (one_type.endpoint.id, job)]
    assert world.told() == sorted(expected)
    assert world.untold() == 0


async def test_the_body_has_the_type_the_time_and_what_the_agent_sees_and_whose_it_is(world):
    await world.endpoint(URL)
    [event] = await world.happens()
    await world.spread()
    [row] = world.deliveries()
    body = json.loads(row["body"])
    assert set(body) == {"type", "timestamp", "data"}
    assert (body["type"], body["timestamp"]) == ("feedback.created", body["data"]["occurred_at"])
    assert body["data"]["event_id"] == name_of(event)
    assert body["data"]["organization_id"] == external("org", world.organization_id)
    assert "🐈" in row["body"], "it is not longer than it has to be"


async def test_an_event_that_was_rolled_back_is_never_told(world):
    await world.endpoint(URL)
    async with world.house.sessions() as session:
        activity.tell(session, world.event())
        await session.flush()
        await session.rollback()
    assert (await world.spread(), world.told(), world.untold()) == (0, [], 0)


async def test_what_nobody_wants_is_told_to_nobody_also_later(world):
    await world.happens()
    assert (await world.spread(), world.untold()) == (1, 0)
    await world.endpoint(URL)
    assert (await world.spread(), world.told()) == (0, [])


async def test_several_workers_at_once_tell_every_event_once(world, monkeypatch):
    monkeypatch.setattr(spreading, "SPREAD_MAX", 7)
    made = [await world.endpoint(URL) for _ in range(2)]
    events = await world.happens(times=40)

    async def work() -> None:
        while await world.spread():
            pass

    await asyncio.gather(*[work() for _ in range(4)])
    assert world.told() == sorted((one.endpoint.id, event) for one in made for event in events)
    assert world.untold() == 0


@some_lines_or_all
async def test_who_dies_between_any_two_lines_has_told_everything_or_nothing(world, step):
    made = await world.endpoint(URL)
    deaths = 0
    for line in count(1, step):
        events = await world.happens()
        before = world.told()
        everything = sorted([*before, *((made.endpoint.id, event) for event in events)])
        try:
            with dying(line, spreading):
                await world.spread()
        except Died:
            deaths += 1
            assert (world.told(), world.untold()) in [(before, 1), (everything, 0)]
            await world.spread()
        else:
            assert world.told() == everything
            break
        assert (world.told(), world.untold()) == (everything, 0)
        assert line < LINES_MAX
    assert deaths > 15 // step


async def test_a_mark_that_comes_back_tells_nobody_twice(world):
    made = await world.endpoint(URL)
    [event] = await world.happens()
    await world.spread()
    async with world.house.sessions() as session, session.begin():
        again = text("INSERT INTO billing.untold_events VALUES (:whose, :event)")
        await (await session.connection()).execute(again, {"whose": world.organization_id, "event": event})
    assert await world.spread() == 1
    assert world.told() == [(made.endpoint.id, event)]


async def test_how_webhooks_stand_is_measured(world):
    made = await world.endpoint(URL)

    async def measured():
        async with snapshot(world.house.sessions) as session:
            return await measures.measured(session)

    assert await measured() == measures.Webhooks(0, None, 0)
    await world.happens(times=2)
    assert await measured() == measures.Webhooks(0, world.clock(), 0), "an event waits to become deliveries"
    await world.spread()
    assert await measured() == measures.Webhooks(2, world.clock(), 0)
    await endpoints.disable(world.house.sessions, made.endpoint.id, by=COMMAND_LINE, reason="-", now=world.clock())
    assert await measured() == measures.Webhooks(0, None, 1)


@pytest.mark.parametrize("number", [endpoints.ENABLED_MAX])
async def test_there_are_only_so_many_endpoints_at_once_whoever_makes_them(world, number):
    made = await asyncio.gather(*[world.endpoint(URL) for _ in range(number + 3)], return_exceptions=True)
    refused = [one for one in made if isinstance(one, Exception)]
    assert [str(one) for one in refused] == [f"{number} webhook endpoints are enabled, which is as many as may be"] * 3
    kept = next(one for one in made if isinstance(one, endpoints.NewSecret))
    await endpoints.disable(world.house.sessions, kept.endpoint.id, by=COMMAND_LINE, reason="-", now=world.clock())
    await world.endpoint(URL)
