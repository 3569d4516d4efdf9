"""Operators and reconciliation over HTTP: what does not fit, and what is decided of it by whom."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing import operator_keys
from billing.scopes import Scope
from ledger import ids
from tests.books.books import new_id
from tests.giving import in_house, new_operator
from tests.service import Database, Operator, data_of, error_of, new_key

ROOT = "/v1/operator/exceptions"
MADE = """
    INSERT INTO finance.exceptions (id, source, subject, finding, amount, currency, here, there, state, occurred_at,
      first_seen_at, opened_at, last_seen_at, updated_at)
    VALUES ($1, 'bank', $2, 'different', $3, 'usd', '{}', $4, 'open', $5, $5, $5, $5, $5)"""


@pytest.fixture(scope="module")
def operator(http, database) -> Operator:
    return new_operator(http, database, Scope.OPERATE)


@pytest.fixture(scope="module")
def colleague(http, database) -> Operator:
    """A key of another holder."""
    made = in_house(
        database,
        lambda house: operator_keys.create(
            house.sessions, name="another holder", scopes=[Scope.OPERATE], now=house.clock()
        ),
    )
    return Operator(http, made.token, made.key_id)


def made(database: Database, amount: int) -> str:
    """An exception of the bank that is open; its name."""
    exception_id = new_id()
    at = datetime.now(UTC) - timedelta(days=2, hours=1)
    database.rows(MADE, exception_id, f"po_{exception_id.hex}", amount, json.dumps({"text": "STRIPE"}), at)
    return ids.external("exception", exception_id)


def act(operator: Operator, name: str, what: str, key: str | None = None, **more: Any) -> Any:
    return operator.ask(f"{ROOT}/{name}/{what}", key, reason="a rounding of the bank", **more)


def test_a_small_exception_is_settled_by_one_person_once(operator, database):
    name, key = made(database, -3), new_key()
    listed = operator.get(ROOT, state="open", limit="100")["exceptions"]
    [one] = [one for one in listed if one["exception_id"] == name]
    assert one["age_days"] == 2
    assert not {"reason", "holder", "approver", "here", "there"} & set(one)
    assert name in [one["exception_id"] for one in operator.get(ROOT, limit="100")["exceptions"]]
    acknowledged = data_of(act(operator, name, "acknowledge"))["exception"]
    assert (acknowledged["state"], acknowledged["there"]) == ("acknowledged", {"text": "STRIPE"})
    error_of(act(operator, name, "approve", proposal_id="opact_1"), 409, "STATE_CONFLICT")
    error_of(act(operator, name, "resolve", account="usdc_clearing"), 400, "INVALID_ARGUMENTS")
    first = data_of(act(operator, name, "resolve", key, against="fees"))
    assert (first["exception"]["state"], first["replayed"]) == ("resolved", False)
    again = data_of(act(operator, name, "resolve", key, against="fees"))
    assert (again["exception"]["operation_id"], again["replayed"]) == (first["exception"]["operation_id"], True)
    error_of(act(operator, name, "resolve", key, against="unallocated_deposits"), 409, "SPENDING_CONFLICT")
    error_of(act(operator, name, "resolve"), 409, "STATE_CONFLICT")
    [(posted_under, cause)] = database.rows(
        "SELECT key, cause FROM ledger.operations WHERE id = $1", ids.parse("op", first["exception"]["operation_id"])
    )
    assert posted_under == f"adjustment:{ids.parse('exception', name)}:1"
    assert name in cause
    assert first["action"]["action_id"] in cause
    assert operator.get(f"{ROOT}/{name}")["exception"]["proposal"]["amount"] == -3


def test_a_large_exception_takes_two_key_holders(operator, colleague, http, database):
    name = made(database, 10_001)
    twin = new_operator(http, database, Scope.OPERATE)  # another key of the same holder
    done = data_of(act(operator, name, "resolve"))
    proposed = done["exception"]
    assert (proposed["state"], proposed["operation_id"]) == ("proposed", None)
    first = {"proposal_id": proposed["proposal_id"]}
    assert first["proposal_id"] == done["action"]["action_id"]
    [listed] = [one for one in operator.get(ROOT, state="proposed")["exceptions"] if one["exception_id"] == name]
    assert (listed["proposal_id"], listed["proposal"]["amount"]) == (first["proposal_id"], 10_001)
    for nobody in (operator, twin):
        error_of(act(nobody, name, "approve", **first), 409, "STATE_CONFLICT")
    taken_back = data_of(act(operator, name, "acknowledge"))["exception"]
    assert (taken_back["proposal"], taken_back["proposal_id"]) == (None, None)
    other = data_of(act(operator, name, "resolve", against="fees"))["exception"]["proposal_id"]
    refused = error_of(act(colleague, name, "approve", **first), 409, "STATE_CONFLICT")
    assert other in refused["message"]
    key = new_key()
    approved = data_of(act(colleague, name, "approve", key, proposal_id=other))["exception"]
    assert (approved["state"], approved["approver"]) == ("resolved", "another holder")
    assert data_of(act(colleague, name, "approve", key, proposal_id=other))["replayed"]
    error_of(act(colleague, name, "approve", key, **first), 409, "SPENDING_CONFLICT")
    error_of(act(colleague, name, "approve", proposal_id=other), 409, "STATE_CONFLICT")


def test_what_runs_came_to_is_listed_and_the_last_is_shown_whole(operator, database):
    report: dict[str, Any] = {
        "as_of": "2026-11-01T02:00:00+00:00", "clearing": [], "covered": None, "chain": [],
        "sources": {"bank": {"matched": 1}}, "opened": 0, "gone": 0, "exceptions": [], "more_exceptions": 0,
        "resolved": [], "more_resolved": 0,
    }  # fmt: skip
    run_id, now = new_id(), datetime.now(UTC)
    database.rows("INSERT INTO finance.reconciliations VALUES ($1, 'test', $2, $3)", run_id, json.dumps(report), now)
    name = ids.external("reconciliation", run_id)
    [listed] = [
        one for one in operator.get("/v1/operator/reconciliations")["reconciliations"]
        if one["reconciliation_id"] == name
    ]  # fmt: skip
    assert not {"exceptions", "resolved"} & set(listed)
    assert listed["sources"] == report["sources"]
    latest = operator.get("/v1/operator/reconciliations/latest")["reconciliation"]
    assert (latest["reconciliation_id"], latest["exceptions"]) == (name, [])
