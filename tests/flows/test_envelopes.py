"""Every answer of the API is the envelope, whatever was asked and however."""

import json
import tomllib

import pytest

from tests.service import ROOT, data_of, envelope_of, error_of

POST_PATHS = ["/v1/agent-signups", "/v1/credit-quotes", "/v1/agents",
              "/v1/credit-purchases/stripe-checkout-sessions", "/v1/credit-purchases/x402"]  # fmt: skip
MALFORMED = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"credits": 5',
    "list": b"[]",
    "string": b'"credits"',
    "null": b"null",
    "number": b"7",
    "twice": b'{"credits": 1, "credits": 2}',
    "twice inside": b'{"x": {"a": 1, "a": 2}}',
    "trailing": b"{} {}",
    "nan": b'{"credits": NaN}',
    "deep": b"[" * 50_000,
    "latin": '{"agent_name": "é"}'.encode("latin-1"),
    "utf-16": '{"agent_name": "a"}'.encode("utf-16"),
    "form": b"credits=500&payment_method=stripe_checkout",
}


@pytest.mark.parametrize("path", POST_PATHS)
@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_body_is_refused_in_the_envelope(agent, path, body):
    answer = agent.client.post(path, content=MALFORMED[body], headers=agent.headers)
    error_of(answer, 400, "INVALID_ARGUMENTS")
    assert answer.headers["x-image-skill-exit-code"] == "2"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
        "",
        None,
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
    ],
)
def test_body_is_json_whatever_its_type_says(agent, content_type):
    body = json.dumps({"credits": 500, "payment_method": "stripe_checkout", "idempotency_key": "k"}).encode()
    headers = {**agent.headers, **({"content-type": content_type} if content_type is not None else {})}
    assert data_of(agent.client.post("/v1/credit-quotes", content=body, headers=headers))["credits"] == 500


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/agents/x",
        "/docs",
        "/schema",
        "/v1/quota/extra",
        "/webhooks",
        "/webhooks/other",
        "/%00",
        "/v1/%2e%2e/quota",
        "/favicon.ico",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_path_is_not_found(http, method, path):
    answer = http.request(method, path)
    assert error_of(answer, 404, "NOT_FOUND")["retryable"] is False


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/v1/quota", "GET"), ("GET", "/v1/credit-quotes", "POST"), ("DELETE", "/v1/agents", "GET, POST"),
     ("PUT", "/healthz", "GET"), ("PATCH", "/v1/agent-signups", "POST"), ("GET", "/webhooks/stripe", "POST"),
     ("GET", "/v1/x402/top-up/taster-100", "POST"), ("POST", "/v1/x402/payments/payatt_1", "GET"),
     ("GET", "/v1/x402/sign-in", "POST"),
     ("OPTIONS", "/healthz", "GET"), ("OPTIONS", "/v1/agent-signups", "POST"), ("TRACE", "/healthz", "GET")],
)  # fmt: skip
def test_wrong_method_is_told_the_right_ones(http, method, path, allow):
    answer = http.request(method, path)
    error_of(answer, 405, "METHOD_NOT_ALLOWED")
    assert sorted(answer.headers["allow"].split(", ")) == sorted(allow.split(", "))


def test_options_and_head_are_refused_and_have_an_envelope_or_no_body(http):
    for path in ("/v1/quota", "/v1/activity", "/v1/tokens/rotate", "/v1/agents/agt_1/revoke"):
        error_of(http.options(path), 405, "METHOD_NOT_ALLOWED")
        head = http.head(path)
        assert (head.status_code, head.content) == (405, b"")
        assert head.headers["content-type"] == "application/json"


def post_head(agent):
    return f"POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {agent.token}\r\nconnection: close\r\n"


def test_body_over_the_limit_is_refused_before_it_is_read(agent, strict, strict_http):
    """Announced: refused although not one byte of it was sent."""
    announced = f"{post_head(agent)}content-length: 1000000000\r\n\r\n".encode()
    error_of(strict.raw(announced), 413, "BODY_TOO_LARGE")
    answer = strict_http.post("/v1/credit-quotes", content=b"x" * 1025, headers=agent.headers)
    error_of(answer, 413, "BODY_TOO_LARGE")


def test_body_over_the_limit_is_refused_without_an_announced_length(agent, strict):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [b"x" * 512] * 4)
    head = f"{post_head(agent)}transfer-encoding: chunked\r\n\r\n".encode()
    error_of(strict.raw(head + chunks + b"0\r\n\r\n"), 413, "BODY_TOO_LARGE")


def test_body_at_the_limit_is_read(agent, strict_http):
    terms = {"credits": 500, "payment_method": "stripe_checkout", "idempotency_key": "full"}
    body = json.dumps(terms).encode().ljust(1024)
    assert data_of(strict_http.post("/v1/credit-quotes", content=body, headers=agent.headers))["credits"] == 500


def test_trailing_slash_is_served_without_a_redirect(agent):
    assert data_of(agent.send("POST", "/v1/tokens/revoke/"))["token_status"] == "revoked"


def test_answers_of_agents_are_never_cached(http, agent):
    for answer in (http.get("/healthz"), agent.send("GET", "/v1/quota"), http.get("/nowhere")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_trace_id_of_the_answer_is_that_of_its_header_and_of_no_other_request(http):
    first, second = http.get("/healthz"), http.get("/healthz")
    assert first.headers["x-trace-id"] == first.json()["trace_id"] != second.json()["trace_id"]


def test_health_tells_the_version_of_the_distribution(http):
    data = data_of(http.get("/healthz"))
    assert (data["status"], data["api_version"]) == ("ok", "v1")
    assert data["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_ready_means_that_the_database_is_there_and_of_this_version(http, dark_http, crippled_http):
    assert data_of(http.get("/readyz"))["status"] == "ready"
    for other in (dark_http, crippled_http):
        assert data_of(other.get("/healthz"))["status"] == "ok"
        answer = other.get("/readyz")
        error_of(answer, 503, "SERVICE_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0


def test_a_fault_of_ours_tells_nothing_but_its_trace_id(crippled_http):
    answer = crippled_http.post("/v1/agent-signups", json={"agent_name": "a", "runtime": "b"})
    error = error_of(answer, 500, "INTERNAL_ERROR")
    assert error["retryable"]
    for inside in ("post_v1", "ledger", "SELECT", "Traceback", "asyncpg"):
        assert inside not in answer.text


def test_commands_of_answers_are_the_clients_words(http, agent):
    words = {
        "/healthz": "doctor",
        "/v1/payment-methods": "credits methods",
        "/v1/credit-packs": "credits packs list",
        "/v1/whoami": "whoami",
        "/v1/quota": "usage quota",
        "/v1/credit-purchases/status": "credits status",
        "/v1/activity": "activity list",
    }
    for path, command in words.items():
        assert envelope_of(agent.send("GET", path))["command"] == f"image-skill {command}"


def test_openapi_describes_every_route_with_bounds_that_json_keeps(http):
    document = http.get("/openapi.json").json()
    assert {"/v1/credit-quotes", "/v1/agents/{agent_id}/revoke", "/v1/credit-purchases/status"} <= set(
        document["paths"]
    )
    quote = document["components"]["schemas"]["QuoteAsked"]
    assert quote["properties"]["credits"]["maximum"] == 2**53 - 1
    assert quote["required"] == ["payment_method", "idempotency_key"]
    assert document["paths"]["/v1/quota"]["get"]["security"] == [{"agentToken": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "cdn" not in json.dumps(document)
