"""How payments and letters stand, measured in the database; told as gauges and as lines of the log."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from api.alerts import measured, sound
from api.metrics import STANDING
from billing.fresh import new_id
from billing.fulfillment import UNDER_REVIEW
from billing.scopes import Scope
from ledger import ids
from tests.giving import in_house, new_operator
from tests.service import new_agent
from webhooks.measures import Letters

NOW = datetime.now(UTC)
AGO = NOW - timedelta(hours=1)
LETTERS = (("done", False), ("parked", True), ("pending", True))


@pytest.fixture(scope="module")
def mess(new_databases, start_service):
    """A database nobody else uses, in which everything has gone wrong an hour ago, and the service on it."""
    database = new_databases("standing")
    service = start_service(database=database)
    with service.client() as client:
        agent = new_agent(client)
        attempt = ids.parse("payatt", agent.buy(agent.quote())["payment_attempt_id"])
    database.rows(
        "UPDATE billing.payment_attempts SET state = 'processing', reason = $2, created_at = $3 WHERE id = $1",
        attempt, UNDER_REVIEW, AGO,
    )  # fmt: skip
    database.rows("UPDATE billing.provider_requests SET state = 'unknown', created_at = $1", AGO)
    for n, (state, paged) in enumerate(LETTERS):
        at = AGO + timedelta(minutes=n)
        database.rows(
            "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, paged, next_try_at,"
            " received_at) VALUES ($1, 'stripe', $2, 't', '', $3, $4, $5, $5)", new_id(at), f"evt_{n}", state, paged, at
        )  # fmt: skip
    database.rows("INSERT INTO webhooks.event_cursors VALUES ('stripe', $1, $1)", AGO)
    database.rows(
        "INSERT INTO billing.watched_objects (kind, external_id, looks, next_look_at, created_at)"
        " VALUES ('refund', 're_1', 0, $1, $1), ('dispute', 'dp_1', 0, $1::timestamptz - interval '1 day', $1)", AGO
    )  # fmt: skip
    database.rows(
        "INSERT INTO billing.external_payments SELECT 'payment_intent', 'pi_kept', organization_id, id, 'unallocated',"
        " 500, id, now() FROM billing.payment_attempts"
    )
    return database, service


def test_what_has_gone_wrong_is_measured(mess):
    database, _ = mess
    found = in_house(database, lambda house: measured(house.sessions, now=NOW))
    assert set(found) == set(STANDING)
    hour = pytest.approx(3600)
    assert found == {
        "letters_parked": 1,
        "letter_oldest_unprocessed_seconds": pytest.approx(3480),
        "requests_unknown": 1,
        "request_oldest_unknown_seconds": hour,
        "attempts_unknown": 0,
        "attempts_under_review": 1,
        "webhook_missed_letters": 2,
        "webhook_silence_seconds": hour,
        "payments_unallocated": 1,
        "credits_owed": 0,
        "disputes_open": 0,
        "watched_oldest_seconds": hour,
        "settlement_oldest_seconds": 0,
        "payments_held": 0,
        "payments_vanished": 0,
        "webhook_deliveries_pending": 0,
        "webhook_delivery_oldest_pending_seconds": 0,
        "webhook_endpoints_disabled": 0,
        "job_oldest_overdue_seconds": 0,
        "revenue_oldest_unrecognized_seconds": 0,
        "exception_oldest_waiting_seconds": 0,
        "event_cursor_age_seconds": hour,
    }


def test_the_worker_says_what_is_an_alert_and_where_its_runbook_is(mess):
    database, _ = mess

    async def twice(house):
        await sound(house)
        await sound(house)

    with capture_logs() as lines:
        in_house(database, twice)
    alerts = {line["alert"]: line for line in lines if line["event"] == "alert"}
    expected = {"letters_parked", "letters_waiting", "answers_unknown", "amounts_disagree", "payments_unallocated"}
    assert set(alerts) == {*expected, "events_behind"}
    assert len(lines) == len(alerts), "said once, although it lasts"
    parked = alerts["letters_parked"]
    assert (parked["value"], parked["threshold"], parked["log_level"]) == (1, 0, "error")
    assert parked["runbook"] == "docs/operating.md#alert-letters-parked"


def test_a_server_tells_it_as_gauges(mess):
    database, service = mess
    with service.client() as client:
        said = new_operator(client, database, Scope.READ).send("GET", "/metrics").text
    assert "purser_standing_measured 1.0" in said
    assert "purser_payments_unallocated 1.0" in said
    assert "purser_lane_queue_depth" in said


@pytest.mark.parametrize(
    ("last", "missed", "expected", "since"),
    [
        (None, None, None, None),
        (AGO, None, None, None),
        (AGO, None, NOW, NOW),
        (NOW, None, AGO, NOW),
        (None, AGO, NOW, AGO),
        (None, None, AGO, AGO),
    ],
)
def test_the_webhook_is_silent_since_it_could_have_brought_something(last, missed, expected, since):
    assert Letters(0, None, last, 0, missed, None).silent_since(expected) == since
