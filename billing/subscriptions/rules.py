"""What an answer to a webhook means, and when it is sent again. Pure.

Any 2xx is heard; 410 ends the endpoint; all else is tried again, redirects too, which nobody follows. The waits are
those that Standard Webhooks suggests, each a little longer or shorter so that what failed together does not come back
together. Who answers 429 or 503 may ask for a longer one.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, RFC 9110 10.2.3.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

WAITS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long to wait after the first failure, the second, …; after the one behind the last nothing is tried any more."""
ASKED_WAIT_MAX: Final = timedelta(hours=24)
"""The longest wait that a receiver may ask for."""
FAILING_MAX: Final = timedelta(days=5)
"""An endpoint that has failed for so long, with nothing delivered, is disabled."""
JITTER_PERCENT: Final = 10

_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class Heard(enum.Enum):
    """What an answer means."""

    DELIVERED = "delivered"
    GONE = "gone"
    FAILED = "failed"


def heard(status: int) -> Heard:
    """What a status means."""
    if 200 <= status <= 299:
        return Heard.DELIVERED
    return Heard.GONE if status == 410 else Heard.FAILED


def said(status: int) -> str:
    """A failure in words, for the delivery."""
    redirected = "; redirects are not followed" if 300 <= status <= 399 else ""
    return f"the receiver answered {status}{redirected}"


def asked_wait(status: int, headers: Mapping[str, str], now: datetime) -> timedelta:
    """How long a receiver asks to be left alone; 0 when it does not, or nobody can read it."""
    given = headers.get("retry-after", "").strip()
    if status not in {429, 503} or not given:
        return timedelta(0)
    if _SECONDS.fullmatch(given):
        return min(timedelta(seconds=int(given)), ASKED_WAIT_MAX)
    try:
        moment = parsedate_to_datetime(given)
        wait = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - now
    except (ValueError, OverflowError):
        return timedelta(0)
    return max(timedelta(0), min(wait, ASKED_WAIT_MAX))


def wait_after(tries: int, delivery_id: UUID, asked: timedelta) -> timedelta | None:
    """How long to wait after the `tries`-th failure, never shorter than `asked`; none when that was the last try.

    The jitter is made of the delivery's id, whose last bits are random.
    """
    if tries > len(WAITS):
        return None
    drawn = (delivery_id.int + 7919 * tries) % (2 * JITTER_PERCENT + 1) - JITTER_PERCENT
    return max(WAITS[tries - 1] * (100 + drawn) // 100, asked)
