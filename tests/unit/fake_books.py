"""Books without a database, and a loop in which every order of events is drawn from a seed and no time passes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from ledger.operations import Kind, Operation
from ledger.posting import _COLUMNS

T = TypeVar("T")
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
SCOPE = UUID(int=7)
LOCK_TIMEOUT_S = 4.0
NAMES = [name for name, _ in _COLUMNS]


class Loop(asyncio.SelectorEventLoop):
    """What is ready runs in an order drawn from the seed; when nothing is, the clock jumps to the next timer."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self._now = 0.0
        self._chance = None if seed is None else random.Random(seed)

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready: deque[Any] = self._ready  # type: ignore[attr-defined]
        if self._chance and len(ready) > 1:
            shuffled = list(ready)
            self._chance.shuffle(shuffled)
            ready.clear()
            ready.extend(shuffled)
        if not ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(main: Callable[[], Coroutine[Any, Any, T]], seed: int | None = None) -> T:
    """`main` in such a loop; fails when a task was left behind or an error was heard by nobody."""
    loop = Loop(seed)
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    try:
        result = loop.run_until_complete(asyncio.wait_for(main(), 3_600))
        assert asyncio.all_tasks(loop) == set()
        assert unheard == []
        return result
    finally:
        loop.close()


def spend(book: int, key: str, **changes: Any) -> Operation:
    return Operation(UUID(int=book), Kind.SPEND, SCOPE, key, "job", credits=1, **changes)


@dataclass
class Meter:
    """Remembers what it was told."""

    depths: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    given_back: int = 0
    waits: list[float] = field(default_factory=list)
    breaks: Counter[str] = field(default_factory=Counter)

    def queued(self, depth: int) -> None:
        self.depths.append(depth)

    def sent(self, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.sizes.append(size)

    def gave_back(self, number: int) -> None:
        self.given_back += number

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def broke(self, why: str) -> None:
        self.breaks[why] += 1


@dataclass(frozen=True)
class Sent:
    """One call: who (by connection), whether it waits for locks, and what."""

    connection: int
    wait: bool
    at: float
    items: tuple[tuple[int, str, int], ...]
    """(book, key, group) in the order of sending."""

    @property
    def keys(self) -> list[str]:
        return [key for _, key, _ in self.items]


@dataclass
class Books:
    """What the posting function promises: once per key, books in order of their ids, busy and behind ones answered."""

    takes_s: float = 0.001
    locked_until: dict[int, float] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    """Calls that a book needs to catch up."""

    fault: Callable[[Sent], str | Exception | None] = lambda _: None
    """before · after (the connection breaks), hang (and no reply), an error that the server answers, or none."""

    unwelcome: list[Exception] = field(default_factory=list)
    """What the next tries to connect meet."""

    down_until: float = 0.0
    journal: dict[tuple[int, str], int] = field(default_factory=dict)
    calls: list[Sent] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    async def connect(self) -> Connection:
        await asyncio.sleep(self.takes_s)
        if self.unwelcome:
            raise self.unwelcome.pop()
        if asyncio.get_running_loop().time() < self.down_until:
            raise ConnectionRefusedError
        self.connections += 1
        self.open += 1
        return Connection(self, self.connections)

    def order_in(self, book: int) -> list[str]:
        return [key for of, key in self.journal if of == book]

    def answer(self, sent: Sent, now: float) -> list[tuple[Any, ...]]:
        ranks = [book for book, _, _ in sent.items]
        assert ranks == sorted(ranks)
        behind = {book for book in ranks if self.due.get(book, 0) > 0 and self.locked_until.get(book, 0) <= now}
        for book in behind:
            self.due[book] -= 1
        return [self._one(n, book, key, behind, now) for n, (book, key, _) in enumerate(sent.items, 1)]

    def _one(self, n: int, book: int, key: str, behind: set[int], now: float) -> tuple[Any, ...]:
        nothing = (None,) * 6
        if self.locked_until.get(book, 0) > now:
            return (n, "busy", False, *nothing)
        if book in behind:
            return (n, "catch_up", False, *nothing)
        replayed = (book, key) in self.journal
        seq = self.journal.setdefault((book, key), len(self.order_in(book)) + 1)
        return (n, "posted", replayed, seq, AT, AT.date(), 0, 0, 0)


@dataclass
class Connection:
    """As much of an asyncpg connection as a lane uses."""

    books: Books
    number: int
    closed: bool = False

    async def fetch(self, _: str, _lane: int, *columns: Any, timeout: float) -> list[tuple[Any, ...]]:  # noqa: ASYNC109
        if self.closed:
            raise asyncpg.InterfaceError("connection is closed")
        named = dict(zip(NAMES, columns[:-1], strict=True))
        items = zip((o.int for o in named["organizations"]), named["keys"], named["groups"], strict=True)
        loop = asyncio.get_running_loop()
        sent = Sent(self.number, columns[-1], loop.time(), tuple(items))
        self.books.calls.append(sent)
        fault = self.books.fault(sent)
        if fault in {"before", "hang"}:
            await asyncio.sleep(self.books.takes_s if fault == "before" else timeout)
            self.closed = fault == "before"
            raise ConnectionResetError if fault == "before" else TimeoutError
        if sent.wait:
            await self._wait_for_locks(sent)
        await asyncio.sleep(self.books.takes_s)
        if isinstance(fault, Exception):
            raise fault
        answers = self.books.answer(sent, loop.time())
        if fault == "after":
            self.closed = True
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return answers

    async def _wait_for_locks(self, sent: Sent) -> None:
        now = asyncio.get_running_loop().time()
        free_at = max(self.books.locked_until.get(book, 0.0) for book, _, _ in sent.items)
        await asyncio.sleep(min(max(free_at - now, 0), LOCK_TIMEOUT_S))
        if free_at - now > LOCK_TIMEOUT_S:
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109
        assert timeout < LOCK_TIMEOUT_S
        self.books.open -= 1
        self.closed = True

    def terminate(self) -> None:
        self.books.open -= 1
        self.closed = True
