"""What becomes of money, read through the real `stripe` package from a sandbox that plays banks and card holders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rails.money import (
    ChargeBooked,
    DisputeSeen,
    FraudWarned,
    MoneyFact,
    MoneyReader,
    PayoutSeen,
    Refunder,
    RefundOrder,
    RefundSeen,
)
from rails.rail import Order, OutcomeUnknown, ProviderRefused, Reference
from rails.stripe_checkout.rail import StripeCheckout
from rails.stripe_door import API_VERSION, StripeDoor
from rails.stripe_money.reader import StripeMoney
from rails.stripe_x402.rail import StripeX402

pytestmark = pytest.mark.asyncio

SETTLE_TIMEOUT_S = 60
Control = Callable[..., Any]
START = datetime.fromtimestamp(0, UTC)
FAR_AHEAD = datetime.fromtimestamp(4_000_000_000, UTC)
"""Later than the clock of a sandbox that is put forward."""
OTHERS_PAID = {"amount": 1_000_000, "type": "charge", "reporting_category": "charge"}
"""Into the same account, which disputes of other tests may have left with less than nothing to be paid out."""


@pytest.fixture
def money(at: StripeDoor, now: datetime) -> StripeMoney:
    return StripeMoney(at, clock=lambda: now)


@pytest.fixture
def refund_order(fresh: Order) -> Callable[..., RefundOrder]:
    """An order to refund a payment of `fresh`, under a new key each time."""

    def build(payment_id: str, amount: int) -> RefundOrder:
        provider_key = f"refund:{fresh.attempt_id}:{uuid4()}"
        return RefundOrder(fresh.organization_id, fresh.attempt_id, provider_key, payment_id, amount)

    return build


@pytest.fixture
def foreign(sandbox: str) -> str:
    """The id of a settled payment of another integration of the same account."""
    key = {"Authorization": "Bearer sk_test_4eC39Hq"}
    body = {"amount": "700", "currency": "usd", "confirm": "true", "payment_method_data[type]": "crypto"}
    crypto = "payment_method_options[crypto]"
    deposit = {f"{crypto}[mode]": "deposit", f"{crypto}[deposit_options][networks][0]": "base"}
    version = {"Stripe-Version": "2026-05-27.preview"}
    data = {**body, **deposit, "allowed_payment_method_types[0]": "crypto"}
    made = httpx.post(f"{sandbox}/v1/payment_intents", headers={**key, **version}, data=data, timeout=SETTLE_TIMEOUT_S)
    assert made.is_success, made.text
    intent_id: str = made.json()["id"]
    assert httpx.post(f"{sandbox}/sandbox/payment_intents/{intent_id}/settle", timeout=SETTLE_TIMEOUT_S).is_success
    return intent_id


async def pay_by_card(at: StripeDoor, order: Order, control: Control) -> str:
    """The payment intent of a paid session."""
    rail = StripeCheckout(at)
    action = await rail.start(rail.prepare(order))
    session: dict[str, Any] = control(f"sessions/{action.session_id}/pay")
    return str(session["payment_intent"])


async def pay_by_wallet(at: StripeDoor, order: Order, control: Control) -> str:
    """A payment intent whose deposit arrived."""
    rail = StripeX402(at)
    action = await rail.start(rail.prepare(order))
    control(f"payment_intents/{action.payment_intent_id}/settle")
    return action.payment_intent_id


async def until(money: StripeMoney, reference: Reference, holds: Callable[[MoneyFact], bool]) -> MoneyFact:
    """The fact of `reference` once it says so, read again and again."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            for fact in await money.read(reference):
                if holds(fact):
                    return fact
            await asyncio.sleep(0.05)


def booked(fact: MoneyFact) -> bool:
    return isinstance(fact, ChargeBooked) and fact.transaction is not None


@pytest.mark.parametrize(("pay", "fee"), [(pay_by_card, 45), (pay_by_wallet, 8)], ids=["card", "wallet"])
async def test_fee_of_a_payment_is_read_once_it_is_booked(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, now: datetime, pay: Any, fee: int
) -> None:
    payment_id = await pay(at, fresh, control)
    fact = await until(money, Reference("payment_intent", payment_id), booked)
    assert isinstance(fact, ChargeBooked)
    assert fact.transaction is not None
    assert (fact.payment_kind, fact.payment_id, fact.read_at) == ("payment_intent", payment_id, now)
    assert (fact.transaction.amount, fact.transaction.fee, fact.transaction.category) == (500, fee, "charge")


async def test_unpaid_intent_has_nothing_booked(at: StripeDoor, money: StripeMoney, fresh: Order) -> None:
    rail = StripeX402(at)
    action = await rail.start(rail.prepare(fresh))
    assert await money.read(Reference("payment_intent", action.payment_intent_id)) == ()


