"""What a second look at outgoing webhooks has found: endpoints that come while others are told, clocks, bad events."""

from datetime import timedelta

from api.http.views.hooks import told
from billing.activity import EventType
from billing.subscriptions import spends
from billing.subscriptions.endpoints import NewSecret

URL, OTHER_URL = "http://127.0.0.1:9/hook", "http://127.0.0.1:9/other"
USAGE = EventType.USAGE_CREDIT_CONSUMED


async def test_an_endpoint_that_comes_while_a_book_is_looked_at_misses_no_spend(world, monkeypatch):
    await world.endpoint(URL, USAGE)
    await world.post(world.spend(1))
    read = spends._cursor
    came: list[NewSecret] = []

    async def meanwhile(session, organization_id):
        if not came:
            came.append(await world.endpoint(OTHER_URL, USAGE))
            await world.post(world.spend(2))
        return await read(session, organization_id)

    monkeypatch.setattr(spends, "_cursor", meanwhile)
    await world.spread_spends()
    await world.spread_spends()
    late = [row for row in world.deliveries() if row["endpoint_id"] == came[0].endpoint.id]
    assert len(late) == 1


async def test_a_process_whose_clock_is_ahead_tells_the_spends_that_come_next(world):
    world.clock.move(timedelta(hours=1))
    await world.endpoint(URL, USAGE)
    await world.post(world.spend(1))
    await world.spread_spends()
    assert len(world.deliveries()) == 1


async def test_an_event_that_cannot_be_told_keeps_no_other_from_being_told(world):
    await world.endpoint(URL)
    one, bad, other = await world.happens(times=3)

    def render(event):
        if event.id == bad:
            raise ValueError("no body")
        return told(event)

    world.render = render
    await world.spread()
    assert {row["event_id"] for row in world.deliveries()} == {one, other}
