"""What `/pay/{attempt}` answers when there is nothing to show: over ASGI, with a database that is not there."""

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

LINK = f"/pay/{external('payatt', UUID(int=7))}"


def _closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    database = f"postgresql://nobody:s3cret@127.0.0.1:{_closed_port()}/none"
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
