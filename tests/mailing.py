"""A product that sends links by mail, and a human with a browser who reads them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from outbound import signing
from tests.service import HOST, Agent, Service, new_agent, new_contact, until

SECRET = signing.new_secret()


@dataclass
class Mailer:
    """What was sent to whom, newest last; with another `status` it takes nothing."""

    url: str = ""
    status: int = 202
    sent: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    def links(self, contact: str) -> list[str]:
        return [said["link"] for said, _ in self.sent if said["contact"] == contact]

    def link(self, contact: str, *, number: int = 1) -> str:
        """The newest of `number` links that were sent to a contact, waited for."""
        until(lambda: len(self.links(contact)) >= number)
        return self.links(contact)[-1]


@contextmanager
def mailing() -> Iterator[Mailer]:
    """A mailer on loopback for the length of a block."""
    mailer = Mailer()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if mailer.status < 300:
                mailer.sent.append((json.loads(body), {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(mailer.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer((HOST, 0), Taking)
    mailer.url = f"http://{HOST}:{server.server_port}/links"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mailer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Human:
    """A browser with a cookie jar of its own, which says where forms come from as browsers do."""

    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """A form of our own page, unless `headers` say otherwise; an empty one is left out."""
        said = {
            "origin": "null",
            "sec-fetch-site": "same-origin",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        return self.client.post(path, data=form or {}, headers={k: v for k, v in said.items() if v})

    def claims(self, link: str) -> httpx.Response:
        """Open the link, press the button, and look at what it leads to."""
        answer = self.post(link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/owner"), answer.text
        return self.get("/owner")

    def form(self, action: str, agent_id: str | None = None) -> dict[str, str]:
        """The fields of a form on the owner's page, as they are filled in."""
        page = self.get("/owner").text
        for one in re.findall(rf'<form method="post" action="{action}">(.*?)</form>', page, re.DOTALL):
            fields = {unescape(k): unescape(v) for k, v in re.findall(r'name="([^"]+)"[^>]*?value="([^"]*)"', one)}
            if agent_id in {None, fields.get("agent_id")}:
                return fields
        raise AssertionError(f"no form for {action}")


@dataclass
class Town:
    """A service whose links are sent by `mailer`, agents and humans who use it."""

    service: Service
    mailer: Mailer
    http: httpx.Client
    opened: ExitStack

    def human(self) -> Human:
        return Human(self.opened.enter_context(self.service.client()))

    def owned(self) -> tuple[Agent, Human, str]:
        """A fresh agent, the human who owns its organization, in a browser with a session, and its contact."""
        agent, human, contact = new_agent(self.http), self.human(), new_contact()
        agent.post("/v1/agent-claims", {"contact": contact})
        human.claims(self.mailer.link(contact))
        return agent, human, contact

    def later(self, minutes: int) -> None:
        """All that was asked for, was asked for so much earlier."""
        self.service.database.rows(
            f"UPDATE billing.claim_requests SET created_at = created_at - interval '{minutes} minutes'"
        )


@contextmanager
def town_of(start_service: Callable[..., Service]) -> Iterator[Town]:
    """A town with a service and a mailer of its own."""
    with mailing() as mailer, ExitStack() as opened:
        service = start_service(claim_sender_url=mailer.url, claim_sender_secrets=SECRET, outbound_private=True)
        yield Town(service, mailer, opened.enter_context(service.client()), opened)


def ask(agent: Agent, contact: str) -> httpx.Response:
    """Name a contact; the raw answer."""
    return agent.send("POST", "/v1/agent-claims", {"contact": contact})
