import pytest

from tests.service import CHECKOUT, DEPOSIT, error_of

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


def test_a_subject_without_events_is_an_empty_page(agent):
    quote = agent.quote(DEPOSIT)
    assert agent.get("/v1/activity", subject=quote["quote_id"])["events"] == []
    assert agent.get("/v1/activity", subject="nonsense")["events"] == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "1.5"}, {"limit": "-1"},
    {"limit": "abc"}, {"subject": ""}, {"subject": "\x00"}, {"subject": "a" * 256}, {"cursor": "evt_x"},
    {"cursor": "agt_" + "0" * 26}], ids=str)  # fmt: skip
def test_pages_of_nonsense_are_refused(agent, query):
    error_of(agent.send("GET", "/v1/activity", **query), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("name", ["nonsense", "evt_" + "0" * 26, "%00", "a" * 300, "job_1", "%F0%9F%A4%96"])
def test_unknown_things_have_no_activity(agent, name):
    error_of(agent.send("GET", f"/v1/activity/{name}"), 404, "NOT_FOUND")