async def test_refund_of_ours_is_one_however_often_it_is_sent(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, refund_order: Any
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    request = money.prepare_refund(refund_order(payment_id, 200))
    refund_id = await money.start_refund(request)
    assert await money.start_refund(request) == refund_id
    [fact] = await money.read(Reference("refunds_of_payment", payment_id))
    assert isinstance(fact, RefundSeen)
    assert await money.read(Reference("refund", refund_id)) == (fact,)
    assert (fact.payment_id, fact.refund_id, fact.amount, fact.status) == (payment_id, refund_id, 200, "succeeded")
    assert fact.request_key == request.provider_key
    assert [one.net for one in fact.transactions] == [-200]


async def test_lost_refund_is_found_by_its_key_or_its_absence_is_known(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, refund_order: Any
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    made, never = (money.prepare_refund(refund_order(payment_id, 100)) for _ in range(2))
    control("faults", kind="lost_answer", path="/v1/refunds")
    with pytest.raises(OutcomeUnknown):
        await money.start_refund(made)
    [fact] = await money.read(Reference("refunds_of_payment", payment_id))
    assert isinstance(fact, RefundSeen)
    assert await money.find_refund(payment_id, made) == fact.refund_id
    assert await money.find_refund(payment_id, never) is None


async def test_refund_made_in_the_dashboard_is_seen_without_a_request(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    made = control("refunds", payment_intent=payment_id, amount=500)
    [fact] = await money.read(Reference("refund", made["id"]))
    assert isinstance(fact, RefundSeen)
    assert (fact.payment_id, fact.amount, fact.request_key) == (payment_id, 500, None)


async def test_failed_refund_shows_that_the_money_came_back(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, refund_order: Any
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    refund_id = await money.start_refund(money.prepare_refund(refund_order(payment_id, 200)))
    control(f"refunds/{refund_id}/fail")
    [fact] = await money.read(Reference("refund", refund_id))
    assert isinstance(fact, RefundSeen)
    assert (fact.status, [one.net for one in fact.transactions]) == ("failed", [-200, 200])


async def test_refund_on_chain_tells_its_transaction_once_it_arrived(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, refund_order: Any
) -> None:
    payment_id = await pay_by_wallet(at, fresh, control)
    refund_id = await money.start_refund(money.prepare_refund(refund_order(payment_id, 500)))
    control(f"refunds/{refund_id}/settle")
    [fact] = await money.read(Reference("refund", refund_id))
    assert isinstance(fact, RefundSeen)
    assert fact.status == "succeeded"
    assert fact.details["transaction_hash"].startswith("0x")


async def test_refund_of_more_than_is_left_is_refused(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, refund_order: Any
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    with pytest.raises(ProviderRefused):
        await money.start_refund(money.prepare_refund(refund_order(payment_id, 501)))


async def test_chargeback_shows_the_money_that_went_and_that_came_back(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    dispute_id = control("disputes", payment_intent=payment_id, reason="fraudulent")["id"]
    [lost] = await money.read(Reference("dispute", dispute_id))
    control(f"disputes/{dispute_id}/win")
    [won] = await money.read(Reference("dispute", dispute_id))
    assert isinstance(lost, DisputeSeen)
    assert isinstance(won, DisputeSeen)
    assert (lost.payment_id, lost.status, lost.reason, lost.amount) == (payment_id, "needs_response", "fraudulent", 500)
    assert [(one.amount, one.fee) for one in lost.transactions] == [(-500, 1500)]
    assert (won.status, [one.amount for one in won.transactions]) == ("won", [-500, 500])


async def test_inquiry_moves_no_money(at: StripeDoor, money: StripeMoney, fresh: Order, control: Control) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    dispute_id = control("disputes", payment_intent=payment_id, inquiry=True)["id"]
    [fact] = await money.read(Reference("dispute", dispute_id))
    assert isinstance(fact, DisputeSeen)
    assert (fact.status, fact.transactions) == ("warning_needs_response", ())


async def test_early_fraud_warning_names_the_payment(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    warning = control("fraud_warnings", payment_intent=payment_id, fraud_type="made_with_stolen_card")
    [fact] = await money.read(Reference("early_fraud_warning", warning["id"]))
    assert isinstance(fact, FraudWarned)
    assert (fact.payment_id, fact.reason) == (payment_id, "made_with_stolen_card")


async def test_what_happens_to_a_foreign_payment_is_no_fact(money: StripeMoney, control: Control, foreign: str) -> None:
    refund = control("refunds", payment_intent=foreign, amount=100)
    warning = control("fraud_warnings", payment_intent=foreign)
    for reference in (
        Reference("payment_intent", foreign),
        Reference("refund", refund["id"]),
        Reference("refunds_of_payment", foreign),
        Reference("early_fraud_warning", warning["id"]),
    ):
        assert await money.read(reference) == ()


async def test_payout_is_explained_to_the_cent_over_several_pages(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, foreign: str
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    await until(money, Reference("payment_intent", payment_id), booked)
    control("clock", advance_seconds=60)  # the foreign payment is booked as well
    for _ in range(110):
        control("refunds", payment_intent=payment_id, amount=1)
    control("balance_transactions", amount=-3, type="stripe_fee", reporting_category="fee")
    control("balance_transactions", **OTHERS_PAID)
    made = control("payouts")
    [fact] = await money.read(Reference("payout", made["id"]))
    assert isinstance(fact, PayoutSeen)
    assert fact.contents is not None
    assert (fact.status, fact.automatic, fact.amount) == ("paid", True, made["amount"])
    assert sum(one.transaction.net for one in fact.contents) == fact.amount == -sum(one.net for one in fact.own)
    of_payment = [one.transaction.amount for one in fact.contents if one.payment_id == payment_id]
    assert sorted(of_payment) == [-1] * 110 + [500]
    others = [one.transaction for one in fact.contents if one.payment_id is None]
    assert {(one.category, one.amount) for one in others} >= {("charge", 700), ("fee", -3)}
    assert len({one.transaction.transaction_id for one in fact.contents}) == len(fact.contents)


async def test_payout_that_tells_nothing_has_no_contents(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control
) -> None:
    await until(money, Reference("payment_intent", await pay_by_card(at, fresh, control)), booked)
    control("balance_transactions", **OTHERS_PAID)
    manual = control("payouts", automatic=False, amount=100)
    failed = control("payouts", status="failed")
    [first] = await money.read(Reference("payout", manual["id"]))
    [second] = await money.read(Reference("payout", failed["id"]))
    assert isinstance(first, PayoutSeen)
    assert isinstance(second, PayoutSeen)
    assert (first.automatic, first.contents, [one.net for one in first.own]) == (False, None, [-100])
    assert (second.status, second.contents, sum(one.net for one in second.own)) == ("failed", None, 0)


async def test_event_leads_to_the_object_it_is_about(
    at: StripeDoor, money: StripeMoney, fresh: Order, control: Control, foreign: str
) -> None:
    payment_id = await pay_by_card(at, fresh, control)
    await until(money, Reference("payment_intent", payment_id), booked)
    refund_id = control("refunds", payment_intent=payment_id, amount=1)["id"]
    found: set[Reference] = set()
    page = await at.events(created_gte=START, created_lt=FAR_AHEAD)
    for event in page.items:
        found.update(money.references(event))
    assert {
        Reference("payment_intent", payment_id),
        Reference("refund", refund_id),
        Reference("refunds_of_payment", payment_id),
    } <= found
    assert foreign not in {reference.external_id for reference in found}


async def test_events_are_paged_newest_first(at: StripeDoor, fresh: Order, control: Control) -> None:
    await pay_by_card(at, fresh, control)
    for _ in range(2):  # all that comes by itself has come, and what follows from it: nothing does between two pages
        control("clock", advance_seconds=60)
    first = await at.events(created_gte=START, created_lt=FAR_AHEAD, limit=2)
    second = await at.events(created_gte=START, created_lt=FAR_AHEAD, after=first.items[-1]["id"], limit=2)
    both = await at.events(created_gte=START, created_lt=FAR_AHEAD, limit=4)
    assert [one["id"] for one in (*first.items, *second.items)] == [one["id"] for one in both.items]
    assert first.has_more
    assert (await at.events(created_gte=START, created_lt=START + timedelta(days=1))).items == []


async def test_reference_of_an_unknown_kind_is_a_mistake_of_the_caller(money: StripeMoney) -> None:
    with pytest.raises(ValueError, match="checkout_session"):
        await money.read(Reference("checkout_session", "cs_1"))


async def test_unknown_object_is_refused(money: StripeMoney) -> None:
    for kind in ("payment_intent", "refund", "dispute", "early_fraud_warning", "payout"):
        with pytest.raises(ProviderRefused):
            await money.read(Reference(kind, "nothing_1"))


async def test_refund_request_is_the_same_bytes_each_time(money: StripeMoney) -> None:
    reader: MoneyReader = money
    refunder: Refunder = money
    order = RefundOrder("org_1", "payatt_1", "refund:payatt_1:1", "pi_1", 200)
    request = refunder.prepare_refund(order)
    assert request == refunder.prepare_refund(order)
    assert (request.provider_key, request.api_version) == ("refund:payatt_1:1", API_VERSION)
    assert request.parameters == (
        '{"payment_intent":"pi_1","amount":200,"reason":"requested_by_customer","metadata":'
        '{"purser_attempt":"payatt_1","purser_organization":"org_1","purser_key":"refund:payatt_1:1"}}'
    )
    assert reader.references({}) == ()
