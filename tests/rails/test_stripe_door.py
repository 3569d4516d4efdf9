"""The door against a loopback server that misbehaves as networks and Stripe do."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import parse_qsl

import pytest

from rails.rail import OutcomeStored, OutcomeUnknown, ProviderRefused, RailUnavailable
from rails.stripe_door import API_VERSION

pytestmark = pytest.mark.asyncio

KEY = "cs:payatt_1:1"
OURS = (OutcomeUnknown, ProviderRefused, RailUnavailable)
TIMEOUT_S = 120.0


def stripe_error(kind: Any = "invalid_request_error", **details: Any) -> Any:
    return {"error": {"type": kind, "message": "No", **details}}


def let_pass(seconds: float) -> None:
    """The loop's clock runs ahead: a time-out has passed, and no stall of the machine is taken for one."""
    loop = asyncio.get_running_loop()
    told = loop.time
    loop.time = lambda: told() + seconds  # type: ignore[method-assign]


async def hang(_request: Any, _writer: Any) -> None:
    let_pass(TIMEOUT_S + 1)
    await asyncio.Event().wait()


async def drop(_request: Any, writer: Any) -> None:
    writer.transport.abort()


async def drop_in_the_middle(_request: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()


async def drip(_request: Any, writer: Any) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        let_pass(TIMEOUT_S / 50)
        await asyncio.sleep(0.001)


async def write_and_read(door: Any) -> Any:
    """The error of a write and of a read at `door`, as types."""
    with pytest.raises(OURS) as write:
        await door.create_checkout_session({"mode": "payment"}, KEY, API_VERSION)
    with pytest.raises(OURS) as read:
        await door.retrieve_checkout_session("cs_test_1")
    return write.type, read.type


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (500, stripe_error("api_error"), (OutcomeUnknown, RailUnavailable)),
        (503, "<html>no</html>", (OutcomeUnknown, RailUnavailable)),
        (200, "<html>a captive portal</html>", (OutcomeUnknown, RailUnavailable)),
        (404, "<html>another server</html>", (OutcomeUnknown, RailUnavailable)),
        (429, stripe_error(code="rate_limit"), (RailUnavailable, RailUnavailable)),
        (409, stripe_error("idempotency_error", code="idempotency_key_in_use"), (RailUnavailable, RailUnavailable)),
        (401, stripe_error(), (RailUnavailable, RailUnavailable)),
        (403, stripe_error(), (RailUnavailable, RailUnavailable)),
        (400, stripe_error("idempotency_error"), (OutcomeStored, RailUnavailable)),
        (400, stripe_error(code="payment_method_types_no_longer_supported"), (ProviderRefused, ProviderRefused)),
        (404, stripe_error(code="resource_missing"), (ProviderRefused, ProviderRefused)),
    ],
)
async def test_answer_is_classified_after_one_request_and_no_retry(
    loopback: Any, door: Any, status: Any, body: Any, raised: Any
) -> None:
    server = await loopback(status, body)
    assert await write_and_read(door(server.base)) == raised
    assert [request.method for request in server.requests] == ["POST", "GET"]


@pytest.mark.parametrize("behaviour", [hang, drop, drop_in_the_middle, drip])
async def test_lost_answer_leaves_a_write_unknown_and_a_read_unavailable(
    loopback: Any, door: Any, behaviour: Any
) -> None:
    server = await loopback(behaviour=behaviour)
    assert await write_and_read(door(server.base, timeout_s=TIMEOUT_S)) == (OutcomeUnknown, RailUnavailable)
    assert len(server.requests) == 2


