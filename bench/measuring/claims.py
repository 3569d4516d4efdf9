"""A claim: a number per round, and the goals it is held against. The goals are those of the table *Speed to reach*."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.rounds import Measured


@dataclass(frozen=True, slots=True)
class Claim:
    """`values`, one a round, against a first and perhaps a second goal; a large value is good unless `at_most`."""

    what: str
    values: tuple[float, ...]
    first: float
    second: float | None = None
    at_most: bool = False
    unit: str = "×"

    @property
    def median(self) -> float:
        """What is told."""
        return statistics.median(self.values)

    @property
    def reached(self) -> str:
        """Which goal the median reaches."""
        if self.second is not None and self._keeps(self.second):
            return "second goal"
        return "first goal" if self._keeps(self.first) else "not reached"

    @property
    def goal(self) -> str:
        """The goals, as they stand in the table."""
        sign = "≤" if self.at_most else "≥"
        first = f"{sign} {self.first:g} {self.unit}"
        return first if self.second is None else f"{first}, then {self.second:g} {self.unit}"

    def _keeps(self, goal: float) -> bool:
        return self.median <= goal if self.at_most else self.median >= goal


def ratio(
    what: str, ours: Measured, other: Measured, *, first: float, second: float | None = None, at_most: bool = False
) -> Claim:
    """`ours` divided by `other`, round by round; a quoted figure is the same in every round."""
    return Claim(what, within_rounds(ours.values, other.values), first=first, second=second, at_most=at_most)


def within_rounds(ours: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    """The ratio of each round."""
    against = list(other) * len(ours) if len(other) == 1 else other
    return tuple(one / two for one, two in zip(ours, against, strict=True))
