"""What the sandbox remembers: objects by kind and id, in memory and, with a file, in SQLite as well.

Theory of operation: everything runs on one event loop and no operation awaits half-way, so one request is one
transaction without locks. `put` writes memory at once and the file at `commit`; `rollback` reads the file again,
so a request that breaks in the middle leaves nothing behind, and a killed program leaves whole requests only.
"""

import asyncio
import contextlib
import copy
import json
import sqlite3
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.config import SandboxConfig
from sandbox.faults import Fault

Json = dict[str, Any]

CALLS_KEPT_MAX = 2000
"""API requests that `GET /sandbox/calls` can show; older ones are forgotten."""


class Store:
    """Objects by kind, oldest first."""

    def __init__(self, path: Path | None) -> None:
        self._file = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS objects"
            " (at INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, id TEXT, body TEXT, UNIQUE (kind, id))"
        )
        self._kinds: dict[str, dict[str, Json]] = {}
        self._load()

    def put(self, kind: str, identifier: str, body: Json) -> None:
        """Make or replace; what is kept is a copy."""
        self._kinds.setdefault(kind, {})[identifier] = copy.deepcopy(body)
        self._file.execute(
            "INSERT INTO objects (kind, id, body) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind, identifier, json.dumps(body)),
        )

    def get(self, kind: str, identifier: str) -> Json | None:
        """A copy, or `None`; change it and `put` it back."""
        found = self._kinds.get(kind, {}).get(identifier)
        return copy.deepcopy(found)

    def delete(self, kind: str, identifier: str) -> None:
        """Forget; nothing happens when it was not there."""
        self._kinds.get(kind, {}).pop(identifier, None)
        self._file.execute("DELETE FROM objects WHERE kind = ? AND id = ?", (kind, identifier))

    def newest_first(self, kind: str) -> Iterator[Json]:
        """The stored objects themselves, for reading only (a copy of every one would be slow)."""
        return reversed(list(self._kinds.get(kind, {}).values()))

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {kind: len(objects) for kind, objects in sorted(self._kinds.items())}

    def commit(self) -> None:
        """Everything since the last commit becomes durable at once."""
        self._file.commit()

    def rollback(self) -> None:
        """Back to the last commit."""
        if self._file.in_transaction:
            self._file.rollback()
            self._load()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _load(self) -> None:
        self._kinds = {}
        for kind, identifier, body in self._file.execute("SELECT kind, id, body FROM objects ORDER BY at"):
            self._kinds.setdefault(kind, {})[identifier] = json.loads(body)


@dataclass(frozen=True)
class Cause:
    """The API request that an event names; both `None` for what a payer or Stripe itself did."""

    request_id: str | None = None
    idempotency_key: str | None = None


NOBODY = Cause()


@dataclass(frozen=True)
class Call:
    """One API request as an endpoint sees it: typed parameters, the id in its path, who asks, and in which version."""

    params: Json
    version: str
    identifier: str = ""
    cause: Cause = NOBODY


@dataclass
class DeliveryMode:
    """How letters are delivered at the moment (`deliveries.py`)."""

    mode: str = "normal"
    delay_s: float = 1.0


@dataclass
class World:
    """One sandbox: its memory, its clock and what it was told. Faults, modes and calls do not survive a restart."""

    config: SandboxConfig
    store: Store
    faults: list[Fault] = field(default_factory=list)
    delivery: DeliveryMode = field(default_factory=DeliveryMode)
    refunds_start: str | None = None
    """The status in which every refund starts and stays until told; `None`: as Stripe does by itself."""
    calls: deque[Json] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT_MAX))
    keys_in_progress: set[str] = field(default_factory=set)
    clock_offset_s: float = 0.0
    letters_shifted: bool = False
    """Whether letters are signed at the time of that clock, and not at the real one."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends every pause at once, so that a hanging request cannot keep the program from stopping."""

    def now(self) -> float:
        """Unix seconds of the sandbox's clock, which `POST /sandbox/clock` can put forward."""
        return self.config.clock() + self.clock_offset_s

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the program is told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def created(self) -> int:
        """The same in whole seconds, as Stripe's `created`."""
        return int(self.now())
