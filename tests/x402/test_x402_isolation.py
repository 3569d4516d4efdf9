"""Paying over x402, by whom and about whose object: the part of the isolation matrix that needs a chain."""

from types import SimpleNamespace

import pytest

from rails.x402 import terms
from tests.flows.matrix import UNKNOWN
from tests.service import agent_of, envelope_of, error_of, new_agent, new_key
from tests.x402.paying import REQUIRED

PURCHASE, TOP_UP = "/v1/credit-purchases/x402", "/v1/x402/top-up/taster-100"
PRINCIPALS = ("agent", "sibling", "foreigner")


@pytest.fixture(scope="module")
def world(service_on_chain):
    with service_on_chain.client() as client:
        agent, foreigner, revoked = new_agent(client), new_agent(client), new_agent(client)
        sibling = agent_of(client, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
        revoked.post("/v1/tokens/revoke")
        yield SimpleNamespace(client=client, agent=agent, sibling=sibling, foreigner=foreigner, revoked=revoked)


def buying(agent, quote_id):
    return agent.send("POST", PURCHASE, {"quote_id": quote_id, "idempotency_key": new_key()})


def attempt_of(agent):
    answer = buying(agent, agent.quote(terms.METHOD_ID)["quote_id"])
    return error_of(answer, 402, "PAYMENT_REQUIRED")["recovery"]["payment_attempt_id"]


def is_foreign(principal, owner):
    return (principal == "foreigner") is not (owner == "foreigner")


@pytest.mark.parametrize("owner", PRINCIPALS)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_a_quote_is_paid_for_by_its_organization_alone(world, principal, owner):
    quote_id = getattr(world, owner).quote(terms.METHOD_ID)["quote_id"]
    answer = buying(getattr(world, principal), quote_id)
    if not is_foreign(principal, owner):
        assert error_of(answer, 402, "PAYMENT_REQUIRED")["recovery"]["payment_attempt_id"]
        return
    unknown = buying(getattr(world, principal), f"quote_{UNKNOWN}")
    assert error_of(answer, 404, "NOT_FOUND") == error_of(unknown, 404, "NOT_FOUND")
    assert REQUIRED not in answer.headers


@pytest.mark.parametrize("owner", PRINCIPALS)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_an_attempt_is_seen_and_canceled_by_its_organization_alone(world, principal, owner):
    attempt_id, asking = attempt_of(getattr(world, owner)), getattr(world, principal)
    seen = asking.send("GET", "/v1/credit-purchases/status", payment_attempt_id=attempt_id)
    canceled = asking.send("POST", f"/v1/credit-purchases/{attempt_id}/cancel")
    if is_foreign(principal, owner):
        error_of(seen, 404, "NOT_FOUND")
        error_of(canceled, 404, "NOT_FOUND")
        assert getattr(world, owner).status(payment_attempt_id=attempt_id)["state"] == "action_required"
    else:
        assert envelope_of(seen)["data"]["state"] == "action_required"
        assert envelope_of(canceled)["data"]["state"] == "canceled"


def test_an_attempt_that_nobody_has_paid_is_no_payment(world):
    """Its link for humans names it, but there is nothing yet that an observer could ask about."""
    error_of(world.client.get(f"/v1/x402/payments/{attempt_of(world.agent)}"), 404, "NOT_FOUND")


@pytest.mark.parametrize("token", ["nonsense", f"isk_r_{UNKNOWN}{'A' * 43}", "revoked"])
def test_a_top_up_with_a_token_that_does_not_hold_asks_for_no_payment(world, token):
    """Who sends a token wants the credits with it: without it they would land elsewhere."""
    token = world.revoked.token if token == "revoked" else token
    answer = world.client.post(TOP_UP, headers={"authorization": f"Bearer {token}"})
    error_of(answer, 401, "AUTH_REQUIRED")
    assert REQUIRED not in answer.headers


def test_a_top_up_is_open_to_everybody_and_to_agents(world):
    error_of(world.client.post(TOP_UP), 402, "PAYMENT_REQUIRED")
    error_of(world.agent.send("POST", TOP_UP), 402, "PAYMENT_REQUIRED")


def test_an_operators_key_is_no_agents_token(world):
    headers = {"authorization": f"Bearer pok_{UNKNOWN}{'A' * 43}"}
    for path in (TOP_UP, PURCHASE):
        error_of(world.client.post(path, headers=headers), 401, "AUTH_REQUIRED")
