"""What quota says over HTTP of what will come in an agent's way."""

from datetime import UTC, datetime, timedelta

import pytest

from ledger.operations import Caps
from tests.giving import give, organization_of, set_caps
from tests.service import agent_of, error_of

CAPS = ("per_spend", "per_hour", "per_day", "per_month", "total")


@pytest.fixture
def rich(agent, database):
    """An agent with 200 promotional credits."""
    give(database, agent, 200)
    return agent


def test_a_new_agent_has_nothing_in_its_way_but_an_empty_wallet(agent):
    data = agent.get("/v1/quota")
    assert data["claim_state"] == "unclaimed"
    assert data["owed"] == {"owed_credits": 0, "frozen_credits": 0}
    assert data["holds"] == {"open": 0, "held_credits": 0, "next_deadline": None}
    assert (data["expiring"], data["more_expiring"], data["jobs"]) == ([], False, {"open": 0})
    assert (data["caps"]["paused"], [data["caps"][cap]["limit"] for cap in CAPS]) == (False, [None] * 5)
    assert data["top_up"]["urgency_reasons"] == ["credits_depleted"]
    assert "daily_jobs" not in data


def test_a_status_without_a_reference_says_the_same(rich):
    assert rich.get("/v1/credit-purchases/status") == rich.get("/v1/quota")


@pytest.mark.usefixtures("same_hour")
def test_caps_are_those_of_the_agent_that_asks(rich, http, database):
    sibling = agent_of(http, rich.post("/v1/agents", {"agent_name": "b", "runtime": "pytest"}))
    set_caps(database, rich, Caps(per_spend=50, per_day=100))
    rich.do("/v1/spends", credits=30)
    caps = rich.get("/v1/quota")["caps"]
    shown = rich.get(f"/v1/agents/{rich.agent_id}/caps")
    assert caps == {"paused": False, "counted_since": shown["counted_since"], **shown["caps"]}
    assert (caps["per_day"]["used"], caps["per_day"]["remaining"]) == (30, 70)
    assert sibling.get("/v1/quota")["caps"]["per_day"]["limit"] is None


def test_holds_are_counted_while_they_are_open(rich):
    first = rich.do("/v1/holds", credits=20, expires_in_seconds=600)
    last = rich.do("/v1/holds", credits=30, expires_in_seconds=60)
    holds = rich.get("/v1/quota")["holds"]
    assert holds == {"open": 2, "held_credits": 50, "next_deadline": last["hold"]["deadline"]}
    rich.do(f"/v1/holds/{last['hold_id']}/void")
    assert rich.get("/v1/quota")["holds"]["next_deadline"] == first["hold"]["deadline"]


def test_what_expires_next_is_named_and_the_rest_is_counted_elsewhere(agent, database):
    now = datetime.now(UTC)
    for days in range(7, 0, -1):
        give(database, agent, days, expires_at=now + timedelta(days=days))
    data = agent.get("/v1/quota")
    assert [row["credits"] for row in data["expiring"]] == [1, 2, 3, 4, 5]
    assert data["more_expiring"]
    ahead = agent.get("/v1/ledger/balance", at=(now + timedelta(days=30)).isoformat())["expires"]
    assert ahead[:5] == data["expiring"]


def test_an_organization_that_a_human_owns_is_claimed(agent, database):
    database.rows(
        "INSERT INTO billing.owners (organization_id, id, contact, claimed_at) VALUES ($1, $1, 'a@b.example', now())",
        organization_of(agent),
    )
    assert agent.get("/v1/quota")["claim_state"] == "claimed"
    database.rows("UPDATE billing.owners SET ended_at = now() WHERE organization_id = $1", organization_of(agent))
    assert agent.get("/v1/quota")["claim_state"] == "unclaimed"


def test_a_spend_above_a_good_balance_is_told_that_the_wall_is_near(rich):
    error = error_of(rich.ask("/v1/spends", credits=500), 402, "QUOTA_EXCEEDED")
    top_up = error["recovery"]["top_up"]
    assert (top_up["urgency"], top_up["urgency_reasons"]) == ("near_wall", ["low_remaining_credits"])
    assert top_up["recommended"] is top_up["available"] is True
    assert rich.get("/v1/quota")["top_up"]["urgency_reasons"] == ["self_fund_setup_missing"]
