"""A thousand spends in one request, of which none disturbs another."""

import json

import pytest

from billing.scopes import Scope
from ledger.operations import Caps
from tests.giving import give, new_operator, set_caps
from tests.service import data_of, error_of, new_agent, new_key

BATCH = "/v1/spends/batch"


@pytest.fixture
def rich(agent, database):
    """An agent with 100,000 promotional credits."""
    give(database, agent, 100_000)
    return agent


@pytest.fixture
def operator(http, database):
    return new_operator(http, database, Scope.SPEND)


def item(credits_, key=None, **more):
    return {"credits": credits_, "idempotency_key": key or new_key(), **more}


def results(caller, items):
    return data_of(caller.send("POST", BATCH, {"items": items}))["results"]


def codes(found):
    return [result["error"]["code"] if not result["ok"] else None for result in found]


def spendable(agent):
    return agent.get("/v1/quota")["limits"]["remaining_credits"]


def test_items_are_answered_each_for_itself_in_their_order(rich):
    rich.do("/v1/spends", "used", credits=1)
    items = [
        item(10, "a"),
        item(10, "a"),
        item(11, "a"),
        item(99_990, "much"),
        item(1, "used"),
        item(0),
        {"credits": 5, "idempotency_key": ""},
        "nothing",
        {"credits": 5},
        item(1, organization_id=rich.organization_id),
        item(7, card_number="4242"),
        item(20, "b"),
    ]
    found = results(rich, items)
    assert codes(found) == [
        None,
        None,
        "SPENDING_CONFLICT",
        "QUOTA_EXCEEDED",
        None,
        *["INVALID_ARGUMENTS"] * 6,
        None,
    ]
    assert [result["index"] for result in found] == list(range(12))
    assert [result["idempotency_key"] for result in found[:4]] == ["a", "a", "a", "much"]
    assert [result["data"]["replayed"] for result in found if result["ok"]] == [False, True, True, False]
    assert found[0]["data"]["position"] == found[1]["data"]["position"]
    assert found[11]["data"]["limits"]["remaining_credits"] == spendable(rich) == 99_969


def test_a_refused_item_is_told_what_a_single_spend_is_told(rich):
    [refused] = results(rich, [item(100_010, "k")])
    recovery = refused["error"]["recovery"]
    assert refused["error"]["retryable"] is False
    assert recovery["current"]["missing_credits"] == 10
    assert "--credits 10" in recovery["suggested_command"]
    assert recovery["idempotency_key"] != "k"
    alone = error_of(rich.ask("/v1/spends", "k", credits=100_010), 402, "QUOTA_EXCEEDED")["recovery"]
    assert (alone["operation_id"], alone["position"]) == (recovery["operation_id"], recovery["position"])
    assert alone["current"]["missing_credits"] == 10


def test_a_thousand_items_with_all_kinds_of_outcomes(rich, database):
    """Every third is wrong, every seventh too dear; the others are all posted, and nothing else is."""
    items = [item("x" if n % 3 == 0 else 200_000 if n % 7 == 0 else 2, f"{n}-{'k' * 200}") for n in range(1000)]
    assert len(json.dumps({"items": items})) > 65_536
    found = results(rich, items)
    good = [n for n in range(1000) if n % 3 and n % 7]
    assert [n for n, result in enumerate(found) if result["ok"]] == good
    assert {code for n, code in enumerate(codes(found)) if n % 3 == 0} == {"INVALID_ARGUMENTS"}
    assert {code for n, code in enumerate(codes(found)) if n % 7 == 0 and n % 3} == {"QUOTA_EXCEEDED"}
    assert spendable(rich) == 100_000 - 2 * len(good)
    again = results(rich, items)
    assert [result["data"] for result in again if result["ok"]] == [
        {**result["data"], "replayed": True} for result in found if result["ok"]
    ]
    assert spendable(rich) == 100_000 - 2 * len(good)


@pytest.mark.parametrize("items", [[], None, {}, "x", [{"credits": 1, "idempotency_key": "k"}] * 1001])
def test_a_batch_has_one_to_a_thousand_items(agent, items):
    error_of(agent.send("POST", BATCH, {"items": items}), 400, "INVALID_ARGUMENTS")


