"""Spending at once, over HTTP: replays, conflicts, refusals that say what to do, and who may."""

import json

import pytest

from billing.scopes import Scope
from ledger.ids import external
from ledger.operations import PLATFORM, Caps, Kind
from tests.giving import about_grant, give, new_operator, organization_of, post_operations, scatter, set_caps
from tests.service import data_of, error_of, new_agent

SPENDS = "/v1/spends"
REFUNDS = "/v1/refunds-of-spends"


@pytest.fixture
def rich(agent, database):
    """An agent with 100 promotional and 50 paid credits."""
    give(database, agent, 100)
    give(database, agent, 50, paid=True)
    return agent


@pytest.fixture
def operator(http, database):
    return new_operator(http, database, Scope.SPEND, Scope.GRANT)


def limits(promotional, paid, held=0):
    return {
        "remaining_credits": promotional,
        "payment_backed_remaining_credits": paid,
        "held_credits": held,
    }


def test_a_spend_tells_the_balance_after_it_and_its_place_in_the_journal(rich):
    spent = rich.do(SPENDS, credits=30)
    assert (spent["kind"], spent["status"], spent["replayed"], spent["credits"]) == ("spend", "posted", False, 30)
    assert (spent["organization_id"], spent["agent_id"]) == (rich.organization_id, rich.agent_id)
    assert spent["limits"] == limits(70, 50)
    assert spent["operation_id"].startswith("op_")
    again = rich.do(SPENDS, credits=90)
    assert again["limits"] == limits(0, 30) == {k: rich.get("/v1/quota")["limits"][k] for k in limits(0, 0)}
    assert again["position"]["seq"] == spent["position"]["seq"] + 1


def test_a_repeated_spend_is_answered_as_the_first_time(rich):
    first = rich.do(SPENDS, "the same", credits=30)
    rich.do(SPENDS, credits=10)
    assert rich.do(SPENDS, "the same", credits=30) == {**first, "replayed": True}
    assert rich.get("/v1/quota")["limits"]["remaining_credits"] == 60


def test_a_key_that_was_used_for_something_else_is_a_conflict(rich):
    first = rich.do(SPENDS, "k", credits=30)
    for path, body in ((SPENDS, {"credits": 31}), ("/v1/holds", {"credits": 30, "expires_in_seconds": 60})):
        recovery = error_of(rich.ask(path, "k", **body), 409, "SPENDING_CONFLICT")["recovery"]
        assert recovery["operation_id"] == first["operation_id"]
        assert recovery["idempotency_key"] != "k"
    assert rich.do(SPENDS, "k", credits=30)["replayed"]


def test_a_spend_writes_no_event_and_is_one(rich, database):
    rich.do(SPENDS, credits=1)
    query = "SELECT count(*) FROM billing.activity_events WHERE organization_id = $1"
    assert database.rows(query, organization_of(rich)) == [(0,)]
    assert [event["cost"] for event in rich.get("/v1/activity")["events"]] == [{"credits": 1}]


def test_siblings_have_keys_of_their_own(rich, http, database):
    sibling = rich.post("/v1/agents", {"agent_name": "s", "runtime": "pytest"})
    first = rich.do(SPENDS, "k", credits=1)
    answer = http.post(
        SPENDS, json={"credits": 2, "idempotency_key": "k"}, headers={"authorization": f"Bearer {sibling['token']}"}
    )
    second = data_of(answer)
    assert second["operation_id"] != first["operation_id"]
    assert second["limits"] == limits(97, 50)


def test_short_credits_are_refused_for_ever_and_the_way_to_more_is_told_anew(rich, database):
    refused = error_of(rich.ask(SPENDS, "k", credits=200), 402, "QUOTA_EXCEEDED")
    recovery = refused["recovery"]
    assert refused["retryable"] is False
    assert recovery["replayed"] is False
    assert recovery["position"]["seq"] > 0
    assert recovery["current"]["limits"] == limits(100, 50)
    assert (recovery["current"]["required_credits"], recovery["current"]["missing_credits"]) == (200, 50)
    assert "--credits 50" in recovery["suggested_command"]
    assert recovery["suggested_command"].startswith("image-skill credits quote")
    assert recovery["top_up"]["available"] is True
    assert set(recovery["top_up"]["commands"]) >= {"quote", "buy", "status"}
    assert recovery["idempotency_key"] != "k"

    give(database, rich, 60)
    again = error_of(rich.ask(SPENDS, "k", credits=200), 402, "QUOTA_EXCEEDED")["recovery"]
    assert again["replayed"] is True
    assert (again["operation_id"], again["position"]) == (recovery["operation_id"], recovery["position"])
    assert (again["current"]["missing_credits"], again["current"]["limits"]["remaining_credits"]) == (0, 160)
    assert "suggested_command" not in again
    assert rich.do(SPENDS, again["idempotency_key"], credits=200)["limits"] == limits(0, 10)


