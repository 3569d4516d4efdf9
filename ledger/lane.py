"""The hot path into the books: group commit.

Theory of operation
-------------------
Callers put operations into a bounded queue. One task drains what is there (no timer: under light load a batch is one
operation, under heavy load it grows by itself), sends it as one call of `ledger.post_v1`, which is one transaction, and
hands each caller its own answers. What never happens here: a caller that went away cancelling what was sent; one bad
operation failing its neighbours; a slow transaction on one book stalling the others.

* A book that somebody else has locked is skipped (`busy`); its operations go back to the front of the queue in their
  order. After `GIVE_BACKS_MAX` times the book steps aside: all that is queued for it, and what still comes, stands in a
  line of its own, in order, while one call waits for the lock on a connection of its own. Then what is left of the line
  goes back into the queue. A book in which more fell due than one call posts (`catch_up`) steps aside at once.
* A batch that failed as a whole (it was rolled back: the server said so) is split and sent again, down to the one
  operation whose fault it is.
* When the connection breaks, nobody knows whether the batch was committed. It is sent again under the same keys until
  there is an answer: what was committed is answered as a replay, so nothing doubles.
* What has no answer after `GIVE_UP_S` is given up, and its caller learns `OutcomeUnknown`.

Lost replies and splits apart, the operations of one book are answered in the order of asking. Several processes may
each have a lane on the same books: the locks of the books decide.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import Any, Final, Protocol, Self
from uuid import UUID

import asyncpg

from ledger.failures import of_the_link, passing
from ledger.operations import LANE, Operation
from ledger.outcomes import Outcome, Posted
from ledger.posting import ANSWER, OPERATIONS_MAX, answers_of, posting_order, row_of

QUEUE_MAX: Final = 4_096
BATCH_MAX: Final = 512
GIVE_BACKS_MAX: Final = 8
PATIENT_MAX: Final = 16
"""Books that wait for their locks at the same time, each on a connection of its own."""

ASIDE_MAX: Final = 1_024
"""Units that may stand in one such book's line before its callers are turned away: it must not fill the queue."""

ANSWER_TIMEOUT_S: Final = 15.0
"""For a server that has vanished; longer than the time-outs that the connection names."""

