"""The isolation matrix, generated from the route table: principal × route × whose object.

A route that has no entry here fails the first test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute
from pydantic import SecretStr

from api.http.app import app_for
from api.settings import Settings
from api.wiring import build
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, Agent, agent_of, envelope_of, error_of, new_agent

UNKNOWN = "0" * 26


@dataclass(frozen=True)
class Request:
    """What is sent about an object; `{}` stands for its id."""

    path: str
    body: dict[str, Any] | None = None
    query: dict[str, Any] | None = None

    def about(self, name: str) -> tuple[str, Any, Any]:
        body = {key: value.format(name) for key, value in self.body.items()} if self.body is not None else None
        query = {key: value.format(name) for key, value in self.query.items()} if self.query is not None else None
        return self.path.format(name), body, query


@dataclass(frozen=True)
class Private:
    """A route for agents. With `make`, its requests are about an object that the owner made."""

    make: Callable[[Agent], str] | None = None
    unknown: str = ""
    requests: tuple[Request, ...] = ()
    foreign_is_empty: bool = False
    """A list is not refused: it shows nothing of others."""


@dataclass(frozen=True)
class Public:
    """A route that needs no token."""

    status: int = 200
    body: dict[str, Any] | None = None


def _quote(method: str) -> Callable[[Agent], str]:
    return lambda owner: str(owner.quote(method)["quote_id"])


def _attempt(owner: Agent) -> str:
    return str(owner.buy(owner.quote())["payment_attempt_id"])


def _session(owner: Agent) -> str:
    return str(owner.buy(owner.quote())["checkout_session_id"])


def _invited(owner: Agent) -> str:
    return str(owner.post("/v1/agents", {"agent_name": "x", "runtime": "pytest"})["agent_id"])


def _event(owner: Agent) -> str:
    _attempt(owner)
    return str(owner.get("/v1/activity", limit=1)["events"][0]["event_id"])


def _buying(method: str) -> Private:
    body = {"quote_id": "{}", "idempotency_key": "isolation-{}"}
    return Private(_quote(method), f"quote_{UNKNOWN}", (Request(PURCHASES[method], body),))


STATUS = "/v1/credit-purchases/status"
PAGE = "/v1/activity"
MATRIX: dict[str, list[Private | Public]] = {
    "GET /healthz": [Public()],
    "GET /readyz": [Public()],
    "GET /openapi.json": [Public()],
    "GET /v1/payment-methods": [Public()],
    "GET /v1/credit-packs": [Public()],
    "POST /v1/agent-signups": [Public(body={"agent_name": "a", "runtime": "b"})],
    "POST /webhooks/stripe": [Public(status=400, body={})],
    # The link names one payment and shows nothing of its organization: who has it may open it.
    "GET /pay/{attempt_id}": [Public(status=404)],
    "HEAD /pay/{attempt_id}": [Public(status=404)],
    "GET /pay/{attempt_id}/state": [Public(status=404)],
    "HEAD /pay/{attempt_id}/state": [Public(status=404)],
    "GET /v1/whoami": [Private()],
    "GET /v1/quota": [Private()],
    "POST /v1/tokens/rotate": [Private()],
    "POST /v1/tokens/revoke": [Private()],
    "GET /v1/agents": [Private()],
    "POST /v1/agents": [Private()],
    "POST /v1/agents/{agent_id}/revoke": [
        Private(_invited, f"agt_{UNKNOWN}", (Request("/v1/agents/{}/revoke"),)),
    ],
    "POST /v1/credit-quotes": [Private()],
    f"POST {PURCHASES[CHECKOUT]}": [_buying(CHECKOUT)],
    f"POST {PURCHASES[DEPOSIT]}": [_buying(DEPOSIT)],
    "POST /v1/credit-purchases/{payment_attempt_id}/cancel": [
        Private(_attempt, f"payatt_{UNKNOWN}", (Request("/v1/credit-purchases/{}/cancel"),)),
    ],
    f"GET {STATUS}": [
        Private(_quote(CHECKOUT), f"quote_{UNKNOWN}", (Request(STATUS, query={"quote_id": "{}"}),)),
        Private(_attempt, f"payatt_{UNKNOWN}", (Request(STATUS, query={"payment_attempt_id": "{}"}),)),
        Private(_session, "cs_test_unknown", (Request(STATUS, query={"checkout_session_id": "{}"}),)),
    ],
    f"GET {PAGE}": [
        Private(_attempt, f"payatt_{UNKNOWN}", (Request(PAGE, query={"subject": "{}"}),), foreign_is_empty=True),
    ],
    f"GET {PAGE}/{{reference}}": [
        Private(_event, f"evt_{UNKNOWN}", (Request(PAGE + "/{}"),)),
        Private(_attempt, f"payatt_{UNKNOWN}", (Request(PAGE + "/{}"),)),
    ],
}


def _routes() -> list[str]:
    """Every method and path of the application; building it opens no connection."""
    app = app_for(build(Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"))))
    return sorted(
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS"
    )


ROUTES = _routes()
PUBLIC = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Public)]
PRIVATE = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Private)]
ABOUT_OBJECTS = [(route, case, request) for route, case in PRIVATE for request in case.requests]
PRINCIPALS = ("agent", "sibling", "foreigner")


def names(value: Any) -> str:
    return value if isinstance(value, str) else ""


def test_every_route_has_its_place_in_the_matrix():
    assert set(ROUTES) == set(MATRIX)


@dataclass(frozen=True)
class World:
    agent: Agent
    sibling: Agent
    foreigner: Agent
    revoked: Agent

    def together(self, one: str, other: str) -> bool:
        return ("foreigner" in {one, other}) is (one == other == "foreigner")


@pytest.fixture(scope="module")
def world(http: httpx.Client) -> World:
    agent, foreigner, revoked = new_agent(http), new_agent(http), new_agent(http)
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    revoked.post("/v1/tokens/revoke")
    return World(agent, sibling, foreigner, revoked)


def _requests(route: str, case: Private, name: str) -> list[tuple[str, str, Any, Any]]:
    method, _, path = route.partition(" ")
    return [(method, *request.about(name)) for request in case.requests] or [(method, path, None, None)]


@pytest.mark.parametrize(("route", "case"), PRIVATE, ids=names)
@pytest.mark.parametrize("principal", ["nobody", "stranger", "revoked"])
def test_without_an_active_token_every_private_route_is_closed(http, world, route, case, principal):
    headers = {
        "nobody": {},
        "stranger": {"authorization": f"Bearer isk_r_{UNKNOWN}{'A' * 43}"},
        "revoked": world.revoked.headers,
    }[principal]
    name = case.make(world.agent) if case.make else ""
    for method, path, body, query in _requests(route, case, name):
        answer = http.request(method, path, json=body, params=query, headers=headers)
        error = error_of(answer, 401, "AUTH_REQUIRED")
        assert any("signup" in command for command in error["recovery"]["suggested_commands"])


@pytest.mark.parametrize(("route", "case", "request_"), ABOUT_OBJECTS, ids=names)
@pytest.mark.parametrize("owner", PRINCIPALS)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_objects_are_seen_by_their_organization_alone(world, route, case, request_, principal, owner):
    method = route.partition(" ")[0]
    asking = getattr(world, principal)
    name = case.make(getattr(world, owner))
    path, body, query = request_.about(name)
    answer = asking.client.request(method, path, json=body, params=query, headers=asking.headers)
    if world.together(principal, owner):
        data = envelope_of(answer)["data"]
        assert data is not None, answer.text
        assert data != {}
        return
    if case.foreign_is_empty:
        assert envelope_of(answer)["data"]["events"] == []
        return
    foreign = error_of(answer, 404, "NOT_FOUND")
    path, body, query = request_.about(case.unknown)
    unknown = asking.client.request(method, path, json=body, params=query, headers=asking.headers)
    assert error_of(unknown, 404, "NOT_FOUND") == foreign, "a foreign object is told apart from one that is not there"


def test_refused_foreigners_have_changed_nothing(world):
    attempt_id = _attempt(world.agent)
    error_of(world.foreigner.send("POST", f"/v1/credit-purchases/{attempt_id}/cancel"), 404, "NOT_FOUND")
    error_of(world.foreigner.send("POST", f"/v1/agents/{world.sibling.agent_id}/revoke"), 404, "NOT_FOUND")
    assert world.agent.status(payment_attempt_id=attempt_id)["state"] == "action_required"
    assert world.sibling.get("/v1/whoami")["token_status"] == "active"


def test_lists_hold_the_organization_alone(world):
    _attempt(world.foreigner)
    listed = {one["agent_id"] for one in world.foreigner.get("/v1/agents")["agents"]}
    assert world.agent.agent_id not in listed
    organizations = {str(event["links"]) for event in world.agent.get("/v1/activity", limit=100)["events"]}
    foreign = {str(event["links"]) for event in world.foreigner.get("/v1/activity", limit=100)["events"]}
    assert foreign
    assert not organizations & foreign


def test_receipts_are_seen_by_their_organization_alone(world, sandbox):
    bought = world.agent.buy(world.agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    receipt = world.agent.wait_for_state("succeeded", quote_id=bought["quote_id"])["receipt"]
    for reference in ({"receipt_id": receipt["receipt_id"]}, {"checkout_session_id": bought["checkout_session_id"]}):
        assert world.sibling.status(**reference)["state"] == "succeeded"
        error_of(world.foreigner.send("GET", STATUS, **reference), 404, "NOT_FOUND")
    for name in (receipt["receipt_id"], receipt["credit_event_id"]):
        assert world.sibling.get(f"{PAGE}/{name}")["events"]
        error_of(world.foreigner.send("GET", f"{PAGE}/{name}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(("route", "case"), PUBLIC, ids=names)
def test_public_routes_take_no_token_and_mind_none(http, route, case):
    method, _, path = route.partition(" ")
    path = path.format(attempt_id=f"payatt_{UNKNOWN}")
    assert http.request(method, path, json=case.body).status_code == case.status
    if path != "/v1/agent-signups":  # where a bad token may be a lost one, so it is told
        nonsense = {"authorization": "Bearer nonsense"}
        assert http.request(method, path, json=case.body, headers=nonsense).status_code == case.status
