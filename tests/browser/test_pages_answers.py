"""What `/pay/{attempt}` answers to whoever is no browser, and over ASGI when its database is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.testing import TestClient
from structlog.testing import capture_logs

from api import wiring
from api.pages.routes import PAGES
from api.settings import Settings
from ledger.ids import external
from tests.service import Agent

LINK = f"/pay/{external('payatt', UUID(int=7))}"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is kept, so that nobody else can listen on it, and not listened on."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


@pytest.fixture
def client(closed_port: int) -> Iterator[TestClient[Litestar]]:
    database = f"postgresql://nobody:s3cret@127.0.0.1:{closed_port}/none"
    house = wiring.build(Settings(database_url=database))
    with TestClient(Litestar(PAGES, state=State({"house": house}), openapi_config=None)) as made:
        yield made


def _is_a_page(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name", ["payatt_", "nonsense", "quote_00000000000000000000000007", "payatt_%3Cscript%3E", "payatt_" + "z" * 26]
)
def test_a_malformed_link_is_a_page_that_says_so(client: TestClient[Litestar], name: str) -> None:
    answer = client.get(f"/pay/{name}")
    assert answer.status_code == 404
    _is_a_page(answer)
    assert "Payment not found" in answer.text
    assert client.head(f"/pay/{name}").status_code == 404


def test_without_a_database_the_page_asks_again_by_itself(client: TestClient[Litestar]) -> None:
    with capture_logs() as lines:
        answer = client.get(LINK)
    assert answer.status_code == 503
    _is_a_page(answer)
    assert answer.headers["retry-after"] == "5"
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert [line["event"] for line in lines] == ["page_unavailable"]
    assert "s3cret" not in f"{lines}{answer.text}"


def test_a_fault_of_ours_is_a_page_too(client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise LookupError("attempt has lost its quote")

    monkeypatch.setattr("billing.handoff.look", broken)
    with capture_logs() as lines:
        answer = client.get(LINK)
    assert answer.status_code == 500
    _is_a_page(answer)
    assert "Something went wrong" in answer.text
    assert "lost its quote" not in answer.text
    assert [line["event"] for line in lines] == ["page_failed"]


def test_a_visit_and_its_state_say_no_more_than_they_must(agent: Agent, http: httpx.Client) -> None:
    bought = agent.buy(agent.quote())
    link = bought["checkout_handoff_url"]
    answer = http.get(link, headers={"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"})
    assert (answer.status_code, answer.headers["location"], answer.content) == (303, bought["checkout_url"], b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    state = http.get(f"{link}/state").json()
    assert state.keys() == {"state", "version"}
    assert state["state"] == "action_required"
    assert http.get(f"{link}/state").json() == state
    unknown = link[:-8] + "00000000"
    assert http.get(unknown).status_code == 404
    assert "Payment not found" in http.get(unknown).text
    assert http.get(f"{unknown}/state").status_code == 404
