"""Agents say what they think, once; operators read it."""

from typing import Any

import pytest

from billing.scopes import Scope
from ledger.ids import parse
from tests.giving import new_operator
from tests.service import data_of, error_of, new_key

SAID: dict[str, Any] = {
    "type": "user_feedback",
    "title": "A short title",
    "body": "What happened,\nand why\tit matters",
    "command": "image-skill create",
    "expected": "a picture",
    "actual": "none",
    "friction": "some",
    "proof_needed": "a picture",
    "strategic_reason": "pictures",
    "source": "pytest",
    "trace_id": "trace_1",
    "surface": ["cli", "docs"],
    "evidence": ["trace:TRACE_ID"],
    "severity": "high",
    "confidence": "low",
    "next_state": "fix",
    "allow_weak_signal": True,
}
DEFAULTS: dict[str, Any] = {
    "type": "user_feedback",
    "severity": "medium",
    "confidence": "medium",
    "next_state": "watch",
    "surface": ["cli"],
    "evidence": [],
}


def test_feedback_is_kept_as_it_was_said_and_told_in_the_activity(agent):
    kept = agent.post("/v1/feedback", SAID)
    assert {name: kept[name] for name in SAID} == SAID
    assert kept["feedback_id"].startswith("sig_")
    [event] = agent.get("/v1/activity", limit=10)["events"]
    assert event["type"] == "feedback.created"
    assert event["links"]["feedback_id"] == event["subject"]["id"] == kept["feedback_id"]
    assert SAID["title"] not in str(event)


@pytest.mark.parametrize("said", [{"title": "t"}, {"body": "b"}], ids=str)
def test_a_title_or_a_body_is_enough(agent, said):
    kept = agent.post("/v1/feedback", said)
    assert {name: kept[name] for name in DEFAULTS} == DEFAULTS


def test_the_same_feedback_again_answers_the_same_id(agent, http):
    said = {**SAID, "dedupe_key": new_key()}
    first = agent.post("/v1/feedback", said)
    again = agent.post("/v1/feedback", {**said, "body": "other words"})
    assert (first["deduplicated"], again["deduplicated"]) == (False, True)
    assert {**again, "deduplicated": False} == first
    assert len(agent.get("/v1/activity", limit=10)["events"]) == 1
    sibling = data_of(http.post("/v1/agents", json={"agent_name": "s", "runtime": "p"}, headers=agent.headers))
    other = http.post("/v1/feedback", json=said, headers={"authorization": f"Bearer {sibling['token']}"})
    assert data_of(other)["feedback_id"] != first["feedback_id"]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"title": None, "body": None}, "title"), ({"title": "x" * 301}, "title"), ({"body": "x" * 8001}, "body"),
     ({"body": "\x00"}, "body"), ({"command": 7}, "command"), ({"surface": ["x"] * 21}, "surface"),
     ({"surface": "cli"}, "surface"), ({"evidence": ["x" * 301]}, "evidence"), ({"evidence": ["x"] * 51}, "evidence"),
     ({"severity": ""}, "severity"), ({"type": "x" * 65}, "type"), ({"dedupe_key": ""}, "dedupe_key"),
     ({"allow_weak_signal": "yes"}, "allow_weak_signal"), ({"card_number": "4242"}, "card_number"),
     ({"privateKey": "0x1"}, "private_key")],
    ids=str,
)  # fmt: skip
def test_what_is_too_long_or_no_text_is_refused_naming_the_field(agent, change, field):
    error = error_of(agent.send("POST", "/v1/feedback", {**SAID, **change}), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(field)


def test_a_token_is_not_kept_wherever_it_stands(agent, database):
    token = agent.token
    for change in ({"body": f"it says {token}"}, {"evidence": [token]}, {"command": f"curl -H 'Bearer {token}'"}):
        error = error_of(agent.send("POST", "/v1/feedback", {**SAID, **change}), 400, "INVALID_ARGUMENTS")
        assert token not in str(error)
    assert (
        database.rows("SELECT FROM billing.feedback WHERE organization_id = $1", parse("org", agent.organization_id))
        == []
    )


def test_operators_read_it_page_by_page_newest_first(agent, http, database):
    kept = [agent.post("/v1/feedback", {"title": f"number {n}"})["feedback_id"] for n in range(3)]
    reader = new_operator(http, database, Scope.READ)
    page = reader.get("/v1/operator/feedback", limit=2)
    assert [one["feedback_id"] for one in page["feedback"]] == kept[:0:-1]
    assert page["feedback"][0]["agent_id"] == agent.agent_id
    rest = reader.get("/v1/operator/feedback", limit=1, cursor=page["next_cursor"])
    assert [one["feedback_id"] for one in rest["feedback"]] == kept[:1]
    error_of(reader.send("GET", "/v1/operator/feedback", cursor="x"), 400, "INVALID_ARGUMENTS")
