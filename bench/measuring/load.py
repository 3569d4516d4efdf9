"""Closed loops of clients: each sends its next request when the last was answered; and which book each one is for."""

from __future__ import annotations

import asyncio
import random
import time
from bisect import bisect
from collections.abc import Awaitable, Callable
from itertools import accumulate, cycle
from typing import Final

from bench.rounds import Latencies

Pick = Callable[[], int]
"""The number of the book of the next request."""

SEED: Final = 20_260_101
PICKS: Final = 1 << 16
"""Picks are drawn before the clock runs, and repeat after this many."""


def uniform(books: int) -> Pick:
    """Every book as often as the others."""
    draw = _draw()
    return _repeat([draw.randrange(books) for _ in range(PICKS)])


def zipf(books: int, exponent: float) -> Pick:
    """The n-th book in proportion to n^-exponent, as tb-perf picks accounts."""
    draw = _draw()
    sums = list(accumulate((rank + 1) ** -exponent for rank in range(books)))
    return _repeat([min(bisect(sums, draw.random() * sums[-1]), books - 1) for _ in range(PICKS)])


def hot() -> Pick:
    """Always the same book."""
    return lambda: 0


def amounts(most: int) -> Pick:
    """An amount from 1 to `most`."""
    draw = _draw()
    return _repeat([draw.randint(1, most) for _ in range(PICKS)])


async def closed_loop(
    request: Callable[[], Awaitable[int]], latencies: Latencies[float], *, clients: int, seconds: float
) -> int:
    """`clients` that send `request` again and again for `seconds`; how many things the requests did in all."""
    until = time.perf_counter() + seconds

    async def client() -> int:
        done = 0
        while (began := time.perf_counter()) < until:
            done += await request()
            latencies.append(time.perf_counter() - began)
        return done

    return sum(await asyncio.gather(*(client() for _ in range(clients))))


async def counted_loop(
    request: Callable[[], Awaitable[int]], latencies: Latencies[float], *, clients: int, requests: int
) -> int:
    """As `closed_loop`, until `requests` were sent in all: for what must not run dry."""
    left = requests

    async def client() -> int:
        nonlocal left
        done = 0
        while left > 0:
            left -= 1
            began = time.perf_counter()
            done += await request()
            latencies.append(time.perf_counter() - began)
        return done

    return sum(await asyncio.gather(*(client() for _ in range(clients))))


def _draw() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - the same picks in every run, no secret


def _repeat(drawn: list[int]) -> Pick:
    return cycle(drawn).__next__