@pytest.mark.parametrize(
    ("missing", "command"), [(1, "--credits 1 "), (5000, "--credits 5000"), (5001, "--pack studio-5000")]
)
def test_what_to_buy_is_the_least_that_is_sold_and_enough(agent, missing, command):
    recovery = error_of(agent.ask(SPENDS, credits=missing), 402, "QUOTA_EXCEEDED")["recovery"]
    assert command in recovery["suggested_command"]
    assert "stripe_x402" in recovery["suggested_command"]
    card = next(each for each in recovery["suggested_commands"] if "stripe_checkout" in each)
    assert ("--credits 50 " if missing == 1 else command) in card


def test_what_is_owed_must_be_bought_too(agent, database):
    grant = give(database, agent, 50, paid=True)
    agent.do(SPENDS, credits=50)
    post_operations(database, about_grant(agent, Kind.CLAW_BACK, grant, 50))
    current = error_of(agent.ask(SPENDS, credits=10), 402, "QUOTA_EXCEEDED")["recovery"]["current"]
    assert (current["owed_credits"], current["missing_credits"]) == (50, 60)


@pytest.mark.usefixtures("same_hour")
def test_a_spend_over_a_cap_is_told_which_and_when_it_frees_up(rich, database):
    set_caps(database, rich, Caps(per_spend=20, per_hour=50, total=60))
    for _ in range(2):
        rich.do(SPENDS, credits=20)
    error = error_of(rich.ask(SPENDS, "k", credits=15), 402, "SPEND_CAP_EXCEEDED")
    caps = {cap["cap"]: cap for cap in error["recovery"]["current"]["caps"]}
    assert error["retryable"] is False
    assert set(caps) == {"per_spend", "per_hour", "total"}
    assert (caps["per_hour"]["limit_credits"], caps["per_hour"]["used_credits"]) == (50, 40)
    assert {name: cap["exceeded"] for name, cap in caps.items()} == {
        "per_spend": False,
        "per_hour": True,
        "total": False,
    }
    assert caps["per_hour"]["frees_up_at"].endswith(":00:00.000Z")
    assert caps["per_spend"]["frees_up_at"] is None
    assert "top_up" not in error["recovery"]

    set_caps(database, rich, Caps())
    again = error_of(rich.ask(SPENDS, "k", credits=15), 402, "SPEND_CAP_EXCEEDED")["recovery"]
    assert (again["replayed"], again["current"]["caps"]) == (True, [])
    rich.do(SPENDS, again["idempotency_key"], credits=15)


def test_a_paused_agent_may_send_the_same_again_after_the_pause(rich, database):
    set_caps(database, rich, Caps(paused=True))
    answer = rich.ask(SPENDS, "k", credits=1)
    assert error_of(answer, 409, "SPENDER_PAUSED")["retryable"] is True
    set_caps(database, rich, Caps())
    assert rich.do(SPENDS, "k", credits=1)["replayed"] is False


def test_an_operator_spends_for_an_organization_and_for_an_agent(rich, operator, database):
    spent = operator.do(SPENDS, "k", credits=10, organization_id=rich.organization_id)
    assert (spent["agent_id"], spent["limits"]) == (None, limits(90, 50))
    set_caps(database, rich, Caps(total=5))
    whose = {"organization_id": rich.organization_id, "agent_id": rich.agent_id}
    error_of(operator.ask(SPENDS, credits=6, **whose), 402, "SPEND_CAP_EXCEEDED")
    assert operator.do(SPENDS, credits=5, **whose)["agent_id"] == rich.agent_id
    assert operator.do(SPENDS, "k", credits=10, organization_id=rich.organization_id)["replayed"] is True


