"""Schemathesis over the whole OpenAPI document, against the real service, with an agent's token and an operator's key.

Each answer must have a status, a type, headers and a shape that the document tells, and none may be a fault of ours.
`make test` draws a few requests of an agent for each operation; `make test-long` many, of operators and of nobody too.
"""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS, load_all_checks
    from schemathesis.specs.openapi import checks

from billing.refusals import Refusal
from billing.scopes import Scope
from docs import served
from tests.documents import judging
from tests.documents.judging import described
from tests.giving import give, new_operator
from tests.patience import AGAIN_MAX, in_vain
from tests.service import ANSWER_S, Service, new_agent

NOT_OFFERED = {Refusal.PAYMENT_METHOD_UNAVAILABLE.code}
"""What a service without a chain says of paying on one: a 503 that is meant."""
AGAIN = {refusal.code for refusal in Refusal if refusal.rule.http_status == 503} - NOT_OFFERED
"""What a service says after a wait on a machine that stalls; whoever asks sends the same again, as it is told to."""
JUDGED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
LEFT_OUT = {
    "not_a_server_error": "is made below, for all but the 503 that is meant",
    "object_level_authorization": "tests/flows/test_isolation.py asks every operation about objects of others",
    "positive_data_acceptance": "a body may name a quote that is not there, and ids are only text to the document",
    "negative_data_rejection": "unknown fields are ignored, because the public client's next version may send more",
    "ignored_auth": "tests/flows/test_isolation.py asks every operation with every kind of token that does not hold",
    "unsupported_method": "tests/flows/test_envelopes.py has the methods of each kind of path",
    "missing_required_header": "no operation has one",
    "allow_header_conformance": "the document names no 405: it belongs to a path, and no operation answers it",
    "use_after_free": "there is no DELETE",
    "ensure_resource_availability": "there is no POST that answers 201 with a location",
}
ENDS_THE_TOKEN = {"POST /v1/tokens/revoke", "POST /v1/tokens/rotate"}
LOOPBACK = "https://127.0.0.1:9/"
"""Where every address leads that a request names: nobody else may ever be called."""

OPERATIONS = {operation.name: operation for _, operation in described()}


load_all_checks()


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_dict(json.loads(served.documents()["openapi.json"]))


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """One for each test: a connection that was quiet for a while may be closed by the server just when it is used."""
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


def test_every_check_of_schemathesis_is_made_or_left_out_for_a_reason():
    assert set(CHECKS.get_all_names()) == {check.__name__ for check in JUDGED} | set(LEFT_OUT)


def led_home(value: Any) -> Any:
    """A request with no address in it but our own machine's."""
    if isinstance(value, dict):
        return {name: LOOPBACK if name == "url" else led_home(each) for name, each in value.items()}
    return value


def as_httpx(answer: Any) -> httpx.Response:
    """The same answer as the tests' own clients would have it."""
    sent = answer.request
    request = httpx.Request(sent.method, sent.url, content=sent.body if isinstance(sent.body, bytes) else b"")
    return httpx.Response(answer.status_code, content=answer.content, request=request)


def ask(schema: Any, session: requests.Session, fuzzed: Service, name: str, key: str, *, examples: int) -> None:
    operation = OPERATIONS[name]
    described_so = schema[operation.path][operation.method]
    either = st.one_of(*(described_so.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @hypothesis.seed(6)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=either)
    def answered(case: Any) -> None:
        case.body = led_home(case.body)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        for _ in range(1 + AGAIN_MAX):
            answer = case.call(base_url=fuzzed.url, session=session, headers=headers, timeout=ANSWER_S)
            if not in_vain(answer.status_code, answer.elapsed) or answer.json()["error"]["code"] not in AGAIN:
                break
        if judging.RECORD:
            judging.judged(as_httpx(answer))
        else:
            case.validate_response(answer, checks=JUDGED)
        if answer.status_code >= 500:
            assert answer.json()["error"]["code"] in NOT_OFFERED, answer.text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answered()


@pytest.fixture(scope="module")
def keys(fuzzed: Service) -> dict[str, str]:
    """What each of those who ask shows: an agent with credits, and an operator who may do everything."""
    with fuzzed.client() as client:
        agent = new_agent(client)
        give(fuzzed.database, agent, 1_000_000)
        operator = new_operator(client, fuzzed.database, Scope.ADMIN)
    return {"agent": agent.token, "operator": operator.token}


def key_for(keys: dict[str, str], fuzzed: Service, name: str, who: str) -> str:
    """The key to ask `name` with: where that ends it, one of an agent of its own."""
    if who == "nobody":
        return ""
    with fuzzed.client() as client:
        if who == "agent" and name in ENDS_THE_TOKEN:
            return new_agent(client).token
        headers = {"authorization": f"Bearer {keys[who]}"}
        known = client.get("/v1/whoami" if who == "agent" else "/v1/operator/letters", headers=headers)
    assert known.status_code == 200, "who asks is not known any more, so nothing would be learnt"
    return keys[who]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_agent_is_answered_as_the_document_says(schema, session, fuzzed, keys, name):
    ask(schema, session, fuzzed, name, key_for(keys, fuzzed, name, "agent"), examples=3)


@pytest.mark.long
@pytest.mark.parametrize("who", ["agent", "operator", "nobody"])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_whoever_asks_whatever_is_answered_as_the_document_says(schema, session, fuzzed, keys, name, who):
    ask(schema, session, fuzzed, name, key_for(keys, fuzzed, name, who), examples=100)
