"""A database that is away for a moment is told as such, and the same request works afterwards."""

import socket
import time

import asyncpg

from ledger.ids import parse
from tests.service import ANSWER_S, HOST, data_of, error_of, until

TERMS = {"credits": 500, "payment_method": "stripe_checkout", "idempotency_key": "outage"}


async def test_a_lock_that_takes_too_long_is_answered_and_the_same_request_works_later(agent, service):
    other = await asyncpg.connect(service.database.owner_url)
    try:
        async with other.transaction():
            query = "SELECT FROM billing.organizations WHERE id = $1 FOR UPDATE"
            await other.execute(query, parse("org", agent.organization_id))
            answer = agent.send("POST", "/v1/credit-quotes", TERMS)
    finally:
        await other.close()
    error = error_of(answer, 503, "SERVICE_UNAVAILABLE")
    assert error["retryable"]
    assert answer.headers["retry-after"] == "5"
    assert data_of(agent.send("POST", "/v1/credit-quotes", TERMS))["state"] == "created"


def test_connections_that_died_between_two_requests_are_replaced_unnoticed(agent, service):
    agent.get("/v1/quota")
    ended = service.database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND usename = 'purser_service'"
    )
    assert ended
    assert agent.get("/v1/quota")["authenticated"]


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(agent, service):
    before = service.log().count('"request_failed"')
    head = f"POST /v1/credit-quotes HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {agent.token}\r\n"
    lines = service.log().count('"route":"/v1/credit-quotes"')
    with socket.create_connection((HOST, int(service.url.rpartition(":")[2])), timeout=ANSWER_S) as connection:
        connection.sendall(head.encode() + b"content-length: 99\r\n\r\n" + b'{"credits"')
        time.sleep(0.2)
    until(lambda: service.log().count('"route":"/v1/credit-quotes"') > lines)
    assert service.log().count('"request_failed"') == before
