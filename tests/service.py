"""What tests over HTTP start and talk to: databases, sandboxes, services, and agents that use them."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import UUID

import httpx

import migrations
from api.postgres.connection import ask
from api.postgres.databases import create_database, database_exists
from api.postgres.server import Server
from api.wiring import async_url
from tests import programs
from tests.documents.judging import judged
from tests.ports import own_ports
from tests.programs import started

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
TEMPLATE = "purser_template"
LOGIN, PASSWORD = "purser_service", "of-the-tests"
WEBHOOK_SECRET = "whsec_of_the_tests"
RECEIPT_KEY = "17" * 32
STRIPE_KEY = "sk_test_of_the_tests"
CHECKOUT, DEPOSIT = "stripe_checkout", "stripe_x402.exact.usdc"
PURCHASES = {
    CHECKOUT: "/v1/credit-purchases/stripe-checkout-sessions",
    DEPOSIT: "/v1/credit-purchases/stripe-x402-deposits",
}
# They end what would never end, so they are long: a machine that stalls for some seconds fails no test by that.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
ANSWER_S = 60.0
WAIT_S = 60.0


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given."""
    for port in own_ports():
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("every port is taken")


def until(ask_again: Callable[[], T], *, within_s: float = WAIT_S) -> T:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := ask_again():
            return found
        time.sleep(0.03)
    raise AssertionError(f"nothing within {within_s} s")


@dataclass(frozen=True)
class Database:
    """A migrated database: `run_url` as the service logs in, `owner_url` as the superuser, for looking and faking."""

    run_url: str = field(repr=False)
    owner_url: str = field(repr=False)

    def rows(self, query: str, *parameters: object) -> list[Any]:
        """What the superuser sees."""
        return ask(self.owner_url, query, *parameters)


def prepare_template(server: Server) -> None:
    """Migrate the run's template once, and make the login of the service."""
    if database_exists(server, TEMPLATE):
        return
    create_database(server, TEMPLATE)
    migrations.upgrade(async_url(server.url(database=TEMPLATE)))
    ask(server.url(), f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}' IN ROLE purser_run")


def new_database(server: Server, name: str) -> Database:
    """A copy of the template."""
    prepare_template(server)
    create_database(server, name, template=TEMPLATE)
    return Database(server.url(database=name, user=LOGIN, password=PASSWORD), server.url(database=name))


@contextmanager
def _process(
    run: Callable[[], None], *, name: str, url: str, environment: dict[str, str] | None = None
) -> Iterator[Callable[[], str]]:
    """A program that answers at `url`/healthz for the length of the block; gives what reads its output so far."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PURSER_")}
    with tempfile.NamedTemporaryFile() as said:
        process = started(run, said=Path(said.name), environment={**inherited, **(environment or {})}, folder=ROOT)
        try:
            _wait_for(process, name, url, said)
            yield lambda: _read(said)
        finally:
            process.terminate()
            process.join(STOP_TIMEOUT_S)
            if process.exitcode is None:
                process.kill()
                process.join()


def _wait_for(process: ForkServerProcess, name: str, url: str, said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.exitcode is None:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"{name} did not start:\n{_read(said)[-4000:]}")


def _read(said: IO[bytes]) -> str:
    """All of a file that another process writes to, through a position that is not that one's."""
    return os.pread(said.fileno(), os.fstat(said.fileno()).st_size, 0).decode(errors="replace")


