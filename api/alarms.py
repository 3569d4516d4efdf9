"""When a number is an alert, and how often that is said. Pure: numbers and a time in, what to say out.

An alert is said once when it begins, again after `again_after_s` while it lasts, and once when it is over. Each has a
section in `docs/operating.md` that says what to do; a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

RUNBOOK: Final = "docs/operating.md#alert-{name}"


class Thresholds(Protocol):
    """What a number may be at most before it is an alert. Settings, with defaults."""

    alert_letters_parked: int
    alert_letters_wait_s: int
    alert_unknown_s: int
    alert_amounts_disagree: int
    alert_webhook_missed: int
    alert_webhook_silence_s: int
    alert_payments_unallocated: int
    alert_credits_owed: int
    alert_disputes_open: int
    alert_watched_s: int
    alert_settlement_s: int
    alert_payments_held: int
    alert_payments_vanished: int
    alert_events_behind_s: int
    alert_webhooks_wait_s: int
    alert_jobs_overdue_s: int
    alert_revenue_behind_s: int
    alert_exceptions_wait_s: int


@dataclass(frozen=True, slots=True)
class Alert:
    """What is watched: the measure, and the setting that says how much of it is too much."""

    name: str
    measure: str
    setting: str

    @property
    def runbook(self) -> str:
        """Where it stands what to do."""
        return RUNBOOK.format(name=self.name.replace("_", "-"))


ALERTS: Final = (
    Alert("letters_parked", "letters_parked", "alert_letters_parked"),
    Alert("letters_waiting", "letter_oldest_unprocessed_seconds", "alert_letters_wait_s"),
    Alert("answers_unknown", "request_oldest_unknown_seconds", "alert_unknown_s"),
    Alert("amounts_disagree", "attempts_under_review", "alert_amounts_disagree"),
    Alert("webhook_misses", "webhook_missed_letters", "alert_webhook_missed"),
    Alert("webhook_silent", "webhook_silence_seconds", "alert_webhook_silence_s"),
    Alert("payments_unallocated", "payments_unallocated", "alert_payments_unallocated"),
    Alert("credits_owed", "credits_owed", "alert_credits_owed"),
    Alert("disputes_open", "disputes_open", "alert_disputes_open"),
    Alert("watched_too_long", "watched_oldest_seconds", "alert_watched_s"),
    Alert("settlement_unknown", "settlement_oldest_seconds", "alert_settlement_s"),
    Alert("payments_held", "payments_held", "alert_payments_held"),
    Alert("payments_vanished", "payments_vanished", "alert_payments_vanished"),
    Alert("events_behind", "event_cursor_age_seconds", "alert_events_behind_s"),
    Alert("webhooks_not_delivered", "webhook_delivery_oldest_pending_seconds", "alert_webhooks_wait_s"),
    Alert("jobs_overdue", "job_oldest_overdue_seconds", "alert_jobs_overdue_s"),
    Alert("revenue_behind", "revenue_oldest_unrecognized_seconds", "alert_revenue_behind_s"),
    Alert("exceptions_waiting", "exception_oldest_waiting_seconds", "alert_exceptions_wait_s"),
)


@dataclass(frozen=True, slots=True)
class Saying:
    """One line to say. `lasted_s` is how long the alert has lasted, 0 when it begins; `over`: it is no more."""

    alert: Alert
    value: float | None
    threshold: float
    lasted_s: int
    over: bool = False


@dataclass(slots=True)
class _Lasting:
    since: datetime
    said_at: datetime


@dataclass(slots=True)
class Alarms:
    """Which alerts last, as far as this process knows."""

    _lasting: dict[str, _Lasting] = field(default_factory=dict)

    def judge(
        self, measures: Mapping[str, float | None], thresholds: Thresholds, *, again_after_s: float, now: datetime
    ) -> Sequence[Saying]:
        """What is to be said now of the measures. A measure of nothing is no alert."""
        found = [self._judge(alert, measures, thresholds, again_after_s, now) for alert in ALERTS]
        return [saying for saying in found if saying is not None]

    def _judge(
        self,
        alert: Alert,
        measures: Mapping[str, float | None],
        thresholds: Thresholds,
        again_after_s: float,
        now: datetime,
    ) -> Saying | None:
        value, threshold = measures[alert.measure], getattr(thresholds, alert.setting)
        lasting = self._lasting.get(alert.name)
        lasted_s = int((now - lasting.since).total_seconds()) if lasting is not None else 0
        if value is None or value <= threshold:
            if self._lasting.pop(alert.name, None) is None:
                return None
            return Saying(alert, value, threshold, lasted_s, over=True)
        if lasting is None:
            self._lasting[alert.name] = _Lasting(now, now)
        elif (now - lasting.said_at).total_seconds() < again_after_s:
            return None
        else:
            lasting.said_at = now
        return Saying(alert, value, threshold, lasted_s)
