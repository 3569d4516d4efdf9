import json
import re
from pathlib import Path

import pytest

from billing.activity import NEVER_WRITTEN, TOLD, TYPES, EventType
from billing.scopes import Scope
from tests.giving import give, new_operator
from tests.service import CHECKOUT, DEPOSIT, error_of, new_key, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "activity.md"

REGISTRY = {
    "job.completed", "job.planned", "asset.created", "asset.uploaded", "usage.credit_consumed", "feedback.created",
    "feedback.github_queue.processed", "payment.checkout_session.created", "credits.payment_backed_granted",
    "credits.payment_backed_refunded", "credits.payment_backed_disputed", "credits.payment_backed_reinstated",
    "credits.payment_backed_reversal_pending", "credits.payment_backed_reversal_rejected",
}  # fmt: skip


@pytest.fixture
def purchase(agent, sandbox):
    bought = agent.buy(agent.quote(CHECKOUT))
    sandbox.pay(bought["checkout_session_id"])
    return agent.wait_for_state("succeeded", quote_id=bought["quote_id"])


def test_a_purchase_leaves_two_events_newest_first(agent, purchase):
    data = agent.get("/v1/activity")
    assert data["source"] == "hosted_activity_ledger"
    assert data["next_cursor"] is None
    granted, created = data["events"]
    assert created["type"] == "payment.checkout_session.created"
    assert granted["type"] == "credits.payment_backed_granted"
    assert {granted["type"], created["type"]} <= REGISTRY
    assert granted["links"]["receipt_id"] == purchase["receipt"]["receipt_id"]
    assert granted["links"]["credit_event_id"] == purchase["credit_event"]["credit_event_id"]
    assert created["links"]["checkout_session_id"] == purchase["payment_attempt"]["checkout_session_id"]
    for event in (granted, created):
        assert {"job_id", "asset_ids", "feedback_id", "usage_event_id"} < set(event["links"])
        assert event["occurred_at"].endswith("Z")


@pytest.mark.parametrize(
    "path",
    [("quote_id",), ("payment_attempt", "payment_attempt_id"), ("payment_attempt", "checkout_session_id"),
     ("receipt", "receipt_id"), ("credit_event", "credit_event_id")],
)  # fmt: skip
def test_activity_is_found_by_every_reference(agent, purchase, path):
    reference = purchase
    for step in path:
        reference = reference[step]
    shown = agent.get(f"/v1/activity/{reference}")["events"]
    assert shown
    assert shown == agent.get("/v1/activity", subject=reference)["events"]
    for event in shown:
        assert agent.get(f"/v1/activity/{event['event_id']}")["events"] == [event]


def test_activity_is_paged_without_loss_or_repetition(agent):
    for _ in range(5):
        agent.buy(agent.quote(CHECKOUT))
    whole = agent.get("/v1/activity", limit=100)["events"]
    assert len(whole) == 5
    seen: list[object] = []
    cursor = None
    for _ in range(3):
        page = agent.get("/v1/activity", limit=2, **({"cursor": cursor} if cursor else {}))
        seen, cursor = seen + page["events"], page["next_cursor"]
    assert cursor is None
    assert seen == whole


def spend(agent, credits_):
    return agent.do("/v1/spends", credits=credits_)


@pytest.fixture
def rich(agent, database):
    """An agent with 100 promotional credits."""
    give(database, agent, 100)
    return agent


def test_the_registry_is_that_of_the_contract_and_every_type_is_explained():
    assert set(TYPES) == REGISTRY
    assert len(TYPES) == len(REGISTRY)
    assert set(TOLD) == set(EventType)
    assert set(NEVER_WRITTEN).isdisjoint(EventType)


