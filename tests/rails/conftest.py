"""What the tests of the rails share: orders, objects as Stripe shapes them, a server that misbehaves, a sandbox."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from ledger import ids
from ledger.money import usd
from rails import stripe_door
from rails.rail import Order
from rails.stripe_door import StripeDoor
from tests.service import free_port

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60
PATIENCE_S = 60.0
"""For what has to come, on a machine that stalls: no test waits until this is over."""
FIXTURES = json.loads((Path(__file__).parent / "stripe_fixtures.json").read_text())
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
CREATED = 1_795_248_000
PAID_AT = 1_795_248_300
ADDRESS = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
USDC_ON_BASE = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"

Shape = Callable[..., dict[str, Any]]


def pytest_configure(config: pytest.Config) -> None:
    """The stripe package hands its form to httpx in a way that httpx warns of; that is between the two of them."""
    config.addinivalue_line("filterwarnings", "ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def now() -> datetime:
    """What the clock of every door says."""
    return NOW


@pytest.fixture
def order() -> Order:
    return Order(
        organization_id="org_01jd9x8g000000000000000000",
        quote_id="quote_01jd9x8g000000000000000000",
        attempt_id="payatt_01jd9x8g000000000000000000",
        number=1,
        price=usd(500),
        credits=500,
        description="500 credits",
        payable_until=datetime(2026, 11, 21, 9, 0, tzinfo=UTC),
        handoff_url="https://purser.example/pay/payatt_01jd9x8g000000000000000000",
    )


def _metadata(method_id: str, provider_key: str) -> dict[str, str]:
    return {
        "purser_attempt": "payatt_01jd9x8g000000000000000000",
        "purser_quote": "quote_01jd9x8g000000000000000000",
        "purser_organization": "org_01jd9x8g000000000000000000",
        "purser_method": method_id,
        "purser_key": provider_key,
    }


@pytest.fixture
def charge() -> Shape:
    """A succeeded charge with `payment_method_details` of the caller."""

    def build(**changes: Any) -> dict[str, Any]:
        return {**FIXTURES["charge"], "created": PAID_AT, "payment_intent": "pi_3Nabc123", **changes}

    return build


@pytest.fixture
def session() -> Shape:
    """An open session of ours, as Stripe's fixture shows one; `changes` replace fields."""

    def build(**changes: Any) -> dict[str, Any]:
        ours = {
            "created": CREATED,
            "expires_at": CREATED + 3600,
            "metadata": _metadata("stripe_checkout", "cs:payatt_01jd9x8g000000000000000000:1"),
            "payment_intent": None,
            "amount_subtotal": 500,
            "amount_total": 500,
            "currency": "usd",
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        }
        return {**FIXTURES["checkout.session"], **ours, **changes}

    return build


@pytest.fixture
def deposit_intent() -> Shape:
    """A payment intent of ours that waits for its deposit; `changes` replace fields."""

    def build(**changes: Any) -> dict[str, Any]:
        token = {"token_currency": "usdc", "token_contract_address": USDC_ON_BASE}
        ours = {
            "id": "pi_3Nabc123",
            "created": CREATED,
            "amount": 500,
            "canceled_at": None,
            "status": "requires_action",
            "metadata": _metadata("stripe_x402.exact.usdc", "pi:payatt_01jd9x8g000000000000000000:1"),
            "next_action": {
                "type": "crypto_display_details",
                "crypto_display_details": {
                    "deposit_addresses": {"base": {"address": ADDRESS, "supported_tokens": [token]}}
                },
            },
        }
        return {**FIXTURES["payment_intent"], **ours, **changes}

    return build


@dataclass
class Request:
    """A request as the loopback server read it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Loopback:
    """An HTTP server on loopback that does with each request what `behaviour` says, and remembers them."""

    base: str
    behaviour: Behaviour
    requests: list[Request] = field(default_factory=list)


class StartLoopback(Protocol):
    """Start a server that answers `status` and `body`, or does what `behaviour` says."""

    async def __call__(
        self, status: int = 200, body: object = None, *, behaviour: Behaviour | None = None
    ) -> Loopback: ...


async def respond(writer: asyncio.StreamWriter, status: int, body: object) -> None:
    """An answer in JSON (text is sent as it is)."""
    payload = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n"
    writer.write(head.encode() + b"connection: close\r\n\r\n" + payload)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body.decode())


@pytest_asyncio.fixture
async def loopback() -> AsyncIterator[StartLoopback]:
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def start(status: int = 200, body: object = None, *, behaviour: Behaviour | None = None) -> Loopback:
        async def fixed(_: Request, writer: asyncio.StreamWriter) -> None:
            await respond(writer, status, body)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                request = await _read(reader)
                here.requests.append(request)
                await here.behaviour(request, writer)
            except ConnectionError:
                pass  # the client gave up first, as some tests want it to
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        here = Loopback(f"http://127.0.0.1:{port}", behaviour or fixed)
        return here

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def scripted(loopback: StartLoopback) -> Callable[..., Awaitable[Loopback]]:
    """Start a server that answers its n-th request with the n-th `(status, body)`; one more is an error of the test."""

    async def start(*answers: tuple[int, object]) -> Loopback:
        left = list(answers)

        async def behaviour(_: Request, writer: asyncio.StreamWriter) -> None:
            await respond(writer, *left.pop(0))

        return await loopback(behaviour=behaviour)

    return start


@pytest_asyncio.fixture
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., StripeDoor]]:
    """Make doors to an address; they are closed at the end."""
    monkeypatch.setattr(stripe_door, "CONNECT_TIMEOUT_S", PATIENCE_S)
    doors: list[StripeDoor] = []

    def make(api_base: str, *, timeout_s: float = 2 * PATIENCE_S) -> StripeDoor:
        doors.append(StripeDoor("sk_test_4eC39Hq", clock=lambda: NOW, api_base=api_base, timeout_s=timeout_s))
        return doors[-1]

    yield make
    for each in doors:
        await each.aclose()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    """The address of a sandbox of the module's own."""
    port = free_port()
    command = [sys.executable, "-m", "sandbox", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_listens(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the sandbox does not listen")


@pytest.fixture
def control(sandbox: str) -> Iterator[Callable[..., Any]]:
    """Tell the sandbox something: `control(where, **body)`."""
    with httpx.Client(base_url=sandbox, timeout=PATIENCE_S) as client:

        def tell(where: str, /, **body: Any) -> Any:
            answer = client.post(f"/sandbox/{where}", json=body)
            assert answer.is_success, answer.text
            return answer.json()

        yield tell


@pytest.fixture
def at(sandbox: str, door: Callable[..., StripeDoor]) -> StripeDoor:
    """A door to the sandbox."""
    return door(sandbox)


@pytest.fixture
def fresh(order: Order) -> Order:
    """An order of this test's own, payable for an hour from now."""
    attempt_id = ids.external("payatt", uuid4())
    return replace(order, attempt_id=attempt_id, payable_until=datetime.now(UTC) + timedelta(hours=1))
