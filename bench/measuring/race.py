"""Contenders against one another: the same clients, in turn, and each one checked afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from bench.measuring.load import closed_loop
from bench.measuring.report import Verified
from bench.measuring.running import Options
from bench.rounds import Measured, Turn, interleave


class Contender(Protocol):
    """Who is measured. `check` says what does not fit in what it has written."""

    name: str
    origin: str

    async def check(self) -> list[str]:
        """What does not fit; nothing, when all is well."""

    async def close(self) -> None:
        """Give back what it holds."""


Request = Callable[[], Awaitable[int]]
"""One request; how many things it did."""


def turn(who: Contender, request: Request, options: Options, *, clients: int, name: str | None = None) -> Turn:
    """A turn in which `clients` send `request` for as long as the options say."""
    return Turn(name or who.name, partial(closed_loop, request, clients=clients, seconds=options.seconds), who.origin)


async def race(turns: Sequence[Turn], options: Options, *, unit: str = "spends/s") -> list[Measured]:
    """The rounds."""
    return await interleave(turns, rounds=options.rounds, unit=unit)


async def settle(*contenders: Contender) -> list[Verified]:
    """Check every contender, and close it."""
    found = []
    for contender in contenders:
        found.append(Verified(contender.name, tuple(await contender.check())))
        await contender.close()
    return found
