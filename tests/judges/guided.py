"""A service as a test of the public client's guide wants one: the real one, with some answers that are set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

import httpx

from tests.service import HOST

FORWARD_TIMEOUT_S: Final = 60.0


@dataclass
class Guided:
    """The stand-in at `url`. `answers` are the data of paths that it answers itself; the service has the others."""

    url: str
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)


@contextmanager
def guided(service_url: str) -> Iterator[Guided]:
    """Stand before the service for the length of a block."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = found.answers.get(self.path.partition("?")[0])
            if known is not None:
                self._answer(200, json.dumps(_envelope(known)).encode())
            else:
                token = self.headers.get("authorization")
                headers = {"authorization": token} if token is not None else {}
                answer = httpx.get(service_url + self.path, headers=headers, timeout=FORWARD_TIMEOUT_S)
                self._answer(answer.status_code, answer.content)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: what a test says is what it asserts."""

    with ThreadingHTTPServer((HOST, 0), Door) as server:
        found = Guided(f"http://{HOST}:{server.server_port}")
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "ok": True,
        "command": "image-skill",
        "trace_id": "trace_stand_in",
        "actor": None,
        "data": data,
        "warnings": [],
        "error": None,
    }


def words_of(command: str) -> list[str]:
    """The words of a command that an answer suggests, without how the client is called and which service it asks."""
    words = shlex.split(command)
    start = next(place for place, word in enumerate(words) if word.startswith("image-skill"))
    words = [word for word in words[start + 1 :] if word != "--json"]
    if "--api-base-url" in words:
        address = words.index("--api-base-url")
        words = words[:address] + words[address + 2 :]
    return words
