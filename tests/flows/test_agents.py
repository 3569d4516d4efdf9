import pytest

from ledger.ids import parse
from tests.service import agent_of, data_of, error_of

INVITED = {"agent_name": "invited", "runtime": "pytest"}


def test_invited_agent_shares_the_organization_and_has_its_own_token(http, agent):
    invited = agent_of(http, agent.post("/v1/agents", INVITED))
    assert invited.organization_id == agent.organization_id
    assert invited.token != agent.token
    listed = invited.get("/v1/agents")["agents"]
    assert [one["agent_id"] for one in listed] == [agent.agent_id, invited.agent_id]
    assert [one["is_you"] for one in listed] == [False, True]


def test_revoked_agent_is_listed_and_its_token_ends(http, agent):
    invited = agent_of(http, agent.post("/v1/agents", INVITED))
    for _ in range(2):
        assert agent.post(f"/v1/agents/{invited.agent_id}/revoke")["agent"]["status"] == "revoked"
    error_of(invited.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    assert [one["status"] for one in agent.get("/v1/agents")["agents"]] == ["active", "revoked"]


def test_the_last_agent_cannot_be_revoked(agent):
    error_of(agent.send("POST", f"/v1/agents/{agent.agent_id}/revoke"), 409, "LAST_AGENT")
    assert agent.get("/v1/whoami")["authenticated"]


def test_agent_whose_siblings_have_no_tokens_left_cannot_be_revoked(http, agent):
    """The credits would be out of everybody's reach."""
    invited = agent_of(http, agent.post("/v1/agents", INVITED))
    agent.post("/v1/tokens/revoke")
    error_of(invited.send("POST", f"/v1/agents/{invited.agent_id}/revoke"), 409, "LAST_AGENT")
    assert invited.post(f"/v1/agents/{agent.agent_id}/revoke")["agent"]["status"] == "revoked"


def test_agent_with_a_sibling_that_can_act_may_revoke_itself(http, agent):
    invited = agent_of(http, agent.post("/v1/agents", INVITED))
    assert invited.post(f"/v1/agents/{invited.agent_id}/revoke")["agent"]["status"] == "revoked"
    error_of(invited.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


def test_revoking_an_agent_ends_its_tokens_in_their_grace_too(http, agent):
    invited = agent_of(http, agent.post("/v1/agents", INVITED))
    invited.post("/v1/tokens/rotate")
    agent.post(f"/v1/agents/{invited.agent_id}/revoke")
    error_of(invited.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


def test_agents_are_paged_without_loss_or_repetition(agent):
    made = [agent.agent_id, *(agent.post("/v1/agents", INVITED)["agent_id"] for _ in range(4))]
    seen, cursor = [], None
    for _ in range(3):
        page = agent.get("/v1/agents", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [one["agent_id"] for one in page["agents"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == made


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "1.5"}, {"limit": "-1"},
    {"limit": "+5"}, {"limit": ""}, {"limit": "٣"}, {"cursor": ""}, {"cursor": "agt_1"}, {"cursor": "\x00"},
    [("limit", "1"), ("limit", "2")]], ids=str)  # fmt: skip
def test_pages_of_nonsense_are_refused(agent, query):
    answer = agent.client.get("/v1/agents", params=query, headers=agent.headers)
    assert error_of(answer, 400, "INVALID_ARGUMENTS")["message"].split()[0] in {"limit", "cursor"}


@pytest.mark.parametrize("name", ["agt_" + "0" * 26, "agt_short", "nonsense", "%00", "org_" + "0" * 26])
def test_unknown_agent_cannot_be_revoked(agent, name):
    error_of(agent.send("POST", f"/v1/agents/{name}/revoke"), 404, "NOT_FOUND")


def test_contacts_of_agents_are_told_to_nobody(agent):
    agent.post("/v1/agents", {**INVITED, "agent_contact": "secret@agents.example"})
    assert "secret@agents.example" not in agent.send("GET", "/v1/agents").text


def test_an_organization_has_at_most_100_active_agents(agent, service):
    service.database.rows(
        "INSERT INTO billing.agents (organization_id, id, name, runtime, created_at) "
        "SELECT organization_id, gen_random_uuid(), 'crowd', 'pytest', now() "
        "FROM billing.agents, generate_series(1, 99) WHERE id = $1::uuid",
        str(parse("agt", agent.agent_id)),
    )
    error_of(agent.send("POST", "/v1/agents", INVITED), 409, "AGENT_LIMIT_REACHED")
    page = agent.get("/v1/agents", limit=100)
    assert len(page["agents"]) == 100
    victim = page["agents"][-1]["agent_id"]
    agent.post(f"/v1/agents/{victim}/revoke")
    assert data_of(agent.send("POST", "/v1/agents", INVITED))["created"]
