"""So many in a minute from one address: a sliding window in memory, one per process, bounded in addresses."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=1)
ADDRESSES_MAX: Final = 10_000
"""The address that was quiet longest is forgotten first; that forgives it at most one window."""


class Window:
    """Lets each address do something `most` times in any minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait_s(self, address: str, now: datetime) -> int:
        """Whole seconds until `address` may go on; 0 when it may now, which is then counted."""
        times = self._times.setdefault(address, deque())
        self._times.move_to_end(address)
        if len(self._times) > ADDRESSES_MAX:
            self._times.popitem(last=False)
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) >= self._most:
            return max(1, math.ceil((times[0] + WINDOW - now).total_seconds()))
        times.append(now)
        return 0
