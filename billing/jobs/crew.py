"""A worker's hands for jobs: many executors are asked at once, and one that hangs holds up nobody else.

A turn first does what needs no executor: deadlines that have passed, results that wait to be charged. Then it starts a
task for each job that was taken, as many as there are hands, and few for one organization. Whoever dies on the way has
delayed its jobs by their lease.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import structlog

from billing.jobs import turning
from billing.jobs.ending import JobKey
from billing.jobs.turning import Desk
from ledger.ids import external
from outbound.executor import NotReached

HANDS: Final = 20
"""Executors that are asked at once by one process."""
OF_ONE_ORGANIZATION: Final = 5

log = structlog.get_logger()


class Crew:
    """Turns jobs that are due. One for a worker; `close` it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running: dict[JobKey, asyncio.Task[None]] = {}

    async def turn(self) -> bool:
        """Do what is due, or start it; whether there may be more at once. Raises what the database raises."""
        self._running = {key: task for key, task in self._running.items() if not task.done()}
        now = self._desk.clock()
        due = await turning.take_due(self._desk.sessions, now=now)
        for key in due:
            await self._turn(key)
        free = HANDS - len(self._running)
        taken = await self._take(free) if free else []
        for key in taken:
            self._running[key] = asyncio.create_task(self._turn(key), name=f"job-{external('job', key.job_id)}")
        return len(due) == turning.TAKE_MAX or bool(taken)

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await asyncio.gather(*self._running.values())

    async def close(self, *, within_s: int) -> None:
        """Let what was started end within the time, and cut it off then: another worker asks again."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within_s)
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running.clear()

    async def _take(self, free: int) -> list[JobKey]:
        under_way = Counter(key.organization_id for key in self._running)
        busy = [organization_id for organization_id, jobs in under_way.items() if jobs >= OF_ONE_ORGANIZATION]
        return list(await turning.take_orders(self._desk.sessions, most=free, busy=busy, now=self._desk.clock()))

    async def _turn(self, key: JobKey) -> None:
        """One turn, whose failure is told and tried again when the lease is over, or earlier if that was said."""
        job_id = external("job", key.job_id)
        try:
            await turning.turn(self._desk, key)
        except NotReached as error:
            log.warning("job_executor_not_reached", job_id=job_id, reason=str(error))
        except Exception:
            log.exception("job_turn_failed", job_id=job_id)
