"""An executor on loopback that answers each job with what its prompt says."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.service import HOST

LATER = [202, {}]
AWAY = [503, {}]
GATE_S = 60


def prompt_of(*answers: list[Any]) -> str:
    """A prompt for which the executor gives these answers, status and body, one after another, and then the last."""
    return json.dumps(answers)


def made(*assets: str, **more: Any) -> list[Any]:
    """The answer that the work is done."""
    return [200, {"status": "completed", "assets": [{"asset_id": each} for each in assets], **more}]


def failed(reason: str, message: str | None = None) -> list[Any]:
    """The answer that it will not be done."""
    return [200, {"status": "failed", "reason": reason} | ({"message": message} if message else {})]


@dataclass
class Executor:
    """What it was asked, by job, and a gate at which those wait whose prompt says `wait`."""

    secret: str
    url: str = ""
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    gate: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def gate_closed(self) -> Iterator[None]:
        """Who comes to the gate waits until the block ends."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The next answer for the job that is asked about; its signature is judged by the specification's own code."""
        Webhook(self.secret).verify(body, headers)
        work = json.loads(body)
        asked = self.asked[work["job_id"]]
        asked.append(work)
        answers = json.loads(work["request"]["prompt"])
        status, said = answers[min(len(asked), len(answers)) - 1]
        if status == "wait":
            self.gate.wait(GATE_S)
            status = 200
        return status, said


@contextmanager
def executor_running(secret: str) -> Iterator[Executor]:
    """An executor for the length of the block."""
    executor = Executor(secret)

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, said = executor.answer(body, {name.lower(): value for name, value in self.headers.items()})
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((HOST, 0), Answering)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    executor.url = f"http://{HOST}:{server.server_port}/jobs"
    try:
        yield executor
    finally:
        executor.gate.set()
        server.shutdown()
        serving.join()
        server.server_close()