RETRY_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Between tries to reach a server again, the last for ever, and between tries for the lock of a book."""

GIVE_UP_S: Final = 20.0
"""After so long nothing is sent again. The last call may then take `ANSWER_TIMEOUT_S` more."""

RESENDS_MAX: Final = 2
"""How often a batch is sent again whole over connections that break; then it is split: one operation may break them."""

CLOSE_TIMEOUT_S: Final = 1.0
BUSY_PAUSE_S: Final = 0.002
_POST: Final = (
    f"SELECT {ANSWER} FROM ledger.post_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"  # noqa: S608
)
_BACK: Final = frozenset({Outcome.BUSY, Outcome.CATCH_UP})
Connect = Callable[[], Awaitable[Any]]


class LaneFull(Exception):
    """The queue is full. Nothing was posted; ask again in a moment."""


class LaneClosed(Exception):
    """The service is stopping. Nothing was posted."""


class OutcomeUnknown(Exception):
    """The database did not answer in time. The operation may have been posted: send the same again to learn it."""


class Meter(Protocol):
    """What a lane tells about itself. Seconds, and numbers of operations."""

    def queued(self, depth: int) -> None:
        """So many operations wait now."""

    def sent(self, size: int, seconds: float) -> None:
        """A batch was answered."""

    def gave_back(self, number: int) -> None:
        """Operations of busy books went back into the queue."""

    def waited(self, seconds: float) -> None:
        """A caller got its answers so long after asking."""

    def broke(self, why: str) -> None:
        """A batch failed or its answer was lost."""


@dataclass(slots=True)
class _Call:
    """What one caller waits for. Cancelling the caller cancels `done` and nothing else."""

    answers: list[Posted | None]
    missing: int
    done: asyncio.Future[list[Posted]]
    give_up_at: float


@dataclass(slots=True)
class _Unit:
    """One operation, or a group that stays whole. `rows` are its operations as the function takes them."""

    call: _Call
    first: int
    operations: list[Operation]
    rows: list[tuple[Any, ...]]
    given_back: int = 0

    @property
    def book(self) -> UUID:
        return self.operations[0].organization_id

    def answer(self, answers: Sequence[Posted]) -> None:
        if self.call.done.done():
            return
        self.call.answers[self.first : self.first + len(answers)] = answers
        self.call.missing -= len(answers)
        if not self.call.missing:
            self.call.done.set_result([one for one in self.call.answers if one is not None])

    def fail(self, error: Exception) -> None:
        if not self.call.done.done():
            self.call.done.set_exception(error)


@dataclass
class Lane:
    """A queue of operations and the task that posts them. `async with` starts and stops it; it lives in one loop."""

    connect: Connect
    meter: Meter
    queue_max: int = QUEUE_MAX
    batch_max: int = BATCH_MAX
    _queue: deque[_Unit] = field(default_factory=deque, init=False)
    _aside: dict[UUID, deque[_Unit]] = field(default_factory=dict, init=False)
    _depth: int = field(default=0, init=False)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closing: bool = field(default=False, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _patient: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PATIENT_MAX), init=False)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="lane")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Post what is in the queue, or give it up in time, then stop."""
        self._closing = True
        self._arrived.set()
        try:
            if self._task is not None:
                await self._task
        finally:
            for task in self._patient:
                task.cancel()  # there is none unless the lane itself was cancelled
            await asyncio.gather(*self._patient, return_exceptions=True)
            for line in (self._queue, *self._aside.values()):
                self._abandon(line)

    async def post(self, operation: Operation) -> Posted:
        """Post one operation. Raises `LaneFull`, `LaneClosed` (nothing was posted) or `OutcomeUnknown`."""
        return (await self.post_all((operation,)))[0]

    async def post_all(self, operations: Sequence[Operation]) -> list[Posted]:
        """Post operations, one answer each, in their order; none disturbs another, except within a group.

        At most `OPERATIONS_MAX`. When one cannot be posted at all the call raises, and the others are posted all the
        same: sent again, they are answered as replays.
        """
        if not operations:
            return []
        if len(operations) > OPERATIONS_MAX:
            raise ValueError(f"at most {OPERATIONS_MAX} operations are posted at a time")
        self._require_room(operations)
        loop = asyncio.get_running_loop()
        began = loop.time()
        call = _Call([None] * len(operations), len(operations), loop.create_future(), began + GIVE_UP_S)
        for unit in _units(call, operations):
            self._aside.get(unit.book, self._queue).append(unit)
        self._deepen(len(operations))
        self._arrived.set()
        try:
            return await call.done
        finally:
            self.meter.waited(loop.time() - began)

    def _require_room(self, operations: Sequence[Operation]) -> None:
        if self._closing or self._task is None:
            raise LaneClosed
        if self._depth + len(operations) > max(self.queue_max, len(operations)):
            raise LaneFull
        if self._aside and any(len(self._aside.get(o.organization_id, ())) >= ASIDE_MAX for o in operations):
            raise LaneFull

    def _deepen(self, by: int) -> None:
        self._depth += by
        self.meter.queued(self._depth)

    async def _run(self) -> None:
        link = _Link(self.connect, self.meter, wait=False)
        batch: list[_Unit] = []
        try:
            while self._queue or self._aside or not self._closing:
                if not self._queue:
                    link.hand_out()
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                batch = self._take(self._queue)
                again = await link.send(batch)
                self._give_back(again)
                if again and len(again) == len(batch):
                    await asyncio.sleep(BUSY_PAUSE_S)
                batch = []
        finally:
            self._closing = True
            self._abandon([*batch, *self._queue])
            await link.close()

    def _take(self, line: deque[_Unit]) -> list[_Unit]:
        batch = [line.popleft()]
        size = len(batch[0].operations)
        while line and size + len(line[0].operations) <= self.batch_max:
            batch.append(line.popleft())
            size += len(batch[-1].operations)
        self._deepen(-size)
        return batch

    def _give_back(self, again: Sequence[_Unit]) -> None:
        """To the front, in their order; a book that was given back too often steps aside, with all its units."""
        if not again:
            return
        number = sum(len(unit.operations) for unit in again)
        self._queue.extendleft(reversed(again))
        self._deepen(number)
        self.meter.gave_back(number)
        if leaving := {unit.book for unit in again if unit.given_back > GIVE_BACKS_MAX}:
            self._aside |= {book: deque(unit for unit in self._queue if unit.book == book) for book in leaving}
            self._queue = deque(unit for unit in self._queue if unit.book not in leaving)
            for book in leaving:
                task = asyncio.create_task(self._wait_for_lock(book), name=f"lane, {book} aside")
                self._patient.add(task)
                task.add_done_callback(self._patient.discard)

    async def _wait_for_lock(self, book: UUID) -> None:
        """Post the first batch of a book's line on a connection of its own, whose lock time-out bounds each wait.

        What is left goes back into the queue, in order, so that every book that waits gets its turn.
        """
        line, batch = self._aside[book], []
        link = _Link(self.connect, self.meter, wait=True)
        try:
            async with self._places:
                batch = self._take(line)
                while batch := await link.send(batch):
                    pass  # more had fallen due than one call posts
        finally:
            del self._aside[book]
            self._abandon(batch)
            for unit in line:
                unit.given_back = 0
            self._queue.extendleft(reversed(line))
            self._arrived.set()
            await link.close()

    @staticmethod
    def _abandon(units: Iterable[_Unit]) -> None:
        """Whatever ends a task of the lane, nobody waits for ever."""
        for unit in units:
            unit.fail(OutcomeUnknown())


