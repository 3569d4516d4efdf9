"""The drill: everything is lost but last night's backup, and Stripe still knows what was paid."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from api.command_line import books
from api.command_line.backup import back_up, restore
from api.postgres.databases import create_database, drop_database
from api.postgres.unavailable import PostgresUnavailable
from api.reasons import CannotGoOn
from api.running import embedding
from api.settings import Settings
from api.wiring import build
from tests import postgres_cluster as cluster
from tests.service import (
    CHECKOUT,
    DEPOSIT,
    HOST,
    LOGIN,
    PASSWORD,
    Agent,
    Database,
    Sandbox,
    free_port,
    new_agent,
    sandbox_running,
    service_running,
    until,
)

FETCHED_WITHIN_S = 120.0
"""The pager leaves the newest five seconds of the list for later."""
GRANTED = """
    SELECT p.external_id, count(r.id) FROM billing.external_payments p
    LEFT JOIN billing.receipts r ON r.attempt_id = p.attempt_id GROUP BY 1 ORDER BY 1"""
LETTERS = "SELECT id, type, state, reason FROM webhooks.letters WHERE position($1::bytea IN body) > 0 ORDER BY id"
TRIED_OUT = "UPDATE webhooks.letters SET tries = 12, next_try_at = now() WHERE state = 'pending' RETURNING id"
"""What happens within 74 minutes, at once."""


@pytest.fixture
def unmade(pytestconfig: pytest.Config) -> Iterator[Database]:
    """A database that nobody has migrated."""
    server = cluster.server(pytestconfig)
    name = f"drill_{getattr(pytestconfig, 'workerinput', {}).get('workerid', 'main')}"
    create_database(server, name)
    yield Database(server.url(database=name, user=LOGIN, password=PASSWORD), server.url(database=name))
    drop_database(server, name)


def settings_of(database: Database) -> Settings:
    """As an operator beside the service has them."""
    return Settings(database_url=SecretStr(database.run_url), migrate_url=SecretStr(database.owner_url))


def bought(agent: Agent, method: str) -> dict[str, Any]:
    return agent.buy(agent.quote(method))


def pay(sandbox: Sandbox, purchase: dict[str, Any]) -> str:
    """Pay on either rail; the payment intent."""
    if "checkout_session_id" in purchase:
        return str(sandbox.pay(purchase["checkout_session_id"])["payment_intent"])
    return str(sandbox.send_usdc(purchase["stripe_x402"]["payable_instructions"])["payment_intent"])


async def fits(database: Database) -> bool:
    """Whether `purser verify` finds nothing."""
    house = build(settings_of(database))
    try:
        return books.tell(await books.verify(house, None))
    finally:
        await house.close()


@pytest.mark.long
def test_after_a_restore_what_was_paid_since_arrives_once_and_what_nobody_knows_is_parked(
    tmp_path: Path, new_databases: Callable[[str], Database], unmade: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, found, port, file = new_databases("lost"), unmade, free_port(), tmp_path / "last night"
    with sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox:
        with service_running(lost, sandbox, port=port, events_every_s=0.5) as service, service.client() as client:
            agent = new_agent(client)
            early = [bought(agent, method) for method in (CHECKOUT, DEPOSIT)]
            intents = [pay(sandbox, purchase) for purchase in early]
            waiting = [bought(agent, method) for method in (CHECKOUT, DEPOSIT)]
            for purchase in early:
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: lost.rows("SELECT FROM webhooks.event_cursors"), within_s=FETCHED_WITHIN_S)
            back_up(settings_of(lost), file, force=False)
            late = [pay(sandbox, purchase) for purchase in waiting]
            younger = bought(agent, CHECKOUT)
            strange = pay(sandbox, younger)
            sandbox.control("POST", "refunds", payment_intent=intents[0], amount=100)
            for purchase in (*waiting, younger):
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: agent.paid_credits() == 5 * 500 - 100, within_s=FETCHED_WITHIN_S)

        assert restore(settings_of(found), file)
        said = capsys.readouterr().out
        assert "books verified: journal, balances, lots and hash chain agree." in said
        assert "proofs agree" in said

        with service_running(found, sandbox, port=port, events_every_s=0.5) as service, service.client() as client:
            agent = Agent(client, agent.token, agent.agent_id, agent.organization_id)
            assert agent.paid_credits() >= 2 * 500 - 100
            until(lambda: agent.paid_credits() == 4 * 500 - 100, within_s=FETCHED_WITHIN_S)
            for purchase in waiting:
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: waiting_in_vain(found, strange), within_s=FETCHED_WITHIN_S)
            found.rows(TRIED_OUT)
            until(lambda: "parked" in states(found, strange), within_s=FETCHED_WITHIN_S)
            until(lambda: "pending" not in states(found, strange), within_s=FETCHED_WITHIN_S)
            assert found.rows(GRANTED) == sorted((intent, 1) for intent in (*intents, *late))
            assert agent.paid_credits() == 4 * 500 - 100
            assert asyncio.run(fits(found))


def states(database: Database, intent: str) -> set[str]:
    return {row[2] for row in database.rows(LETTERS, intent.encode())}


def waiting_in_vain(database: Database, intent: str) -> bool:
    letters = database.rows(LETTERS, intent.encode())
    told = {kind for _, kind, _, reason in letters if reason is not None and "there is no attempt" in reason}
    return told >= {"checkout.session.completed", "payment_intent.succeeded"}


def test_an_embedded_database_is_backed_up_while_it_runs_and_restored_into_another_folder(folder: Path) -> None:
    here, there = (Settings(data_dir=folder / name, database_url=None) for name in ("here", "there"))
    with embedding.database(here) as running:
        back_up(here, folder / "last night", force=False)
        with pytest.raises(PostgresUnavailable, match="already runs the PostgreSQL"):
            restore(here, folder / "last night")
        assert asyncio.run(fits(databases_of(running)))
    with pytest.raises(CannotGoOn, match="is not empty"):
        restore(here, folder / "last night")
    assert restore(there, folder / "last night")


def databases_of(settings: Settings) -> Database:
    assert settings.database_url is not None
    assert settings.migrate_url is not None
    return Database(settings.database_url.get_secret_value(), settings.migrate_url.get_secret_value())
