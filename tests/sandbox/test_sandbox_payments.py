"""Money: sessions, deposits, refunds, disputes and payouts, each with its events and its sums."""

import time
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import PREVIEW, Receiver, Sandbox, address_of, new_deposit, new_session, until

SUCCEEDS = "0x00000000000000000000000000000000000000000000000000000testsuccess"
FAILS = "0x000000000000000000000000000000000000000000000000000000testfailed"


def paid(sandbox: Sandbox, client: stripe.StripeClient) -> tuple[str, str]:
    """A paid session's intent and charge, once the charge is booked."""
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay")
    intent = client.v1.payment_intents.retrieve(session["payment_intent"])
    charge = str(intent.latest_charge)
    until(lambda: client.v1.charges.retrieve(charge).balance_transaction)
    return intent.id, charge


def test_paying_completes_the_session_and_tells_it(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay")
    assert (session["status"], session["payment_status"], session["url"]) == ("complete", "paid", None)
    intent = client.v1.payment_intents.retrieve(session["payment_intent"], {"expand": ["latest_charge"]})
    assert (intent.status, intent.amount_received, intent.metadata["attempt_id"]) == ("succeeded", 500, "payatt_1")
    receiver.wait_for("charge.updated", intent.id)
    completed: Any = receiver.wait_for("checkout.session.completed", session["id"]).event().data.object
    assert completed["payment_intent"] == intent.id
    succeeded: Any = receiver.wait_for("charge.succeeded", intent.id).event().data.object
    assert succeeded["balance_transaction"] is None
    updated: Any = receiver.wait_for("charge.updated", intent.id).event().data.object
    assert updated["balance_transaction"].startswith("txn_")
    assert {"payment_intent.created", "payment_intent.succeeded"} <= set(receiver.types(intent.id))


def test_card_fee_is_2_9_per_cent_and_30_cents(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    _, charge = paid(sandbox, client)
    booked = client.v1.balance_transactions.list({"source": charge}).data[0]
    assert (booked.amount, booked.fee, booked.net, booked.reporting_category) == (500, 45, 455, "charge")
    assert booked.fee_details[0].type == "stripe_fee"


def test_declined_card_leaves_the_session_open(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/decline")
    assert session["status"] == "open"
    failed: Any = receiver.wait_for("payment_intent.payment_failed", session["payment_intent"]).event().data.object
    assert failed["last_payment_error"]["code"] == "card_declined"
    again = sandbox.control("POST", f"sessions/{session['id']}/pay")
    assert again["payment_intent"] == session["payment_intent"]
    assert client.v1.payment_intents.retrieve(again["payment_intent"]).last_payment_error is None


def test_delayed_payment_settles_or_fails_later(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    for act, event_type, status in (
        ("settle_delayed", "checkout.session.async_payment_succeeded", "paid"),
        ("fail_delayed", "checkout.session.async_payment_failed", "unpaid"),
    ):
        session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay_delayed")
        assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
        assert client.v1.payment_intents.retrieve(session["payment_intent"]).status == "processing"
        sandbox.control("POST", f"sessions/{session['id']}/{act}")
        receiver.wait_for(event_type, session["id"])
        assert client.v1.checkout.sessions.retrieve(session["id"]).payment_status == status


def test_tax_and_discount_change_the_total_and_overrides_make_it_disagree(
    sandbox: Sandbox, client: stripe.StripeClient
) -> None:
    taxed = sandbox.control("POST", f"sessions/{new_session(client).id}/pay", {"tax": 40, "discount": 100})
    assert taxed["amount_total"] == 440
    assert taxed["total_details"] == {"amount_discount": 100, "amount_shipping": 0, "amount_tax": 40}
    assert client.v1.payment_intents.retrieve(taxed["payment_intent"]).amount_received == 440
    odd = {"amount_subtotal": 1, "livemode": True, "currency": "eur", "payment_intent": {"amount_received": 3}}
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay", odd)
    assert (session["amount_subtotal"], session["livemode"], session["currency"]) == (1, True, "eur")
    intent = client.v1.payment_intents.retrieve(session["payment_intent"])
    assert (intent.amount, intent.amount_received, intent.livemode, intent.currency) == (500, 3, True, "eur")


def test_nothing_due_needs_no_payment(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay", {"discount": 500})
    assert (session["payment_status"], session["payment_intent"]) == ("no_payment_required", None)


def test_only_an_open_session_expires(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    session = new_session(client)
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    receiver.wait_for("checkout.session.expired", session.id)
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        client.v1.checkout.sessions.expire(session.id)
    sandbox.control("POST", f"sessions/{session.id}/pay", status=400)


def test_exact_transfer_settles_its_deposit(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    intent, wallet = new_deposit(client), "0x" + "ab" * 20
    sent = sandbox.control(
        "POST",
        "wallet/transfers",
        {
            "network": "base",
            "token_currency": "usdc",
            "to": address_of(intent).upper().replace("0X", "0x"),
            "amount_atomic": "5000000",
            "from": wallet,
        },
    )
    assert (sent["matched"], sent["payment_intent"]) == (True, intent.id)
    receiver.wait_for("payment_intent.processing", intent.id)
    receiver.wait_for("payment_intent.succeeded", intent.id)
    expanded = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge.balance_transaction"]})
    charge: Any = expanded.latest_charge
    assert (expanded.status, expanded.amount_received, expanded.next_action) == ("succeeded", 500, None)
    crypto = charge.payment_method_details.crypto
    assert (crypto.buyer_address, crypto.network, crypto.token_currency) == (wallet, "base", "usdc")
    assert crypto.transaction_hash == sent["transaction_hash"]
    receiver.wait_for("charge.updated", intent.id)
    booked = client.v1.balance_transactions.list({"source": charge.id}).data[0]
    assert (booked.fee, booked.type) == (8, "payment")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"amount_atomic": "4999999"}, "wrong_amount"),
        ({"token_currency": "usdt"}, "wrong_token"),
        ({"network": "polygon"}, "wrong_network"),
        ({"to": "0x" + "0" * 40}, "unknown_address"),
    ],
)
def test_any_other_transfer_is_taken_and_matched_with_nothing(
    sandbox: Sandbox, client: stripe.StripeClient, more: dict[str, str], reason: str
) -> None:
    intent = new_deposit(client)
    transfer = {"network": "base", "token_currency": "usdc", "to": address_of(intent), "amount_atomic": "5000000"}
    sent = sandbox.control("POST", "wallet/transfers", {**transfer, **more})
    assert (sent["matched"], sent["reason"]) == (False, reason)
    assert sandbox.control("GET", "wallet/transfers")["transfers"][0]["id"] == sent["id"]
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_action"


def test_second_and_late_transfers_match_nothing(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    once, late = new_deposit(client), new_deposit(client)
    assert sandbox.control("POST", f"payment_intents/{late.id}/expire")["cancellation_reason"] == "expired"
    for intent, reasons in ((once, [None, "intent_not_open"]), (late, ["intent_not_open"])):
        transfer = {"to": address_of(intent), "amount_atomic": "5000000"}
        assert [sandbox.control("POST", "wallet/transfers", transfer)["reason"] for _ in reasons] == reasons


@pytest.mark.parametrize(("magic", "status"), [(SUCCEEDS, "succeeded"), (FAILS, "requires_payment_method")])
def test_stripes_helper_plays_its_magic_hashes(client: stripe.StripeClient, magic: str, status: str) -> None:
    intent = new_deposit(client)
    path = f"/v1/test_helpers/payment_intents/{intent.id}/simulate_crypto_deposit"
    params: Any = {"network": "base", "token_currency": "usdc", "buyer_wallet": "0x" + "1" * 40}
    with pytest.raises(stripe.InvalidRequestError, match="transaction_hash"):
        client.raw_request("post", path, stripe_version=PREVIEW, **params, transaction_hash="0x" + "1" * 64)
    client.raw_request("post", path, stripe_version=PREVIEW, **params, transaction_hash=magic)
    until(lambda: client.v1.payment_intents.retrieve(intent.id).status == status)


def test_settling_by_hand_takes_overrides(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent = new_deposit(client)
    settled = sandbox.control("POST", f"payment_intents/{intent.id}/settle", {"amount_received": 499})
    assert (settled["status"], settled["amount"], settled["amount_received"]) == ("succeeded", 500, 499)
    failed = sandbox.control("POST", f"payment_intents/{new_deposit(client).id}/fail")
    assert failed["status"] == "requires_payment_method"


def test_only_an_unpaid_intent_is_canceled(client: stripe.StripeClient) -> None:
    intent = new_deposit(client)
    canceled = client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.cancel(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


def test_test_cards_pay_and_are_declined(client: stripe.StripeClient) -> None:
    card: Any = {"amount": 700, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    declined: Any = {**card, "payment_method": "pm_card_visa_chargeDeclined"}
    assert client.v1.payment_intents.create(card).status == "succeeded"
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_intents.create(declined)
    assert (refused.value.code, refused.value.http_status) == ("card_declined", 402)


def test_refunds_never_exceed_the_charge(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    intent, charge = paid(sandbox, client)
    part = client.v1.refunds.create({"payment_intent": intent, "amount": 200})
    assert part.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"charge": charge, "amount": 301})
    client.v1.refunds.create({"charge": charge})
    assert client.v1.charges.retrieve(charge).refunded
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": charge})
    assert refused.value.code == "charge_already_refunded"
    receiver.wait_for("refund.created", part.id)
    booked = client.v1.balance_transactions.list({"source": part.id}).data[0]
    assert (booked.amount, booked.fee, booked.reporting_category) == (-200, 0, "refund")
    assert [one.amount for one in client.v1.refunds.list({"payment_intent": intent}).data] == [300, 200]


def test_refund_can_fail_after_it_succeeded(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    intent, charge = paid(sandbox, client)
    refund = client.v1.refunds.create({"payment_intent": intent})
    failed = sandbox.control("POST", f"refunds/{refund.id}/fail")
    assert failed["failure_balance_transaction"].startswith("txn_")
    receiver.wait_for("refund.failed", refund.id)
    assert client.v1.charges.retrieve(charge).amount_refunded == 0


def test_crypto_refund_arrives_later_with_a_hash(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    intent = new_deposit(client)
    sandbox.control("POST", f"payment_intents/{intent.id}/settle")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    until(lambda: client.v1.refunds.retrieve(refund.id).status == "succeeded")
    details: Any = client.v1.refunds.retrieve(refund.id).destination_details
    assert details["crypto"]["reference"].startswith("0x")


def test_chargeback_takes_amount_and_fee_and_winning_returns_the_amount(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    _, charge = paid(sandbox, client)
    dispute = sandbox.control("POST", "disputes", {"charge": charge})
    receiver.wait_for("charge.dispute.funds_withdrawn", dispute["id"])
    assert client.v1.charges.retrieve(charge).disputed
    sandbox.control("POST", f"disputes/{dispute['id']}/win")
    receiver.wait_for("charge.dispute.closed", dispute["id"])
    found = client.v1.disputes.list({"charge": charge}).data[0]
    assert found.status == "won"
    assert [(one.amount, one.fee) for one in found.balance_transactions] == [(-500, 1500), (500, 0)]
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        client.v1.disputes.close(dispute["id"])


def test_inquiry_moves_no_money_until_it_escalates(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    _, charge = paid(sandbox, client)
    inquiry = sandbox.control("POST", "disputes", {"charge": charge, "inquiry": True, "amount": 100})
    assert (inquiry["status"], inquiry["balance_transactions"]) == ("warning_needs_response", [])
    escalated = sandbox.control("POST", f"disputes/{inquiry['id']}/escalate")
    assert [one["net"] for one in escalated["balance_transactions"]] == [-1600]
    assert client.v1.disputes.close(inquiry["id"]).status == "lost"
    receiver.wait_for("charge.dispute.updated", inquiry["id"])


def test_payout_lists_its_contents_and_a_failed_one_gives_them_back(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    _, charge = paid(sandbox, client)
    # Of somebody else's payment: disputes of other tests may have left less than nothing.
    sandbox.control("POST", "balance_transactions", {"amount": 1_000_000, "type": "charge"})
    sandbox.settle()
    failed = sandbox.control("POST", "payouts", {"status": "failed"})
    payout = sandbox.control("POST", "payouts")
    assert (failed["amount"], failed["status"]) == (payout["amount"], "failed")
    contents = list(client.v1.balance_transactions.list({"payout": payout["id"], "limit": 100}).auto_paging_iter())
    assert charge in [one.source for one in contents]
    assert sum(one.net for one in contents) == 0
    receiver.wait_for("payout.reconciliation_completed", payout["id"])
    assert client.v1.payouts.retrieve(payout["id"]).reconciliation_status == "completed"
    with pytest.raises(AssertionError, match="nothing to pay out"):
        sandbox.control("POST", "payouts")


def test_balance_is_the_sum_of_its_transactions(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    def total() -> int:
        found: Any = client.v1.balance.retrieve()
        return sum(int(one.amount) for one in [*found.available, *found.pending])

    sandbox.settle()
    before = total()
    intent, _ = paid(sandbox, client)
    assert total() == before + 455
    client.v1.refunds.create({"payment_intent": intent, "amount": 100})
    assert total() == before + 355


def test_session_expires_by_itself_when_its_time_comes() -> None:
    from tests.sandbox.conftest import start

    sandbox = start()
    try:
        client = sandbox.client()
        session = new_session(client, expires_at=int(time.time()) + 1900)
        sandbox.control("POST", "clock", {"advance_seconds": 1901})
        assert client.v1.checkout.sessions.retrieve(session.id).status == "expired"
        assert client.v1.events.list({"type": "checkout.session.expired"}).data[0].data.object["id"] == session.id
    finally:
        sandbox.stop()
