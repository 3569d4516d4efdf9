"""So many in a minute: a sliding window in memory, one per process, bounded.

Sign-ups are counted by address, what costs much by organization, refused spends by agent. What was quiet for a whole
window is forgotten, so that memory holds no more than what was let through in the last minute.
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


def require_few_refusals(connection: AnyConnection, spender: str) -> None:
    """Raises `Refused(RATE_LIMITED)` for one whose spends were refused too often in the last minute.

    Refusals cost a place in the journal; this keeps a caller that never listens away from the books.
    """
    if not refusals_left(connection, spender):
        raise too_many_refusals(connection, spender)


def refusals_left(connection: AnyConnection, spender: str) -> int:
    """How many refusals it may still get in this minute."""
    return int(connection.app.state.refusals.left(spender, house_of(connection).clock()))


def too_many_refusals(connection: AnyConnection, spender: str) -> Refused:
    """The refusal of one that has none left."""
    wait_s = max(1, connection.app.state.refusals.closed_s(spender, house_of(connection).clock()))
    return Refused(Refusal.RATE_LIMITED, "too many spends were refused", recovery={"retry_after_seconds": wait_s})


def count_refusal(connection: AnyConnection, spender: str) -> None:
    """The books refused a spend."""
    connection.app.state.refusals.wait_s(spender, house_of(connection).clock())


def _count(window: Window, key: str, now: datetime) -> None:
    wait_s = window.wait_s(key, now)
    if wait_s:
        raise Refused(Refusal.RATE_LIMITED, recovery={"retry_after_seconds": wait_s})
