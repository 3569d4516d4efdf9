import pytest

from tests.service import Agent, data_of, envelope_of, error_of, new_agent

BAD_HEADERS = [
    [],
    [("authorization", "")],
    [("authorization", "Bearer")],
    [("authorization", "Basic aXNrX3I6eA==")],
    [("authorization", "Bearer isk_r_unknown")],
    [("authorization", "Bearer isk_r_" + "7" * 26 + "A" * 43)],
    [("authorization", "Bearer \xe9\xff")],
    [("authorization", "Bearer " + "a" * 4000)],
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=str)
def test_every_bad_token_is_answered_with_how_to_get_one(http, headers):
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    answer = http.get("/v1/quota", headers=raw)
    error = error_of(answer, 401, "AUTH_REQUIRED")
    assert error["recovery"]["suggested_command"].startswith("image-skill signup --agent ")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_of_spaces_is_a_bad_token(service):
    """What the client makes of `--token=`; httpx would not send it."""
    answer = service.raw(b"GET /v1/quota HTTP/1.1\r\nhost: a\r\nauthorization: Bearer \r\nconnection: close\r\n\r\n")
    error_of(answer, 401, "AUTH_REQUIRED")


def test_one_wrong_letter_of_the_secret_is_a_bad_token(http, agent):
    for position in (6, 31, 32, len(agent.token) - 2):
        letter = "0" if agent.token[position] != "0" else "1"
        wrong = agent.token[:position] + letter + agent.token[position + 1 :]
        error_of(http.get("/v1/whoami", headers={"authorization": f"Bearer {wrong}"}), 401, "AUTH_REQUIRED")


def test_two_authorization_headers_are_refused(http, agent):
    headers = [("authorization", f"Bearer {agent.token}"), ("authorization", f"Bearer {agent.token}")]
    error_of(http.get("/v1/whoami", headers=headers), 401, "AUTH_REQUIRED")


def test_whoami_tells_the_agent_and_its_token(agent):
    envelope = envelope_of(agent.send("GET", "/v1/whoami"))
    assert envelope["command"] == "image-skill whoami"
    assert envelope["actor"] == {
        "actor_type": "agent",
        "actor_id": agent.agent_id,
        "organization_id": agent.organization_id,
        "claim_state": "unclaimed",
    }
    data = envelope["data"]
    assert (data["authenticated"], data["token_status"]) == (True, "active")
    assert data["token_created_at"].endswith("Z")


def test_rotated_token_works_at_once_and_the_old_one_does_not(http, agent):
    envelope = envelope_of(agent.send("POST", "/v1/tokens/rotate"))
    assert any("returned once" in warning for warning in envelope["warnings"])
    rotated = Agent(http, envelope["data"]["token"], agent.agent_id, agent.organization_id)
    assert rotated.get("/v1/whoami")["agent"]["agent_id"] == agent.agent_id
    error_of(agent.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


def test_revoked_token_ends_at_once_in_every_process(http, agent, strict_http):
    with_token = {"headers": agent.headers}
    assert data_of(strict_http.get("/v1/whoami", **with_token))["authenticated"]
    assert agent.post("/v1/tokens/revoke")["token_status"] == "revoked"
    error_of(agent.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    error_of(strict_http.get("/v1/whoami", **with_token), 401, "AUTH_REQUIRED")
    error_of(agent.send("POST", "/v1/tokens/rotate"), 401, "AUTH_REQUIRED")


def test_public_routes_ignore_any_token(http):
    for path in ("/healthz", "/v1/payment-methods", "/v1/credit-packs"):
        assert envelope_of(http.get(path, headers={"authorization": "Bearer nonsense"}))["ok"]


def test_revoking_one_agents_token_leaves_its_siblings(http, agent):
    sibling = data_of(agent.send("POST", "/v1/agents", {"agent_name": "b", "runtime": "pytest"}))
    agent.post("/v1/tokens/revoke")
    assert Agent(http, sibling["token"], sibling["agent_id"], agent.organization_id).get("/v1/whoami")


def test_tokens_are_never_alike(http):
    assert new_agent(http).token[32:] != new_agent(http).token[32:]
