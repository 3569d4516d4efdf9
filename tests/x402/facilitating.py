"""A real facilitator for the tests: the SDK's own behind HTTP, on the tests' chain, which misbehaves when told to.

It runs in threads of this process. Whatever it does wrong, it does to every call of the kind until told otherwise.
Source: x402 2.25.0, facilitator.py and mechanisms/evm/exact/facilitator.py; x402-specification-v2.md section 7.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args

import requests

from rails.evm import recursion

with recursion.limit_kept():
    from web3 import HTTPProvider, Web3
    from x402 import x402FacilitatorSync
    from x402.mechanisms.evm.exact import ExactEvmFacilitatorScheme
    from x402.mechanisms.evm.signers import FacilitatorWeb3Signer

from x402.schemas import SettleRequest, VerifyRequest

from tests.service import HOST

CONFIRMATION_TIMEOUT_S = 60.0
"""How long it waits for a block before it says `settlement_pending`, unless told otherwise."""
NODE_TIMEOUT_S = 60.0
SILENCE_S_MAX = 120.0
HUGE_BYTES = 1024 * 1024
NO_TRANSACTION = "0x" + "ab" * 32

Kind = Literal[
    "late_unsettled",  # no answer to /settle until it is told otherwise, and it has not settled
    "late_settled",  # settles, then the same
    "lost_after_settling",  # settles, then the connection breaks without an answer
    "error_after_settling",  # settles, then HTTP 500
    "repeats_success",  # settles once, and gives the same yes to every later call with the payment
    "lies_no_transaction",  # yes, with a hash that no chain has
    "lies_other_transaction",  # yes, with the hash of somebody else's transfer (`transaction`)
    "lies_failure",  # settles, then a definite no
    "wrong_network",  # settles, then says it did so elsewhere; /supported has no network of ours
    "nonsense",  # HTML, whatever is asked
    "huge",  # does what is right, and says so with a megabyte of spaces
    "redirects",  # elsewhere, whatever is asked
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class _Mood:
    """What it does to whoever asks now. `over`: it has been told to do something else since."""

    kind: Kind | None
    transaction: str
    over: threading.Event = field(default_factory=threading.Event)


class Facilitating:
    """A running facilitator at `url`. `asked` holds the path of each call, `settled` what each settlement said."""

    def __init__(self, rpc_url: str, private_key: str, chain_id: int, token: str | None) -> None:
        self.network = f"eip155:{chain_id}"
        self.asked: list[str] = []
        self.settled: list[dict[str, Any]] = []
        self._token = token
        self._mood = _Mood(None, NO_TRANSACTION)
        self._first_yes: dict[str, dict[str, Any]] = {}
        # The signer's own session would follow the environment's proxies, and is never closed.
        self._session = requests.Session()
        self._session.trust_env = False
        provider = HTTPProvider(rpc_url, request_kwargs={"timeout": NODE_TIMEOUT_S}, session=self._session)
        self._signer = FacilitatorWeb3Signer(private_key, rpc_url, CONFIRMATION_TIMEOUT_S)
        self._signer._w3 = Web3(provider)
        self._x402 = x402FacilitatorSync()
        self._x402.register([self.network], ExactEvmFacilitatorScheme(self._signer))
        self._server = _Server((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://{HOST}:{self._server.server_address[1]}/facilitator"

    def misbehave(self, kind: Kind | None, *, transaction: str = NO_TRANSACTION) -> None:
        """From now on do `kind`, or with None what is right. Whoever was kept waiting is answered now.

        Nonces are counted from the chain's again: the SDK's signer only ever counts up, and a test may have rewound it.
        """
        before, self._mood = self._mood, _Mood(kind, transaction)
        self._signer._next_nonce = None
        before.over.set()

    @contextmanager
    def impatient(self, seconds: float) -> Iterator[None]:
        """For the length of the block it waits so long for a block of the chain before it says `settlement_pending`."""
        self._signer._confirmation_timeout_seconds = seconds
        try:
            yield
        finally:
            self._signer._confirmation_timeout_seconds = CONFIRMATION_TIMEOUT_S

    def answer(self, path: str, body: bytes, credentials: str | None) -> tuple[int, bytes] | None:
        """Status and body; None breaks the connection."""
        mood = self._mood  # before it can be seen that it was asked: whoever saw that may tell it to do something else
        self.asked.append(path)
        kind, over = mood.kind, mood.over
        if self._token is not None and credentials != f"Bearer {self._token}":
            return 401, b'{"error": "who are you?"}'
        if kind == "nonsense":
            return 200, b"<html>hello</html>"
        if kind == "redirects":
            return 307, b""
        if kind == "late_unsettled" and path == "/settle":
            over.wait(SILENCE_S_MAX)
            return 503, b""
        said = self._said(path, body, mood)
        if kind == "late_settled" and path == "/settle":
            over.wait(SILENCE_S_MAX)
        if kind == "lost_after_settling" and path == "/settle":
            return None
        status = 500 if kind == "error_after_settling" and path == "/settle" else 200
        return status, json.dumps(said).encode() + b" " * (HUGE_BYTES if kind == "huge" else 0)

    def _said(self, path: str, body: bytes, mood: _Mood) -> dict[str, Any]:
        return {"/supported": self._supported, "/verify": self._verify, "/settle": self._settle}[path](body, mood)

    def _supported(self, _body: bytes, mood: _Mood) -> dict[str, Any]:
        said = self._x402.get_supported().model_dump(by_alias=True, exclude_none=True)
        if mood.kind == "wrong_network":
            said["kinds"] = [{**entry, "network": "eip155:1"} for entry in said["kinds"]]
        return said

    def _verify(self, body: bytes, _mood: _Mood) -> dict[str, Any]:
        asked = VerifyRequest.model_validate_json(body)
        verified = self._x402.verify(asked.payment_payload, asked.payment_requirements)
        return verified.model_dump(by_alias=True, exclude_none=True)

    def _settle(self, body: bytes, mood: _Mood) -> dict[str, Any]:
        kind = mood.kind
        asked = SettleRequest.model_validate_json(body)
        signature = asked.payment_payload.payload["signature"]
        if kind in ("lies_no_transaction", "lies_other_transaction"):
            return {"success": True, "transaction": mood.transaction, "network": self.network}
        if kind == "repeats_success" and signature in self._first_yes:
            return self._first_yes[signature]
        settled = self._x402.settle(asked.payment_payload, asked.payment_requirements)
        said = settled.model_dump(by_alias=True, exclude_none=True)
        self.settled.append(said)
        if said["success"]:
            self._first_yes.setdefault(signature, said)
        if kind == "lies_failure":
            return {**said, "success": False, "errorReason": "invalid_exact_evm_payload_signature", "transaction": ""}
        return {**said, "network": "eip155:1"} if kind == "wrong_network" else said

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Answer whoever waits, and end all threads."""
        self._mood.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._session.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128  # who finds no place there tries again a second later, or gives up


def _handler(facilitating: Facilitating) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = NODE_TIMEOUT_S

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            path = self.path.removeprefix("/facilitator")
            said = facilitating.answer(path, body, self.headers["Authorization"])
            if said is None:
                return
            status, content = said
            with suppress(ConnectionError):  # of a client that has waited long enough
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", f"{facilitating.url}/elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def facilitator_running(
    rpc_url: str, private_key: str, chain_id: int, *, token: str | None = None
) -> Iterator[Facilitating]:
    """A facilitator that submits from the account of `private_key`; with `token` it lets only its bearer in."""
    running = Facilitating(rpc_url, private_key, chain_id, token)
    running.start()
    try:
        yield running
    finally:
        running.stop()
