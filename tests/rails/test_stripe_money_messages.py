"""Stripe's objects of money in our words: fixtures of Stripe's shape in, facts out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rails.money import BalanceTransaction, Contents, Incomprehensible
from rails.rail import Reference
from rails.stripe_money import messages

SHAPES = json.loads((Path(__file__).parents[2] / "sandbox/fixtures.json").read_text())
CREATED = 1_795_248_000
CREATED_AT = datetime.fromtimestamp(CREATED, UTC)
READ_AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
OURS = {"purser_method": "stripe_checkout", "purser_attempt": "payatt_1", "purser_key": "cs:payatt_1:1"}
THEIRS = {"order": "of another integration"}


def transaction(amount: Any = 500, fee: Any = 0, **changes: Any) -> Any:
    booked = {"amount": amount, "fee": fee, "net": amount - fee, "created": CREATED, "id": "txn_1", "source": "ch_1"}
    return {**SHAPES["balance_transaction"], **booked, **changes}


def intent(**changes: Any) -> Any:
    return {**SHAPES["payment_intent"], "id": "pi_1", "livemode": True, "metadata": OURS, **changes}


def charge(**changes: Any) -> Any:
    made = {"id": "ch_1", "created": CREATED, "payment_intent": "pi_1", "metadata": OURS, "status": "succeeded"}
    return {**SHAPES["charge"], **made, **changes}


def refund(**changes: Any) -> Any:
    made = {"id": "re_1", "created": CREATED, "amount": 200, "payment_intent": intent(), "status": "succeeded"}
    booked = {"balance_transaction": transaction(-200, id="txn_re", source="re_1", reporting_category="refund")}
    return {**SHAPES["refund"], **made, **booked, **changes}


def dispute(**changes: Any) -> Any:
    made = {"id": "dp_1", "created": CREATED, "amount": 500, "payment_intent": intent(), "reason": "fraudulent"}
    return {**SHAPES["dispute"], **made, "status": "needs_response", **changes}


def warning(**changes: Any) -> Any:
    made = {"id": "issfr_1", "object": "radar.early_fraud_warning", "created": CREATED, "fraud_type": "misc"}
    return {**made, "actionable": True, "charge": "ch_1", "livemode": True, "payment_intent": intent(), **changes}


def payout(**changes: Any) -> Any:
    made = {"id": "po_1", "created": CREATED, "amount": 455, "status": "paid", "automatic": True}
    own = transaction(-455, id="txn_po", source="po_1", reporting_category="payout")
    return {**SHAPES["payout"], **made, "reconciliation_status": "completed", "balance_transaction": own, **changes}


def event(kind: Any, thing: Any) -> Any:
    return {"id": "evt_1", "object": "event", "type": kind, "data": {"object": thing}}


def of_payment(fact: Any) -> Any:
    return fact.payment_kind, fact.payment_id, fact.livemode, fact.occurred_at, fact.read_at


THE_PAYMENT = ("payment_intent", "pi_1", True, CREATED_AT, READ_AT)


@pytest.mark.parametrize(
    ("kind", "thing", "reference"),
    [
        ("charge.succeeded", charge(), ("payment_intent", "pi_1")),
        ("charge.updated", charge(), ("payment_intent", "pi_1")),
        ("charge.refunded", charge(), ("refunds_of_payment", "pi_1")),
        ("refund.created", refund(), ("refund", "re_1")),
        ("refund.updated", refund(), ("refund", "re_1")),
        ("refund.failed", refund(), ("refund", "re_1")),
        ("charge.dispute.created", dispute(), ("dispute", "dp_1")),
        ("charge.dispute.updated", dispute(), ("dispute", "dp_1")),
        ("charge.dispute.funds_withdrawn", dispute(), ("dispute", "dp_1")),
        ("charge.dispute.funds_reinstated", dispute(), ("dispute", "dp_1")),
        ("charge.dispute.closed", dispute(), ("dispute", "dp_1")),
        ("radar.early_fraud_warning.created", warning(), ("early_fraud_warning", "issfr_1")),
        ("radar.early_fraud_warning.updated", warning(), ("early_fraud_warning", "issfr_1")),
        ("payout.created", payout(), ("payout", "po_1")),
        ("payout.updated", payout(), ("payout", "po_1")),
        ("payout.paid", payout(), ("payout", "po_1")),
        ("payout.failed", payout(), ("payout", "po_1")),
        ("payout.canceled", payout(), ("payout", "po_1")),
        ("payout.reconciliation_completed", payout(), ("payout", "po_1")),
    ],
)
def test_event_is_about_the_object_that_is_to_be_read(kind: Any, thing: Any, reference: Any) -> None:
    assert messages.references(event(kind, thing)) == (Reference(*reference),)


@pytest.mark.parametrize(
    "other",
    [
        event("charge.updated", charge(metadata=THEIRS)),
        event("charge.refunded", charge(metadata={})),
        event("charge.updated", charge(payment_intent=None)),
        event("charge.refund.updated", refund()),
        event("charge.failed", charge()),
        event("payment_intent.succeeded", intent()),
        event("refund.updated", {"object": "refund"}),
        event("refund.updated", None),
        {"type": "payout.paid", "data": None},
        {},
    ],
)
def test_event_that_is_not_about_money_of_ours_has_no_reference(other: Any) -> None:
    assert messages.references(other) == ()


def test_charge_is_booked_with_its_fee() -> None:
    booked = transaction(500, 45, net=455)
    [fact] = messages.charge_booked(intent(latest_charge=charge(balance_transaction=booked)), read_at=READ_AT)
    assert of_payment(fact) == THE_PAYMENT
    assert fact.transaction == BalanceTransaction("txn_1", "charge", 500, 45, 455, "usd", "ch_1", CREATED_AT)


def test_charge_whose_fee_is_not_known_yet_has_no_transaction() -> None:
    [fact] = messages.charge_booked(intent(latest_charge=charge(balance_transaction=None)), read_at=READ_AT)
    assert of_payment(fact) == THE_PAYMENT
    assert fact.transaction is None


@pytest.mark.parametrize("latest", [None, charge(status="failed"), charge(status="pending")])
def test_payment_without_a_succeeded_charge_has_nothing_booked(latest: Any) -> None:
    assert messages.charge_booked(intent(latest_charge=latest), read_at=READ_AT) == ()


def test_refund_carries_its_transaction_and_the_key_of_our_request() -> None:
    [fact] = messages.refund_seen(refund(metadata={"purser_key": "re:payatt_1:refreq_1"}), read_at=READ_AT)
    assert of_payment(fact) == THE_PAYMENT
    assert (fact.refund_id, fact.amount, fact.currency, fact.status) == ("re_1", 200, "usd", "succeeded")
    assert fact.request_key == "re:payatt_1:refreq_1"
    assert fact.details == {"destination": "card"}
    assert [(one.transaction_id, one.net) for one in fact.transactions] == [("txn_re", -200)]


def test_refund_that_somebody_made_at_stripe_has_no_request_key() -> None:
    [fact] = messages.refund_seen(refund(metadata={}), read_at=READ_AT)
    assert fact.request_key is None


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_refund_that_came_back_carries_both_transactions(status: Any) -> None:
    back = transaction(200, id="txn_back", source="re_1", reporting_category="refund_failure")
    [fact] = messages.refund_seen(refund(status=status, failure_balance_transaction=back), read_at=READ_AT)
    assert (fact.status, [one.net for one in fact.transactions]) == (status, [-200, 200])


@pytest.mark.parametrize(
    ("destination", "details"),
    [
        ({"type": "crypto", "crypto": {"reference": "0xabc"}}, {"transaction_hash": "0xabc"}),
        ({"type": "crypto", "crypto": {"reference": None}}, {}),
        ({"type": "card", "card": {"reference": "7412"}}, {"destination": "card", "reference": "7412"}),
        ({"type": "us_bank_transfer", "us_bank_transfer": {}}, {"destination": "us_bank_transfer"}),
        (None, {}),
    ],
)
def test_payer_is_told_where_the_refund_went(destination: Any, details: Any) -> None:
    [fact] = messages.refund_seen(refund(destination_details=destination), read_at=READ_AT)
    assert fact.details == details


@pytest.mark.parametrize(
    "status",
    [
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "won",
        "lost",
        "prevented",
        "appeal_needs_response",
        "appeal_under_review",
    ],
)
def test_dispute_is_seen_in_every_status_of_stripes(status: Any) -> None:
    [fact] = messages.dispute_seen(dispute(status=status), read_at=READ_AT)
    assert of_payment(fact) == THE_PAYMENT
    assert (fact.dispute_id, fact.status, fact.reason, fact.amount) == ("dp_1", status, "fraudulent", 500)
    assert fact.transactions == ()


def test_dispute_shows_what_was_withdrawn_and_what_came_back() -> None:
    moved = [transaction(-500, 1500, id="txn_out", source="dp_1"), transaction(500, id="txn_in", source="dp_1")]
    [fact] = messages.dispute_seen(dispute(status="won", balance_transactions=moved), read_at=READ_AT)
    assert [(one.amount, one.fee, one.net) for one in fact.transactions] == [(-500, 1500, -2000), (500, 0, 500)]


def test_warning_names_the_payment_and_the_suspicion() -> None:
    [fact] = messages.fraud_warned(warning(), read_at=READ_AT)
    assert of_payment(fact) == THE_PAYMENT
    assert (fact.warning_id, fact.reason) == ("issfr_1", "misc")


@pytest.mark.parametrize("whose", [intent(metadata=THEIRS), intent(metadata={}), "pi_1", None])
def test_object_about_a_payment_that_is_not_ours_is_no_fact(whose: Any) -> None:
    assert messages.refund_seen(refund(payment_intent=whose), read_at=READ_AT) == ()
    assert messages.dispute_seen(dispute(payment_intent=whose), read_at=READ_AT) == ()
    assert messages.fraud_warned(warning(payment_intent=whose), read_at=READ_AT) == ()


def test_foreign_payment_is_not_booked() -> None:
    assert messages.charge_booked(intent(metadata=THEIRS, latest_charge=charge()), read_at=READ_AT) == ()


def test_payout_is_made_of_payments_of_ours_and_of_other_lines_but_not_of_itself() -> None:
    ours = intent()
    lines = [
        transaction(500, 45, id="txn_ch", source=charge(payment_intent=ours)),
        transaction(-200, id="txn_re", source=refund(payment_intent=ours), reporting_category="refund"),
        transaction(900, id="txn_foreign", source=charge(id="ch_2", payment_intent=intent(id="pi_2", metadata=THEIRS))),
        transaction(-10, id="txn_fee", source=None, reporting_category="fee"),
        transaction(-455, id="txn_po", source=payout(), reporting_category="payout"),
    ]
    fact = messages.payout_seen(payout(), lines, read_at=READ_AT)
    assert fact.contents is not None
    assert [(one.transaction.transaction_id, one.payment_kind, one.payment_id) for one in fact.contents] == [
        ("txn_ch", "payment_intent", "pi_1"),
        ("txn_re", "payment_intent", "pi_1"),
        ("txn_foreign", None, None),
        ("txn_fee", None, None),
    ]
    assert [one.transaction.source_id for one in fact.contents] == ["ch_1", "re_1", "ch_2", None]
    assert [(one.transaction_id, one.net) for one in fact.own] == [("txn_po", -455)]


def test_earlier_payout_that_came_back_is_part_of_a_later_one() -> None:
    back = transaction(300, id="txn_back", source=payout(id="po_0"), reporting_category="payout_reversal")
    fact = messages.payout_seen(payout(), [back], read_at=READ_AT)
    assert fact.contents is not None
    assert [one.transaction.transaction_id for one in fact.contents] == ["txn_back"]
    assert isinstance(fact.contents[0], Contents)


def test_failed_payout_carries_both_of_its_transactions() -> None:
    back = transaction(455, id="txn_back", source="po_1", reporting_category="payout_reversal")
    fact = messages.payout_seen(payout(status="failed", failure_balance_transaction=back), None, read_at=READ_AT)
    assert (fact.status, fact.contents, [one.net for one in fact.own]) == ("failed", None, [-455, 455])
    assert (fact.payout_id, fact.amount, fact.automatic, fact.livemode) == ("po_1", 455, True, False)


@pytest.mark.parametrize(
    ("changes", "tells"),
    [
        ({}, True),
        ({"reconciliation_status": "in_progress"}, False),
        ({"automatic": False, "reconciliation_status": "not_applicable"}, False),
    ],
)
def test_only_a_reconciled_automatic_payout_tells_its_contents(changes: Any, tells: Any) -> None:
    assert messages.tells_contents(payout(**changes)) is tells


@pytest.mark.parametrize(
    ("booked", "reason"),
    [
        (transaction(500, 45, net=454), "500 less 45 is not 454"),
        (transaction(500, currency="eur"), "in eur"),
        ("txn_1", "not shown"),
    ],
)
def test_transaction_that_does_not_add_up_is_incomprehensible(booked: Any, reason: Any) -> None:
    with pytest.raises(Incomprehensible, match=reason) as refused:
        messages.charge_booked(intent(latest_charge=charge(balance_transaction=booked)), read_at=READ_AT)
    assert reason in refused.value.reason
    with pytest.raises(Incomprehensible, match=reason):
        messages.payout_seen(payout(), [booked], read_at=READ_AT)
    with pytest.raises(Incomprehensible, match=reason):
        messages.dispute_seen(dispute(balance_transactions=[booked]), read_at=READ_AT)


@pytest.mark.parametrize("status", ["returned", None, ["succeeded"]])
def test_unknown_status_is_incomprehensible(status: Any) -> None:
    with pytest.raises(Incomprehensible, match="the refund re_1 is"):
        messages.refund_seen(refund(status=status), read_at=READ_AT)
    with pytest.raises(Incomprehensible, match="the dispute dp_1 is"):
        messages.dispute_seen(dispute(status=status), read_at=READ_AT)
    with pytest.raises(Incomprehensible, match="the payout po_1 is"):
        messages.payout_seen(payout(status=status), None, read_at=READ_AT)
