"""The same operations as one batch and one by one: the same answers and the same rows, but for the times of posting."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation
from tests.model.drawing import AGENTS, BOOKS, Pen, openings
from tests.model.world import START, send, world_on

MOST = 40


async def both(world, batch, one_by_one):
    """Post in the two ways, each on empty books; answers and rows of each."""
    seen = []
    for calls in (batch, one_by_one):
        await world.begin_anew()
        await send(world.connections[0], openings())
        answers = [answer for call in calls for answer in await send(world.connections[0], call)]
        rows = {book: await world.rows(book) for book in BOOKS}
        seen.append((sorted(map(untimed, answers), key=repr), rows))
    return seen


def untimed(answer) -> Any:
    return replace(answer, posted_at=None)


def parts(operations):
    """One by one, but for the groups: they are one thing."""
    calls: list[list[Operation]] = []
    for operation in operations:
        if calls and operation.group and calls[-1][-1].group == operation.group:
            calls[-1].append(operation)
        else:
            calls.append([operation])
    return calls


def test_one_batch_gives_the_answers_and_the_rows_of_one_by_one(new_databases):
    compare(new_databases("batched"), examples=20)


@pytest.mark.long
def test_one_batch_gives_the_answers_and_the_rows_of_one_by_one_for_long(new_databases):
    compare(new_databases("batched"), examples=500)


def compare(database, *, examples):
    with asyncio.Runner() as runner:
        context = world_on(database)
        world = runner.run(context.__aenter__())

        @given(st.data())
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def same(data):
            pen = Pen()
            operations = [*pen.beginning(), *pen.batch(data.draw, START, most=MOST)]
            batched, single = runner.run(both(world, [operations], parts(operations)))
            assert batched == single

        try:
            same()
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_credits_that_came_expired_are_not_spent_in_the_same_batch(new_databases):
    """A payment is never refused, so its lot may have expired; what follows it in the batch must not burn it."""
    lot = LotOpening(LotCause.PAID, 5, usd(5), START - timedelta(days=1))
    grant = Operation(BOOKS[0], Kind.GRANT, SYSTEM_SCOPE, "late payment", "test", lot=lot)
    spend = Operation(BOOKS[0], Kind.SPEND, AGENTS[0], "spend", "test", credits=5)

    async def post():
        async with world_on(new_databases("expired")) as world:
            return await both(world, [[grant, spend]], [[grant], [spend]])

    (batched, _), (single, _) = asyncio.run(post())
    assert {answer.outcome for answer in batched} == {answer.outcome for answer in single}
