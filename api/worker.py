"""The worker: letters become grants, also those that nobody brought; what is not final is looked at again and again.

It learns what became of requests, closes what is overdue, and asks providers that failed.

Theory of operation
-------------------
Each chore runs in a task of its own, so that a provider that hangs in one of them does not hold up the others. A chore
that did something begins again at once; one that found nothing rests. Nothing a chore raises ends the worker: a
database that is gone, a bug, anything is logged (once, then at most every `SAY_AGAIN_S`) and tried again with back-off.
Two workers, in one process or on two machines, do each other no harm: letters are claimed, requests are replays, facts
apply once. So a worker may also be killed at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api import alerts, refunds
from api.wiring import House
from billing import looking, pursuing, requests, sweeping, watching
from billing.jobs.crew import Crew
from billing.reversals import freezing
from billing.settling import advancing, gas_costs, records
from billing.subscriptions import pruning, spends, spreading
from billing.subscriptions.delivering import Courier
from billing.subscriptions.endpoints import ENDED_MAX
from billing.subscriptions.spreading import Render
from finance import recognizing
from ledger.ids import external
from rails.rail import OutcomeUnknown, ProviderRefused, RailUnavailable
from webhooks import processing, routes
from webhooks.paging import EventPager

LETTERS_EVERY_S: Final = 0.4
"""Letters of this process wake the worker; this is how long one that another process stored waits at most."""
REQUESTS_EVERY_S: Final = 5.0
SWEEP_EVERY_S: Final = 30.0
WATCHED_EVERY_S: Final = 30.0
PROBES_EVERY_S: Final = 1.0
REFUNDS_EVERY_S: Final = 5.0
SETTLEMENTS_EVERY_S: Final = 0.5
JOBS_EVERY_S: Final = 0.5
GAS_EVERY_S: Final = 10.0
FREEZES_EVERY_S: Final = 5.0
SPREADING_EVERY_S: Final = 0.5
DELIVERING_EVERY_S: Final = 0.5
PRUNING_EVERY_S: Final = 30.0
RECOGNIZING_EVERY_S: Final = 300.0
CALLS_END_WITHIN_S: Final = 1
"""Webhooks under way at the end have had `STOP_WITHIN_S` before that; what is cut off is sent again."""
FREEZES_MAX: Final = 20
"""Organizations that are looked after at a time."""
BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 10.0
SAY_AGAIN_S: Final = 60.0
STOP_WITHIN_S: Final = 8.0
"""How long the work in hand may take at the end; it is cut off then, which loses nothing."""

_OUTAGES: Final = (SQLAlchemyError, OSError)  # TimeoutError is an OSError; asyncpg's own errors come wrapped

log = structlog.get_logger()


@dataclass(frozen=True)
class Chore:
    """One thing the worker does again and again. `act` says whether there may be more to do at once."""

    name: str
    act: Callable[[House], Awaitable[bool]]
    every_s: float
    woken_by_letters: bool = False


async def run(house: House, stop: asyncio.Event, *, render: Render) -> None:
    """Work until `stop` is set; then finish what is in hand, within `STOP_WITHIN_S`. Raises nothing.

    `render` makes the bodies of webhooks.
    """
    courier = Courier(house.sessions, house.outside.door, clock=house.clock)
    crew = Crew(house.outside.desk)
    chores = [*CHORES, *_events(house), _jobs(crew), *_webhooks(courier, render), _revenue()]
    tasks = [asyncio.create_task(_keep_doing(chore, house, stop), name=f"worker-{chore.name}") for chore in chores]
    try:
        await stop.wait()
        await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.close(within_s=CALLS_END_WITHIN_S) for one in (courier, crew)))


async def _letters(house: House) -> bool:
    house.letters_arrived.clear()
    return bool(
        await processing.process_due(house.sessions, readers=house.readers, livemode=house.livemode, clock=house.clock)
    )


async def _requests(house: House) -> bool:
    """Learn what became of requests without a known outcome. Each failure is recorded on its request, with back-off."""
    for method, request_id in await requests.due(house.sessions, house.rails.keys(), now=house.clock()):
        try:
            await pursuing.pursue(
                house.sessions,
                house.rails[method],
                request_id,
                livemode=house.livemode,
                place=house.place,
                clock=house.clock,
            )
        except (OutcomeUnknown, RailUnavailable, ProviderRefused) as error:
            log.warning("request_not_answered", attempt_id=external("payatt", request_id.attempt_id), reason=str(error))
        except _OUTAGES:
            raise
        except Exception:
            log.exception("request_failed", attempt_id=external("payatt", request_id.attempt_id))
        else:
            log.info(
                "request_answered_late", attempt_id=external("payatt", request_id.attempt_id), number=request_id.number
            )
    return False


async def _sweep(house: House) -> bool:
    """Look again at attempts that are open, whether anybody comes back for them or not."""
    swept = await sweeping.sweep(
        house.sessions,
        rails=house.rails,
        livemode=house.livemode,
        clock=house.clock,
        look_again_after=timedelta(seconds=house.settings.look_again_after_s),
    )
    for one in swept.told:
        log.error(
            "attempt_unfinished", attempt_id=external("payatt", one.attempt_id), reason=one.reason, exc_info=one.broken
        )
    return swept.looked == sweeping.SWEEP_MAX


async def _watched(house: House) -> bool:
    """Look again at charges, refunds, disputes and payouts that are not final."""
    money = refunds.reader(house)
    if money is None:
        return False
    looked, told = await looking.look_at_watched(house.sessions, money, livemode=house.livemode, clock=house.clock)
    for one in told:
        log.error("object_unfinished", kind=one.kind, object_id=one.external_id, reason=one.reason, exc_info=one.broken)
    return looked == watching.DUE_MAX


async def _probes(house: House) -> bool:
    """Ask providers that failed: one that is listed as unavailable gets no other calls that could show its recovery."""
    for method_id, door in house.doors.items():
        if door.health.probe_due(house.clock()):
            try:
                await door.probe()
            except (RailUnavailable, ProviderRefused) as error:
                log.warning("provider_still_failing", method=method_id, reason=str(error))
            else:
                log.info("provider_serves_again", method=method_id)
    return False


async def _freezes(house: House) -> bool:
    """Freeze what organizations that an operator has stopped were granted meanwhile."""
    lots = await freezing.keep_frozen(house.sessions, limit=FREEZES_MAX, now=house.clock())
    if lots:
        log.warning("froze_what_came_since", lots=lots)
    return False


async def _settlements(house: House) -> bool:
    """Make the next turn of payments that wallets have signed."""
    if house.native is None:
        return False
    desk = house.native.desk
    due = await records.take_due(desk.sessions, desk.network, now=desk.clock())
    turned = await asyncio.gather(*[advancing.turn(desk, key) for key in due], return_exceptions=True)
    for key, error in zip(due, turned, strict=True):
        if isinstance(error, _OUTAGES):
            raise error
        if isinstance(error, Exception):
            log.error("settlement_failed", settlement=str(key.settlement_id), exc_info=error)
    return len(due) == records.TAKE_MAX


async def _gas(house: House) -> bool:
    """Look after the gas wallet's own transactions, and book what they cost."""
    if house.native is None:
        return False
    try:
        await house.native.desk.submitter.tend(now=house.clock())
        return await house.native.book_gas(now=house.clock()) == gas_costs.BOOKED_MAX
    except (OutcomeUnknown, RailUnavailable) as error:
        log.warning("gas_not_tended", reason=str(error))
        return False


