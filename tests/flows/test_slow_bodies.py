"""Clients that begin a body and do not end it: they are answered in time, and they leave nothing in the log."""

import json
import socket

import pytest

from api.http.receiving import BODY_WITHIN_S
from tests.flows.conftest import STALLED
from tests.service import HOST, error_of, until


@pytest.mark.parametrize("how", STALLED)
def test_a_body_that_stops_is_refused_in_time_and_its_connection_ends(stalled, how):
    answer, took_s = stalled[how]
    error_of(answer, 408, "BODY_TOO_SLOW")
    assert BODY_WITHIN_S - 1 < took_s < BODY_WITHIN_S + 4


def requests_to(service, route):
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("route") == route and line["status"] == 400]


@pytest.mark.parametrize("path", ["/webhooks/stripe", "/v1/agent-signups"])
def test_who_leaves_before_the_body_is_complete_is_one_line_in_the_log(service, path):
    before, faults = len(requests_to(service, path)), service.log().count('"level":"error"')
    with socket.create_connection((HOST, int(service.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{{".encode())
    until(lambda: len(requests_to(service, path)) == before + 1)
    assert service.log().count('"level":"error"') == faults
