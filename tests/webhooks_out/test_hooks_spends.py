"""Spends are told out of the journal: each once, as the agent sees it, and none from before anybody wanted them."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from api.http.views.happenings import event_view
from billing import feed
from billing.activity import EventType
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from billing.subscriptions import endpoints, spends, spreading
from ledger.ids import external
from ledger.operations import SYSTEM_SCOPE, Kind, Operation
from tests.service import new_key
from tests.webhooks_out.conftest import World
from tests.webhooks_out.dying import Died, dying, some_lines_or_all

URL = "http://127.0.0.1:9/hook"
USAGE = EventType.USAGE_CREDIT_CONSUMED
LINES_MAX = 400


async def used(world: World) -> list[Operation]:
    """A spend, a capture of a hold, and a refund of the spend; the hold itself is no usage."""
    spend = world.spend(5)
    hold = Operation(
        world.organization_id, Kind.HOLD, SYSTEM_SCOPE, new_key(), "hold", credits=9,
        deadline=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    capture = Operation(
        world.organization_id, Kind.CAPTURE, SYSTEM_SCOPE, new_key(), "capture", credits=4, target=hold.id
    )
    refund = Operation(
        world.organization_id, Kind.SPEND_REFUND, SYSTEM_SCOPE, new_key(), "refund", credits=2, target=spend.id
    )
    await world.post(spend, hold)
    await world.post(capture, refund)
    return [spend, capture, refund]


async def test_what_is_told_of_a_spend_is_what_the_agent_sees_of_it(world):
    await world.endpoint(URL, USAGE)
    await used(world)
    await world.spread_spends()
    async with snapshot(world.house.sessions) as session:
        seen = await feed.page(session, world.organization_id, feed.Wanted(10, type=USAGE))
    whose = {"organization_id": external("org", world.organization_id)}
    shown = {one.id: event_view(one) | whose for one in seen.events if one.occurred_at > world.clock()}
    found = {row["event_id"]: json.loads(row["body"]) for row in world.deliveries()}
    assert len(shown) == 3
    assert {event_id: body["data"] for event_id, body in found.items()} == shown
    assert {body["type"] for body in found.values()} == {"usage.credit_consumed"}
    assert sorted(body["data"]["cost"]["credits"] for body in found.values()) == [-2, 4, 5]


async def test_nothing_is_looked_at_and_nothing_told_while_nobody_wants_spends(world):
    await world.endpoint(URL, EventType.JOB_COMPLETED)
    await used(world)
    await world.spread_spends()
    assert world.told() == []
    assert world.look.rows("SELECT * FROM billing.told_books") == []


async def test_an_endpoint_is_told_of_what_is_spent_after_it_wants_it(world):
    await used(world)
    world.clock.at = datetime.now(UTC)
    first = await world.endpoint(URL, USAGE)
    await world.post(early := world.spend())
    world.clock.at = datetime.now(UTC)
    second = await world.endpoint(URL)
    await world.post(late := world.spend())
    await world.spread_spends()
    expected = [(first.endpoint.id, early.id), (first.endpoint.id, late.id), (second.endpoint.id, late.id)]
    assert world.told() == sorted(expected)


async def test_what_was_spent_while_nobody_wanted_it_is_not_told_later(world):
    made = await world.endpoint(URL, USAGE)
    await world.post(first := world.spend())
    await world.spread_spends()
    acting: Any = {"by": COMMAND_LINE, "reason": "a test"}
    await endpoints.disable(world.house.sessions, made.endpoint.id, now=world.clock(), **acting)
    await used(world)
    await world.spread_spends()
    world.clock.at = datetime.now(UTC)
    await endpoints.enable(world.house.sessions, made.endpoint.id, now=world.clock(), **acting)
    await world.spread_spends()
    await world.post(last := world.spend())
    await world.spread_spends()
    assert world.told() == sorted([(made.endpoint.id, first.id), (made.endpoint.id, last.id)])


async def test_an_endpoint_that_begins_to_want_spends_gets_none_from_before(world):
    made = await world.endpoint(URL, EventType.JOB_COMPLETED)
    await used(world)
    world.clock.at = datetime.now(UTC)
    await endpoints.change(
        world.house.sessions, made.endpoint.id, url=None, types=[USAGE], description=None, check=world.door.check,
        by=COMMAND_LINE, reason="-", now=world.clock(),
    )  # fmt: skip
    await world.post(spend := world.spend())
    await world.spread_spends()
    assert world.told() == [(made.endpoint.id, spend.id)]


async def test_a_long_journal_is_walked_in_parts_and_every_book_is_come_by(world, monkeypatch):
    monkeypatch.setattr(spends, "READ_MAX", 3)
    monkeypatch.setattr(spends, "BOOKS_MAX", 1)
    monkeypatch.setattr(spends, "LOOKED_MAX", 2)
    made = await world.endpoint(URL, USAGE)
    spent = [world.spend() for _ in range(8)]
    for one in spent:
        await world.post(one)
    for _ in range(3):
        await world.spread_spends()
    assert world.told() == sorted((made.endpoint.id, one.id) for one in spent)


async def test_several_workers_at_once_tell_every_spend_once(world, monkeypatch):
    monkeypatch.setattr(spends, "READ_MAX", 2)
    made = await world.endpoint(URL, USAGE)
    spent = [world.spend() for _ in range(12)]
    await world.post(*spent)

    async def work() -> None:
        for _ in range(8):
            await world.spread_spends()

    await asyncio.gather(*[work() for _ in range(3)])
    assert world.told() == sorted((made.endpoint.id, one.id) for one in spent)


@some_lines_or_all
async def test_who_dies_between_any_two_lines_tells_every_spend_once_in_the_end(world, step):
    made = await world.endpoint(URL, USAGE)
    deaths, spent = 0, []
    for line in count(1, step):
        spent.append(world.spend())
        await world.post(spent[-1])
        everything = sorted((made.endpoint.id, one.id) for one in spent)
        try:
            with dying(line, spends, spreading):
                await world.spread_spends()
        except Died:
            deaths += 1
            before = sorted((made.endpoint.id, one.id) for one in spent[:-1])
            assert world.told() in [before, everything]
            await world.spread_spends()
            assert world.told() == everything
        else:
            break
        assert line < LINES_MAX
    assert world.told() == everything
    assert deaths > 25 // step


async def test_a_spend_that_was_refused_is_not_told(world):
    made = await world.endpoint(URL, USAGE)
    await world.post(replace(world.spend(1_000_000), scope=world.organization_id), after := world.spend())
    await world.spread_spends()
    assert world.told() == [(made.endpoint.id, after.id)]