async def _pruning(house: House) -> bool:
    """Throw old deliveries away, and fail those that nobody sends any more."""
    keep = timedelta(days=house.settings.webhook_deliveries_kept_days)
    pruned = await pruning.prune(house.sessions, keep=keep, now=house.clock())
    failed = await pruning.fail_ended(house.sessions, now=house.clock())
    return pruned == pruning.PRUNED_MAX or failed == ENDED_MAX


CHORES: Final = (
    Chore("letters", _letters, LETTERS_EVERY_S, woken_by_letters=True),
    Chore("requests", _requests, REQUESTS_EVERY_S),
    Chore("sweep", _sweep, SWEEP_EVERY_S),
    Chore("watched", _watched, WATCHED_EVERY_S),
    Chore("probes", _probes, PROBES_EVERY_S),
    Chore("settlements", _settlements, SETTLEMENTS_EVERY_S),
    Chore("gas", _gas, GAS_EVERY_S),
    Chore("refunds", refunds.send_due, REFUNDS_EVERY_S),
    Chore("freezes", _freezes, FREEZES_EVERY_S),
    Chore("pruning", _pruning, PRUNING_EVERY_S),
    Chore("alerts", alerts.sound, alerts.MEASURE_EVERY_S),
)


def _events(house: House) -> list[Chore]:
    """The chore that reads the provider's list of events, if that is wanted. It remembers its place in the list."""
    every_s = house.settings.events_every_s
    if house.money is None or every_s == 0:
        return []
    pager = EventPager(routes.SOURCE, house.money.door, list(house.readers), sessions=house.sessions, clock=house.clock)

    async def fetch(house: House) -> bool:
        try:
            fetched = await pager.run()
        except (RailUnavailable, ProviderRefused) as error:
            log.warning("events_not_read", reason=str(error))
            return False
        if fetched.new:
            log.info("letters_fetched", count=fetched.new)
            house.letters_arrived.set()
        return fetched.more

    return [Chore("events", fetch, every_s)]


