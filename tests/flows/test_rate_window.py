from datetime import UTC, datetime, timedelta

from api.windows import KEYS_MAX, Window

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_window_slides():
    window = Window(2)
    assert [window.wait_s("a", NOW + timedelta(seconds=at)) for at in (0, 20, 30)] == [0, 0, 30]
    assert window.wait_s("a", NOW + timedelta(seconds=60)) == 0
    assert window.wait_s("a", NOW + timedelta(seconds=61)) == 19


def test_refused_tries_do_not_prolong_the_wait():
    window = Window(1)
    assert [window.wait_s("a", NOW + timedelta(seconds=at)) for at in (0, 59, 60)] == [0, 1, 0]


def test_looking_counts_nothing_and_remembers_nobody():
    window = Window(1)
    assert [window.closed_s("a", NOW) for _ in range(3)] == [0, 0, 0]
    assert "a" not in window._times
    window.wait_s("a", NOW)
    assert [window.closed_s("a", NOW + timedelta(seconds=at)) for at in (0, 20, 60)] == [60, 40, 0]


def test_addresses_that_were_quiet_for_a_minute_are_forgotten():
    window = Window(2)
    for number in range(100):
        window.wait_s(str(number), NOW)
    window.wait_s("busy", NOW + timedelta(seconds=30))
    window.wait_s("last", NOW + timedelta(seconds=60))
    assert list(window._times) == ["busy", "last"]


def test_addresses_are_counted_apart_and_forgotten_in_the_end():
    window = Window(1)
    assert window.wait_s("first", NOW) == 0
    assert window.wait_s("second", NOW) == 0
    for number in range(KEYS_MAX):
        window.wait_s(str(number), NOW)
    assert len(window._times) == KEYS_MAX
    assert window.wait_s("first", NOW) == 0