def test_an_operator_names_an_organization_and_one_of_its_agents(rich, operator, http):
    stranger = new_agent(http)
    error_of(operator.ask(SPENDS, credits=1), 400, "INVALID_ARGUMENTS")
    for organization_id in ("org_" + "0" * 26, "org_nonsense", "org_00000000007000800000000000", rich.agent_id):
        error_of(operator.ask(SPENDS, credits=1, organization_id=organization_id), 404, "NOT_FOUND")
    for agent_id in (stranger.agent_id, "agt_" + "0" * 26, "agt_nonsense"):
        body = {"credits": 1, "organization_id": rich.organization_id, "agent_id": agent_id}
        error_of(operator.ask(SPENDS, **body), 404, "NOT_FOUND")


def test_the_books_of_the_platform_are_no_organization(operator):
    error_of(operator.ask(SPENDS, credits=1, organization_id=external("org", PLATFORM)), 404, "NOT_FOUND")


def test_an_agent_names_nobody_but_itself(rich):
    for name, value in (("organization_id", rich.organization_id), ("agent_id", rich.agent_id)):
        error = error_of(rich.ask(SPENDS, credits=1, **{name: value}), 400, "INVALID_ARGUMENTS")
        assert name in error["message"]


@pytest.mark.parametrize("credits_", [0, -1, 2**53, 1.0, "1", True, None])
def test_credits_are_a_whole_number_from_one(agent, credits_):
    assert "credits" in error_of(agent.ask(SPENDS, credits=credits_), 400, "INVALID_ARGUMENTS")["message"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\ud800", 7, None])
def test_a_key_is_printable_text(agent, key):
    body = json.dumps({"credits": 1, "idempotency_key": key})
    error_of(agent.client.post(SPENDS, content=body, headers=agent.headers), 400, "INVALID_ARGUMENTS")


def test_credits_in_too_many_small_lots_are_spent_in_parts(agent, database):
    scatter(database, agent, 300)
    error_of(agent.ask(SPENDS, "k", credits=300), 409, "CREDITS_TOO_FRAGMENTED")
    agent.do(SPENDS, credits=200)
    agent.do(SPENDS, "k", credits=100)


def test_a_refund_gives_back_in_parts_and_never_more_than_was_spent(rich, operator):
    spent = rich.do(SPENDS, credits=120)
    target = {"organization_id": rich.organization_id, "operation_id": spent["operation_id"]}
    back = operator.do(REFUNDS, "r", credits=30, **target)
    assert (back["kind"], back["credits"], back["refunded_operation_id"]) == ("spend_refund", 30, spent["operation_id"])
    assert back["limits"] == limits(10, 50)
    error = error_of(operator.ask(REFUNDS, credits=91, **target), 409, "AMOUNT_EXCEEDS_REST")
    assert error["recovery"]["rest_credits"] == 90
    operator.do(REFUNDS, credits=90, **target)
    assert operator.do(REFUNDS, "r", credits=30, **target) == {**back, "replayed": True}
    assert rich.get("/v1/quota")["limits"] == limits(100, 50)


def test_only_a_spend_or_a_capture_is_refunded(rich, operator, http):
    refused = error_of(rich.ask(SPENDS, "k", credits=1000), 402, "QUOTA_EXCEEDED")["recovery"]["operation_id"]
    spent = rich.do(SPENDS, credits=1)["operation_id"]
    mine, other = rich.organization_id, new_agent(http).organization_id
    for organization_id, operation_id in (
        (mine, refused),
        (mine, "op_nonsense"),
        (other, spent),
        (mine, "op_" + "0" * 26),
    ):
        body = {"credits": 1, "operation_id": operation_id, "organization_id": organization_id}
        error_of(operator.ask(REFUNDS, **body), 404, "NOT_FOUND")


def test_a_caller_that_is_refused_again_and_again_must_wait(start_service, agent, database):
    give(database, agent, 10)
    with start_service(refusals_per_minute=2).client() as client:
        hasty = type(agent)(client, agent.token, agent.agent_id, agent.organization_id)
        for _ in range(2):
            error_of(hasty.ask(SPENDS, credits=11), 402, "QUOTA_EXCEEDED")
        answer = hasty.ask(SPENDS, credits=1)
        assert 1 <= error_of(answer, 429, "RATE_LIMITED")["recovery"]["retry_after_seconds"] <= 60
        other = new_agent(client)
        give(database, other, 10)
        for _ in range(5):
            other.do(SPENDS, credits=1)


def test_openapi_tells_who_may_ask(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert paths["/v1/spends"]["post"]["security"] == [{"agentToken": []}, {"operatorKey": []}]
    assert paths[REFUNDS]["post"]["security"] == [{"operatorKey": []}]
    assert "/metrics" not in paths
