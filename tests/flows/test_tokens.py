from datetime import UTC, datetime, timedelta

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


def rotated_by(agent, body=None):
    """The agent with its new token, and until when the old one works."""
    data = agent.post("/v1/tokens/rotate", body)
    ends = datetime.fromisoformat(data["old_token_works_until"])
    return Agent(agent.client, data["token"], data["agent_id"], agent.organization_id), ends


def test_rotated_token_works_at_once_and_is_shown_once(http, agent):
    envelope = envelope_of(agent.send("POST", "/v1/tokens/rotate"))
    assert any("returned once" in warning for warning in envelope["warnings"])
    rotated = Agent(http, envelope["data"]["token"], agent.agent_id, agent.organization_id)
    assert rotated.get("/v1/whoami")["agent"]["agent_id"] == agent.agent_id


def test_old_token_outlives_a_lost_answer(agent):
    agent.send("POST", "/v1/tokens/rotate")
    rotated, _ = rotated_by(agent)
    assert rotated.get("/v1/whoami")["agent"]["agent_id"] == agent.agent_id


@pytest.mark.parametrize(("body", "grace_s"), [(None, 300), ({}, 300), ({"grace_seconds": 3600}, 3600)], ids=repr)
def test_rotation_says_until_when_the_old_token_works(agent, body, grace_s):
    before = datetime.now(UTC)
    _, ends = rotated_by(agent, body)
    # Answers tell time in whole milliseconds.
    earliest = before + timedelta(seconds=grace_s, milliseconds=-1)
    assert earliest <= ends <= datetime.now(UTC) + timedelta(seconds=grace_s)
    assert agent.get("/v1/whoami")["authenticated"]


def test_rotation_without_a_grace_ends_the_old_token_at_once(agent):
    rotated, _ = rotated_by(agent, {"grace_seconds": 0})
    error_of(agent.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")
    assert rotated.get("/v1/whoami")["authenticated"]


@pytest.mark.parametrize("value", [-1, 3601, 1.0, "60", True, None, [], 10**30], ids=repr)
def test_grace_is_a_whole_number_of_seconds_up_to_an_hour(agent, value):
    error = error_of(agent.send("POST", "/v1/tokens/rotate", {"grace_seconds": value}), 400, "INVALID_ARGUMENTS")
    assert error["message"] == "grace_seconds must be a whole number from 0 to 3600"
    assert agent.get("/v1/whoami")["authenticated"]


def test_revoking_ends_tokens_in_their_grace_too(agent):
    rotated, _ = rotated_by(agent)
    rotated.post("/v1/tokens/revoke")
    for one in (agent, rotated):
        error_of(one.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


def test_token_in_its_grace_can_revoke_all_of_them(agent):
    rotated, _ = rotated_by(agent)
    agent.post("/v1/tokens/revoke")
    for one in (agent, rotated):
        error_of(one.send("GET", "/v1/whoami"), 401, "AUTH_REQUIRED")


def test_rotation_body_is_optional_in_the_document(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert paths["/v1/tokens/rotate"]["post"]["requestBody"]["required"] is False
    assert paths["/v1/agents"]["post"]["requestBody"]["required"] is True


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
