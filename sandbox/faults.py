"""Misbehaviour on demand: which kinds there are and which request one hits.

Stripe's own page on what can go wrong in the middle: https://docs.stripe.com/error-low-level.
"""

import fnmatch
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "error_500",
    "error_503",
    "error_429",
    "hang",
    "drop",
    "slow",
    "lost_answer",
    "work_then_500",
    "card_declined",
    "card_declined_like_400",
]
SECONDS_MAX = 120.0
SECONDS: dict[str, float] = {"hang": 30.0, "slow": 1.0}
"""How long these last unless told; the others not at all."""


@dataclass(kw_only=True)
class Fault:
    """One order to misbehave: `times` matching requests, after letting `skip` of them pass."""

    kind: Kind
    method: str
    path: str
    times: int
    skip: int
    seconds: float
    stored: bool

    def hits(self, method: str, path: str) -> bool:
        """Whether a request is meant: `*` stands for any method, and in a path for any characters."""
        return self.method in ("*", method) and fnmatch.fnmatchcase(path, self.path)


def take(waiting: list[Fault], method: str, path: str) -> Fault | None:
    """The first fault that meets this request, used up by one."""
    for fault in waiting:
        if not fault.hits(method, path):
            continue
        if fault.skip > 0:
            fault.skip -= 1
            continue
        fault.times -= 1
        if fault.times == 0:
            waiting.remove(fault)
        return fault
    return None
