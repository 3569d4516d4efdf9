"""A desk for jobs whose executor and clock do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from billing.database import Sessions
from billing.identity import Actor, Buyer
from billing.job_tables import Job
from billing.jobs import ordering, reading, turning
from billing.jobs.ending import JobKey
from billing.jobs.ordering import Bounds, Order
from billing.jobs.turning import Desk
from billing.pricing import Policy, Price
from ledger import posting, statements
from ledger.operations import Kind, LotCause, LotOpening, Operation
from ledger.statements import Balance
from outbound.executor import Executor, Later, Made, NotMade, NotReached, Work

PICTURE = {"asset_id": "image_of_the_tests"}
OPERATOR = UUID(int=7)
"""An operator key that gives credits."""
LASTING = timedelta(minutes=10)
ROUNDS_MAX = 200
"""A worker takes so many at a time, of each organization one order, and what other tests have left may come first."""


@dataclass
class Hand:
    """An executor that answers with what is next in `answers`, and remembers what it was asked."""

    answers: list[Made | NotMade | Later | NotReached] = field(default_factory=list)
    asked: list[Work] = field(default_factory=list)
    before: Callable[[], Any] | None = None

    async def perform(self, work: Work) -> Made | NotMade | Later:
        """The next answer; the last one again and again."""
        self.asked.append(work)
        if self.before is not None:
            await self.before()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, NotReached):
            raise answer
        return answer


@dataclass
class Workshop:
    """An agent with credits, a desk, and a clock that only tests move."""

    sessions: Sessions
    actor: Actor
    hand: Hand
    moved: timedelta = timedelta()
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def clock(self) -> datetime:
        """The time as tests have moved it."""
        return self.began + self.moved

    @property
    def buyer(self) -> Buyer:
        """For whom it is ordered."""
        return Buyer(self.actor.organization_id, self.actor.agent_id)

    @property
    def desk(self) -> Desk:
        """The desk."""
        executors: dict[str, Executor] = {"hand": self.hand}
        return Desk(self.sessions, executors, self.clock)

    async def due(self) -> list[JobKey]:
        """What a worker would take now; it takes it."""
        now, found = self.clock(), list[JobKey]()
        for _ in range(ROUNDS_MAX):
            taken = [
                *await turning.take_due(self.sessions, now=now),
                *await turning.take_orders(self.sessions, most=turning.TAKE_MAX, now=now),
            ]
            if not taken:
                return found
            found += taken
        raise AssertionError(f"jobs that were taken are given again: {len(found)} in {ROUNDS_MAX} rounds")

    async def order(
        self, key: str = "k", *, jobs_per_day: int | None = None, jobs_open: int = 100, **changes: Any
    ) -> Job:
        """Order seven credits' worth of work."""
        wanted = replace(wanted_of(key), **changes)
        return await ordering.order(
            self.sessions,
            self.buyer,
            wanted,
            bounds=Bounds(jobs_per_day, jobs_open),
            wait=timedelta(),
            now=self.clock(),
        )

    async def turn(self, job: Job) -> Job:
        """One turn of the job."""
        return await turning.turn(self.desk, key_of(job))

    async def job(self, job: Job) -> Job:
        """The job as it stands."""
        async with self.sessions() as session:
            return await reading.by_id(session, job.organization_id, job.id)

    async def balance(self) -> Balance:
        """What there is now."""
        async with self.sessions() as session:
            return await statements.balance(session, self.actor.organization_id, self.clock())

    async def give(self, credits_: int) -> None:
        """Give promotional credits."""
        lot = LotOpening(LotCause.PROMOTIONAL, credits_, None, None)
        key = f"gift:{uuid4()}"
        gift = Operation(self.actor.organization_id, Kind.GRANT, OPERATOR, key, "gift", lot=lot)
        await self.post(gift)

    async def post(self, *operations: Operation) -> None:
        """Post as the service would."""
        async with self.sessions() as session, session.begin():
            await posting.post(session, operations)

    async def together(self, times: int, do: Callable[[], Any]) -> list[Any]:
        """What comes of doing it so many times at once, errors included."""
        return await asyncio.gather(*(do() for _ in range(times)), return_exceptions=True)


def wanted_of(key: str) -> Order:
    """Work for one picture of seven credits."""
    return Order(
        key=key,
        asked=reading.fingerprint({"prompt": "a fox"}),
        operation="create",
        model_id="house.painter",
        executor="hand",
        request={"prompt": "a fox"},
        units=1,
        price=Price(Policy.PER_UNIT, 7),
        lasting=LASTING,
    )


def key_of(job: Job) -> JobKey:
    """The job's key."""
    return JobKey(job.organization_id, job.id)
