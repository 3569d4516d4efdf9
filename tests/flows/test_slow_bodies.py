"""Clients that begin a body and do not end it: they are answered in time, and they leave nothing in the log.

And those that are answered before their body has come: they are told that the connection ends.
"""

import json
import socket
from http.client import HTTPResponse

import pytest

from api.http.receiving import BODY_WITHIN_S
from tests.flows.conftest import STALLED
from tests.service import ANSWER_S, HOST, error_of, until

STALL_S = 20
"""How much later than the service does it the machine may show it."""


@pytest.mark.parametrize("how", STALLED)
def test_a_body_that_stops_is_refused_in_time_and_its_connection_ends(stalled, how):
    answer, took_s = stalled[how]
    error_of(answer, 408, "BODY_TOO_SLOW")
    assert BODY_WITHIN_S - 1 < took_s < BODY_WITHIN_S + STALL_S


def lines(service):
    return [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]


def requests_to(service, route):
    return [line for line in lines(service) if line.get("route") == route and line["status"] == 400]


def faults_of_requests(service):
    """The worker's own lines, as of alerts, name no request."""
    return [line for line in lines(service) if line["level"] == "error" and "trace_id" in line]


@pytest.fixture
def written(http, service):
    """Every request that was answered before has its line in the log: lines are written after the answers."""
    trace_id = http.get("/healthz").headers["x-trace-id"]
    until(lambda: trace_id in service.log())


@pytest.mark.parametrize("path", ["/webhooks/stripe", "/v1/agent-signups"])
def test_who_leaves_before_the_body_is_complete_is_one_line_in_the_log(service, written, path):
    before, faults = len(requests_to(service, path)), len(faults_of_requests(service))
    with socket.create_connection((HOST, int(service.url.rpartition(":")[2])), timeout=ANSWER_S) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{{".encode())
    until(lambda: len(requests_to(service, path)) == before + 1)
    assert len(faults_of_requests(service)) == faults


@pytest.fixture
def line(service):
    """A connection to the service, for requests that are sent in pieces."""
    with socket.create_connection((HOST, int(service.url.rpartition(":")[2])), timeout=ANSWER_S) as connection:
        yield connection


def answered(line):
    answer = HTTPResponse(line)
    answer.begin()
    return answer.status, answer.headers["connection"], answer.read()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\ncontent-length: 10", 401),
        ("POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked", 401),
        ("POST /v1/agent-signups HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000", 413),
        ("POST /v1/nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 10", 404),
    ],
)
def test_who_is_answered_before_the_body_has_come_is_told_that_the_connection_ends(line, head, status):
    line.sendall(f"{head}\r\n\r\n".encode())
    assert answered(line)[:2] == (status, "close")
    assert line.recv(1) == b""


def test_a_body_that_was_read_and_one_that_is_empty_leave_the_connection_open(line):
    whole = "POST /v1/agent-signups HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    empty = "POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    for request, status in ((whole, 400), (empty, 401), ("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", 200)):
        line.sendall(request.encode())
        assert answered(line)[:2] == (status, None)