@dataclass
class _Link:
    """One connection at a time, and how a batch is brought to an answer over it."""

    connect: Connect
    meter: Meter
    wait: bool
    connection: Any = field(default=None, repr=False)
    _unread: tuple[Sequence[_Unit], list[int], list[Any]] | None = field(default=None, repr=False)

    async def send(self, batch: Sequence[_Unit], *, broken: int = 0) -> list[_Unit]:
        """Post a batch; the units whose book was busy or behind. All others have their answer, or are given up."""
        loop = asyncio.get_running_loop()
        for pause in chain(RETRY_PAUSES_S, repeat(RETRY_PAUSES_S[-1])):
            batch = _wanted(batch, loop.time())
            if not batch:
                break
            try:
                return await self._post(batch)
            except Exception as error:  # noqa: BLE001 - each kind has its answer, and no caller may wait for ever
                self.meter.broke(type(error).__name__)
                lost = self.connection is None or of_the_link(error)
                broken += self.connection is not None and lost
                if lost or not isinstance(error, asyncpg.PostgresError | ValueError):
                    self._drop()
                if broken > RESENDS_MAX or not (lost or passing(error)):
                    if len(batch) == 1:
                        in_time = not lost and not isinstance(error, asyncpg.QueryCanceledError)
                        batch[0].fail(error if in_time else OutcomeUnknown())
                        break
                    halves = batch[: len(batch) // 2], batch[len(batch) // 2 :]
                    return [unit for half in halves for unit in await self.send(half, broken=broken)]
            await asyncio.sleep(pause)
        return []

    async def _post(self, batch: Sequence[_Unit]) -> list[_Unit]:
        """One call of the function for a batch; the units whose book was busy or behind. The others are answered."""
        if self.connection is None:
            self.connection = await self.connect()
        operations = [operation for unit in batch for operation in unit.operations]
        rows = [row for unit in batch for row in unit.rows]
        groups = [n if unit.operations[0].group else 0 for n, unit in enumerate(batch, 1) for _ in unit.operations]
        order = posting_order(operations)
        columns = [list(column) for column in zip(*(rows[n] for n in order), strict=True)]
        columns.insert(-1, [groups[n] for n in order])
        began = (loop := asyncio.get_running_loop()).time()
        loop.call_soon(self.hand_out)  # when this batch is on its way
        found = await self.connection.fetch(_POST, LANE, *columns, self.wait, timeout=ANSWER_TIMEOUT_S)
        self.meter.sent(len(operations), loop.time() - began)
        self.hand_out()
        outcomes = {Outcome(outcome) for outcome in {row[1] for row in found}}
        if self.wait or outcomes & _BACK or len(found) != len(order):
            return _hand_out(batch, order, found)
        self._unread = batch, order, found
        return []

    def hand_out(self) -> None:
        """Answer the callers of the last batch: while the server works on the next one, or when there is none."""
        unread, self._unread = self._unread, None
        if unread is not None:
            _hand_out(*unread)

    async def close(self) -> None:
        """Take leave of the server."""
        self.hand_out()
        if self.connection is not None:
            with suppress(Exception):
                await self.connection.close(timeout=CLOSE_TIMEOUT_S)
        self.connection = None

    def _drop(self) -> None:
        if self.connection is not None:
            with suppress(Exception):
                self.connection.terminate()
        self.connection = None


def _wanted(batch: Sequence[_Unit], now: float) -> list[_Unit]:
    """Those that are still to be sent; the callers of the others learn that they were given up."""
    wanted = []
    for unit in batch:
        if unit.call.give_up_at > now:
            wanted.append(unit)
        else:
            unit.fail(OutcomeUnknown())
    return wanted


def _hand_out(batch: Sequence[_Unit], order: Sequence[int], found: Sequence[Any]) -> list[_Unit]:
    answers = iter(answers_of([operation for unit in batch for operation in unit.operations], order, found))
    again = []
    for unit in batch:
        own = list(islice(answers, len(unit.operations)))
        outcomes = {one.outcome for one in own}
        if outcomes & _BACK:
            unit.given_back += 1 if Outcome.BUSY in outcomes else GIVE_BACKS_MAX + 1
            again.append(unit)
        else:
            unit.answer(own)
    return again


def _units(call: _Call, operations: Sequence[Operation]) -> list[_Unit]:
    units: list[_Unit] = []
    for n, operation in enumerate(operations):
        if operation.group and n and operations[n - 1].group == operation.group:
            if operation.organization_id != units[-1].book:
                raise ValueError("a group stays in one book")
            units[-1].operations.append(operation)
            units[-1].rows.append(row_of(operation))
        else:
            units.append(_Unit(call, n, [operation], [row_of(operation)]))
    return units
