"""Stripe's objects of money, and the events about them, in our words. Pure.

A refund, a dispute and a warning show whose payment they are about only by their payment intent, which is read
expanded; what is not of our making gives no fact, for other integrations share the account. Sources:
https://docs.stripe.com/api/balance_transactions, https://docs.stripe.com/refunds, https://docs.stripe.com/disputes/api,
https://docs.stripe.com/radar/early-fraud-warnings, https://docs.stripe.com/payouts/reconciliation, and
https://docs.stripe.com/payments/payment-intents/asynchronous-capture (the fee comes after the payment).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from rails import stripe_objects
from rails.money import (
    BalanceTransaction,
    ChargeBooked,
    Contents,
    DisputeSeen,
    FraudWarned,
    Incomprehensible,
    PayoutSeen,
    PayoutTold,
    RefundSeen,
)
from rails.rail import Reference

PAYMENT_INTENT: Final = "payment_intent"
REFUND: Final = "refund"
REFUNDS_OF_PAYMENT: Final = "refunds_of_payment"
DISPUTE: Final = "dispute"
EARLY_FRAUD_WARNING: Final = "early_fraud_warning"
PAYOUT: Final = "payout"

_KIND_BY_EVENT: Final = {
    **dict.fromkeys(("charge.succeeded", "charge.updated"), PAYMENT_INTENT),
    "charge.refunded": REFUNDS_OF_PAYMENT,
    **dict.fromkeys(("refund.created", "refund.updated", "refund.failed"), REFUND),
    **dict.fromkeys(
        (
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed",
        ),
        DISPUTE,
    ),
    **dict.fromkeys(("radar.early_fraud_warning.created", "radar.early_fraud_warning.updated"), EARLY_FRAUD_WARNING),
    **dict.fromkeys(
        (
            "payout.created",
            "payout.updated",
            "payout.paid",
            "payout.failed",
            "payout.canceled",
            "payout.reconciliation_completed",
        ),
        PAYOUT,
    ),
}

_REFUND_STATUSES: Final = frozenset({"pending", "requires_action", "succeeded", "failed", "canceled"})
_DISPUTE_STATUSES: Final = frozenset(
    {
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
    }
)
_PAYOUT_STATUSES: Final = frozenset({"pending", "in_transit", "paid", "failed", "canceled"})


class _OfPayment(TypedDict):
    livemode: bool
    occurred_at: datetime
    read_at: datetime
    payment_kind: str
    payment_id: str


def references(event: Mapping[str, Any]) -> Sequence[Reference]:
    """The object of money that `event` is about. Of charges only ours: they alone carry the payment's metadata."""
    kind = _KIND_BY_EVENT.get(str(event.get("type")))
    thing = stripe_objects.event_object(event)
    of_charge = kind in (PAYMENT_INTENT, REFUNDS_OF_PAYMENT)
    if kind is None or (of_charge and not stripe_objects.is_ours(thing)):
        return ()
    external_id = thing.get("payment_intent" if of_charge else "id")
    return (Reference(kind, external_id),) if isinstance(external_id, str) else ()


def charge_booked(intent: Mapping[str, Any], *, read_at: datetime) -> Sequence[ChargeBooked]:
    """The charge of an intent (read with `latest_charge.balance_transaction`); empty when nothing succeeded on it."""
    charge = stripe_objects.nested(intent, "latest_charge")
    if charge is None or charge.get("status") != "succeeded" or not stripe_objects.is_ours(intent):
        return ()
    booked = _transactions((charge.get("balance_transaction"),), currency=charge["currency"])
    transaction = booked[0] if booked else None
    return (ChargeBooked(**_of_payment(charge, intent, read_at), transaction=transaction),)


def refund_seen(refund: Mapping[str, Any], *, read_at: datetime) -> Sequence[RefundSeen]:
    """A refund (read with its intent and its balance transactions); empty when the payment is not ours."""
    intent = stripe_objects.nested(refund, "payment_intent")
    if intent is None or not stripe_objects.is_ours(intent):
        return ()
    own = (refund.get("balance_transaction"), refund.get("failure_balance_transaction"))
    return (
        RefundSeen(
            **_of_payment(refund, intent, read_at),
            refund_id=refund["id"],
            amount=refund["amount"],
            currency=refund["currency"],
            status=_known(refund, _REFUND_STATUSES, "refund"),
            request_key=stripe_objects.texts(refund.get("metadata"), stripe_objects.KEY).get(stripe_objects.KEY),
            details=_destination(refund),
            transactions=_transactions(own, currency=refund["currency"]),
        ),
    )


def dispute_seen(dispute: Mapping[str, Any], *, read_at: datetime) -> Sequence[DisputeSeen]:
    """A dispute (read with its intent); empty when the payment is not ours. Money moved only as transactions say."""
    intent = stripe_objects.nested(dispute, "payment_intent")
    if intent is None or not stripe_objects.is_ours(intent):
        return ()
    return (
        DisputeSeen(
            **_of_payment(dispute, intent, read_at),
            dispute_id=dispute["id"],
            amount=dispute["amount"],
            currency=dispute["currency"],
            status=_known(dispute, _DISPUTE_STATUSES, "dispute"),
            reason=dispute["reason"],
            transactions=_transactions(dispute["balance_transactions"], currency=dispute["currency"]),
        ),
    )


