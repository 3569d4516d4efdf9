"""Exports over HTTP: marked once for a key, listed, and streamed as files that are always the same bytes."""

import asyncio
import csv
import hashlib
import io
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

import httpx
import pytest
import structlog

from api.http import streaming
from api.http.app import app_for
from billing.scopes import Scope
from finance.exporting import files
from finance.exporting.files import File
from tests.giving import give, new_operator
from tests.patience import wait_for_the_next_hour
from tests.service import data_of, error_of, new_agent, new_key

EXPORTS = "/v1/operator/exports"


@pytest.fixture(scope="module")
def reader(http, database):
    return new_operator(http, database, Scope.OPERATE)


@pytest.fixture(scope="module")
def client(http, database):
    """An agent that bought and spent something this month."""
    wait_for_the_next_hour()
    month()
    agent = new_agent(http)
    give(database, agent, 500, paid=True)
    agent.do("/v1/spends", credits=120)
    return agent


@cache
def month() -> str:
    """That of the first test here, also when it has ended meanwhile."""
    return f"{datetime.now(UTC):%Y-%m}"


def make(operator, key=None, period=None):
    body = {"idempotency_key": key or new_key(), "reason": "month end", "period": period or month()}
    return operator.send("POST", EXPORTS, body)


def test_an_export_is_marked_once_and_its_files_are_the_same_whatever_comes_later(reader, client):
    key = new_key()
    made = data_of(make(reader, key))
    export, name = made["export"], made["export"]["export_id"]
    assert (made["replayed"], export["kind"], export["period"]) == (False, "mark", month())
    assert made["action"]["action"] == "make_export"
    taken = {
        file: reader.send("GET", f"{EXPORTS}/{name}/{file}") for file in export["files"] if file != "statement.csv"
    }
    assert {answer.status_code for answer in taken.values()} == {200}
    assert taken["journal.csv"].headers["content-type"] == "text/csv; charset=utf-8"
    assert taken["journal.csv"].headers["content-disposition"] == f'attachment; filename="{month()}-{name}-journal.csv"'
    manifest = json.loads(taken["manifest.json"].content)
    assert {entry["name"]: entry["sha256"] for entry in manifest["files"]} == {
        file: hashlib.sha256(answer.content).hexdigest() for file, answer in taken.items() if file != "manifest.json"
    }
    client.do("/v1/spends", credits=1)
    again = data_of(make(reader, key))
    assert (again["replayed"], again["export"]) == (True, export)
    assert reader.send("GET", f"{EXPORTS}/{name}/journal.jsonl").content == taken["journal.jsonl"].content
    assert error_of(make(reader, key, period="2026-01"), 409, "SPENDING_CONFLICT")


def test_a_statement_is_of_one_organization(reader, client):
    name = data_of(make(reader))["export"]["export_id"]
    path = f"{EXPORTS}/{name}/statement.csv"
    answer = reader.send("GET", path, organization_id=client.organization_id)
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["kind"], row["available_change"]) for row in rows[1:3]] == [("grant", "500"), ("spend", "-120")]
    assert (rows[0]["available_after"], rows[-1]["row"]) == ("0", "closing")
    error_of(reader.send("GET", path), 404, "NOT_FOUND")
    error_of(reader.send("GET", path, organization_id="org_x"), 404, "NOT_FOUND")


def test_exports_are_listed_newest_first_page_by_page(reader, client):
    names = []
    for _ in range(3):
        client.do("/v1/spends", credits=1)
        names += [data_of(make(reader))["export"]["export_id"] for _ in range(2)][1:]
    first = reader.get(EXPORTS, limit=2)
    second = reader.get(EXPORTS, limit=100, cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    listed = [one["export_id"] for one in (*first["exports"], *second["exports"])]
    assert listed[:3] == names[::-1]
    error_of(reader.send("GET", EXPORTS, cursor="export_x"), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("period", ["2026-13", "2026", 202610, "", None])
def test_a_period_is_a_month(reader, period):
    body = {"idempotency_key": new_key(), "reason": "x", "period": period}
    error_of(reader.send("POST", EXPORTS, body), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("file", ["nothing.csv", "..%2Fjournal.csv", "journal.csv.part"])
def test_a_file_that_an_export_does_not_have_is_not_found(reader, file):
    name = data_of(make(reader))["export"]["export_id"]
    error_of(reader.send("GET", f"{EXPORTS}/{name}/{file}"), 404, "NOT_FOUND")


async def test_no_more_files_are_streamed_at_once_than_there_is_room_for(house, reader):
    name = data_of(make(reader))["export"]["export_id"]
    app = app_for(house)
    app.state.exports = asyncio.Semaphore(1)
    transport = httpx.ASGITransport(cast("Any", app))
    async with httpx.AsyncClient(transport=transport, base_url="http://in.process") as client:
        path = f"{EXPORTS}/{name}/heads.csv"
        async with app.state.exports:
            error_of(await client.get(path, headers=reader.headers), 503, "OVERLOADED")
        assert (await client.get(path, headers=reader.headers)).text.startswith("organization_id,seq,head\r\n")


def test_who_only_reads_sees_which_exports_there_are_and_takes_none(http, database, reader, client):
    looking, name = new_operator(http, database, Scope.READ), data_of(make(reader))["export"]["export_id"]
    assert looking.get(EXPORTS, limit=1)["exports"][0]["export_id"] == name
    error_of(make(looking), 403, "SCOPE_MISSING")
    error_of(looking.send("GET", f"{EXPORTS}/{name}/heads.csv"), 403, "SCOPE_MISSING")


async def test_who_goes_away_in_the_middle_of_a_file_leaves_room_for_others(house, reader, monkeypatch):
    """A file without an end: what ends the answer is that its reader has gone."""
    begun, sent = asyncio.Event(), list[Any]()
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        for message in asked:
            return message
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(len(message.get("body", b"")))
        if sent[-1]:
            begun.set()

    await endless_file(house, reader, monkeypatch, receive, send)
    assert max(sent) == 65_536


@pytest.mark.parametrize("takes", [True, False], ids=["slowly", "nothing"])
async def test_a_file_that_takes_too_long_is_cut_and_leaves_room_for_others(house, reader, monkeypatch, takes):
    monkeypatch.setattr(streaming, "STREAM_S_MAX", 0.05)
    sent = list[dict[str, Any]]()

    async def receive():
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)
        if message.get("body") and not takes:
            await asyncio.Event().wait()

    with structlog.testing.capture_logs() as logged:
        await endless_file(house, reader, monkeypatch, receive, send)
    assert [one["after_s"] for one in logged if one["event"] == "file_cut"] == [0.05]
    assert all(message["more_body"] for message in sent[1:]), "it says nowhere that it is whole"


async def endless_file(house, reader, monkeypatch, receive, send):
    """Ask for a file that has no end, until the answer ends."""

    async def endless(*_):
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    name = data_of(make(reader))["export"]["export_id"]
    monkeypatch.setattr(files, "files", lambda *_, **__: {"a.csv": File("a.csv", "text/csv", endless)})
    app = app_for(house)
    app.state.exports = asyncio.Semaphore(1)
    headers = [(name.encode(), value.encode()) for name, value in reader.headers.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": f"{EXPORTS}/{name}/a.csv", "raw_path": b"", "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    async with asyncio.timeout(60):
        await cast("Any", app)(scope, receive, send)
    assert not app.state.exports.locked()
