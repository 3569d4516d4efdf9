"""What limits an agent is not taken off by the agent: not by a human of its own, not by a sibling."""

import pytest

from billing.refusals import Refusal
from billing.scopes import Scope
from ledger.operations import Caps
from tests.flows.operators import new_desk
from tests.giving import set_caps
from tests.mailing import ask
from tests.refused import assert_answered_by_rule
from tests.service import Agent, agent_of, data_of, error_of, new_contact, new_key

NAMES = ("per_spend", "per_hour", "per_day", "per_month", "total")
INVITED = {"agent_name": "sibling", "runtime": "pytest"}


@pytest.fixture(scope="module")
def operator(town, database):
    return new_desk(town.http, database, Scope.OPERATE)


def limit(operator, agent, **limits):
    """Caps that an operator sets; `paused` pauses or resumes."""
    body = {**dict.fromkeys(NAMES), **limits, "idempotency_key": new_key()}
    return data_of(operator.send("PUT", f"/v1/agents/{agent.agent_id}/caps", agent, body))


def switch(operator, agent, word):
    return data_of(operator.send("POST", f"/v1/agents/{agent.agent_id}/{word}", agent, {"idempotency_key": new_key()}))


def wishes(human, agent, action="caps", **limits):
    """A form of the owner, whether or not its page shows it; the raw answer."""
    form = human.form("/owner/caps", agent.agent_id)
    return human.post(f"/owner/{action}", form | dict.fromkeys(NAMES, "") | limits)


def now(agent):
    shown = agent.get(f"/v1/agents/{agent.agent_id}/caps")
    return {name: shown["caps"][name]["limit"] for name in NAMES if shown["caps"][name]["limit"] is not None} | (
        {"paused": True} if shown["paused"] else {}
    )


def test_an_owner_only_tightens_what_an_operator_limits(town, operator):
    agent, human, _ = town.owned()
    limit(operator, agent, per_day=10, total=100)
    for wish in ({}, {"per_day": "10"}, {"per_day": "11", "total": "100"}, {"per_day": "5", "total": "101"}):
        answer = wishes(human, agent, **wish)
        assert answer.status_code == 409
        assert "operator limits this agent" in answer.text
    assert now(agent) == {"per_day": 10, "total": 100}
    assert wishes(human, agent, per_day="9", total="100", per_spend="3").status_code == 303
    assert now(agent) == {"per_day": 9, "total": 100, "per_spend": 3}
    assert wishes(human, agent, "pause").status_code == 303
    assert "An operator limits this agent" in human.get("/owner").text


def test_an_owner_does_not_end_a_pause_of_an_operator(town, operator):
    agent, human, _ = town.owned()
    switch(operator, agent, "pause")
    page = human.get("/owner").text
    assert "An operator limits this agent" in page
    assert 'action="/owner/resume"' not in page
    assert wishes(human, agent, "resume").status_code == 409
    assert wishes(human, agent, total="5").status_code == 303
    assert now(agent) == {"paused": True, "total": 5}


def test_an_owner_changes_freely_what_no_operator_limits_any_more(town, operator):
    agent, human, _ = town.owned()
    limit(operator, agent, total=5)
    switch(operator, agent, "pause")
    limit(operator, agent)
    assert wishes(human, agent, "resume").status_code == 409, "it is still paused by the operator"
    switch(operator, agent, "resume")
    assert "An operator limits this agent" not in human.get("/owner").text
    for wish in ({"total": "5"}, {"total": "6"}, {}):
        assert wishes(human, agent, **wish).status_code == 303
    assert now(agent) == {}


def test_a_form_that_is_sent_again_is_answered_as_before_whatever_an_operator_set_since(town, operator):
    agent, human, _ = town.owned()
    form = human.form("/owner/caps", agent.agent_id) | {"total": "50"}
    assert human.post("/owner/caps", form).status_code == 303
    limit(operator, agent, total=5)
    assert human.post("/owner/caps", form).status_code == 303
    assert now(agent) == {"total": 5}
    assert wishes(human, agent, total="6").status_code == 409


def test_an_operators_repetition_does_not_limit_what_it_has_lifted_since(town, operator):
    agent, human, _ = town.owned()
    body = {**dict.fromkeys(NAMES), "total": 5, "idempotency_key": new_key()}
    path = f"/v1/agents/{agent.agent_id}/caps"
    data_of(operator.send("PUT", path, agent, body))
    limit(operator, agent)
    assert data_of(operator.send("PUT", path, agent, body))["replayed"] is True
    for wish in ({"total": "5"}, {}):
        assert wishes(human, agent, **wish).status_code == 303


@pytest.mark.parametrize("caps", [Caps(paused=True), Caps(per_month=0)], ids=["paused", "capped"])
def test_a_limited_agent_invites_revokes_and_gives_away_nobody(town, database, agent, caps):
    agent = Agent(town.http, agent.token, agent.agent_id, agent.organization_id)
    sibling, contact = agent_of(town.http, agent.post("/v1/agents", INVITED)), new_contact()
    set_caps(database, agent, caps)
    for answer in (
        agent.send("POST", "/v1/agents", INVITED),
        agent.send("POST", f"/v1/agents/{sibling.agent_id}/revoke"),
        ask(agent, contact),
    ):
        assert_answered_by_rule(answer, Refusal.SPENDER_LIMITED)
    assert sibling.get("/v1/whoami")["token_status"] == "active"
    assert town.mailer.links(contact) == []
    assert sibling.post("/v1/agents", INVITED)["created"], "who is not limited invites"
    assert agent.post(f"/v1/agents/{agent.agent_id}/revoke")["agent"]["status"] == "revoked", "it may go"


def test_an_agent_whose_limits_were_lifted_invites_again(database, agent):
    set_caps(database, agent, Caps(paused=True))
    error_of(agent.send("POST", "/v1/agents", INVITED), 403, "SPENDER_LIMITED")
    set_caps(database, agent, Caps())
    assert agent.post("/v1/agents", INVITED)["created"]
