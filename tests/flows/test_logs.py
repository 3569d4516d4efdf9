"""One line a request, and nothing secret in any."""

import json
from functools import partial

from tests.service import DEPOSIT, agent_of, data_of, new_contact, new_key, sign_up, until


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def about(service, trace_id):
    return [line for line in lines(service.log()) if line.get("trace_id") == trace_id]


def test_a_request_is_one_line_with_its_route_and_its_trace_id(http, service):
    answers = {
        "/v1/activity/{reference}": http.get("/v1/activity/evt_secretlooking?subject=abc"),
        "/v1/quota": http.get("/v1/quota"),
        "unknown": http.get("/v1/unknown-and-private"),
    }
    for route, answer in answers.items():
        trace_id = answer.json()["trace_id"]
        [line] = until(partial(about, service, trace_id))
        assert (line["event"], line["route"], line["method"]) == ("request", route, "GET")
        assert line["status"] == answer.status_code
        assert line["took_ms"] >= 0
    assert "unknown-and-private" not in service.log()
    assert "secretlooking" not in service.log()


def test_a_method_that_nobody_knows_is_not_repeated_in_the_log(service):
    method = "SOMETHING" * 1000
    answer = service.raw(f"{method} /v1/quota HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    [line] = until(partial(about, service, answer.headers["x-trace-id"]))
    assert line["method"] == "other"
    assert "SOMETHING" not in service.log()


def test_no_secret_stands_in_the_log(http, service):
    contact, key = new_contact(), new_key()
    agent = agent_of(http, data_of(sign_up(http, agent_contact=contact)))
    bought = agent.buy(agent.quote(DEPOSIT, key=key), key=key)
    body = b'{"id":"evt_' + key.encode() + b'","object":"event","type":"a.b"}'
    signed = service.signed(body)
    answer = http.post("/webhooks/stripe", content=body, headers=signed)
    trace_id = answer.json()["trace_id"]
    until(lambda: trace_id in service.log())
    log = service.log()
    address = bought["stripe_x402"]["payable_instructions"]["deposit_address"]
    secrets = [agent.token, contact, key, address, service.webhook_secret, signed["stripe-signature"][-64:], "sk_test"]
    assert [secret for secret in secrets if secret in log] == []


def test_a_fault_is_logged_with_its_traceback_and_without_the_body(crippled_http, crippled):
    answer = crippled_http.post("/v1/agent-signups", json={"agent_name": "very private", "runtime": "b"})
    trace_id = answer.json()["trace_id"]
    until(lambda: len(about(crippled, trace_id)) == 2)
    [fault] = [line for line in about(crippled, trace_id) if line["event"] != "request"]
    assert "post_v1" in fault["exception"]
    assert "very private" not in crippled.log()
