"""Operators and outgoing webhooks over HTTP and on the command line: the real service, its worker, a receiver."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from standardwebhooks import Webhook
from typer.main import get_command
from typer.testing import CliRunner

from api.cli import app
from api.reasons import CannotGoOn
from billing.scopes import Scope
from tests.giving import give, new_operator
from tests.service import HOST, data_of, error_of, new_agent, new_key, until
from tests.warm import engine_of

ROOT = "/v1/operator/webhook-endpoints"
DELIVERIES = "/v1/operator/webhook-deliveries"


@dataclass
class Listener:
    """A receiver that answers with `status` and keeps what it was told."""

    url: str = ""
    status: int = 200
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def about(self, type_: str) -> list[Any]:
        return [body for body in (json.loads(raw) for _, raw in list(self.heard)) if body["type"] == type_]


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()

    class Hearing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((HOST, 0), Hearing) as server:
        found.url = f"http://{HOST}:{server.server_address[1]}/hook"
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        yield found
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def telling(new_databases, start_service):
    """A service with a worker on a database of its own, whose product may have private addresses."""
    return start_service(database=new_databases("telling"), worker=True, outbound_private=True, outbound_timeout_s=30)


@pytest.fixture(scope="module")
def client(telling):
    with telling.client() as found:
        yield found


@pytest.fixture(scope="module")
def operator(client, telling):
    return new_operator(client, telling.database, Scope.OPERATE)


def act(operator, path, key=None, **body):
    return operator.ask(path, key, **{"reason": "a test", **body})


@pytest.fixture
def made(operator, listener):
    """An endpoint at the listener, which is disabled at the end."""
    found = data_of(act(operator, ROOT, url=listener.url))
    yield found
    act(operator, f"{ROOT}/{found['endpoint']['endpoint_id']}/disable")


def test_what_happens_is_told_as_the_agent_sees_it(client, telling, listener, made):
    agent = new_agent(client)
    give(telling.database, agent, 100)
    agent.do("/v1/spends", credits=7)
    agent.buy(agent.quote())
    until(lambda: len(listener.heard) >= 2)
    seen = {one["event_id"]: one for one in agent.get("/v1/activity")["events"]}
    assert len(seen) == 2
    for headers, raw in listener.heard:
        body = Webhook(made["secret"]).verify(raw, headers)
        whose = body["data"].pop("organization_id")
        assert (whose, body["data"]) == (agent.organization_id, seen[body["data"]["event_id"]])
        assert (body["type"], body["timestamp"]) == (body["data"]["type"], body["data"]["occurred_at"])
    assert listener.about("usage.credit_consumed")[0]["data"]["cost"] == {"credits": 7}


def test_a_secret_is_shown_when_it_is_made_and_never_again(operator, made):
    name, secret = made["endpoint"]["endpoint_id"], made["secret"]
    rotated = data_of(act(operator, f"{ROOT}/{name}/rotate-secret"))
    assert rotated["secret"] != secret
    assert rotated["endpoint"]["old_secret_until"] is not None
    for path in (ROOT, f"{ROOT}/{name}", "/v1/operator/actions"):
        shown = operator.send("GET", path, limit=100).text
        assert "whsec_" not in shown
        assert secret.removeprefix("whsec_") not in shown
    assert "whsec_" not in act(operator, f"{ROOT}/{name}/enable").text


def test_an_act_that_is_sent_twice_is_done_once_and_tells_no_secret_twice(operator, listener, made):
    key, name = new_key(), made["endpoint"]["endpoint_id"]
    first = data_of(act(operator, ROOT, key, url=listener.url, types=["job.completed"]))
    again = data_of(act(operator, ROOT, key, url=listener.url, types=["job.completed"]))
    assert (again["replayed"], again["endpoint"]) == (True, first["endpoint"])
    assert "secret" not in again
    for other in ({"types": ["job.planned"]}, {"url": listener.url + "2"}, {"reason": "another"}):
        body = {"url": listener.url, "types": ["job.completed"], **other}
        error_of(act(operator, ROOT, key, **body), 409, "SPENDING_CONFLICT")
    second = new_key()
    rotated = data_of(act(operator, f"{ROOT}/{name}/rotate-secret", second, grace_seconds=60))
    replayed = data_of(act(operator, f"{ROOT}/{name}/rotate-secret", second, grace_seconds=60))
    assert "secret" in rotated
    assert "secret" not in replayed
    error_of(act(operator, f"{ROOT}/{name}/rotate-secret", second, grace_seconds=0), 409, "SPENDING_CONFLICT")
    data_of(act(operator, f"{ROOT}/{first['endpoint']['endpoint_id']}/disable"))


def test_an_endpoint_is_changed_disabled_and_enabled_and_every_act_is_recorded(operator, made):
    name, key = made["endpoint"]["endpoint_id"], new_key()
    changed = data_of(act(operator, f"{ROOT}/{name}", key, description="books", types=["job.completed"]))
    assert (changed["endpoint"]["description"], changed["endpoint"]["types"]) == ("books", ["job.completed"])
    assert changed["endpoint"]["url"] == made["endpoint"]["url"]
    error_of(act(operator, f"{ROOT}/{name}", key, description="other"), 409, "SPENDING_CONFLICT")
    assert data_of(act(operator, f"{ROOT}/{name}/disable"))["endpoint"]["disabled_reason"] == "by an operator"
    assert data_of(act(operator, f"{ROOT}/{name}/enable"))["endpoint"]["enabled"] is True
    recorded = operator.get("/v1/operator/actions", limit=4)["actions"]
    assert [one["action"] for one in recorded] == [
        "enable_webhook_endpoint", "disable_webhook_endpoint", "change_webhook_endpoint", "make_webhook_endpoint",
    ]  # fmt: skip
    assert {one["subject"] for one in recorded} == {name, made["endpoint"]["url"]}


def test_a_test_message_says_at_once_what_came_of_it_and_is_replayed_under_its_id(operator, listener, made):
    name = made["endpoint"]["endpoint_id"]
    tested = data_of(act(operator, f"{ROOT}/{name}/test"))["delivery"]
    assert (tested["state"], tested["last_status"], tested["type"]) == ("delivered", 200, "purser.test")
    listener.status = 503
    failed = data_of(act(operator, f"{ROOT}/{name}/test"))["delivery"]
    assert (failed["state"], failed["last_error"]) == ("failed", "the receiver answered 503")
    listener.status = 204
    data_of(act(operator, f"{DELIVERIES}/{failed['delivery_id']}/replay"))
    until(lambda: operator.get(f"{DELIVERIES}/{failed['delivery_id']}")["delivery"]["state"] == "delivered")
    assert [headers["webhook-id"] for headers, _ in listener.heard] == [
        tested["delivery_id"], failed["delivery_id"], failed["delivery_id"],
    ]  # fmt: skip
    first = operator.get(DELIVERIES, endpoint_id=name, limit=1)
    rest = operator.get(DELIVERIES, endpoint_id=name, limit=1, cursor=first["next_cursor"])
    listed = [*first["deliveries"], *rest["deliveries"]]
    assert [one["delivery_id"] for one in listed] == [failed["delivery_id"], tested["delivery_id"]]
    assert "body" not in listed[0]
    assert operator.get(DELIVERIES, endpoint_id=name, state="failed")["deliveries"] == []
    whole = operator.get(f"{DELIVERIES}/{tested['delivery_id']}")["delivery"]
    assert whole["body"].encode() == listener.heard[0][1]
    data_of(act(operator, f"{ROOT}/{name}/disable"))
    error_of(act(operator, f"{DELIVERIES}/{failed['delivery_id']}/replay"), 409, "STATE_CONFLICT")


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://user:password@127.0.0.1/"},
        {"url": "http://169.254.169.254/latest/meta-data"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "http://127.0.0.1/#fragment"},
        {"url": "http://127.0.0.1/" + "x" * 2048},
        {"url": ""},
        {"types": ["job.lost"]},
        {"types": ["job.completed", "job.completed"]},
        {"types": "job.completed"},
        {"description": "a\nb"},
        {"description": "x" * 256},
    ],
)
def test_what_can_be_no_endpoint_is_refused(operator, body):
    error_of(act(operator, ROOT, **{"url": "http://127.0.0.1/", **body}), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize(
    "url", ["http://receiver.example/", "https://127.0.0.1/", "https://10.1.2.3/", "https://[::1]/"]
)
def test_without_leave_for_private_addresses_only_https_to_public_ones_can_be_named(http, database, url):
    error_of(act(new_operator(http, database, Scope.OPERATE), ROOT, url=url), 400, "INVALID_ARGUMENTS")


def test_a_change_that_changes_nothing_and_a_grace_that_is_too_long_are_refused(operator, made):
    name = made["endpoint"]["endpoint_id"]
    error_of(act(operator, f"{ROOT}/{name}"), 400, "INVALID_ARGUMENTS")
    error_of(act(operator, f"{ROOT}/{name}/rotate-secret", grace_seconds=604_801), 400, "INVALID_ARGUMENTS")


@pytest.fixture
def run(telling, monkeypatch):
    """`run(argument, …)`: one command on the service's database; what it said, or why it could not go on.

    All of them on one engine and one reading of the command line, which take most of a command's time.
    """
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PURSER_DATABASE_URL", telling.database.run_url)
    monkeypatch.setenv("PURSER_OUTBOUND_PRIVATE", "true")
    monkeypatch.setattr("api.wiring.engine", partial(engine_of, purpose="webhooks typed"))
    monkeypatch.setattr("typer.testing._get_command", cache(get_command))

    def typed(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["webhooks", *arguments])
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.exception}"
        return str(ended.output)

    return typed


def test_a_person_does_the_same_on_the_command_line(run, listener):
    why = ("--reason", "by hand")
    said = run("add", listener.url, "--type", "job.completed", *why).split()
    endpoint, secret = said[0], next(word for word in said if word.startswith("whsec_"))
    assert "the receiver answered 200" in run("test", endpoint, *why)
    assert Webhook(secret).verify(listener.heard[0][1], listener.heard[0][0])["type"] == "purser.test"
    listener.status = 500
    failed = run("test", endpoint, *why)
    assert failed.startswith("1: msg_")
    assert failed.endswith("was not delivered: the receiver answered 500.")
    rotated = run("rotate", endpoint, "--grace", "60", *why)
    assert "whsec_" in rotated
    assert secret not in rotated
    assert "signs too until" in rotated
    listed = run("list")
    assert endpoint in listed
    assert "whsec_" not in listed
    delivery = failed.split()[1]
    assert delivery in run("deliveries", "--endpoint", endpoint, "--state", "failed")
    assert json.loads(run("show", delivery))["last_status"] == 500
    assert "will be sent again" in run("replay", delivery, *why)
    assert "told nothing more" in run("disable", endpoint, *why)
    assert "its endpoint is disabled" in run("replay", delivery, *why).lower()
    assert "is told what happens" in run("enable", endpoint, *why)
    run("disable", endpoint, *why)
    assert run("test", "whep_1", *why).startswith("2: ")
    assert run("add", "http://a:b@127.0.0.1/", *why).startswith("2: ")
