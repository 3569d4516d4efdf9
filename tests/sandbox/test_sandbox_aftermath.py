"""Money after it was paid: appeals, warnings, refunds of the Dashboard, partial deposits; and what a reader expands."""

from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import Receiver, Sandbox, address_of, new_deposit, new_session, start, until

PARTIAL = {"mode": "deposit", "deposit_options": {"networks": ["base"]}}
ACCEPTING = {"crypto": {**PARTIAL, "amount_reconciliation": {"type": "accept_partial_funding"}}}


def paid(sandbox: Sandbox, client: stripe.StripeClient) -> tuple[str, str]:
    """A paid session's intent and charge, once the charge is booked."""
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay")
    intent = client.v1.payment_intents.retrieve(session["payment_intent"])
    charge = str(intent.latest_charge)
    until(lambda: client.v1.charges.retrieve(charge).balance_transaction)
    return intent.id, charge


def transferred(sandbox: Sandbox, intent: stripe.PaymentIntent, amount_atomic: str) -> Any:
    return sandbox.control("POST", "wallet/transfers", {"to": address_of(intent), "amount_atomic": amount_atomic})


def test_warning_is_told_and_found_by_charge_and_intent(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    intent, charge = paid(sandbox, client)
    made = sandbox.control("POST", "fraud_warnings", {"charge": charge, "fraud_type": "misc"})
    told: Any = receiver.wait_for("radar.early_fraud_warning.created", made["id"]).event().data.object
    assert (told["payment_intent"], told["actionable"], told["fraud_type"]) == (intent, True, "misc")
    warnings = client.v1.radar.early_fraud_warnings
    for wanted in ({"charge": charge}, {"payment_intent": intent}):
        assert [one.id for one in warnings.list(wanted).data] == [made["id"]]  # type: ignore[arg-type]
    expanded: Any = warnings.retrieve(made["id"], {"expand": ["payment_intent"]}).payment_intent
    assert expanded.latest_charge == charge
    sandbox.control("POST", "fraud_warnings", {"charge": "ch_none"}, status=404)
    sandbox.control("POST", "fraud_warnings", {"charge": charge, "fraud_type": "rumour"}, status=400)


def test_prevented_dispute_moves_no_money(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    for opened in ({"inquiry": True}, {"withdraw": False}):
        _, charge = paid(sandbox, client)
        dispute = sandbox.control("POST", "disputes", {"charge": charge, **opened})
        ended = sandbox.control("POST", f"disputes/{dispute['id']}/prevent")
        assert (ended["status"], ended["balance_transactions"]) == ("prevented", [])
        closed: Any = receiver.wait_for("charge.dispute.closed", dispute["id"]).event().data.object
        assert closed["status"] == "prevented"
        assert client.v1.balance_transactions.list({"source": dispute["id"]}).data == []


def test_money_withdrawn_later_can_no_longer_be_prevented(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    _, charge = paid(sandbox, client)
    dispute = sandbox.control("POST", "disputes", {"charge": charge, "withdraw": False})
    assert (dispute["status"], dispute["balance_transactions"]) == ("needs_response", [])
    taken = sandbox.control("POST", f"disputes/{dispute['id']}/withdraw")
    assert [one["net"] for one in taken["balance_transactions"]] == [-2000]
    for act in ("withdraw", "prevent"):
        sandbox.control("POST", f"disputes/{dispute['id']}/{act}", status=400)


@pytest.mark.parametrize(("end", "status", "nets"), [("win", "won", [-2000, 2000]), ("lose", "lost", [-2000])])
def test_lost_dispute_is_appealed_and_decided_again(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver, end: str, status: str, nets: list[int]
) -> None:
    _, charge = paid(sandbox, client)
    path = f"disputes/{sandbox.control('POST', 'disputes', {'charge': charge})['id']}"
    sandbox.control("POST", f"{path}/appeal", status=400)
    assert sandbox.control("POST", f"{path}/respond")["status"] == "under_review"
    assert sandbox.control("POST", f"{path}/lose")["status"] == "lost"
    appealed = sandbox.control("POST", f"{path}/appeal")
    assert appealed["status"] == "appeal_needs_response"
    assert sandbox.control("POST", f"{path}/respond")["status"] == "appeal_under_review"
    ended = sandbox.control("POST", f"{path}/{end}", {"fee_returned": True} if end == "win" else None)
    assert (ended["status"], [one["net"] for one in ended["balance_transactions"]]) == (status, nets)
    assert client.v1.charges.retrieve(charge).disputed == (end == "lose")
    receiver.wait_for("charge.dispute.updated", ended["id"])
    until(lambda: receiver.types(ended["id"]).count("charge.dispute.closed") == 2)
    assert receiver.types(ended["id"]).count("charge.dispute.updated") == 3


def test_fee_given_back_is_a_negative_fee(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    _, charge = paid(sandbox, client)
    dispute = sandbox.control("POST", "disputes", {"charge": charge})
    sandbox.control("POST", f"disputes/{dispute['id']}/lose", {"fee_returned": True}, status=400)
    won = sandbox.control("POST", f"disputes/{dispute['id']}/win", {"fee_returned": True})
    assert [(one["amount"], one["fee"]) for one in won["balance_transactions"]] == [(-500, 1500), (500, -1500)]
    assert won["balance_transactions"][1]["fee_details"][0]["amount"] == -1500


def test_refund_of_the_dashboard_has_no_key(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    intent, charge = paid(sandbox, client)
    made = sandbox.control("POST", "refunds", {"payment_intent": intent, "amount": 120})
    event = receiver.wait_for("refund.created", made["id"]).event()
    request: Any = event.request
    assert (request.id, request.idempotency_key, made["metadata"]) == (None, None, {})
    receiver.wait_for("charge.refunded", charge)
    assert client.v1.charges.retrieve(charge).amount_refunded == 120
    assert sandbox.control("POST", "refunds", {"payment_intent": intent})["amount"] == 380
    sandbox.control("POST", "refunds", {"payment_intent": intent}, status=400)


@pytest.mark.parametrize("starts", ["pending", "requires_action"])
@pytest.mark.parametrize(
    ("act", "status", "event_type"),
    [
        ("settle", "succeeded", "refund.updated"),
        ("cancel", "canceled", "refund.updated"),
        ("fail", "failed", "refund.failed"),
    ],
)
def test_refund_stays_under_way_until_told(
    sandbox: Sandbox,
    client: stripe.StripeClient,
    receiver: Receiver,
    starts: str,
    act: str,
    status: str,
    event_type: str,
) -> None:
    intent, charge = paid(sandbox, client)
    sandbox.control("PUT", "refunds", {"start": starts})
    refund = client.v1.refunds.create({"payment_intent": intent, "amount": 200})
    assert refund.status == starts
    ended = sandbox.control("POST", f"refunds/{refund.id}/{act}")
    assert (ended["status"], ended.get("failure_balance_transaction") is not None) == (status, act != "settle")
    receiver.wait_for(event_type, refund.id)
    assert client.v1.charges.retrieve(charge).amount_refunded == (200 if act == "settle" else 0)
    moved = client.v1.balance_transactions.list({"source": refund.id}).data
    assert sum(one.amount for one in moved) == (-200 if act == "settle" else 0)
    sandbox.control("POST", f"refunds/{refund.id}/cancel", status=400)


@pytest.mark.parametrize(("atomic", "cents"), [("1250000", 125), ("4999999", 499), ("5000000", 500), ("7770000", 777)])
def test_deposit_that_accepts_partial_funding_takes_what_comes(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver, atomic: str, cents: int
) -> None:
    intent = new_deposit(client, payment_method_options=ACCEPTING)
    assert transferred(sandbox, intent, atomic)["matched"]
    until(lambda: client.v1.payment_intents.retrieve(intent.id).status == "succeeded")
    found = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    charge: Any = found.latest_charge
    crypto = charge.payment_method_details.crypto
    assert (found.amount, found.amount_received, charge.amount) == (500, cents, cents)
    assert (crypto.amount_requested, crypto.amount_received) == (500, cents)
    receiver.wait_for("payment_intent.succeeded", intent.id)
    assert ("payment_intent.partially_funded" in receiver.types(intent.id)) == (cents < 500)
    assert transferred(sandbox, intent, atomic)["reason"] == "intent_not_open"


def test_less_than_a_cent_funds_nothing(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent = new_deposit(client, payment_method_options=ACCEPTING)
    assert transferred(sandbox, intent, "9999")["reason"] == "wrong_amount"


def test_reader_expands_what_it_needs(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent, charge = paid(sandbox, client)
    refund = client.v1.refunds.create({"payment_intent": intent, "amount": 100})
    both: Any = {"expand": ["payment_intent", "balance_transaction", "failure_balance_transaction"]}
    found: Any = client.v1.refunds.retrieve(refund.id, both)
    assert (found.payment_intent.id, found.balance_transaction.net) == (intent, -100)
    assert "failure_balance_transaction" not in found
    sandbox.control("POST", f"refunds/{refund.id}/fail")
    found = client.v1.refunds.retrieve(refund.id, both)
    assert found.failure_balance_transaction.net == 100
    dispute = sandbox.control("POST", "disputes", {"charge": charge})
    found = client.v1.disputes.retrieve(dispute["id"], {"expand": ["payment_intent", "charge"]})
    assert (found.payment_intent.id, found.charge.id) == (intent, charge)
    found = client.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge.balance_transaction"]})
    assert found.latest_charge.balance_transaction.source == charge


def test_contents_of_a_payout_lead_to_their_payments() -> None:
    sandbox = start("--balance-delay", "0")
    try:
        client = sandbox.client()
        intent, charge = paid(sandbox, client)
        refund = client.v1.refunds.create({"payment_intent": intent, "amount": 100})
        fee = sandbox.control("POST", "balance_transactions", {"amount": -25, "description": "Radar"})
        payout = sandbox.control("POST", "payouts")
        assert payout["amount"] == 500 - 45 - 100 - 25
        wanted: Any = {"payout": payout["id"], "expand": ["data.source.payment_intent", "data.source.charge"]}
        found: Any = {one.id: one.source for one in client.v1.balance_transactions.list(wanted).data}
        sources = {one.id: one for one in found.values() if one is not None}
        assert set(sources) == {charge, refund.id, payout["id"]}
        assert sources[charge].payment_intent.id == sources[refund.id].payment_intent.id == intent
        assert sources[refund.id].charge.id == charge
        assert found[fee["id"]] is None
        own: Any = client.v1.payouts.retrieve(
            payout["id"], {"expand": ["balance_transaction", "failure_balance_transaction"]}
        )
        assert (own.balance_transaction.net, own.failure_balance_transaction) == (-payout["amount"], None)
        with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
            client.v1.balance_transactions.list({"expand": ["data.source.metadata"]})
    finally:
        sandbox.stop()


@pytest.mark.long
def test_lists_filter_by_time_and_events_by_types(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent, _ = paid(sandbox, client)
    refund = client.v1.refunds.create({"payment_intent": intent})
    at = refund.created
    lists: list[Any] = [client.v1.checkout.sessions, client.v1.payment_intents, client.v1.refunds, client.v1.events]
    for one in lists:
        window = one.list({"created": {"gte": at - 60, "lt": at + 60}, "limit": 100}).data
        assert window
        assert all(at - 60 <= found.created < at + 60 for found in window)
        assert one.list({"created": {"gte": at + 60, "lt": at + 120}}).data == []
    wanted: Any = {"types": ["refund.created", "charge.refunded"], "limit": 2, "created": {"gte": at - 60}}
    page = client.v1.events.list(wanted)
    assert [one.type for one in page.data] == ["charge.refunded", "refund.created"]
    wanted |= {"starting_after": page.data[0].id}
    older = client.v1.events.list(wanted)
    assert older.data[0].id == page.data[1].id


@pytest.mark.long
def test_same_controls_move_the_same_amounts() -> None:
    def balance_of_a_run() -> list[tuple[str, int, int]]:
        sandbox = start("--balance-delay", "0", "--settle-delay", "0")
        try:
            client = sandbox.client()
            intent, charge = paid(sandbox, client)
            deposit = new_deposit(client, payment_method_options=ACCEPTING)
            transferred(sandbox, deposit, "3330000")
            client.v1.refunds.create({"payment_intent": intent, "amount": 77})
            dispute = sandbox.control("POST", "disputes", {"charge": charge, "amount": 200})
            sandbox.control("POST", f"disputes/{dispute['id']}/win")
            booked = client.v1.balance_transactions.list({"limit": 100}).data
            return [(one.type, one.amount, one.fee) for one in booked]
        finally:
            sandbox.stop()

    first = balance_of_a_run()
    assert len(first) == 5
    assert first == balance_of_a_run()
