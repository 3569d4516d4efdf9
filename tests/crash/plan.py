"""Counting every statement and provider call of a process, and killing it at one of them."""

import os
import signal
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

CALLS = ("start", "read", "close", "perform")


class Plan:
    """Points are counted from 1: one before and one after each statement, commit and provider call."""

    def __init__(self, die_at: int | None) -> None:
        self.points = 0
        self.names: list[str] = []
        self._die_at = die_at

    def point(self, name: str) -> None:
        """Pass a point, or die there without a word to anybody."""
        self.points += 1
        self.names.append(name)
        if self.points == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, engine: AsyncEngine) -> None:
        """Count the statements and commits of `engine`."""
        target: Any = engine.sync_engine
        event.listen(target, "before_cursor_execute", lambda *a: self.point(f"before {_first_words(a[2])}"))
        event.listen(target, "after_cursor_execute", lambda *a: self.point(f"after {_first_words(a[2])}"))
        commit = target.dialect.do_commit

        def do_commit(connection: Any) -> None:
            self.point("before COMMIT")
            commit(connection)
            self.point("after COMMIT")

        target.dialect.do_commit = do_commit


class Watched:
    """A rail whose calls are counted."""

    def __init__(self, rail: Any, plan: Plan) -> None:
        self._rail = rail
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rail, name)
        if name not in CALLS:
            return found

        async def call(*arguments: Any) -> Any:
            self._plan.point(f"before the provider's {name}")
            answer = await found(*arguments)
            self._plan.point(f"after the provider's {name}")
            return answer

        return call


class WatchedNode:
    """A node's JSON-RPC whose calls are counted; takes the place of a chain's own."""

    def __init__(self, rpc: Any, plan: Plan) -> None:
        self._rpc = rpc
        self._plan = plan

    async def ask(self, method: str, parameters: Any) -> Any:
        """One call, with a point before it leaves and one when its answer, or its error, is there."""
        self._plan.point(f"before the chain's {method}")
        try:
            return await self._rpc.ask(method, parameters)
        finally:
            self._plan.point(f"after the chain's {method}")

    async def aclose(self) -> None:
        await self._rpc.aclose()


def watch_http(client: Any, plan: Plan, whose: str) -> None:
    """Count the requests of an httpx client, and the answers to them."""

    async def leaves(request: Any) -> None:
        plan.point(f"before {whose} {request.url.path}")

    async def came(response: Any) -> None:
        plan.point(f"after {whose} {response.request.url.path}")

    client.event_hooks = {"request": [leaves], "response": [came]}


def _first_words(statement: str) -> str:
    return " ".join(statement.split()[:4])
