"""So many in a minute: a sliding window in memory, one per process, bounded.

Sign-ups are counted by address, what costs much by organization. What was quiet for a whole window is forgotten, so
that memory holds no more than what was let through in the last minute.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import Final

from litestar.handlers import BaseRouteHandler

from api.http import addresses
from api.http.context import AnyConnection, actor_of, house_of
from billing.refusals import Refusal, Refused

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
        while times and times[0] <= now - WINDOW:
            times.popleft()
        self._forget_quiet(now)
        if len(times) >= self._most:
            return max(1, math.ceil((times[0] + WINDOW - now).total_seconds()))
        times.append(now)
        return 0

    def _forget_quiet(self, now: datetime) -> None:
        """All in front that did nothing for a window, and the first one where there are too many. Never the newest."""
        while len(self._times) > 1:
            oldest = next(iter(self._times.values()))
            if len(self._times) <= KEYS_MAX and oldest and oldest[-1] > now - WINDOW:
                break
            self._times.popitem(last=False)


def count_signup(connection: AnyConnection) -> None:
    """Count a try to sign up from where the connection comes. Raises `Refused(RATE_LIMITED)`."""
    house = house_of(connection)
    peer = connection.client.host if connection.client else ""
    forwarded = connection.headers.getall("x-forwarded-for", [])
    address = addresses.client(peer, forwarded, house.settings.trusted_proxies)
    _count(connection.app.state.signups, addresses.counted_as(address), house.clock())


async def measured(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard after `agents_only`: the organization asks for this and its like only so often in a minute.

    Raises `Refused(RATE_LIMITED)`.
    """
    key = str(actor_of(connection).organization_id)
    _count(connection.app.state.requests, key, house_of(connection).clock())


def _count(window: Window, key: str, now: datetime) -> None:
    wait_s = window.wait_s(key, now)
    if wait_s:
        raise Refused(Refusal.RATE_LIMITED, recovery={"retry_after_seconds": wait_s})
