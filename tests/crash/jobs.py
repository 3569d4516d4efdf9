"""Orders jobs again and again, each time killed at another point, and looks at what is there afterwards.

A program of its own like `harness`, whose forks it uses: every run is a child that orders a job, has it carried out
and dies on the way. First a worker works on alone: what was ordered is carried out, and what was not has left no trace.
Then the agent repeats its order and the executor its result. Takes a JSON object on standard input (`run_url`, `case`;
of all points those at `first`, `first + every`, …) and prints one on standard output. In the case `at_once` the
executor answers at once, in `later` by a result of its own, in `canceled` the agent cancels.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pydantic import SecretStr
from sqlmodel import col, select

from api.settings import Settings
from api.wiring import House, build, now
from billing import identity, proofs
from billing.identity import Actor, Newcomer
from billing.job_tables import Job
from billing.jobs import ending, ordering, turning
from billing.jobs.ordering import Bounds
from billing.jobs.turning import LEASE, Desk
from billing.tables import ActivityEvent
from ledger import posting, statements
from ledger.operations import Kind, LotCause, LotOpening, Operation
from ledger.verification import verify_book
from outbound.executor import Later, Made, Work
from tests.billing.jobbing import OPERATOR, PICTURE, key_of, wanted_of
from tests.billing.patience import be_patient
from tests.crash.harness import in_child
from tests.crash.plan import Plan, Watched

CREDITS, PRICE = 1_000_000, 7
RELEASED = LEASE * 2
MADE = Made((PICTURE,))


class Hand:
    """An executor that does the work of one job as often as it is asked, always with the same result."""

    def __init__(self, case: str) -> None:
        self._answer = MADE if case == "at_once" else Later()

    async def perform(self, work: Work) -> Made | Later:  # noqa: ARG002 - the protocol's
        return self._answer


def house_for(config: dict[str, Any]) -> House:
    """A house without a connection: made once, used by every child after the fork."""
    return build(Settings(database_url=SecretStr(config["run_url"])))


def desk_of(house: House, case: str, plan: Plan, *, later: timedelta) -> Desk:
    """A desk whose statements and calls are counted; `later` sets its clock ahead, behind leases."""
    plan.watch(house.database)
    hand: Any = Watched(Hand(case), plan)
    return Desk(house.sessions, {"hand": hand}, partial(ahead, later))


def ahead(later: timedelta) -> datetime:
    return now() + later


async def prepare(house: House) -> dict[str, Any]:
    """One agent with credits for all runs."""
    newcomer = Newcomer(name="crash", runtime="test")
    signed_up = await identity.sign_up(house.sessions, newcomer, want_token=True, presented=None, now=now())
    organization_id = signed_up.agent.organization_id
    lot = LotOpening(LotCause.PROMOTIONAL, CREDITS, None, None)
    async with house.sessions() as session, session.begin():
        await posting.post(session, [Operation(organization_id, Kind.GRANT, OPERATOR, "gift", "gift", lot=lot)])
    return {"token": signed_up.token}


async def warm(house: House, case: str, other: House) -> None:
    """One whole journey on the house's engine, with what else another house has: a connection must not be inherited."""
    walking = replace(other, database=house.database, sessions=house.sessions)
    prepared = await prepare(walking)
    await journey(walking, desk_of(walking, case, Plan(None), later=timedelta()), prepared, 0, case)
    await look(walking, prepared, 0)
    await walking.close()
    await other.database.dispose()


async def actor_of(house: House, prepared: Mapping[str, Any]) -> Actor:
    return await identity.authenticate(house.bearers.agents, prepared["token"], now=now())


async def journey(house: House, desk: Desk, prepared: Mapping[str, Any], run: int, case: str) -> None:
    """Order, have it carried out, post the result or cancel. Doing it again is what the world does."""
    buyer: Any = await actor_of(house, prepared)
    wanted = wanted_of(f"run{run}")
    job = await ordering.before(desk.sessions, buyer, wanted.key, wanted.asked)
    if job is None:
        job = await ordering.order(
            desk.sessions, buyer, wanted, bounds=Bounds(1_000_000, 1_000_000), wait=LEASE, now=desk.clock()
        )
    job = await turning.turn(desk, key_of(job))
    if case == "canceled":
        await ending.cancel(desk.sessions, key_of(job), clock=desk.clock)
    elif case == "later":
        await ending.complete(desk.sessions, key_of(job), MADE, clock=desk.clock)


async def work_on(desk: Desk) -> None:
    """A worker that comes later."""
    now = desk.clock()
    due = await turning.take_due(desk.sessions, now=now)
    for key in [*due, *await turning.take_orders(desk.sessions, most=turning.TAKE_MAX, now=now)]:
        await turning.turn(desk, key)


async def look(house: House, prepared: Mapping[str, Any], run: int) -> dict[str, Any]:
    """What there is of the run's job."""
    actor = await actor_of(house, prepared)
    async with house.sessions() as session:
        query = select(Job).where(
            col(Job.organization_id) == actor.organization_id, col(Job.idempotency_key) == f"run{run}"
        )
        jobs = (await session.exec(query)).all()
        held = (await statements.balance(session, actor.organization_id, now())).held
        ids = [str(job.id) for job in jobs]
        events = await session.exec(
            select(ActivityEvent.type).where(col(ActivityEvent.organization_id) == actor.organization_id)
        )
        return {
            "jobs": len(jobs),
            "states": [job.state for job in jobs],
            "charged": sum(job.charged or 0 for job in jobs),
            "held": held,
            "ids": ids,
            "events": dict(Counter(str(kind) for kind in events.all())),
        }


async def verify(house: House, prepared: Mapping[str, Any]) -> dict[str, Any]:
    """What does not fit after everything, and what is left."""
    actor = await actor_of(house, prepared)
    async with house.sessions() as session:
        problems = [str(problem) for problem in await verify_book(session, actor.organization_id)]
        problems += [str(one) for one in await proofs.problems(session, actor.organization_id, limit=20)]
        spendable = (await statements.balance(session, actor.organization_id, now())).spendable
    return {"problems": problems, "spent": CREDITS - spendable}


def main() -> None:
    """Count the points, then die at each of those that were asked for."""
    config = json.load(sys.stdin)
    be_patient(setattr)
    house, case = house_for(config), config["case"]
    asyncio.run(warm(house, case, house_for(config)))
    _, prepared = in_child(lambda: prepare(house))

    async def count() -> list[str]:
        plan = Plan(None)
        await journey(house, desk_of(house, case, plan, later=timedelta()), prepared, 0, case)
        return plan.names

    async def die(run: int, point: int) -> None:
        await journey(house, desk_of(house, case, Plan(point), later=timedelta()), prepared, run, case)

    async def recover(run: int) -> dict[str, Any]:
        desk = desk_of(house, case, Plan(None), later=RELEASED)
        await work_on(desk)
        alone = await look(house, prepared, run)
        await journey(house, desk, prepared, run, case)
        return {"alone": alone, "after": await look(house, prepared, run)}

    status, names = in_child(count)
    assert status == 0
    results = []
    for run, point in enumerate(range(config["first"], len(names) + 1, config["every"]), start=1):
        died, _ = in_child(partial(die, run, point))
        _, found = in_child(partial(recover, run))
        results.append({"point": point, "at": names[point - 1], "killed": os.WIFSIGNALED(died), "found": found})
    _, verified = in_child(lambda: verify(house, prepared))
    print(json.dumps({"points": names, "results": results, "verified": verified}))


if __name__ == "__main__":
    main()
