"""An exception in USDC over HTTP: proposed by one key holder, approved by another, and posted at par beside dollars."""

from datetime import UTC, datetime

from billing import operator_keys
from billing.scopes import Scope
from ledger import ids
from tests.books.books import new_id
from tests.giving import in_house, new_operator
from tests.service import Operator, data_of, error_of

ROOT = "/v1/operator/exceptions"
ATOMIC = -150_005_000
"""150.005 USDC that the books have and the chain has not: half a cent of it moves no dollars."""
MADE = """
    INSERT INTO finance.exceptions (id, source, subject, finding, amount, currency, here, there, state, occurred_at,
      first_seen_at, opened_at, last_seen_at, updated_at)
    VALUES ($1, 'chain', $2, 'different', $3, 'usdc', '{}', '{}', 'open', $4, $4, $4, $4, $4)"""
MOVED = """
    SELECT o.cause, t.debit, t.credit, t.amount, t.currency FROM ledger.operations AS o
    JOIN ledger.transfers AS t USING (lane, organization_id, seq) WHERE o.id = $1 ORDER BY t.currency DESC"""


def test_an_exception_in_usdc_takes_two_key_holders_and_its_posting_names_it(http, database):
    ada = new_operator(http, database, Scope.OPERATE)
    made = in_house(
        database,
        lambda house: operator_keys.create(house.sessions, name="Grace", scopes=[Scope.OPERATE], now=house.clock()),
    )
    grace = Operator(http, made.token, made.key_id)
    exception_id = new_id()
    subject = f"usdc_sold:eip155:84532:{exception_id.hex}"
    database.rows(MADE, exception_id, subject, ATOMIC, datetime.now(UTC))
    at = f"{ROOT}/{ids.external('exception', exception_id)}"

    done = data_of(ada.ask(f"{at}/resolve", reason="sold at a loss"))
    proposed = done["exception"]
    assert (proposed["state"], proposed["operation_id"]) == ("proposed", None)
    assert proposed["proposal"] == {
        "account": "usdc_clearing", "against": "reconciliation_differences", "amount": ATOMIC, "currency": "usdc",
    }  # fmt: skip
    agreed = {"reason": "so", "proposal_id": proposed["proposal_id"]}
    error_of(ada.ask(f"{at}/approve", **agreed), 409, "STATE_CONFLICT")
    approved = data_of(grace.ask(f"{at}/approve", **agreed))
    assert (approved["exception"]["state"], approved["exception"]["approver"]) == ("resolved", "Grace")

    moved = database.rows(MOVED, ids.parse("op", approved["exception"]["operation_id"]))
    name, act = ids.external("exception", exception_id), approved["action"]["action_id"]
    assert {row[0] for row in moved} == {f"adjustment of {name} (chain {subject}), {act}"}
    assert [tuple(row)[1:] for row in moved] == [
        ("conversion_usdc", "usdc_clearing", 150_005_000, "USDC"),
        ("reconciliation_differences", "conversion", 15_000, "USD"),
    ]
