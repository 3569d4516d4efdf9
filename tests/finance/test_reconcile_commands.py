"""`purser reconcile` and `purser exceptions`, as a person types them; in this process, because it is quicker."""

import json
import os
import re

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.reasons import CannotGoOn
from billing import operator_keys
from billing.scopes import Scope
from tests.giving import in_house

REPORT = """balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category
txn_a,2026-10-05 08:00:00,usd,-7.00,0.00,-7.00,fee
txn_b,2026-10-06 08:00:00,usd,-200.00,0.00,-200.00,fee
"""
BANK = "date,amount,currency,description\n2026-10-05,12.00,USD,STRIPE\n2026-10-05,-900.00,USD,RENT\n"


@pytest.fixture(scope="module")
def reconcile_commands(new_databases):
    return new_databases("reconcile_commands")


@pytest.fixture
def run(reconcile_commands, monkeypatch):
    """`run(argument, …)`: one command; what it said, or why it stopped."""
    for name in [name for name in os.environ if name.startswith("PURSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PURSER_DATABASE_URL", reconcile_commands.run_url)

    def typed(*arguments, stdin=None):
        ended = CliRunner().invoke(app, [str(one) for one in arguments], input=stdin)
        if isinstance(ended.exception, CannotGoOn):
            return f"{ended.exception.exit_code}: {ended.exception}"
        assert ended.exception is None, ended.output
        return ended.output

    return typed


def test_files_are_compared_and_what_does_not_fit_is_settled_by_one_or_two_people(run, reconcile_commands, tmp_path):
    report, bank, wrong = tmp_path / "report.csv", tmp_path / "bank.csv", tmp_path / "wrong.csv"
    report.write_text(REPORT)
    bank.write_text(BANK)
    wrong.write_text(REPORT.replace("-7.00,fee", "-7.01,fee").replace("txn_a", "txn_c"))
    assert run("reconcile", "--from-stripe").startswith("2: Stripe cannot be asked")
    refused = run("reconcile", "--stripe-report", wrong)
    assert refused.startswith("1: Nothing was reconciled: wrong.csv, line 2, column net: -7.00 less 0.00 is not -7.01")
    said = " ".join(run("reconcile", "--stripe-report", report, "--bank", bank).split())
    assert "report.csv: 2 lines bank.csv: 2 lines" in said
    bank.write_text(BANK + "2026-10-07,-5.00,USD,CHARGES\n")
    assert "bank.csv: 1 lines, and 2 that were known already" in run("reconcile", "--bank", bank)
    assert "clearing: 0.00 USD here, -207.00 USD at Stripe" in said
    shown = json.loads(run("reconcile", "--json", "--no-stripe", "--bank", bank))
    found = {one["subject"]: one for one in shown["exceptions"]}
    assert {(one["source"], one["finding"], one["amount"]) for one in found.values()} == {
        ("stripe_lines", "missing_here", -700),
        ("stripe_lines", "missing_here", -20000),
        ("bank", "missing_here", 1200),
    }
    small, large = found["txn_a"]["exception_id"], found["txn_b"]["exception_id"]
    assert json.loads(run("exceptions", "show", small))["there"]["net_cents"] == -700
    aged = json.loads(run("exceptions", "show", small))["age_days"] - found["txn_a"]["age_days"]
    assert aged in {0, 1}, "a day of its age may end between the two"
    assert found["txn_a"]["age_days"] > 0
    assert "acknowledged" in run("exceptions", "acknowledge", small, "--reason", "asked Stripe")
    assert f"{small} is resolved; -7.00 USD" in run("exceptions", "resolve", small, "--reason", "a fee")
    refused = run("exceptions", "resolve", large, "--reason", "a fee")
    assert refused == "1: Above 100.00 USD an adjustment is proposed with an operator key."

    def made(name, scope):
        return in_house(
            reconcile_commands,
            lambda house: operator_keys.create(house.sessions, name=name, scopes=[scope], now=house.clock()),
        ).token

    token = tmp_path / "token"
    token.write_text(f"{made('Ada', Scope.OPERATE)}\n")
    proposed = run("exceptions", "resolve", large, "--reason", "a fee", "--token-file", token)
    [proposal] = re.findall(r"is proposed as (opact_\w{26}); another key holder must approve", proposed)
    assert json.loads(run("exceptions", "show", large))["proposal_id"] == proposal
    token.write_text(f"{made('Grace', Scope.OPERATE)}\n")
    approve = ("exceptions", "approve", large, "--reason", "so", "--proposal", proposal)
    assert run(*approve, stdin="").startswith("1:")
    assert "has not the scope operate" in run(*approve, stdin=made("Reader", Scope.READ))
    assert "is resolved" in run(*approve, "--token-file", token)
    assert run(*approve, "--token-file", token).startswith("1:")
    listed = run("exceptions", "list")
    assert len(re.findall(r"exception_\w{26}", listed)) == 1
    assert large in run("exceptions", "--state", "resolved")
    assert run("exceptions", "list", "--state", "wrong").startswith("2:")
    assert json.loads(run("reconcile", "--json"))["clearing"][0]["unexplained_cents"] == 0