def _jobs(crew: Crew) -> Chore:
    """The chore that has jobs carried out."""

    async def turn(_: House) -> bool:
        return await crew.turn()

    return Chore("jobs", turn, JOBS_EVERY_S)


def _webhooks(courier: Courier, render: Render) -> list[Chore]:
    """The chores that tell the product what happened. One of them remembers how far it has looked through the books."""
    after = spends.BEGINNING

    async def spread(house: House) -> bool:
        nonlocal after
        events = await spreading.spread(house.sessions, render, now=house.clock())
        turn = await spends.spread(house.sessions, render, after=after, now=house.clock())
        after = turn.after
        return turn.more or events == spreading.SPREAD_MAX

    async def deliver(_: House) -> bool:
        await courier.turn()
        return False

    return [Chore("spreading", spread, SPREADING_EVERY_S), Chore("delivering", deliver, DELIVERING_EVERY_S)]


def _revenue() -> Chore:
    """The chore that recognizes the revenue of each day once it is over. It remembers which day that was."""
    done: date | None = None

    async def recognize(house: House) -> bool:
        nonlocal done
        through = await recognizing.last_day_over(house.sessions)
        if through != done:
            found = await recognizing.recognize_all(house.sessions, through=through)
            log.info("revenue_recognized", through=str(through), books=found.books, days=found.days)
            done = through
        return False

    return Chore("revenue", recognize, RECOGNIZING_EVERY_S)


async def _keep_doing(chore: Chore, house: House, stop: asyncio.Event) -> None:
    troubles = _Troubles(chore.name)
    while not stop.is_set():
        try:
            more = await chore.act(house)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try is the answer
            await _sleep(troubles.noted(error), stop)
            continue
        troubles.over()
        if not more:
            await _sleep(chore.every_s, stop, house.letters_arrived if chore.woken_by_letters else None)


class _Troubles:
    """The failures of one chore in a row: how long to wait, and what to say of them."""

    def __init__(self, chore: str) -> None:
        self._chore = chore
        self._count = 0
        self._said_at = 0.0

    def noted(self, error: Exception) -> float:
        """Count a failure and say so, not too often; seconds to wait before the next try."""
        self._count += 1
        now = asyncio.get_running_loop().time()
        if self._count == 1 or now - self._said_at >= SAY_AGAIN_S:
            self._said_at = now
            traced = None if isinstance(error, _OUTAGES) else error
            log.error("worker_in_trouble", chore=self._chore, tries=self._count, reason=_said(error), exc_info=traced)
        doubled: float = BACK_OFF_S * 2 ** min(self._count - 1, 10)
        return min(doubled, BACK_OFF_MAX_S)

    def over(self) -> None:
        """A try went well."""
        if self._count:
            log.info("worker_out_of_trouble", chore=self._chore, tries=self._count)
        self._count = 0


def _said(error: Exception) -> str:
    """The error's first line: SQLAlchemy's others are the statement."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


async def _sleep(seconds: float, stop: asyncio.Event, wake: asyncio.Event | None = None) -> None:
    """Wait until `stop`, `wake` or the end of the time."""
    waits = [asyncio.create_task(event.wait()) for event in (stop, wake) if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
