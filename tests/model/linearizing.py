"""Can calls that ran at once be explained: is there an order of them in which the oracle gives the same answers?

A call that had its answer before another was sent comes before it. Calls change books only through what they store, and
what they store is numbered, so the same calls with the same numbers leave one state, whatever their order; what led
nowhere is not tried twice. Source: Wing and Gong, Testing and Verifying Concurrent Objects (1993).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.operations import Operation
from ledger.outcomes import Posted
from tests.model.oracle import Books


@dataclass(frozen=True)
class Call:
    """A batch and its answers, and when, on the clock of the test, it was sent and answered."""

    batch: Sequence[Operation]
    answers: Sequence[Posted]
    sent_at: float
    answered_at: float


def explain(oracle: Books, calls: Sequence[Call], now: datetime) -> Books | None:
    """The oracle after some order of `calls` that gives all their answers; none when there is no such order."""
    led_nowhere: set[tuple[frozenset[int], tuple[int, ...]]] = set()

    def after(state: Books, left: frozenset[int]) -> Books | None:
        if not left:
            return state
        place = left, tuple(len(book.journal) for book in state.books.values())
        if place in led_nowhere:
            return None
        for n in sorted(left, key=lambda number: calls[number].answered_at):
            if any(calls[other].answered_at < calls[n].sent_at for other in left):
                continue
            tried = copy.deepcopy(state)
            if tried.post(calls[n].batch, now) == list(calls[n].answers):
                found = after(tried, left - {n})
                if found is not None:
                    return found
        led_nowhere.add(place)
        return None

    return after(oracle, frozenset(range(len(calls))))
