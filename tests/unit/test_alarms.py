"""When an alert is said, and that each has a runbook."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.alarms import ALERTS, Alarms
from api.metrics import STANDING, StandingMetrics
from api.settings import Settings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
QUIET = dict.fromkeys(STANDING, 0.0)
OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def judged(alarms, at_s, **measures):
    """What is said so many seconds after noon: names, and whether each is over."""
    now = NOW + timedelta(seconds=at_s)
    sayings = alarms.judge(QUIET | measures, Settings(), again_after_s=600, now=now)
    return [(one.alert.name, one.over, one.lasted_s) for one in sayings]


def test_an_alert_is_said_when_it_begins_now_and_then_while_it_lasts_and_once_when_it_is_over():
    alarms = Alarms()
    said = [judged(alarms, at_s, letters_parked=parked) for at_s, parked in ((0, 0), (15, 2), (30, 3), (45, 1))]
    assert said == [[], [("letters_parked", False, 0)], [], []]
    assert judged(alarms, 630, letters_parked=1) == [("letters_parked", False, 615)]
    assert judged(alarms, 645) == [("letters_parked", True, 630)]
    assert judged(alarms, 660) == []
    assert judged(alarms, 675, letters_parked=1) == [("letters_parked", False, 0)]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_begins_above_its_threshold_and_not_at_it(alert):
    threshold = getattr(Settings(), alert.setting)
    assert judged(Alarms(), 0, **{alert.measure: threshold}) == []
    assert judged(Alarms(), 0, **{alert.measure: threshold + 1}) == [(alert.name, False, 0)]
    assert judged(Alarms(), 0, **{alert.measure: None}) == [], "nothing is measured, so nothing is too much"


def test_each_alert_has_a_section_in_the_runbook_with_what_it_means_and_what_to_do():
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", OPERATING.read_text(encoding="utf-8"), re.MULTILINE))
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-"): text for title, text in sections.items()}
    for alert in ALERTS:
        document, _, anchor = alert.runbook.partition("#")
        assert document == "docs/operating.md"
        assert alert.setting.upper() in anchors[anchor]
        assert f"purser_{alert.measure}" in anchors[anchor]
        assert "`purser " in anchors[anchor] or "`GET " in anchors[anchor], "a command to begin with"


def test_a_gauge_without_a_measure_is_not_a_number():
    metrics = StandingMetrics()
    metrics.stands(QUIET | {"letters_parked": 3, "event_cursor_age_seconds": None})
    said = metrics.text().decode()
    assert "purser_letters_parked 3.0" in said
    assert "purser_event_cursor_age_seconds NaN" in said
    assert "purser_standing_measured 1.0" in said
    metrics.stands(None)
    said = metrics.text().decode()
    assert "purser_letters_parked NaN" in said
    assert "purser_standing_measured 0.0" in said
