"""What the service counts, for Prometheus. Names follow its conventions: a unit at the end, `_total` for counters.

Source: https://prometheus.io/docs/practices/naming/. Of its lane each server process counts for itself; how payments,
letters and the books stand is the same in every process, because it is measured in the database (`api/alerts.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class LaneMetrics:
    """What a lane tells, as metrics in a registry of their own. A `ledger.lane.Meter`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._depth = Gauge("purser_lane_queue_depth", "Operations that wait to be posted.", registry=registry)
        self._sizes = Histogram("purser_lane_batch_size", "Operations in a batch.", buckets=SIZES, registry=registry)
        self._seconds = Histogram(
            "purser_lane_batch_seconds", "Time until the database answered a batch.", buckets=SECONDS, registry=registry
        )
        self._waits = Histogram(
            "purser_lane_wait_seconds", "Time from asking to the answer.", buckets=SECONDS, registry=registry
        )
        self._backs = Counter(
            "purser_lane_give_backs_total", "Operations given back because their book was busy.", registry=registry
        )
        self._breaks = Counter(
            "purser_lane_failures_total", "Batches that failed, by what was raised.", ["why"], registry=registry
        )

    def queued(self, depth: int) -> None:
        """So many operations wait now."""
        self._depth.set(depth)

    def sent(self, size: int, seconds: float) -> None:
        """A batch was answered."""
        self._sizes.observe(size)
        self._seconds.observe(seconds)

    def gave_back(self, number: int) -> None:
        """Operations of busy books went back into the queue."""
        self._backs.inc(number)

    def waited(self, seconds: float) -> None:
        """A caller got its answers so long after asking."""
        self._waits.observe(seconds)

    def broke(self, why: str) -> None:
        """A batch failed or its answer was lost."""
        self._breaks.labels(why).inc()


STANDING: Final[Mapping[str, str]] = {
    "letters_parked": "Letters that wait for a person.",
    "letter_oldest_unprocessed_seconds": "Age of the oldest letter that is not processed yet.",
    "requests_unknown": "Requests to providers of which nobody knows whether they were done.",
    "request_oldest_unknown_seconds": "Age of the oldest of these requests.",
    "attempts_unknown": "Payment attempts whose request has no known outcome.",
    "attempts_under_review": "Payment attempts whose money does not agree with the quote.",
    "webhook_missed_letters": "Letters since the webhook last brought one that had to be fetched, at most 1000.",
    "webhook_silence_seconds": "For how long the webhook has brought nothing although something was to be expected.",
    "payments_unallocated": "Payments that are kept because nothing could be granted for them.",
    "credits_owed": "Credits that were spent and then taken back, in all organizations.",
    "disputes_open": "Disputes that are not decided.",
    "watched_oldest_seconds": "Age of the oldest refund, charge or payout that is not final.",
    "settlement_oldest_seconds": "Age of the oldest payment of a wallet of which the chain has not decided yet.",
    "payments_held": "Payments of wallets that arrived and wait for a person's decision.",
    "payments_vanished": "Payments of wallets that a reorganization of the chain took out after they were granted.",
    "webhook_deliveries_pending": "Webhooks to the product that are not delivered yet, at most 100000.",
    "webhook_delivery_oldest_pending_seconds": "Age of the oldest of them, or of an event that waits to become some.",
    "webhook_endpoints_disabled": "Endpoints of the product that are told nothing any more, for whatever reason.",
    "job_oldest_overdue_seconds": "For how long the deadline has passed of the oldest job that should have ended.",
    "revenue_oldest_unrecognized_seconds": "Time since the end of the first day that is not recognized in every book.",
    "exception_oldest_waiting_seconds": "For how long the oldest exception has waited that nobody acknowledged.",
    "event_cursor_age_seconds": "How far the provider's list of events was read, as an age; NaN when it never was.",
}
"""How payments, letters and the books stand: the name of each gauge behind `purser_`, and what it says."""


class StandingMetrics:
    """How payments, letters and the books stand, as gauges in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._up = Gauge("purser_standing_measured", "1 when the gauges below could be measured.", registry=registry)
        self._gauges = {name: Gauge(f"purser_{name}", said, registry=registry) for name, said in STANDING.items()}

    def stands(self, measures: Mapping[str, float | None] | None) -> None:
        """Show these measures, every one of `STANDING`; NaN for what is none. None: nothing could be measured."""
        self._up.set(measures is not None)
        for name, gauge in self._gauges.items():
            value = measures[name] if measures is not None else None
            gauge.set(math.nan if value is None else value)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)
