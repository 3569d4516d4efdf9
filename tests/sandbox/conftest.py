"""A sandbox of its own for these tests: the real program, the real stripe client, a receiver of letters."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import stripe

from tests.service import free_port

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SECRET = "whsec_of_the_tests"
KEY = "sk_test_of_the_tests"
PREVIEW = "2026-10-14.preview"
WAIT_S = 60.0
"""For what has to come, on a machine that stalls: no test waits until this is over."""


def until(ask: Callable[[], T], *, within_s: float = WAIT_S) -> T:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing within {within_s} s")


@dataclass
class Letter:
    path: str
    body: bytes
    signature: str

    def event(self) -> stripe.Event:
        """Verified by Stripe's own code, or an error."""
        event: stripe.Event = stripe.Webhook.construct_event(self.body, self.signature, SECRET)
        return event


@dataclass
class Receiver:
    """Takes letters and answers those about something what it is told to, status by status; else 200."""

    url: str
    letters: list[Letter] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)

    def answer_to(self, body: bytes) -> int:
        """The next status. A letter that an earlier test left under way takes none of another's away."""
        told = (statuses for about, statuses in self.answers.items() if about.encode() in body and statuses)
        return next(told, [200]).pop(0)

    def types(self, about: str) -> list[str]:
        return [letter.event().type for letter in list(self.letters) if about.encode() in letter.body]

    def wait_for(self, event_type: str, about: str) -> Letter:
        def find() -> Letter | None:
            for letter in list(self.letters):
                if about.encode() in letter.body and letter.event().type == event_type:
                    return letter
            return None

        found = until(find)
        assert found is not None
        return found


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver("")

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.letters.append(Letter(self.path, body, self.headers.get("Stripe-Signature", "")))
            self.send_response(receiver.answer_to(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    receiver.url = f"http://127.0.0.1:{server.server_port}/webhooks/stripe"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Sandbox:
    """A running sandbox, its controls, and clients for its API."""

    url: str
    process: subprocess.Popen[str]
    receiver: Receiver | None = None
    open_clients: list[stripe.HTTPXClient] = field(default_factory=list)
    browser: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=WAIT_S, trust_env=False, verify=False))  # noqa: S501

    def client(self, key: str = KEY, *, timeout_s: float = WAIT_S, retries: int = 0) -> stripe.StripeClient:
        http = stripe.HTTPXClient(timeout=timeout_s, allow_sync_methods=True)
        self.open_clients.append(http)
        return stripe.StripeClient(key, base_addresses={"api": self.url}, http_client=http, max_network_retries=retries)

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.browser.request(method, f"{self.url}/sandbox/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def raw(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {KEY}")
        return self.browser.request(method, self.url + path, data=form, headers=named)

    def calls(self, path: str) -> list[dict[str, Any]]:
        return [call for call in self.control("GET", "calls")["calls"] if call["path"] == path]

    def settle(self) -> None:
        """Wait until nothing that earlier tests began is still to move money by itself."""
        until(lambda: not self.control("GET", "state")["objects"].get("job"))

    def close_clients(self) -> None:
        while self.open_clients:
            self.open_clients.pop().close()

    def stop(self, *, kill: bool = False) -> None:
        self.close_clients()
        self.browser.close()
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


def start(*arguments: str, receiver: Receiver | None = None) -> Sandbox:
    port = free_port()
    command = [sys.executable, "-m", "sandbox", "--port", str(port), "--die-with-parent", *arguments]
    if receiver is not None:
        command += ["--webhook-url", receiver.url, "--webhook-secret", SECRET]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("sandbox ready on"), line
    return Sandbox(f"http://127.0.0.1:{port}", process, receiver)


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with receiving() as receiver:
        sandbox = start("--settle-delay", "0.1", "--balance-delay", "0.1", "--retry-base", "0.1", receiver=receiver)
        try:
            yield sandbox
        finally:
            sandbox.stop()


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.control("DELETE", "faults")
    running.control("PUT", "deliveries", {"mode": "normal"})
    running.control("PUT", "refunds")
    return running


@pytest.fixture(scope="session")
def shared_client(running: Sandbox) -> stripe.StripeClient:
    return running.client()


@pytest.fixture
def client(sandbox: Sandbox, shared_client: stripe.StripeClient) -> stripe.StripeClient:
    return shared_client


@pytest.fixture
def receiver(sandbox: Sandbox) -> Receiver:
    assert sandbox.receiver is not None
    sandbox.receiver.answers.clear()
    return sandbox.receiver


def session_params(**more: Any) -> Any:
    """What the service sends for a credits purchase of five dollars."""
    price = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "500 credits"}}
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "success_url": "http://127.0.0.1:9/return?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:9/cancel",
        "client_reference_id": "payatt_1",
        "metadata": {"attempt_id": "payatt_1"},
        "payment_intent_data": {"metadata": {"attempt_id": "payatt_1"}},
        "expires_at": int(time.time()) + 3600,
        "adaptive_pricing": {"enabled": False},
        **more,
    }


def new_session(client: stripe.StripeClient, **more: Any) -> stripe.checkout.Session:
    return client.v1.checkout.sessions.create(session_params(**more))


def deposit_params(**more: Any) -> dict[str, Any]:
    return {
        "amount": 500,
        "currency": "usd",
        "confirm": True,
        "payment_method_data": {"type": "crypto"},
        "allowed_payment_method_types": ["crypto"],
        "payment_method_options": {"crypto": {"mode": "deposit", "deposit_options": {"networks": ["base"]}}},
        "metadata": {"attempt_id": "payatt_2"},
        **more,
    }


def new_deposit(client: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    params: Any = deposit_params(**more)
    return client.v1.payment_intents.create(params, {"stripe_version": PREVIEW})


def address_of(intent: stripe.PaymentIntent) -> str:
    action: Any = intent.next_action
    return str(action["crypto_display_details"]["deposit_addresses"]["base"]["address"])
