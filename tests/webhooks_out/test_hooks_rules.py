"""What answers mean and when the next try is, as a table."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from billing.fresh import new_id
from billing.subscriptions.rules import ASKED_WAIT_MAX, WAITS, Heard, asked_wait, heard, wait_after

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
NONE = timedelta(0)


@pytest.mark.parametrize(
    ("status", "means"),
    [
        *[(status, Heard.DELIVERED) for status in (200, 201, 202, 204, 299)],
        (410, Heard.GONE),
        *[(status, Heard.FAILED) for status in (199, 301, 302, 304, 308, 400, 401, 404, 409, 429, 500, 503, 599)],
    ],
)
def test_any_2xx_is_heard_and_410_ends_it(status, means):
    assert heard(status) is means


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        (429, "120", timedelta(seconds=120)),
        (503, " 7 ", timedelta(seconds=7)),
        (429, "999999999", ASKED_WAIT_MAX),
        (429, "Sat, 21 Nov 2026 09:00:00 GMT", HOUR),
        (429, "Sat, 21 Nov 2026 09:00:00", HOUR),
        (503, "Sat, 21 Nov 2026 10:00:00 +0100", HOUR),
        (503, "Sat, 21 Nov 2026 07:00:00 GMT", NONE),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT", ASKED_WAIT_MAX),
        *[(429, text, NONE) for text in ("", "-5", "1e3", "٣", "soon", "9" * 400, "Sat, 99 Nov 2026 09:00:00 GMT")],
        *[(status, "120", NONE) for status in (200, 301, 400, 500, 502)],
    ],
)
def test_a_receiver_may_ask_for_a_longer_wait_with_429_and_503(status, header, wait):
    assert asked_wait(status, {"retry-after": header}, NOW) == wait


def test_the_waits_are_those_of_standard_webhooks_give_or_take_a_tenth_and_end():
    for tries, wait in enumerate(WAITS, start=1):
        drawn = [wait_after(tries, new_id(NOW), NONE) or NONE for _ in range(200)]
        assert wait * 9 / 10 <= min(drawn) < max(drawn) <= wait * 11 / 10
        assert len(set(drawn)) > 10, "what failed together does not come back together"
    assert wait_after(len(WAITS) + 1, UUID(int=1), HOUR) is None
    assert timedelta(days=3) < sum(WAITS, NONE) < timedelta(days=4)


def test_what_a_receiver_asks_for_never_shortens_the_wait():
    assert wait_after(1, UUID(int=1), HOUR) == HOUR
    assert wait_after(5, UUID(int=1), timedelta(seconds=1)) == wait_after(5, UUID(int=1), NONE)
