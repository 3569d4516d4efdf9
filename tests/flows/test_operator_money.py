"""Operators and payments over HTTP: attempts, refunds, what is owed, and stopping an organization."""

import pytest

from billing.scopes import Scope
from ledger import ids
from tests.giving import new_operator
from tests.service import Operator, data_of, error_of, new_key, until

ROOT = "/v1/operator"


@pytest.fixture(scope="module")
def operator(http, database) -> Operator:
    return new_operator(http, database, Scope.OPERATE)


def paid(agent, sandbox, credits_=500) -> str:
    """An attempt of the agent that has been paid; its name."""
    bought = agent.buy(agent.quote(credits_=credits_))
    sandbox.pay(bought["checkout_session_id"])
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    return str(bought["payment_attempt_id"])


def refund(operator, attempt, key=None, **body):
    return operator.ask(f"{ROOT}/refunds", key, **{"payment_attempt_id": attempt, "reason": "asked for", **body})


def test_an_attempt_is_shown_with_its_request_its_payment_and_its_receipt(operator, agent, sandbox):
    name = paid(agent, sandbox)
    shown = operator.get(f"{ROOT}/attempts/{name}")["attempt"]
    assert (shown["state"], shown["organization_id"]) == ("succeeded", agent.organization_id)
    assert shown["quote"]["credits"] == 500
    assert [one["state"] for one in shown["requests"]] == ["answered"]
    [payment] = shown["payments"]
    assert (payment["purpose"], payment["amount_cents"]) == ("granted", 500)
    assert shown["receipt_id"].startswith("receipt_")
    assert shown["reversals"] == shown["refunds"] == []


def test_attempts_are_listed_by_state_and_organization_and_those_that_are_stuck(operator, agent, database):
    name = agent.buy(agent.quote())["payment_attempt_id"]
    mine = {"organization_id": agent.organization_id}
    assert [one["payment_attempt_id"] for one in operator.get(f"{ROOT}/attempts", **mine)["attempts"]] == [name]
    assert operator.get(f"{ROOT}/attempts", state="succeeded", **mine)["attempts"] == []
    assert operator.get(f"{ROOT}/attempts", stuck="true", **mine)["attempts"] == []
    database.rows(
        "UPDATE billing.payment_attempts SET payable_until = payable_until - interval '30 hours' WHERE id = $1",
        ids.parse("payatt", name),
    )
    stuck = operator.get(f"{ROOT}/attempts", stuck="true", **mine)["attempts"]
    assert [one["payment_attempt_id"] for one in stuck] == [name]


def test_a_preview_says_what_is_unspent_and_what_would_be_owed_and_does_nothing(operator, agent, sandbox):
    name = paid(agent, sandbox)
    agent.do("/v1/spends", credits=400)
    found = data_of(refund(operator, name, dry_run=True))
    assert found["refund"] is None
    preview = found["preview"]
    assert (preview["amount_cents"], preview["credits"]) == (500, 500)
    assert (preview["credits_unspent"], preview["credits_owed"]) == (100, 400)
    assert data_of(refund(operator, name, dry_run=True, amount_cents=100))["preview"]["credits_owed"] == 0
    assert operator.get(f"{ROOT}/refunds", payment_attempt_id=name)["refunds"] == []
    error_of(refund(operator, name, dry_run=True, amount_cents=501), 409, "AMOUNT_EXCEEDS_REST")


def test_a_refund_takes_the_credits_back_once_and_what_was_spent_is_owed_until_it_is_written_off(
    operator, agent, sandbox
):
    name, key = paid(agent, sandbox), new_key()
    agent.do("/v1/spends", credits=400)
    asked = data_of(refund(operator, name, key))["refund"]
    assert (asked["state"], asked["amount_cents"]) == ("answered", 500)
    assert data_of(refund(operator, name, key))["refund"]["refund_id"] == asked["refund_id"]
    error_of(refund(operator, name, key, amount_cents=100), 409, "SPENDING_CONFLICT")
    error_of(refund(operator, name), 409, "AMOUNT_EXCEEDS_REST")

    owing = {"organization_id": agent.organization_id}
    [owed] = until(lambda: operator.get(f"{ROOT}/owed", **owing)["owed"])
    assert (owed["payment_attempt_id"], owed["owed_credits"]) == (name, 400)
    shown = operator.get(f"{ROOT}/refunds/{asked['refund_id']}")["refund"]
    assert (shown["reversal"]["status"], shown["reversal"]["live_cents"]) == ("succeeded", 500)

    path, part = f"{ROOT}/owed/{name}/write-off", new_key()
    error_of(operator.ask(path, reason="gone", credits=401), 409, "AMOUNT_EXCEEDS_REST")
    first = operator.do(path, part, reason="gone", credits=150)
    assert (first["owed"]["owed_credits"], first["replayed"]) == (250, False)
    again = operator.do(path, part, reason="gone", credits=150)
    assert (again["owed"]["owed_credits"], again["replayed"]) == (250, True)
    error_of(operator.ask(path, part, reason="gone", credits=151), 409, "SPENDING_CONFLICT")
    assert operator.do(path, reason="gone")["owed"] is None
    acts = [one["action"] for one in operator.get(f"{ROOT}/actions", **owing)["actions"]]
    assert acts == ["write_off", "write_off", "refund"]


def test_a_frozen_organization_spends_nothing_until_it_is_let_go(operator, agent, sandbox):
    paid(agent, sandbox)
    path, key = f"{ROOT}/organizations/{agent.organization_id}", new_key()
    stopped = operator.do(f"{path}/freeze", key, reason="looks odd")
    assert (stopped["frozen"], stopped["replayed"]) == (True, False)
    assert stopped["action"]["reason"] == "looks odd"
    error_of(agent.ask("/v1/spends", credits=1), 402, "QUOTA_EXCEEDED")
    assert operator.do(f"{path}/freeze", key, reason="looks odd")["replayed"] is True
    assert operator.do(f"{path}/unfreeze", reason="was right")["frozen"] is False
    agent.do("/v1/spends", credits=1)


def test_what_is_not_there_is_not_found(operator, agent):
    attempt = agent.buy(agent.quote())["payment_attempt_id"]
    error_of(refund(operator, attempt), 404, "NOT_FOUND")
    error_of(operator.ask(f"{ROOT}/owed/{attempt}/write-off", reason="x"), 404, "NOT_FOUND")
    error_of(operator.ask(f"{ROOT}/organizations/org_x/freeze", reason="x"), 404, "NOT_FOUND")
    error_of(operator.send("GET", f"{ROOT}/attempts", organization_id="org_x"), 404, "NOT_FOUND")