def fraud_warned(warning: Mapping[str, Any], *, read_at: datetime) -> Sequence[FraudWarned]:
    """An early fraud warning (read with its intent); empty when the payment is not ours."""
    intent = stripe_objects.nested(warning, "payment_intent")
    if intent is None or not stripe_objects.is_ours(intent):
        return ()
    common = _of_payment(warning, intent, read_at)
    return (FraudWarned(**common, warning_id=warning["id"], reason=warning["fraud_type"]),)


def tells_contents(payout: Mapping[str, Any]) -> bool:
    """Whether Stripe can say now what a payout was made of. It never can of a manual one."""
    return payout.get("automatic") is True and payout.get("reconciliation_status") == "completed"


def payout_seen(
    payout: Mapping[str, Any], contents: Sequence[Mapping[str, Any]] | None, *, read_at: datetime
) -> PayoutSeen:
    """A payout (read with its balance transactions) and what it was made of, in Stripe's transactions if it tells."""
    currency = payout["currency"]
    both = (payout.get("balance_transaction"), payout.get("failure_balance_transaction"))
    own = _transactions(both, currency=currency)
    itself = {payout["id"], *(one.transaction_id for one in own)}
    return PayoutSeen(
        livemode=payout["livemode"],
        occurred_at=stripe_objects.at(payout["created"]),
        read_at=read_at,
        payout_id=payout["id"],
        amount=payout["amount"],
        currency=currency,
        status=_known(payout, _PAYOUT_STATUSES, "payout"),
        automatic=payout["automatic"],
        own=own,
        contents=None if contents is None else tuple(_contents(contents, itself, currency=currency)),
    )


def payout_told(payout: Mapping[str, Any]) -> PayoutTold:
    """A payout as Stripe's list has it. It reaches the bank on the UTC day of `arrival_date`."""
    return PayoutTold(
        payout_id=payout["id"],
        amount=payout["amount"],
        currency=payout["currency"],
        status=_known(payout, _PAYOUT_STATUSES, "payout"),
        automatic=payout["automatic"],
        reconciliation_status=payout["reconciliation_status"],
        tells_contents=tells_contents(payout),
        arrives_on=stripe_objects.at(payout["arrival_date"]).date(),
        occurred_at=stripe_objects.at(payout["created"]),
    )


def line_told(line: Mapping[str, Any]) -> BalanceTransaction:
    """A line of the balance, in whatever currency it is."""
    return _transaction(line, currency=line["currency"])


def _contents(lines: Iterable[Mapping[str, Any]], itself: set[str], *, currency: str) -> Iterable[Contents]:
    """The lines of a payout without the payout's own, which Stripe lists among them."""
    for line in lines:
        transaction = _transaction(line, currency=currency)
        if transaction.transaction_id in itself or transaction.source_id in itself:
            continue
        intent = stripe_objects.nested(line, "source", "payment_intent")
        ours = intent is not None and stripe_objects.is_ours(intent)
        payment_id = intent["id"] if intent is not None and ours else None
        yield Contents(transaction, PAYMENT_INTENT if ours else None, payment_id)


def _of_payment(thing: Mapping[str, Any], intent: Mapping[str, Any], read_at: datetime) -> _OfPayment:
    """What every fact about a payment says. The mode is the intent's: refunds do not tell theirs."""
    return {
        "livemode": intent["livemode"],
        "occurred_at": stripe_objects.at(thing["created"]),
        "read_at": read_at,
        "payment_kind": PAYMENT_INTENT,
        "payment_id": intent["id"],
    }


def _transactions(values: Iterable[object], *, currency: str) -> tuple[BalanceTransaction, ...]:
    return tuple(_transaction(value, currency=currency) for value in values if value is not None)


def _transaction(value: object, *, currency: str) -> BalanceTransaction:
    if not isinstance(value, Mapping):
        raise Incomprehensible("a balance transaction was not shown")
    amount, fee, net = value["amount"], value["fee"], value["net"]
    if amount - fee != net:
        raise Incomprehensible(f"{value['id']}: {amount} less {fee} is not {net}")
    if value["currency"] != currency:
        raise Incomprehensible(f"{value['id']} is in {value['currency']}, and what it is about in {currency}")
    source = value.get("source")
    return BalanceTransaction(
        transaction_id=value["id"],
        category=value["reporting_category"],
        amount=amount,
        fee=fee,
        net=net,
        currency=currency,
        source_id=source["id"] if isinstance(source, Mapping) else source,
        occurred_at=stripe_objects.at(value["created"]),
    )


def _known(thing: Mapping[str, Any], statuses: frozenset[str], name: str) -> str:
    status = thing.get("status")
    if not isinstance(status, str) or status not in statuses:
        raise Incomprehensible(f"the {name} {thing['id']} is {status}")
    return status


def _destination(refund: Mapping[str, Any]) -> dict[str, str]:
    """Where the money goes, for the payer: the transaction on chain, or the kind of destination and its reference."""
    details = stripe_objects.nested(refund, "destination_details")
    kind = details.get("type") if details is not None else None
    if not isinstance(kind, str):
        return {}
    reference = stripe_objects.texts(stripe_objects.nested(details, kind), "reference")
    if kind != "crypto":
        return {"destination": kind, **reference}
    return {"transaction_hash": reference["reference"]} if reference else {}
