"""The commands of operators, as a person types them; in this process, because each is a process otherwise."""

import json
import os
import re

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.command_line import payments
from api.reasons import CannotGoOn
from ledger.ids import parse
from tests.service import STRIPE_KEY, new_agent

ACTION = re.compile(r"opact_[0-9a-z]{26}\b")


@pytest.fixture
def run(database, sandbox, monkeypatch):
    """`run(argument, …)`: one command on the service's database; what it said, or why it could not go on."""
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PURSER_DATABASE_URL", database.run_url)
    monkeypatch.setenv("PURSER_STRIPE_SECRET_KEY", STRIPE_KEY)
    monkeypatch.setenv("PURSER_STRIPE_API_BASE", sandbox.url)

    def typed(*arguments):
        ended = CliRunner().invoke(app, arguments)
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.exception}"
        return ended.output

    return typed


@pytest.fixture
def paid(http, sandbox):
    """An agent that has paid for 500 credits, and the name of its attempt."""
    agent = new_agent(http)
    bought = agent.buy(agent.quote())
    sandbox.pay(bought["checkout_session_id"])
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    return agent, bought["payment_attempt_id"]


def test_a_refund_is_previewed_asked_about_and_recorded(run, paid):
    agent, attempt = paid
    agent.do("/v1/spends", credits=400)
    why = ("--reason", "wrong [size]")
    previewed = run("refund", attempt, *why, "--amount", "2.00")
    assert previewed.startswith("2: Nothing was refunded: with nobody to ask"), previewed
    done = run("refund", attempt, *why, "--amount", "2.00", "--yes")
    assert "2.00 USD of 5.00 USD go back" in done
    assert "200 credits" in done
    assert "100 were spent and will be owed" in done
    assert re.search(r"refund_[0-9a-z]{26} is under way as re_", done), done
    [key] = re.findall(r"--key (\S+)\.", done)
    again = run("refund", attempt, *why, "--amount", "2.00", "--key", key)
    assert re.findall(r"refund_\w+", again) == re.findall(r"refund_\w+", done)
    acts = run("actions", "--organization", agent.organization_id)
    assert acts.count(attempt) == 1
    assert "command line" in acts
    assert "wrong [size]" in acts


def test_a_key_that_nothing_was_asked_with_refunds_nothing_unasked(run, paid):
    agent, attempt = paid
    typed = ("refund", attempt, "--reason", "mistyped", "--key", f"refund_{attempt}")
    assert run(*typed).startswith("2: Nothing was refunded: with nobody to ask")
    assert "no actions" in run("actions", "--organization", agent.organization_id)
    done = run(*typed, "--yes")
    assert "5.00 USD of 5.00 USD go back" in done
    assert f"--key refund_{attempt}" in done
    again = run(*typed)
    assert "go back" not in again
    assert re.findall(r"refund_\w+ is under way", again) == re.findall(r"refund_\w+ is under way", done)


def test_a_key_that_another_refund_was_asked_with_refunds_nothing(run, paid):
    agent, attempt = paid
    typed = ("refund", attempt, "--reason", "x", "--key", f"refund_{attempt}")
    run(*typed, "--amount", "1.00", "--yes")
    refused = run(*typed, "--amount", "2.00", "--yes")
    assert refused.startswith("1: "), refused
    other = agent.buy(agent.quote())["payment_attempt_id"]
    assert run("refund", other, *typed[2:], "--yes").startswith("1: ")
    assert run("actions", "--organization", agent.organization_id).count("refund") == 1


def test_a_list_says_how_to_go_on(run, paid):
    agent, _ = paid
    for _ in range(2):
        run("freeze", agent.organization_id, "--reason", "once")
    first = run("actions", "--limit", "1", "--organization", agent.organization_id)
    [last] = ACTION.findall(first)
    assert f"more: purser actions --before {last}" in first
    rest = run("actions", "--before", last, "--organization", agent.organization_id)
    assert rest.count("freeze") == 1


def test_attempts_are_listed_and_shown(run, paid):
    agent, attempt = paid
    listed = run("attempts", "--organization", agent.organization_id)
    assert attempt in listed
    assert "succeeded" in listed
    assert "no attempts" in run("attempts", "--organization", agent.organization_id, "--stuck")
    shown = json.loads(run("attempts", "show", attempt))
    assert shown["payments"][0]["amount_cents"] == 500


def test_an_organization_is_frozen_and_let_go(run, paid):
    agent, _ = paid
    frozen = run("freeze", agent.organization_id, "--reason", "looks odd")
    assert f"{agent.organization_id} is frozen: 1 lot of credits," in frozen
    assert agent.ask("/v1/spends", credits=1).status_code == 402
    assert "may spend again" in run("unfreeze", agent.organization_id, "--reason", "was right")
    agent.do("/v1/spends", credits=1)


def test_what_cannot_be_done_is_a_sentence(run, paid):
    _, attempt = paid
    unknown = "payatt_" + "0" * 26
    assert run("attempts", "show", "shop").startswith("2: shop is not the id of a payment attempt")
    assert run("attempts", "show", unknown) == "1: There is no such attempt."
    assert run("attempts", "--state", "lost").startswith("2: --state is one of created,")
    assert run("owed", "write-off", attempt, "--reason", "x") == "1: 0 credits are owed."
    assert run("refund", attempt, "--reason", "x", "--amount", "9.00", "--yes") == "1: 500 cents can be refunded."
    assert "Missing option '--reason'" in run("freeze", "org_1")
    assert "printable" in run("freeze", "org_1", "--reason", "a\nb")
    assert "owes" in run("owed", "--help")


def test_what_agents_said_is_listed_newest_first_and_an_ownership_is_ended(run, http, database):
    agent = new_agent(http)
    for title in ("older", "newer"):
        agent.post("/v1/feedback", {"title": title, "severity": "high"})
    shown = run("feedback", "--limit", "2")
    assert shown.index("newer") < shown.index("older")
    assert run("feedback", "--before", "x").startswith("2: x is not the id of feedback (sig_…)")
    owner = "INSERT INTO billing.owners VALUES ($1, gen_random_uuid(), 'human@owners.example', now())"
    database.rows(owner, parse("org", agent.organization_id))
    why = ("--reason", "the wrong human")
    assert "is owned by nobody" in run("owners", "end", agent.organization_id, *why)
    assert agent.get("/v1/whoami")["claim_state"] == "unclaimed"
    assert run("owners", "end", agent.organization_id, *why) == "1: Nobody owns this organization."
    told = run("actions", "--organization", agent.organization_id)
    assert "end_ownership" in told
    assert "owners.example" not in told


@pytest.mark.parametrize(("typed", "cents"), [("5", 500), ("5.00", 500), ("0.05", 5), ("1e2", 10_000)])
def test_an_amount_is_dollars(typed, cents):
    assert payments.cents(typed) == cents


@pytest.mark.parametrize("typed", ["", "five", "0", "-1", "0.001", "NaN", "Infinity", "1e300"])
def test_what_is_no_amount_is_refused(typed):
    with pytest.raises(CannotGoOn):
        payments.cents(typed)
