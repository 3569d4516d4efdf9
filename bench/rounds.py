"""Interleaved rounds on a shared machine: only ratios of one run are worth comparing.

In each round every contender has one turn, one right after the other, so that whatever else the machine does falls on
all of them. A ratio is taken within each round; what is told is the median of the rounds and their spread.
"""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

ROUNDS: Final = 5

OURS: Final = "measured here"
OWN_REIMPLEMENTATION: Final = "own re-implementation"
THEIR_SQL: Final = "measured here, their SQL"
QUOTED: Final = "quoted, not measured here"

Latencies = array  # of floats ("d"): seconds of each request, in no order
Work = Callable[["Latencies[float]"], Awaitable[int]]
"""One turn: does its work, appends the seconds of each request, and answers how many things it did."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contender does in each round. `origin` says whose code it is."""

    name: str
    work: Work
    origin: str = OURS


@dataclass(frozen=True, slots=True)
class Measured:
    """What a contender reached: one value a round, in `unit`; latencies in seconds, of every request of all rounds."""

    name: str
    origin: str
    unit: str
    values: tuple[float, ...]
    latencies: Latencies[float] = field(repr=False)


def no_latencies() -> Latencies[float]:
    """An empty list of seconds."""
    return array("d")


async def interleave(turns: Sequence[Turn], *, rounds: int = ROUNDS, unit: str = "spends/s") -> list[Measured]:
    """Give each of `turns` one turn a round; the rates of what they did, per second.

    A first turn of each is thrown away: it fills the caches, the pools and PostgreSQL's plans. What was imported and
    prepared until then is kept out of Python's garbage collection, which else stops whoever is at it for 0.1 s.
    """
    rates: list[list[float]] = [[] for _ in turns]
    latencies = [no_latencies() for _ in turns]
    for turn in turns:
        await turn.work(no_latencies())
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for turn, found, seconds in zip(turns, rates, latencies, strict=True):
                began = time.perf_counter()
                done = await turn.work(seconds)
                found.append(done / (time.perf_counter() - began))
    finally:
        gc.unfreeze()
    return [
        Measured(turn.name, turn.origin, unit, tuple(found), seconds)
        for turn, found, seconds in zip(turns, rates, latencies, strict=True)
    ]


def quoted(name: str, value: float, *, unit: str = "spends/s") -> Measured:
    """A figure that others published or that was measured elsewhere; it stands beside ours and is never our finding."""
    return Measured(name, QUOTED, unit, (value,), no_latencies())