async def test_refused_connection_is_certainly_not_carried_out(door: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connecting is refused
        at = door(f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert await write_and_read(at) == (RailUnavailable, RailUnavailable)


async def test_key_and_bytes_of_a_creation_are_the_same_each_time(loopback: Any, door: Any) -> None:
    server = await loopback(200, {"id": "cs_test_1", "object": "checkout.session"})
    at = door(server.base)
    for _ in range(2):
        await at.create_checkout_session({"mode": "payment", "adaptive_pricing": {"enabled": False}}, KEY, API_VERSION)
    first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == KEY
    assert first.body == second.body
    assert dict(parse_qsl(first.body)) == {"mode": "payment", "adaptive_pricing[enabled]": "false"}
    assert first.headers["stripe-version"] == "2026-10-28.endive"


async def test_payment_intent_is_created_and_read_in_the_preview_version(loopback: Any, door: Any) -> None:
    server = await loopback(200, {"id": "pi_1", "object": "payment_intent", "amount": 500})
    at = door(server.base)
    parameters = {"amount": 500, "payment_method_options": {"crypto": {"mode": "deposit"}}}
    created = await at.create_payment_intent(parameters, "pi:payatt_1:1", "2026-05-27.preview")
    await at.retrieve_payment_intent("pi_1", "2026-05-27.preview")
    await at.retrieve_payment_intent("pi_1")
    versions = [request.headers["stripe-version"] for request in server.requests]
    assert versions == ["2026-05-27.preview", "2026-05-27.preview", "2026-10-28.endive"]
    assert created == {"id": "pi_1", "object": "payment_intent", "amount": 500}
    assert server.requests[0].headers["idempotency-key"] == "pi:payatt_1:1"
    assert server.requests[0].body == "amount=500&payment_method_options[crypto][mode]=deposit"


async def test_answers_are_plain_dicts_all_the_way_down(loopback: Any, door: Any, session: Any, charge: Any) -> None:
    shape = session(payment_intent={"object": "payment_intent", "id": "pi_1", "latest_charge": charge()})
    server = await loopback(200, {"object": "list", "data": [shape], "has_more": False, "url": "/v1/x"})
    [read] = await door(server.base).checkout_sessions_of_payment_intent("pi_1")
    assert read == shape
    assert type(read["payment_intent"]["latest_charge"]["payment_method_details"]["card"]) is dict


async def test_secret_is_in_no_repr_and_in_no_error(loopback: Any, door: Any) -> None:
    server = await loopback(402, stripe_error("card_error", payment_intent={"client_secret": "pi_1_secret_Zx9"}))
    at = door(server.base)
    with pytest.raises(ProviderRefused) as refused:
        await at.create_checkout_session({}, KEY, API_VERSION)
    assert "sk_test" not in repr(at) + str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


async def test_third_failure_in_a_row_makes_stripe_unavailable_until_a_call_succeeds(
    loopback: Any, door: Any, now: Any
) -> None:
    failing = await loopback(500, stripe_error("api_error"))
    at = door(failing.base)
    await write_and_read(at)
    assert at.health.unavailable_reason(now) is None
    with pytest.raises(RailUnavailable):
        await at.probe()
    assert at.health.unavailable_reason(now) == "Stripe answered 500"
    failing.behaviour = (await loopback(200, {"object": "balance"})).behaviour
    await at.probe()
    assert at.health.unavailable_reason(now) is None
    assert failing.requests[-1].path == "/v1/balance"


async def test_refusal_shows_that_stripe_serves(loopback: Any, door: Any, now: Any) -> None:
    server = await loopback(400, stripe_error(code="amount_too_small"))
    at = door(server.base)
    for _ in range(2):
        assert await write_and_read(at) == (ProviderRefused, ProviderRefused)
    assert at.health.unavailable_reason(now) is None
    assert not at.health.probe_due(now.replace(hour=9))


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_key_makes_stripe_unavailable_at_once(loopback: Any, door: Any, status: Any, now: Any) -> None:
    at = door((await loopback(status, stripe_error())).base)
    with pytest.raises(RailUnavailable):
        await at.probe()
    assert "key setting" in (at.health.unavailable_reason(now) or "")
