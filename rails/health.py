"""Whether a provider serves, as remembered from the calls made to it. In memory, one per process.

A method whose provider is failing is listed as unavailable instead of being offered and then refused. Three failures
in a row say so; one success takes it back. While it fails, somebody asks every 15 seconds: else nobody would notice the
end, because an unavailable method gets no calls.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

FAILURES_MAX: Final = 3
"""So many failures in a row make a provider unavailable: one lost packet is no outage."""

PROBE_EVERY: Final = timedelta(seconds=15)
"""How long after the last failure the provider is asked again."""


class Health:
    """What the latest calls to one provider said. Reads no clock: the time of each call is passed in."""

    def __init__(self) -> None:
        self._failures = 0
        self._at_once = False
        self._reason = ""
        self._failed_at: datetime | None = None

    def succeeded(self, _now: datetime, /) -> None:
        """The provider answered as it should: it serves, whatever was before."""
        self._failures = 0
        self._at_once = False
        self._reason = ""
        self._failed_at = None

    def failed(self, now: datetime, /, reason: str, *, at_once: bool = False) -> None:
        """A call failed for `reason` (safe to show). `at_once`: another try would end the same, as with a wrong key."""
        self._failures += 1
        self._at_once = self._at_once or at_once
        self._reason = reason
        self._failed_at = now

    def unavailable_reason(self, _now: datetime, /) -> str | None:
        """Why the provider does not serve, for people; None while it does."""
        return self._reason if self._at_once or self._failures >= FAILURES_MAX else None

    def probe_due(self, now: datetime, /) -> bool:
        """True when the last call failed and that is 15 seconds ago or more."""
        return self._failed_at is not None and now - self._failed_at >= PROBE_EVERY
