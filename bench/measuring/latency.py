"""Percentiles and logarithmic buckets of latencies. Every request counts; nothing is sampled."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LOWEST_S: Final = 1e-5
DECADES: Final = 7
"""From 10 µs to 100 s; what lies outside counts in the first or the last bucket."""
BUCKETS_PER_DECADE: Final = 20
BUCKETS: Final = DECADES * BUCKETS_PER_DECADE


@dataclass(frozen=True, slots=True)
class Latency:
    """How long requests took, in seconds, and how many fell into each of the `BUCKETS`."""

    count: int
    p50_s: float
    p99_s: float
    p999_s: float
    max_s: float
    buckets: tuple[int, ...]


def summarize(seconds: Iterable[float]) -> Latency | None:
    """The percentiles of `seconds` by nearest rank; none when there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    buckets = [0] * BUCKETS
    for one in ordered:
        buckets[int(place_of(one))] += 1
    return Latency(
        count=len(ordered),
        p50_s=_rank(ordered, 0.5),
        p99_s=_rank(ordered, 0.99),
        p999_s=_rank(ordered, 0.999),
        max_s=ordered[-1],
        buckets=tuple(buckets),
    )


def place_of(seconds: float) -> float:
    """Where `seconds` lie on the logarithmic scale, counted in buckets; the whole part is their bucket."""
    place = math.log10(max(seconds, LOWEST_S) / LOWEST_S) * BUCKETS_PER_DECADE
    return min(place, BUCKETS - 0.5)


def lower_edge_s(number: int) -> float:
    """Where a bucket begins."""
    return float(LOWEST_S * 10 ** (number / BUCKETS_PER_DECADE))


def _rank(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
