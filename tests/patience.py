"""How tests wait for what a slow machine does later than usual, and see in time what soon ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx

from billing.refusals import Refusal

T = TypeVar("T")

AHEAD_S = (0.4, 4.0, 40.0)
"""How far ahead the end of something lies that must be seen before it: as little as the machine allows."""

HOUR_LEFT_S = 15

IN_VAIN_S = 3.0
"""As long as the shortest time-out after which a service says 503: of connecting to a node (a lock's is 4 s).

A deadlock (found after 1 s) and a race that was lost too often are told sooner: those are no matter of the machine.
"""

AGAIN_MAX = 2


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


def in_vain(status: int, took_s: float) -> bool:
    """Whether such an answer came after a wait that a time-out of the service ended: who asks may ask again."""
    return status == 503 and took_s >= IN_VAIN_S


def served(send: Callable[[], httpx.Response], *, says: str = Refusal.SERVICE_UNAVAILABLE.code) -> httpx.Response:
    """The answer to one of many at once, who asks again where it waited in vain and was told `says`.

    No more than `AGAIN_MAX` times. A 503 that comes sooner than from a wait is given as it is, and so is the last one.
    """
    answer = send()
    for _ in range(AGAIN_MAX):
        if not in_vain(answer.status_code, answer.elapsed.total_seconds()):
            break
        assert says in answer.text, answer.text
        answer = send()
    return answer


def wait_for_the_next_hour() -> None:
    """Where this one (and with it the day or the month) ends in a moment, wait for its end; else return at once.

    Caps, daily limits and exports count in UTC hours, days and months, and a test looks at one of them.
    """
    now = datetime.now(UTC)
    left = timedelta(hours=1) - timedelta(minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
    if left < timedelta(seconds=HOUR_LEFT_S):
        time.sleep(left.total_seconds() + 0.1)