def test_a_batch_that_is_too_large_is_refused(agent):
    error_of(agent.send("POST", BATCH, {"items": [item(1)], "x": "x" * (1 << 20)}), 413, "BODY_TOO_LARGE")


def test_one_batch_spends_for_several_organizations_and_agents(rich, operator, http, database):
    other = new_agent(http)
    give(database, other, 10)
    set_caps(database, other, Caps(per_spend=3))
    ours, theirs = {"organization_id": rich.organization_id}, {"organization_id": other.organization_id}
    items = [
        item(5, "k", **ours),
        item(5, "k", **theirs),
        item(11, **theirs),
        item(4, **theirs, agent_id=other.agent_id),
        item(3, **theirs, agent_id=other.agent_id),
        item(1, **ours, agent_id=other.agent_id),
        item(1, organization_id="org_" + "0" * 26),
        item(1),
        item(6, **ours),
    ]
    found = results(operator, items)
    assert codes(found) == [
        None,
        None,
        "QUOTA_EXCEEDED",
        "SPEND_CAP_EXCEEDED",
        None,
        "NOT_FOUND",
        "NOT_FOUND",
        "INVALID_ARGUMENTS",
        None,
    ]
    assert found[2]["error"]["recovery"]["current"]["limits"]["remaining_credits"] == 2
    [cap] = found[3]["error"]["recovery"]["current"]["caps"]
    assert (cap["cap"], cap["limit_credits"], cap["exceeded"]) == ("per_spend", 3, True)
    assert (spendable(rich), spendable(other)) == (99_989, 2)


def test_a_group_is_posted_all_or_none(rich):
    items = [
        item(10, group=1),
        item(99_999, group=1),
        item(1),
        item(20, group=2),
        item(30, group=2),
        item(40, group=3),
        item(0, group=3),
        item(50, group=3),
        item(2, group=1),
    ]
    found = results(rich, items)
    assert codes(found) == [
        "GROUP_REFUSED",
        "QUOTA_EXCEEDED",
        None,
        None,
        None,
        "GROUP_REFUSED",
        "INVALID_ARGUMENTS",
        "GROUP_REFUSED",
        None,
    ]
    assert spendable(rich) == 100_000 - 1 - 20 - 30 - 2


def test_an_item_between_that_is_refused_does_not_join_two_groups(rich):
    items = [item(1, "a", group=1), item(0, "wrong"), item(1, "b", group=1), item(200_000, "c", group=1)]
    assert codes(results(rich, items)) == [None, "INVALID_ARGUMENTS", "GROUP_REFUSED", "QUOTA_EXCEEDED"]


def test_a_group_is_of_one_organization(rich, operator, http):
    other = new_agent(http)
    items = [item(1, group=1, organization_id=each.organization_id) for each in (rich, other)]
    assert codes(results(operator, items)) == ["INVALID_ARGUMENTS"] * 2
    assert spendable(rich) == 100_000


def test_the_refused_items_of_a_batch_are_counted(start_service, agent, database):
    give(database, agent, 10)
    with start_service(refusals_per_minute=3).client() as client:
        hasty = type(agent)(client, agent.token, agent.agent_id, agent.organization_id)
        found = results(hasty, [item(11) for _ in range(5)])
        assert codes(found) == ["QUOTA_EXCEEDED"] * 3 + ["RATE_LIMITED"] * 2
        [limited] = results(hasty, [item(1)])
        assert limited["error"]["code"] == "RATE_LIMITED"
        assert limited["error"]["recovery"]["retry_after_seconds"] > 0


def test_a_key_that_cannot_be_said_again_is_refused_and_its_neighbours_are_posted(database, agent):
    give(database, agent, 10)
    items = [{"credits": 5, "idempotency_key": "good"}, {"credits": 1, "idempotency_key": "\ud800"}]
    body = json.dumps({"items": items}).encode()
    answered = agent.client.post("/v1/spends/batch", content=body, headers=agent.headers)
    results = data_of(answered)["results"]
    assert [result["ok"] for result in results] == [True, False]
    assert results[1]["idempotency_key"] is None
