"""The drill: everything is lost but last night's backup, and Stripe still knows what was paid."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.postgres.connection import ask
from api.running import embedding
from api.settings import Settings
from tests.service import (
    CHECKOUT,
    DEPOSIT,
    HOST,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    Agent,
    Sandbox,
    free_port,
    new_agent,
    sandbox_running,
    until,
)
from tests.serving.purser import Serving, purser, serving, typed

FETCHED_WITHIN_S = 60.0
"""The pager leaves the newest five seconds of the list for later."""
GRANTED = """
    SELECT p.external_id, count(r.id) FROM billing.external_payments p
    LEFT JOIN billing.receipts r ON r.attempt_id = p.attempt_id GROUP BY 1 ORDER BY 1"""
LETTERS = "SELECT id, type, state, reason FROM webhooks.letters WHERE position($1::bytea IN body) > 0 ORDER BY id"
TRIED_OUT = "UPDATE webhooks.letters SET tries = 12, next_try_at = now() WHERE state = 'pending' RETURNING id"
"""What happens within 74 minutes, at once."""


@contextmanager
def running(folder: Path, sandbox: Sandbox, port: int) -> Iterator[Serving]:
    """A service that embeds its database in `folder` and uses this pretend Stripe."""
    with serving(
        folder,
        port=port,
        PURSER_STRIPE_SECRET_KEY=STRIPE_KEY,
        PURSER_STRIPE_WEBHOOK_SECRETS=WEBHOOK_SECRET,
        PURSER_STRIPE_API_BASE=sandbox.url,
        PURSER_EVENTS_EVERY_S="0.5",
    ) as service:
        yield service


def bought(agent: Agent, method: str) -> dict[str, Any]:
    return agent.buy(agent.quote(method))


def pay(sandbox: Sandbox, purchase: dict[str, Any]) -> str:
    """Pay on either rail; the payment intent."""
    if "checkout_session_id" in purchase:
        return str(sandbox.pay(purchase["checkout_session_id"])["payment_intent"])
    return str(sandbox.send_usdc(purchase["stripe_x402"]["payable_instructions"])["payment_intent"])


def rows(folder: Path, query: str, *parameters: object) -> list[Any]:
    """What the database of a folder holds, asked as whoever migrates it, while its service runs."""
    with embedding.as_it_is(Settings(data_dir=folder / ".purser", database_url=None)) as found:
        assert found.migrate_url is not None
        return ask(found.migrate_url.get_secret_value(), query, *parameters)


def test_after_a_restore_what_was_paid_since_arrives_once_and_what_nobody_knows_is_parked(folder: Path) -> None:
    lost, port = folder, free_port()
    found = folder.parent / "restored"
    found.mkdir()
    with sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox:
        with running(lost, sandbox, port) as service, httpx.Client(base_url=service.url, timeout=20) as client:
            agent = new_agent(client)
            early = [bought(agent, method) for method in (CHECKOUT, DEPOSIT)]
            intents = [pay(sandbox, purchase) for purchase in early]
            waiting = [bought(agent, method) for method in (CHECKOUT, DEPOSIT)]
            for purchase in early:
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: rows(lost, "SELECT FROM webhooks.event_cursors"), within_s=FETCHED_WITHIN_S)
            made = purser(lost, "backup", "last night", PURSER_STRIPE_SECRET_KEY=STRIPE_KEY)
            assert made.returncode == 0, made.stderr
            late = [pay(sandbox, purchase) for purchase in waiting]
            younger = bought(agent, CHECKOUT)
            strange = pay(sandbox, younger)
            sandbox.control("POST", "refunds", payment_intent=intents[0], amount=100)
            for purchase in (*waiting, younger):
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: agent.paid_credits() == 5 * 500 - 100)
            assert service.end(signal.SIGTERM) == 0

        refused = typed(lost, "restore", "last night")
        assert refused.returncode == 1
        assert "is not empty" in refused.stderr
        done = purser(found, "restore", str(lost / "last night"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "books verified: journal, balances, lots and hash chain agree." in done.stdout
        assert "proofs agree" in done.stdout

        with running(found, sandbox, port) as service, httpx.Client(base_url=service.url, timeout=20) as client:
            agent = Agent(client, agent.token, agent.agent_id, agent.organization_id)
            assert agent.paid_credits() >= 2 * 500 - 100
            until(lambda: agent.paid_credits() == 4 * 500 - 100, within_s=FETCHED_WITHIN_S)
            for purchase in waiting:
                agent.wait_for_state("succeeded", quote_id=purchase["quote_id"])
            until(lambda: waiting_in_vain(found, strange), within_s=FETCHED_WITHIN_S)
            rows(found, TRIED_OUT)
            until(lambda: not [row for row in rows(found, LETTERS, strange.encode()) if row[2] == "pending"])
            told = typed(found, "letters", "--state", "parked")
            assert "there is no attempt" in " ".join(told.stdout.split())
            assert rows(found, GRANTED) == sorted((intent, 1) for intent in (*intents, *late))
            assert agent.paid_credits() == 4 * 500 - 100
            verified = typed(found, "verify")
            assert verified.returncode == 0, verified.stdout


def waiting_in_vain(folder: Path, intent: str) -> bool:
    letters = rows(folder, LETTERS, intent.encode())
    told = {kind for _, kind, _, reason in letters if reason is not None and "there is no attempt" in reason}
    return told >= {"checkout.session.completed", "payment_intent.succeeded"}
