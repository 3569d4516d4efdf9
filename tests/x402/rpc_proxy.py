"""A node between the service and its chain that goes wrong when told: `with proxy.faulty(method, behavior): …`.

A behavior sees every call of its method and decides: `ask()` is what the chain says (the call has then been carried
out), `NoWord` breaks the connection, `RpcError`'s content is answered as an error. It runs in threads of this process.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from eth_utils.crypto import keccak

from tests.service import HOST, free_port

EVERY_METHOD = "*"
SEND = "eth_sendRawTransaction"
NODE_TIMEOUT_S = 60.0
HELD_S_MAX = 60.0
IDLE_S_MAX = 60.0

Ask = Callable[[], Any]
Behavior = Callable[[Ask, Sequence[Any]], Any]
"""Of `ask` and the call's parameters, what is answered."""


class NoWord(Exception):
    """The connection breaks without an answer."""


class Refused(Exception):
    """An answer that is an error of JSON-RPC, with this HTTP status."""

    def __init__(self, code: int, message: str, *, status: int = 200) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message}
        self.status = status


def dead(_ask: Ask, _params: Sequence[Any]) -> Any:
    """Not carried out, and no answer."""
    raise NoWord


def answer_lost(ask: Ask, _params: Sequence[Any]) -> Any:
    """Carried out, and no answer."""
    with suppress(Refused):
        ask()
    raise NoWord


def swallowed(_ask: Ask, params: Sequence[Any]) -> Any:
    """A signed transaction is taken with its hash for an answer, and no other node ever hears of it."""
    return "0x" + keccak(hexstr=params[0]).hex()


def nothing(_ask: Ask, _params: Sequence[Any]) -> Any:
    """There is no such receipt, transaction or block, whatever the chain has."""
    return None


def no_logs(_ask: Ask, _params: Sequence[Any]) -> Any:
    """No log matches, whatever the chain has."""
    return []


def refused(code: int, message: str, *, status: int = 200) -> Behavior:
    """Not carried out; an error."""

    def behave(_ask: Ask, _params: Sequence[Any]) -> Any:
        raise Refused(code, message, status=status)

    return behave


def slow(seconds: float) -> Behavior:
    """Carried out at once, and answered so much later."""

    def behave(ask: Ask, _params: Sequence[Any]) -> Any:
        said = ask()
        time.sleep(seconds)
        return said

    return behave


def changed(change: Callable[[Any], Any]) -> Behavior:
    """Carried out, and a lie told about the result."""

    def behave(ask: Ask, _params: Sequence[Any]) -> Any:
        return change(ask())

    return behave


def held(released: threading.Event, *, reached: threading.Event | None = None) -> Behavior:
    """Kept waiting before it is carried out, until `released`; `reached` says that a call waits."""

    def behave(ask: Ask, _params: Sequence[Any]) -> Any:
        if reached is not None:
            reached.set()
        released.wait(HELD_S_MAX)
        return ask()

    return behave


class RpcProxy:
    """Forwards to the node at `target`, from `url`. `asked` holds every call: its method and its parameters."""

    def __init__(self, target: str) -> None:
        self.asked: list[tuple[str, list[Any]]] = []
        self._target = httpx.Client(base_url=target, timeout=NODE_TIMEOUT_S, trust_env=False)
        self._behaviors: dict[str, list[Behavior]] = {}
        self.port = free_port()  # which is nobody else's while it is `unreachable`
        self._listen(self.port)
        self.url = f"http://{HOST}:{self.port}"

    @contextmanager
    def faulty(self, method: str, behavior: Behavior) -> Iterator[None]:
        """For the length of the block calls of `method`, or of `EVERY_METHOD`, behave so; the innermost block holds."""
        behaviors = self._behaviors.setdefault(method, [])
        behaviors.append(behavior)
        try:
            yield
        finally:
            behaviors.remove(behavior)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """For the length of the block nobody listens, so that a request certainly does not leave."""
        self._hang_up()
        try:
            yield
        finally:
            self._listen(self.port)

    def count(self, method: str) -> int:
        """How often it was called."""
        return sum(1 for called, _ in self.asked if called == method)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Status and body. Raises `NoWord`."""
        call = json.loads(body)
        method, params = call["method"], call.get("params", [])
        self.asked.append((method, params))
        envelope = {"jsonrpc": "2.0", "id": call["id"]}
        behaviors = self._behaviors.get(method) or self._behaviors.get(EVERY_METHOD)
        try:
            result = behaviors[-1](lambda: self._ask(call), params) if behaviors else self._ask(call)
        except Refused as no:
            return no.status, json.dumps({**envelope, "error": no.error}).encode()
        return 200, json.dumps({**envelope, "result": result}).encode()

    def _ask(self, call: Any) -> Any:
        try:
            said = self._target.post("/", json=call).json()
        except httpx.TransportError:
            raise NoWord from None
        if "error" in said:
            no = Refused(said["error"]["code"], said["error"]["message"])
            no.error = said["error"]
            raise no
        return said["result"]

    def stop(self) -> None:
        """End all threads."""
        self._hang_up()
        self._target.close()

    def _listen(self, port: int) -> None:
        self._server = _Server((HOST, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _hang_up(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128  # who finds no place there tries again a second later, or gives up


def _handler(proxy: RpcProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S_MAX

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, content = proxy.answer(body)
            except NoWord:
                return
            with suppress(ConnectionError):  # of a client that has waited long enough
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def rpc_proxy_running(target: str) -> Iterator[RpcProxy]:
    """A proxy for the length of the block."""
    proxy = RpcProxy(target)
    try:
        yield proxy
    finally:
        proxy.stop()