@dataclass(frozen=True)
class Sandbox:
    """A pretend Stripe, and its controls."""

    url: str

    def control(self, method: str, path: str, /, **body: Any) -> Any:
        # A body that a GET's handler never reads would make the sandbox hang up in the middle of a long answer.
        sent = body if body or method in {"POST", "PUT"} else None
        answer = httpx.request(method, f"{self.url}/sandbox/{path}", json=sent, timeout=ANSWER_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pay(self, session_id: str, **changes: Any) -> Any:
        """A person pays on the hosted page."""
        return self.control("POST", f"sessions/{session_id}/pay", **changes)

    def send_usdc(self, instructions: dict[str, Any]) -> Any:
        """A wallet follows payable instructions."""
        sent = self.control(
            "POST",
            "wallet/transfers",
            network=instructions["network"],
            token_currency=instructions["token_currency"],
            to=instructions["deposit_address"],
            amount_atomic=instructions["token_amount_atomic"],
        )
        assert sent["matched"], sent
        return sent

    def fault(self, kind: str, path: str, **more: Any) -> None:
        self.control("POST", "faults", kind=kind, path=path, **more)

    def calls(self, path: str) -> list[Any]:
        """The API requests to `path` so far."""
        return [call for call in self.control("GET", "calls")["calls"] if call["path"] == path]

    def sessions(self) -> list[Any]:
        """The newest hundred checkout sessions, as the API lists them."""
        return self._listed("checkout/sessions", limit="100")

    def event_about(self, event_type: str, thing: str) -> Any:
        """The newest event of a type that names `thing`; none when there is none yet."""
        return next(iter(self.events_about(thing, type=event_type)), None)

    def events_about(self, thing: str, **query: str) -> list[Any]:
        """Those of the newest hundred events that name `thing`, newest first."""
        return [event for event in self._listed("events", limit="100", **query) if thing in json.dumps(event)]

    def _listed(self, path: str, **query: str) -> list[Any]:
        answer = httpx.get(f"{self.url}/v1/{path}", params=query, auth=(STRIPE_KEY, ""), timeout=ANSWER_S)
        return list(answer.json()["data"])

    @contextmanager
    def letters(self, mode: str) -> Iterator[None]:
        """Another way of delivering letters, for the length of a block."""
        self.control("PUT", "deliveries", mode=mode)
        try:
            yield
        finally:
            self.control("PUT", "deliveries", mode="normal")


@contextmanager
def sandbox_running(*, port: int | None = None, webhook_url: str | None = None) -> Iterator[Sandbox]:
    """A sandbox for the length of a block; with `webhook_url` it delivers letters there."""
    port = port or free_port()
    command = ["--host", HOST, "--port", str(port)]
    command += ["--settle-delay", "0.05", "--balance-delay", "0.05", "--retry-base", "0.2"]
    if webhook_url:
        command += ["--webhook-url", webhook_url, "--webhook-secret", WEBHOOK_SECRET]
    url = f"http://{HOST}:{port}"
    with _process(partial(programs.sandbox, command), name="the sandbox", url=url):
        yield Sandbox(url)


@dataclass(frozen=True)
class Service:
    """A running service and what stands behind it."""

    url: str
    database: Database
    sandbox: Sandbox
    log: Callable[[], str] = field(repr=False)
    webhook_secret: str = field(default=WEBHOOK_SECRET, repr=False)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        # A connection that was quiet for a while is not used again: the server may be closing it just then.
        limits, hooks = httpx.Limits(keepalive_expiry=2), {"response": [judged]}
        with httpx.Client(base_url=self.url, timeout=ANSWER_S, limits=limits, event_hooks=hooks) as client:
            yield client

    def raw(self, request: bytes, *, sent_in: int = 1 << 20) -> httpx.Response:
        """What answers to these bytes, for requests that no proper client would send."""
        port = int(self.url.rpartition(":")[2])
        with socket.create_connection((HOST, port), timeout=ANSWER_S) as connection:
            with suppress(ConnectionError):  # the service may answer and hang up before it has read everything
                for start in range(0, len(request), sent_in):
                    connection.sendall(request[start : start + sent_in])
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def signed(self, body: bytes, *, secret: str | None = None, at: float | None = None) -> dict[str, str]:
        """The headers of a letter, signed as Stripe does."""
        moment = int(time.time() if at is None else at)
        key = (secret or self.webhook_secret).encode()
        digest = hmac.new(key, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return {"stripe-signature": f"t={moment},v1={digest}", "content-type": "application/json"}


@contextmanager
def service_running(
    database: Database, sandbox: Sandbox, *, port: int | None = None, **settings: object
) -> Iterator[Service]:
    """The real service with a worker inside, on `database` and `sandbox`; `settings` as in `api.settings`."""
    port = port or free_port()
    url = f"http://{HOST}:{port}"
    values: dict[str, object] = {
        "database_url": database.run_url,
        "host": HOST,
        "port": port,
        "stripe_secret_key": STRIPE_KEY,
        "stripe_webhook_secrets": WEBHOOK_SECRET,
        "stripe_api_base": sandbox.url,
        "receipt_key": RECEIPT_KEY,
        "signups_per_minute": 1_000_000,
        "requests_per_minute": 1_000_000,
        "log_format": "json",
        **settings,
    }
    environment = {f"PURSER_{name.upper()}": str(value) for name, value in values.items()}
    with _process(partial(programs.service, port), name="the service", url=url, environment=environment) as log:
        yield Service(url, database, sandbox, log)


@dataclass
class Caller:
    """Somebody with a token, or with none. Answers are checked to be envelopes; `data` of successes is given."""

    client: httpx.Client
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        """Any request; the raw answer."""
        return self.client.request(method, path, json=body, params=query or None, headers=self.headers)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return data_of(self.send("GET", path, **query))

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        return data_of(self.send("POST", path, body))

    def ask(self, path: str, key: str | None = None, **body: Any) -> httpx.Response:
        """A POST about the books, under a fresh idempotency key unless one is given; the raw answer."""
        return self.send("POST", path, {"idempotency_key": key or new_key(), **body})

    def do(self, path: str, key: str | None = None, **body: Any) -> dict[str, Any]:
        """The same, which succeeds."""
        return data_of(self.ask(path, key, **body))


@dataclass
class Operator(Caller):
    """An operator key."""

    key_id: UUID


@dataclass
class Agent(Caller):
    """An agent that signed up, and what it does."""

    agent_id: str
    organization_id: str

    def quote(self, method: str = CHECKOUT, *, credits_: int | None = 500, key: str | None = None, **more: Any) -> Any:
        terms = {"payment_method": method, "idempotency_key": key or new_key(), **more}
        return self.post("/v1/credit-quotes", terms if "pack_id" in more else {"credits": credits_, **terms})

    def buy(self, quote: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        body = {"quote_id": quote["quote_id"], "idempotency_key": key or f"purchase:{quote['quote_id']}"}
        return self.post(PURCHASES[quote["accepted_payment_method"]], body)

    def status(self, **reference: str) -> dict[str, Any]:
        return self.get("/v1/credit-purchases/status", **reference)

    def paid_credits(self) -> int:
        return int(self.get("/v1/quota")["limits"]["payment_backed_remaining_credits"])

    def wait_for_state(self, state: str, **reference: str) -> dict[str, Any]:
        """The status once it says `state`."""

        def look() -> dict[str, Any] | None:
            found = self.status(**reference)
            return found if found["state"] == state else None

        found = until(look)
        assert found is not None
        return found


def sign_up(client: httpx.Client, *, token: str | None = None, **changes: Any) -> httpx.Response:
    """A sign-up that wants its token."""
    body = {"agent_name": "tester", "runtime": "pytest", "return_token": True, **changes}
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    return client.post("/v1/agent-signups", json=body, headers=headers)


def new_agent(client: httpx.Client, **changes: Any) -> Agent:
    """A fresh agent in a fresh organization."""
    return agent_of(client, data_of(sign_up(client, **changes)))


def agent_of(client: httpx.Client, data: dict[str, Any]) -> Agent:
    """The agent that a sign-up or an invitation made."""
    return Agent(client, data["token"], data["agent_id"], data["organization_id"])


def new_key() -> str:
    return f"key-{secrets.token_hex(8)}"


def new_contact() -> str:
    return f"{secrets.token_hex(8)}@agents.example"


def envelope_of(answer: httpx.Response) -> dict[str, Any]:
    """The envelope of an answer, checked for what every envelope has."""
    assert answer.headers["content-type"] == "application/json", answer.text
    envelope = answer.json()
    assert set(envelope) == {"ok", "command", "trace_id", "actor", "data", "warnings", "error"}
    assert isinstance(envelope["ok"], bool)
    assert envelope["command"].startswith("image-skill")
    assert envelope["trace_id"].startswith("trace_")
    assert all(isinstance(warning, str) for warning in envelope["warnings"])
    assert (envelope["error"] is None) is envelope["ok"] is (answer.status_code == 200)
    assert (envelope["data"] is not None) is envelope["ok"]
    if not envelope["ok"]:
        assert set(envelope["error"]) == {"code", "message", "retryable", "recovery"}
        assert envelope["error"]["recovery"]["advice"]
        assert envelope["actor"] is None
    return dict(envelope)


def data_of(answer: httpx.Response) -> dict[str, Any]:
    """The data of a success."""
    envelope = envelope_of(answer)
    assert envelope["ok"], json.dumps(envelope["error"])
    return dict(envelope["data"])


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refusal with this HTTP status and code."""
    envelope = envelope_of(answer)
    assert (answer.status_code, (envelope["error"] or {}).get("code")) == (status, code), answer.text
    return dict(envelope["error"])