def test_the_document_shows_the_table_of_the_code():
    drawn = [
        f"| `{type_.value}` | {told.when} | `{told.subject}` | {', '.join(f'`{link}`' for link in told.links)} |"
        for type_, told in TOLD.items()
    ]
    assert re.findall(r"^\| `.*$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE) == drawn


def test_every_written_event_is_as_the_table_says(agent, purchase, database):
    rows = database.rows("SELECT type, subject_id, links FROM billing.activity_events")
    assert rows
    for type_, subject_id, stored in rows:
        told, links = TOLD[EventType(type_)], json.loads(stored)
        assert subject_id in (links[told.subject], *links.get("asset_ids", ()))
        # Reversals carry details of their provider besides.
        assert "payment_reversal_id" in links or set(links) <= set(told.links)


def test_a_spend_is_an_event_that_every_name_of_it_finds(rich):
    done = spend(rich, 7)
    page = rich.get("/v1/activity")
    (event,) = page["events"]
    assert page["next_cursor"] is None
    assert (event["type"], event["status"], event["cost"]) == ("usage.credit_consumed", "succeeded", {"credits": 7})
    assert event["operation"] == "credits.spend"
    assert event["occurred_at"] == done["position"]["posted_at"][:23] + "Z", "to the millisecond"
    assert event["subject"] == {"type": "usage", "id": event["links"]["usage_event_id"]}
    assert event["links"]["operation_id"] == done["operation_id"]
    assert event["links"]["agent_id"] == rich.agent_id
    for name in (event["event_id"], done["operation_id"], *(event["links"][link] for link in (
        "usage_event_id", "operation_id", "credit_event_id"))):  # fmt: skip
        assert rich.get(f"/v1/activity/{name}")["events"] == [event]
        assert rich.get("/v1/activity", subject=name)["events"] == [event]


def test_a_refused_spend_and_a_hold_that_took_nothing_are_no_events(rich):
    error_of(rich.ask("/v1/spends", credits=101), 402, "QUOTA_EXCEEDED")
    hold = rich.do("/v1/holds", credits=5, expires_in_seconds=600)
    rich.do(f"/v1/holds/{hold['hold_id']}/void")
    assert rich.get("/v1/activity")["events"] == []
    error_of(rich.send("GET", f"/v1/activity/{hold['hold_id']}"), 404, "NOT_FOUND")


def test_a_capture_names_its_hold_and_a_refund_is_below_zero(rich, http, database):
    hold = rich.do("/v1/holds", credits=9, expires_in_seconds=600)
    captured = rich.do(f"/v1/holds/{hold['hold_id']}/capture", credits=6)
    operator = new_operator(http, database, Scope.GRANT)
    named = {"organization_id": rich.organization_id, "operation_id": captured["operation_id"]}
    operator.do("/v1/refunds-of-spends", **named, credits=2)
    refund, capture = rich.get(f"/v1/activity/{captured['operation_id']}")["events"]
    assert (capture["links"]["hold_id"], capture["links"]["agent_id"]) == (hold["hold_id"], rich.agent_id)
    assert (refund["status"], refund["cost"]) == ("refunded", {"credits": -2})
    assert refund["links"]["refunded_operation_id"] == captured["operation_id"]
    assert refund["links"]["usage_event_id"] == capture["links"]["usage_event_id"]
    assert rich.get(f"/v1/activity/{hold['hold_id']}")["events"] == [capture]


def test_a_job_is_found_with_its_charge_by_every_name(rich):
    made = rich.post("/v1/create", {"prompt": "a fox", "idempotency_key": new_key()})
    name = made["job_id"]
    until(lambda: rich.get(f"/v1/jobs/{name}")["job"]["status"] == "completed")
    events = rich.get("/v1/activity")["events"]
    usage = next(event for event in events if event["type"] == "usage.credit_consumed")
    assert {event["type"] for event in events} == {"usage.credit_consumed", "job.completed", "asset.created"}
    assert {event["links"]["job_id"] for event in events} == {name}
    assert rich.get(f"/v1/activity/{name}")["events"] == events
    for event in events:
        assert event["links"]["usage_event_id"] == usage["links"]["usage_event_id"] or event["type"] == "asset.created"
        assert event in rich.get(f"/v1/activity/{event['subject']['id']}")["events"]
    (asset,) = (event["links"]["asset_ids"] for event in events if event["type"] == "asset.created")
    assert {event["type"] for event in rich.get(f"/v1/activity/{asset[0]}")["events"]} == {
        "job.completed", "asset.created",
    }  # fmt: skip


def test_spends_and_events_are_one_list_and_each_type_one_of_its_own(agent, database):
    give(database, agent, 100)
    for _ in range(3):
        spend(agent, 1)
        agent.buy(agent.quote(CHECKOUT))
    whole = agent.get("/v1/activity")["events"]
    assert [event["type"] for event in whole] == ["payment.checkout_session.created", "usage.credit_consumed"] * 3
    for name in ("usage.credit_consumed", "payment.checkout_session.created"):
        assert agent.get("/v1/activity", type=name)["events"] == [event for event in whole if event["type"] == name]
    for name in NEVER_WRITTEN:
        assert agent.get("/v1/activity", type=name)["events"] == []


def test_a_subject_without_events_is_an_empty_page(agent):
    quote = agent.quote(DEPOSIT)
    assert agent.get("/v1/activity", subject=quote["quote_id"])["events"] == []
    assert agent.get("/v1/activity", subject="nonsense")["events"] == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "1.5"}, {"limit": "-1"},
    {"limit": "abc"}, {"subject": ""}, {"subject": "\x00"}, {"subject": "a" * 256}, {"cursor": "evt_x"},
    {"cursor": "agt_" + "0" * 26}, {"type": "job.lost"}, {"type": ""},
    {"cursor": "feed_0_" + "0" * 26}], ids=str)  # fmt: skip
def test_pages_of_nonsense_are_refused(agent, query):
    error_of(agent.send("GET", "/v1/activity", **query), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize(
    "name",
    ["nonsense", "evt_" + "0" * 26, "%00", "a" * 300, "job_1", "%F0%9F%A4%96", "hold_" + "0" * 26, "op_" + "0" * 26,
     "job_" + "0" * 26, "receipt_" + "0" * 26, "trace_0123456789abcdef", "_", "_" + "0" * 26],
)  # fmt: skip
def test_unknown_things_have_no_activity(agent, name):
    error_of(agent.send("GET", f"/v1/activity/{name}"), 404, "NOT_FOUND")
