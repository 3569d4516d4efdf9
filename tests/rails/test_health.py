from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rails.health import Health

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def test_two_failures_in_a_row_leave_a_provider_available() -> None:
    health = Health()
    health.failed(NOW, "Stripe answered 500")
    health.failed(NOW, "Stripe answered 500")
    assert health.unavailable_reason(NOW) is None


def test_third_failure_in_a_row_makes_a_provider_unavailable_with_the_latest_reason() -> None:
    health = Health()
    for reason in ("first", "second", "third"):
        health.failed(NOW, reason)
    assert health.unavailable_reason(NOW) == "third"


def test_success_between_failures_starts_the_count_again() -> None:
    health = Health()
    for outcome in "ffsff":
        health.failed(NOW, "down") if outcome == "f" else health.succeeded(NOW)
    assert health.unavailable_reason(NOW) is None


def test_one_success_makes_an_unavailable_provider_available() -> None:
    health = Health()
    health.failed(NOW, "the key is wrong", at_once=True)
    assert health.unavailable_reason(NOW) == "the key is wrong"
    health.succeeded(NOW)
    assert health.unavailable_reason(NOW) is None


def test_later_failure_of_another_kind_does_not_hide_that_the_key_is_refused() -> None:
    health = Health()
    health.failed(NOW, "the key is wrong", at_once=True)
    health.failed(NOW, "Stripe answered 500")
    assert health.unavailable_reason(NOW) is not None


def test_probe_is_due_every_15_seconds_while_failing_and_never_otherwise() -> None:
    health = Health()
    assert not health.probe_due(NOW)
    health.failed(NOW, "down")
    assert not health.probe_due(NOW + timedelta(seconds=14))
    assert health.probe_due(NOW + timedelta(seconds=15))
    health.failed(NOW + timedelta(seconds=15), "down")
    assert not health.probe_due(NOW + timedelta(seconds=29))
    assert health.probe_due(NOW + timedelta(seconds=30))
    health.succeeded(NOW + timedelta(seconds=30))
    assert not health.probe_due(NOW + timedelta(hours=1))
