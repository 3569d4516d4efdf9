"""How tests wait for what a slow machine does later than usual, and see in time what soon ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx

from tests.service import WAIT_S, error_of

T = TypeVar("T")

AHEAD_S = (0.4, 4.0, 40.0)
"""How far ahead the end of something lies that must be seen before it: as little as the machine allows."""

HOUR_LEFT_S = 15


def in_time(see: Callable[[datetime], T | None]) -> T:
    """What `see(soon)` saw before `soon`; none says that it came too late, and is asked again with more time.

    So what ends is seen before its end however slow the machine is, and nobody waits long for that end.
    """
    for ahead_s in AHEAD_S:
        if (seen := see(datetime.now(UTC) + timedelta(seconds=ahead_s))) is not None:
            return seen
    raise AssertionError(f"nothing was seen within {AHEAD_S[-1]} s")


def over(moment: datetime) -> bool:
    """Whether it has passed."""
    return datetime.now(UTC) >= moment


def until_over(moment: datetime) -> None:
    """Wait until it has passed, for the database's clock too."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()) + 0.02)


def served(send: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer to who asks again while the service says so: a lock of the database may be waited for in vain."""
    deadline = time.monotonic() + WAIT_S
    while (answer := send()).status_code == 503 and time.monotonic() < deadline:
        error_of(answer, 503, "SERVICE_UNAVAILABLE")
        time.sleep(0.1)
    return answer


def wait_for_the_next_hour() -> None:
    """Where this one (and with it the day or the month) ends in a moment, wait for its end; else return at once.

    Caps, daily limits and exports count in UTC hours, days and months, and a test looks at one of them.
    """
    now = datetime.now(UTC)
    left = timedelta(hours=1) - timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
    if left < timedelta(seconds=HOUR_LEFT_S):
        time.sleep(left.total_seconds() + 0.1)
