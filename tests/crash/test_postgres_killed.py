"""PostgreSQL is killed again and again while agents buy: nothing is lost, nothing is granted twice."""

import os
import random
import signal
import threading
import time
from functools import partial

import httpx
import pytest

import migrations
from api.postgres.connection import ask
from api.postgres.databases import create_database
from api.postgres.server import Watch, running
from api.wiring import async_url
from tests.service import (
    CHECKOUT,
    DEPOSIT,
    HOST,
    LOGIN,
    PASSWORD,
    Database,
    free_port,
    new_agent,
    new_key,
    sandbox_running,
    service_running,
    until,
)

BUYERS = 4
PURCHASES = 6
KILLS = 5
SEED = 20261121


@pytest.fixture
def durable(tmp_path):
    """A database that keeps every commit, on a server that is started again when it dies."""
    with running(tmp_path / "postgres") as server:
        create_database(server, "purser")
        migrations.upgrade(async_url(server.url(database="purser")))
        ask(server.url(), f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}' IN ROLE purser_run")
        watch = Watch(server)
        watch.start()
        yield (
            server,
            Database(server.url(database="purser", user=LOGIN, password=PASSWORD), server.url(database="purser")),
        )
        watch.stop()


def insist(act):
    """Do what an agent does when it is told to try again: the same, under the same key."""

    def once():
        try:
            answer = act()
        except httpx.TransportError:
            return None
        return answer.json()["data"] if answer.status_code == 200 else None

    def patient():
        found = once()
        if found is None:
            time.sleep(0.2)
        return found

    return until(patient, within_s=60)


def buy_some(client, sandbox, number, bought):
    agent = insist(
        lambda: client.post("/v1/agent-signups", json={"agent_name": "b", "runtime": "t", "return_token": True})
    )
    headers = {"authorization": f"Bearer {agent['token']}"}
    for one in range(PURCHASES):
        method = CHECKOUT if (number + one) % 2 else DEPOSIT
        terms = {"credits": 100, "payment_method": method, "idempotency_key": f"q{one}"}
        quote = insist(lambda terms=terms: client.post("/v1/credit-quotes", json=terms, headers=headers))
        path = "stripe-checkout-sessions" if method == CHECKOUT else "stripe-x402-deposits"
        body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
        made = insist(
            lambda path=path, body=body: client.post(f"/v1/credit-purchases/{path}", json=body, headers=headers)
        )
        if method == CHECKOUT:
            sandbox.pay(made["checkout_session_id"])
        else:
            sandbox.send_usdc(made["stripe_x402"]["payable_instructions"])
    bought.append(headers)


@pytest.mark.long
def test_postgres_killed_while_agents_buy_loses_nothing_and_grants_nothing_twice(durable):
    server, database = durable
    port = free_port()
    chance = random.Random(SEED)
    bought: list[dict[str, str]] = []
    with (
        sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox,
        service_running(database, sandbox, port=port) as service,
        service.client() as client,
    ):
        new_agent(client)
        buyers = [threading.Thread(target=buy_some, args=(client, sandbox, number, bought)) for number in range(BUYERS)]
        for buyer in buyers:
            buyer.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.3, 1.5))
            pid = int((server.data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            os.kill(pid, signal.SIGKILL)
            until(lambda: _answers(database), within_s=60)
        for buyer in buyers:
            buyer.join()
        assert len(bought) == BUYERS
        for headers in bought:
            until(partial(_has_all, client, headers), within_s=120)
    assert ask(database.owner_url, "SELECT count(*) FROM billing.receipts") == [(BUYERS * PURCHASES,)]
    assert ask(database.owner_url, "SELECT count(*) FROM billing.external_payments") == [(BUYERS * PURCHASES,)]
    assert ask(database.owner_url, "SELECT DISTINCT state FROM billing.payment_attempts") == [("succeeded",)]
    assert ask(database.owner_url, "SELECT count(*) FROM webhooks.letters WHERE state = 'parked'") == [(0,)]


def _answers(database):
    try:
        return ask(database.owner_url, "SELECT 1") == [(1,)]
    except Exception:  # noqa: BLE001 - it is on its way back
        time.sleep(0.05)
        return False


def _has_all(client, headers):
    answer = client.get("/v1/quota", headers=headers)
    time.sleep(0.2)
    limits = answer.json()["data"]["limits"] if answer.status_code == 200 else {}
    return limits.get("payment_backed_remaining_credits") == 100 * PURCHASES
