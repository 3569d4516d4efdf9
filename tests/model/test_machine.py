"""The whole engine against the oracle: random histories, one step at a time, everything compared after every step."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger.operations import Kind
from tests.model.drawing import BOOKS, PASSES, Pen, openings
from tests.model.losing import post_and_lose_the_reply
from tests.model.proxy import FaultProxy, proxy_to
from tests.model.world import World, world_on

CONNECTIONS = 3
CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class Engine(RuleBasedStateMachine):
    """Every kind of operation, in every way of sending it."""

    runner: ClassVar[asyncio.Runner]
    world: ClassVar[World]
    proxy: ClassVar[FaultProxy]

    def run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(what)

    @initialize()
    def open_books(self) -> None:
        self.pen = Pen()
        self.run(self.world.begin_anew())
        self.run(self.world.post(*openings()))
        self.run(self.world.post(*self.pen.beginning()))

    @rule(data=st.data())
    def one(self, data: st.DataObject) -> None:
        self.run(self.world.post(self.pen.operation(data.draw, self.world.now)))

    @rule(data=st.data())
    def batch(self, data: st.DataObject) -> None:
        self.run(self.world.post(*self.pen.batch(data.draw, self.world.now, most=6)))

    @precondition(lambda self: self.pen.written)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """The same content, at another time of the world: the same answer for ever."""
        written = data.draw(st.lists(st.sampled_from(self.pen.written), min_size=1, max_size=4))
        self.run(self.world.post(*(replace(made, event_at=self.world.now, group=0) for made in written)))

    @rule(data=st.data())
    def at_once(self, data: st.DataObject) -> None:
        clients = data.draw(st.integers(2, CONNECTIONS))
        histories = [
            [self.pen.batch(data.draw, self.world.now, most=3) for _ in range(data.draw(st.integers(1, 2)))]
            for _ in range(clients)
        ]
        self.run(self.world.post_at_once(histories))

    @rule(data=st.data())
    def reply_lost(self, data: st.DataObject) -> None:
        batch = self.pen.batch(data.draw, self.world.now, most=4)
        self.run(post_and_lose_the_reply(self.proxy, batch))
        self.world.oracle.post(batch, self.world.now)
        self.run(self.world.post(*batch))

    @rule(passed=PASSES)
    def time_passes(self, passed: Any) -> None:
        self.run(self.world.set_clock(self.world.now + passed))

    @rule(book=st.sampled_from(BOOKS))
    def next_deadline_comes(self, book: Any) -> None:
        known = self.world.oracle.books[book]
        times = [hold.deadline for hold in known.open_holds()]
        times += [lot.opening.expires_at for lot in known.lots if lot.remaining and lot.opening.expires_at]
        self.run(self.world.set_clock(min([at for at in times if at > self.world.now], default=self.world.now)))

    @rule(book=st.sampled_from(BOOKS), days=st.integers(0, 3), kind=st.sampled_from([Kind.CLOSE] * 3 + [Kind.REOPEN]))
    def days_are_closed(self, book: Any, days: int, kind: Kind) -> None:
        self.run(self.world.close_through(book, self.world.now.date() - timedelta(days=days), kind=kind))

    @rule(book=st.sampled_from(BOOKS))
    def catch_up(self, book: Any) -> None:
        self.run(self.world.catch_up(book))

    @invariant()
    def everything_is_as_the_oracle_says(self) -> None:
        self.run(self.world.check())

    def teardown(self) -> None:
        self.run(self.world.verify())


def walk(database, *, examples: int, steps: int, phases: tuple[Phase, ...]) -> None:
    with asyncio.Runner() as runner:
        world_context = world_on(database, connections=CONNECTIONS)
        proxy_context = proxy_to(database.run_url)
        Engine.runner = runner
        Engine.world = runner.run(world_context.__aenter__())
        Engine.proxy = runner.run(proxy_context.__aenter__())
        try:
            run_state_machine_as_test(
                Engine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=phases,
                    suppress_health_check=CALM,
                ),
            )
        finally:
            runner.run(proxy_context.__aexit__(None, None, None))
            runner.run(world_context.__aexit__(None, None, None))


def test_any_history_is_what_the_oracle_says(new_databases):
    """A failure is not made small here, which takes minutes: the long test does."""
    walk(new_databases("machine"), examples=20, steps=30, phases=(Phase.generate,))


@pytest.mark.long
def test_any_longer_history_is_what_the_oracle_says(new_databases):
    walk(new_databases("machine"), examples=600, steps=60, phases=(Phase.generate, Phase.shrink))
