"""What the service counts, for Prometheus. Names follow its conventions: a unit at the end, `_total` for counters.

Source: https://prometheus.io/docs/practices/naming/. Each server process counts for itself.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
