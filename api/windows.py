"""So many in a minute: a sliding window in memory, one per process, bounded.

What was quiet for a whole window is forgotten, so that memory holds no more than what was let through in the last
minute.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=1)
KEYS_MAX: Final = 10_000
"""The key that was quiet longest is forgotten first; that forgives it at most one window."""


class Window:
    """Lets each key (an address, an organization) do something `most` times in any minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait_s(self, key: str, now: datetime) -> int:
        """Whole seconds until `key` may go on; 0 when it may now, which is then counted."""
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        wait_s = self.closed_s(key, now)
        self._forget_quiet(now)
        if not wait_s:
            times.append(now)
        return wait_s

    def closed_s(self, key: str, now: datetime) -> int:
        """The same, and nothing is counted."""
        times = self._times.get(key)
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if not times or len(times) < self._most:
            return 0
        return max(1, math.ceil((times[0] + WINDOW - now).total_seconds()))

    def left(self, key: str, now: datetime) -> int:
        """How often `key` may still in this minute; nothing is counted."""
        closed = self.closed_s(key, now)
        return 0 if closed else self._most - len(self._times.get(key, ()))

    def _forget_quiet(self, now: datetime) -> None:
        """All in front that did nothing for a window, and the first one where there are too many. Never the newest."""
        while len(self._times) > 1:
            oldest = next(iter(self._times.values()))
            if len(self._times) <= KEYS_MAX and oldest and oldest[-1] > now - WINDOW:
                break
            self._times.popitem(last=False)
