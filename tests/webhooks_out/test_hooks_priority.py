"""What costs its sender nothing waits behind money and finished work, and behind nothing that is not due."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import event

from billing.activity import EventType
from billing.operator_actions import COMMAND_LINE
from billing.outbound_tables import Priority
from billing.subscriptions import delivering, trying
from tests.outbound.receivers import answer, raw
from tests.webhooks_out.conftest import bodies

URL = "http://127.0.0.1:9/hook"
FREE = (EventType.JOB_PLANNED, EventType.FEEDBACK_CREATED)
EARNED = tuple(type_ for type_ in EventType if type_ not in FREE)
A_BIT = timedelta(seconds=1)


async def happened(world, *types):
    """Events of these types in turn, each a second after the one before it, made deliveries."""
    for type_ in types:
        await world.happens(type_)
        await world.spread()
        world.clock.move(A_BIT)


async def taken(world, made):
    """The types of what is taken next."""
    found = await delivering.take(world.house.sessions, made.endpoint.id, now=world.clock())
    types = {row["id"]: row["type"] for row in world.deliveries()}
    return [types[one.id] for one in found]


async def test_only_what_costs_its_sender_nothing_is_put_last(world):
    await world.endpoint(URL)
    await happened(world, *EventType)
    priorities = {row["type"]: row["priority"] for row in world.deliveries()}
    assert priorities == {**dict.fromkeys(EARNED, Priority.EARNED), **dict.fromkeys(FREE, Priority.FREE)}


async def test_money_and_finished_work_overtake_whatever_is_free(world, receiver):
    here = await receiver(raw(answer(200, "ok")))
    await world.endpoint(here.url)
    await happened(world, *FREE * 3, *EARNED)
    await world.deliver()
    told = [body["type"] for body in bodies(here.calls)]
    rounds = [told[at : at + delivering.TOGETHER_MAX] for at in range(0, len(told), delivering.TOGETHER_MAX)]
    whole = len(EARNED) // delivering.TOGETHER_MAX
    assert {type_ for one in rounds[:whole] for type_ in one} <= set(EARNED)
    assert set(EARNED) - {type_ for one in rounds[: whole + 1] for type_ in one} == set()
    assert len(told) == 2 * 3 + len(EARNED)


async def test_of_one_priority_the_oldest_is_taken_first_and_free_things_fill_what_is_left(world):
    made = await world.endpoint(URL)
    money = EventType.PAYMENT_BACKED_GRANTED
    await happened(world, *FREE, EventType.JOB_COMPLETED, money, *FREE)
    assert await taken(world, made) == [EventType.JOB_COMPLETED, money, *FREE, FREE[0]]
    assert await taken(world, made) == [FREE[1]]
    assert await taken(world, made) == []


async def test_money_that_is_to_be_tried_later_keeps_nothing_free_back(world, receiver):
    here = await receiver(raw(answer(500)))
    made = await world.endpoint(here.url)
    await happened(world, EventType.PAYMENT_BACKED_GRANTED)
    await world.deliver()
    await happened(world, EventType.FEEDBACK_CREATED)
    assert await taken(world, made) == [EventType.FEEDBACK_CREATED]


@pytest.mark.parametrize("waiting", [Priority.EARNED, Priority.FREE])
async def test_an_endpoint_is_due_whatever_of_it_is_due(world, waiting):
    made = await world.endpoint(URL)
    assert await delivering.due(world.house.sessions, now=world.clock()) == []
    await happened(world, FREE[0] if waiting is Priority.FREE else EARNED[0])
    assert await delivering.due(world.house.sessions, now=world.clock()) == [made.endpoint.id]
    assert await delivering.due(world.house.sessions, now=world.clock() - 2 * A_BIT) == []


async def test_a_test_by_hand_waits_behind_nothing_free(world):
    made = await world.endpoint(URL)
    stored = await trying.store_test(
        world.house.sessions, made.endpoint.id, body="{}", by=COMMAND_LINE, reason="a test", now=world.clock()
    )
    assert [(row["id"], row["priority"]) for row in world.deliveries()] == [(stored.id, Priority.EARNED)]


async def test_workers_that_take_at_once_take_different_ones_of_both_priorities(world):
    made = await world.endpoint(URL)
    await happened(world, *FREE * 3, *EARNED[:3])
    takes = [delivering.take(world.house.sessions, made.endpoint.id, now=world.clock()) for _ in range(4)]
    ids = sorted(one.id for found in await asyncio.gather(*takes) for one in found)
    assert all(earlier != later for earlier, later in pairwise(ids))
    rest = await taken(world, made)
    assert len(ids) + len(rest) == 9


async def test_a_flood_is_never_read_through(world):
    made = await world.endpoint(URL)
    flood = """
        INSERT INTO billing.webhook_deliveries
          (id, endpoint_id, type, body, state, priority, next_try_at, created_at, updated_at)
        SELECT gen_random_uuid(), $1, 'feedback.created', repeat('x', 300), 'pending', p, $2, $2, $2
        FROM generate_series(1, 1000), unnest(ARRAY[0, 1]) AS p"""
    world.look.rows(flood, made.endpoint.id, world.clock() + timedelta(hours=1))
    world.look.rows("ANALYZE billing.webhook_deliveries")
    sent = []
    on = world.house.sessions.kw["bind"].sync_engine

    def asked(_, __, statement, parameters, *___):
        sent.append((statement, parameters))

    event.listen(on, "before_cursor_execute", asked)
    try:
        assert await delivering.due(world.house.sessions, now=world.clock()) == []
        assert await taken(world, made) == []
    finally:
        event.remove(on, "before_cursor_execute", asked)
    looking = [each for each in sent if "FROM billing.webhook_deliveries" in each[0]]
    assert len(looking) == 1 + len(Priority)
    for statement, parameters in looking:
        plan = "\n".join(row["QUERY PLAN"] for row in world.look.rows(f"EXPLAIN {statement}", *parameters))
        assert "using deliveries_due on" in plan
        assert "Seq Scan on webhook_deliveries" not in plan
        assert "state = 'pending'" in statement, "else a plan that is kept cannot use the index"
