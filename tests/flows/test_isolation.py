"""The isolation matrix, generated from the route table: principal × route × whose object.

A route that has no entry here or in a `matrix_…` module fails the first test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute
from pydantic import SecretStr

from api.http.app import app_for
from api.http.authentication import Allowed
from api.settings import Settings
from api.wiring import build
from billing import operator_keys
from billing.principals import OF_AGENTS
from billing.scopes import Scope
from tests.flows import matrix_jobs, matrix_ledger, matrix_operator, matrix_people, matrix_spending, matrix_x402
from tests.flows.matrix import UNKNOWN, Case, Keyed, OfOperators, Private, Public, Request, Shared
from tests.giving import give, in_house, new_operator
from tests.service import (
    CHECKOUT,
    DEPOSIT,
    PURCHASES,
    Agent,
    Caller,
    Database,
    Operator,
    agent_of,
    envelope_of,
    error_of,
    new_agent,
)


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
OF_PURCHASES: dict[str, list[Case]] = {
    "GET /healthz": [Public()],
    "GET /readyz": [Public()],
    "GET /openapi.json": [Public()],
    "GET /llms.txt": [Public()],
    "GET /skill.md": [Public()],
    "GET /cli.md": [Public()],
    "GET /.well-known/x402": [Public()],
    "GET /v1/payment-methods": [Public()],
    "GET /v1/credit-packs": [Public()],
    "GET /v1/models": [Public()],
    "GET /v1/models/{model_id}": [Public(status=404, named=(("model_id", "nothing"),))],
    "GET /v1/capabilities": [Public()],
    "GET /v1/capabilities/{capability_id}": [Public(status=404, named=(("capability_id", "nothing"),))],
    "GET /v1/guide": [Public()],
    "POST /v1/agent-signups": [Public(body={"agent_name": "a", "runtime": "b"})],
    "POST /webhooks/stripe": [Public(status=400, body={})],
    # The link names one payment and shows nothing of its organization: who has it may open it.
    "GET /pay/{attempt_id}": [Public(status=404)],
    "HEAD /pay/{attempt_id}": [Public(status=404)],
    "GET /pay/{attempt_id}/state": [Public(status=404)],
    "HEAD /pay/{attempt_id}/state": [Public(status=404)],
    "GET /pay/{attempt_id}/receipt": [Public(status=404)],
    "HEAD /pay/{attempt_id}/receipt": [Public(status=404)],
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


MATRIX = {
    **OF_PURCHASES,
    **matrix_x402.MATRIX,
    **matrix_spending.MATRIX,
    **matrix_jobs.MATRIX,
    **matrix_ledger.MATRIX,
    **matrix_operator.MATRIX,
    **matrix_people.MATRIX,
}


def _routes() -> dict[str, list[Allowed]]:
    """Every method and path of the application, and the scopes it asks for; building it opens no connection."""
    app = app_for(build(Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"))))
    found = {
        f"{method} {route.path_format}": [guard for guard in handler.guards or () if isinstance(guard, Allowed)]
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    return dict(sorted(found.items()))


ROUTES = _routes()
PUBLIC = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Public)]
PRIVATE = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Private)]
ABOUT_OBJECTS = [(route, case, request) for route, case in PRIVATE for request in case.requests]
SHARED = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Shared)]
OF_OPERATORS = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, OfOperators)]
KEYED = [(route, case) for route in ROUTES for case in MATRIX.get(route, []) if isinstance(case, Keyed)]
SHARED_OBJECTS = [(route, case) for route, case in SHARED if case.make]
PRINCIPALS = ("agent", "sibling", "foreigner")


def names(value: Any) -> str:
    return value if isinstance(value, str) else ""


def test_every_route_has_its_place_in_the_matrix():
    assert set(ROUTES) == set(MATRIX)


def test_every_route_asks_for_the_scope_of_the_matrix_and_is_closed_to_agents_as_it_says():
    of_scopes = Shared | Keyed | OfOperators
    guarded = {route: case for route, cases in MATRIX.items() for case in cases if isinstance(case, of_scopes)}
    assert {route: [guard.scope for guard in guards] for route, guards in ROUTES.items() if guards} == {
        route: [case.scope] for route, case in guarded.items()
    }
    for route, case in guarded.items():
        assert ROUTES[route][0].serves_agents is (isinstance(case, Shared) and case.scope in OF_AGENTS)


@dataclass(frozen=True)
class World:
    agent: Agent
    sibling: Agent
    foreigner: Agent
    revoked: Agent
    revoked_operator: Operator
    operators: dict[Scope, Operator]

    def together(self, one: str, other: str) -> bool:
        return ("foreigner" in {one, other}) is (one == other == "foreigner")


@pytest.fixture(scope="module")
def world(http: httpx.Client, database: Database) -> World:
    agent, foreigner, revoked = new_agent(http), new_agent(http), new_agent(http)
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    revoked.post("/v1/tokens/revoke")
    for each in (agent, foreigner):
        give(database, each, 10_000)
    operators = {scope: new_operator(http, database, scope) for scope in Scope}
    ended = new_operator(http, database, Scope.ADMIN)
    in_house(database, lambda house: operator_keys.revoke(house.sessions, ended.key_id, now=house.clock()))
    return World(agent, sibling, foreigner, revoked, ended, operators)


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


def _send(caller: Caller, route: str, asked: tuple[str, Any, Any]) -> httpx.Response:
    path, body, query = asked
    return caller.client.request(route.partition(" ")[0], path, json=body, params=query, headers=caller.headers)


@pytest.mark.parametrize(("route", "case"), [*SHARED, *KEYED], ids=names)
@pytest.mark.parametrize("principal", ["nobody", "stranger", "strange operator", "revoked", "revoked operator"])
def test_without_a_living_token_or_key_every_shared_route_is_closed(http, world, route, case, principal):
    caller = {
        "nobody": Caller(http, ""),
        "stranger": Caller(http, f"isk_r_{UNKNOWN}{'A' * 43}"),
        "strange operator": Caller(http, f"pok_{UNKNOWN}{'A' * 43}"),
        "revoked": world.revoked,
        "revoked operator": world.revoked_operator,
    }[principal]
    asked = case.request.about(case.unknown) if isinstance(case, Shared) else (route.partition(" ")[2], None, None)
    error_of(_send(caller, route, asked), 401, "AUTH_REQUIRED")


@pytest.mark.parametrize(("route", "case"), KEYED, ids=names)
@pytest.mark.parametrize("scope", Scope)
def test_a_route_about_no_organization_is_served_to_keys_with_its_scope(world, route, case, scope):
    answer = _send(world.operators[scope], route, (route.partition(" ")[2], None, None))
    if scope in {case.scope, Scope.ADMIN}:
        assert answer.status_code == 200
    else:
        error_of(answer, 403, "SCOPE_MISSING")
    error_of(_send(world.agent, route, (route.partition(" ")[2], None, None)), 403, "SCOPE_MISSING")


@pytest.mark.parametrize(("route", "case"), OF_OPERATORS, ids=names)
def test_an_operators_route_is_closed_to_everybody_but_keys_with_its_scopes(http, world, route, case):
    asked = case.request.about("")
    for caller in (Caller(http, ""), Caller(http, f"pok_{UNKNOWN}{'A' * 43}"), world.revoked, world.revoked_operator):
        error_of(_send(caller, route, asked), 401, "AUTH_REQUIRED")
    error_of(_send(world.agent, route, asked), 403, "SCOPE_MISSING")
    for scope, operator in world.operators.items():
        answer = _send(operator, route, asked)
        if scope not in {case.scope, case.also, Scope.ADMIN}:
            assert error_of(answer, 403, "SCOPE_MISSING")["recovery"]["required_scope"] == case.scope
        elif "{" in route or route.startswith("POST"):
            error_of(answer, case.refused.rule.http_status, case.refused.code)
        else:
            assert envelope_of(answer)["ok"], answer.text


@pytest.mark.parametrize(("route", "case"), SHARED, ids=names)
@pytest.mark.parametrize("scope", Scope)
def test_an_operator_may_do_what_its_scope_is_for_in_the_organization_it_names(world, route, case, scope):
    name = case.make(world.agent) if case.make else ""
    answer = _send(world.operators[scope], route, case.request.of_operator(name, world.agent.organization_id))
    if scope not in {case.scope, Scope.ADMIN}:
        assert error_of(answer, 403, "SCOPE_MISSING")["recovery"]["required_scope"] == case.scope
    elif scope is not Scope.ADMIN and case.operator is not None:
        error_of(answer, case.operator.rule.http_status, case.operator.code)
    else:
        assert envelope_of(answer)["ok"], answer.text


@pytest.mark.parametrize(("route", "case"), SHARED, ids=names)
def test_an_organization_that_is_unknown_or_foreign_is_not_there_for_an_operator(world, route, case):
    admin = world.operators[Scope.ADMIN]
    name = case.make(world.agent) if case.make else ""
    strange = _send(admin, route, case.request.of_operator(name, f"org_{UNKNOWN}"))
    if case.by_item:
        [result] = envelope_of(strange)["data"]["results"]
        assert result["error"]["code"] == "NOT_FOUND"
        return
    error_of(strange, 404, "NOT_FOUND")
    error_of(_send(admin, route, case.request.about(name)), 400, "INVALID_ARGUMENTS")
    if case.make:
        foreign = _send(admin, route, case.request.of_operator(name, world.foreigner.organization_id))
        unknown = _send(admin, route, case.request.of_operator(case.unknown, world.foreigner.organization_id))
        assert error_of(foreign, 404, "NOT_FOUND") == error_of(unknown, 404, "NOT_FOUND")


@pytest.mark.parametrize(("route", "case"), SHARED, ids=names)
@pytest.mark.parametrize("owner", PRINCIPALS)
@pytest.mark.parametrize("principal", PRINCIPALS)
def test_shared_routes_serve_agents_in_their_own_organization_alone(world, route, case, principal, owner):
    asking = getattr(world, principal)
    name = case.make(getattr(world, owner)) if case.make else ""
    answer = _send(asking, route, case.request.about(name))
    if case.scope not in OF_AGENTS:
        error_of(answer, 403, "SCOPE_MISSING")
    elif case.make and not world.together(principal, owner):
        unknown = _send(asking, route, case.request.about(case.unknown))
        assert error_of(answer, 404, "NOT_FOUND") == error_of(unknown, 404, "NOT_FOUND")
    elif case.make and principal != owner and case.sibling is not None:
        error_of(answer, case.sibling.rule.http_status, case.sibling.code)
    else:
        assert envelope_of(answer)["ok"], answer.text


@pytest.mark.parametrize(("route", "case"), [each for each in SHARED if each[1].scope in OF_AGENTS], ids=names)
def test_an_agent_names_no_organization_not_even_its_own(world, route, case):
    name = case.make(world.agent) if case.make else ""
    answer = _send(world.agent, route, case.request.of_operator(name, world.agent.organization_id))
    if case.by_item:
        [result] = envelope_of(answer)["data"]["results"]
        assert result["error"]["code"] == "INVALID_ARGUMENTS"
    else:
        error_of(answer, 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("route", [route for route, _ in PRIVATE], ids=names)
def test_an_operators_key_is_no_agents_token(http, world, route):
    method, _, path = route.partition(" ")
    error_of(http.request(method, path, headers=world.operators[Scope.ADMIN].headers), 401, "AUTH_REQUIRED")


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
    payatt = f"payatt_{UNKNOWN}"
    named = {"attempt_id": payatt, "payment_attempt_id": payatt, "pack_id": "taster-100", **dict(case.named)}
    path = path.format(**named)
    assert http.request(method, path, json=case.body).status_code == case.status
    if path != "/v1/agent-signups":  # where a bad token may be a lost one, so it is told
        nonsense = {"authorization": "Bearer nonsense"}
        assert http.request(method, path, json=case.body, headers=nonsense).status_code == case.status
