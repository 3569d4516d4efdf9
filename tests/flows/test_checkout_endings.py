"""Every way in which a hosted page can end, over HTTP: delayed, failed, free, taxed, expired, late, paid twice."""

import httpx
import pytest

from api.refunds import send_due
from ledger.ids import parse
from ledger.operations import PLATFORM
from tests.flows.endings import (
    alerts,
    attempt_uuid,
    books_of,
    page_of,
    payments_of,
    reread,
    tell,
    unallocated_for,
    wait_for,
)
from tests.service import ANSWER_S, STRIPE_KEY, until

GRANTED, UNALLOCATED = ("payment_intent", "granted", 500), ("payment_intent", "unallocated", 500)


def control(sandbox, bought, act, **changes):
    return sandbox.control("POST", f"sessions/{bought['checkout_session_id']}/{act}", **changes)


def click(sandbox, bought, **form):
    """A person fills in the provider's page."""
    return httpx.post(f"{sandbox.url}/c/pay/{bought['checkout_session_id']}", data=form, timeout=ANSWER_S)


def session_of(sandbox, bought):
    return next(one for one in sandbox.sessions() if one["id"] == bought["checkout_session_id"])


def test_a_bank_debit_is_waited_for_and_granted_when_it_settles(generous_agent, sandbox):
    agent = generous_agent
    bought = agent.buy(agent.quote())
    assert session_of(sandbox, bought)["allowed_payment_method_types"] == ["card", "us_bank_account"]
    control(sandbox, bought, "pay_delayed")
    waiting = wait_for(agent, bought, "processing")
    assert (waiting["next"]["agent_action"], waiting["receipt"]) == ("wait_for_settlement", None)
    assert agent.paid_credits() == 0
    assert "bank is still working on it" in page_of(agent, bought).text
    control(sandbox, bought, "settle_delayed")
    done = wait_for(agent, bought, "succeeded")
    assert done["receipt"]["details"] == {
        "type": "us_bank_account",
        "bank_name": "STRIPE TEST BANK",
        "last4": "6789",
    }
    assert agent.paid_credits() == 500
    assert "Bank account" in page_of(agent, bought).text


@pytest.mark.long
def test_a_bank_debit_that_is_returned_fails_says_why_and_the_quote_can_be_bought_again(generous_agent, sandbox):
    agent = generous_agent
    quote = agent.quote()
    bought = agent.buy(quote)
    control(sandbox, bought, "pay_delayed")
    wait_for(agent, bought, "processing")
    control(sandbox, bought, "fail_delayed")
    failed = wait_for(agent, bought, "failed")
    assert "did not arrive" in failed["payment_attempt"]["reason"]
    assert failed["next"]["agent_action"] == "buy_quote"
    assert "did not arrive" in page_of(agent, bought).text
    assert agent.paid_credits() == 0
    again = agent.buy(quote, key=failed["next_actions"]["recommended_buy"]["purchase_idempotency_key"])
    assert again["payment_attempt_id"] != bought["payment_attempt_id"]
    control(sandbox, again, "pay")
    wait_for(agent, again, "succeeded")
    assert agent.paid_credits() == 500


async def test_a_promotion_of_the_whole_price_grants_promotional_credits_and_no_money(
    generous, generous_agent, sandbox, house
):
    agent = generous_agent
    bought = agent.buy(agent.quote())
    assert click(sandbox, bought, action="apply_code", promotion_code="SANDBOX100").status_code == 200
    assert click(sandbox, bought, action="pay").status_code == 303
    done = wait_for(agent, bought, "succeeded")
    receipt = done["receipt"]
    assert (receipt["credits"], receipt["discount_cents"], receipt["amount_cents"]) == (500, 500, 0)
    assert done["credit_event"]["type"] == "promotional_grant"
    assert (agent.paid_credits(), agent.get("/v1/quota")["limits"]["remaining_credits"]) == (0, 500)
    assert payments_of(generous, agent) == [("checkout_session", "granted", 0)]
    book = await books_of(house, parse("org", agent.organization_id))
    assert not any(book.get(code) for code in ("stripe_clearing", "deferred_revenue", "sales_tax_payable"))
    told = page_of(agent, bought).text
    assert "Nothing to pay" in told
    assert "Promotion code" in told


def test_promotion_codes_are_not_taken_unless_the_service_says_so(agent, sandbox):
    bought = agent.buy(agent.quote())
    answer = click(sandbox, bought, action="apply_code", promotion_code="SANDBOX100")
    assert "This code is invalid" in answer.text


async def test_tax_is_owed_to_the_authorities_and_not_as_credits(generous_agent, sandbox, house):
    agent = generous_agent
    bought = agent.buy(agent.quote())
    assert session_of(sandbox, bought)["automatic_tax"]["enabled"]
    control(sandbox, bought, "pay", tax=40)
    receipt = wait_for(agent, bought, "succeeded")["receipt"]
    assert (receipt["subtotal_cents"], receipt["tax_cents"], receipt["amount_cents"]) == (500, 40, 540)
    book = await books_of(house, parse("org", agent.organization_id))
    assert (book["deferred_revenue"], book["sales_tax_payable"]) == (500, 40)


async def test_a_discount_lowers_what_the_credits_are_worth_and_not_how_many_they_are(generous_agent, sandbox, house):
    agent = generous_agent
    bought = agent.buy(agent.quote())
    control(sandbox, bought, "pay", discount=125, tax=30)
    receipt = wait_for(agent, bought, "succeeded")["receipt"]
    assert (receipt["credits"], receipt["discount_cents"], receipt["amount_cents"]) == (500, 125, 405)
    book = await books_of(house, parse("org", agent.organization_id))
    assert (book["deferred_revenue"], book["sales_tax_payable"], book["wallet"]) == (375, 30, 500)


def test_an_expired_page_is_opened_again_by_the_link_and_can_be_paid(agent, sandbox):
    bought = agent.buy(agent.quote())
    control(sandbox, bought, "expire")
    expired = wait_for(agent, bought, "expired")
    assert expired["next"]["human_action"] == "open_checkout_url"
    forwarded = page_of(agent, bought)
    assert forwarded.status_code == 303
    reopened = reread(agent, bought)
    session_id = reopened["payment_attempt"]["checkout_session_id"]
    assert (reopened["state"], session_id != bought["checkout_session_id"]) == ("action_required", True)
    assert session_id in forwarded.headers["location"]
    sandbox.pay(session_id)
    wait_for(agent, bought, "succeeded")
    assert agent.paid_credits() == 500


@pytest.mark.long
def test_an_abandoned_page_says_that_nothing_was_taken_and_leads_back_to_the_same_page(agent, sandbox):
    bought = agent.buy(agent.quote())
    left = page_of(agent, bought, returned="0")
    assert (left.status_code, "Not paid yet" in left.text) == (200, True)
    again = page_of(agent, bought)
    assert bought["checkout_session_id"] in again.headers["location"]
    assert reread(agent, bought)["state"] == "action_required"


@pytest.mark.long
def test_an_expired_page_of_an_attempt_that_is_over_stays_closed(service, agent, sandbox):
    bought = agent.buy(agent.quote())
    control(sandbox, bought, "expire")
    wait_for(agent, bought, "expired")
    service.database.rows(
        "UPDATE billing.payment_attempts SET payable_until = created_at WHERE id = $1::uuid", attempt_uuid(bought)
    )
    closed = page_of(agent, bought)
    assert (closed.status_code, "This payment link has expired" in closed.text) == (200, True)
    assert reread(agent, bought)["state"] == "expired"


def test_a_payment_after_the_quote_expired_is_honoured_and_page_and_receipt_say_late(service, agent, sandbox):
    bought = agent.buy(agent.quote())
    service.database.rows(
        "UPDATE billing.credit_quotes SET expires_at = created_at - interval '1 minute' WHERE id = $1::uuid",
        str(parse("quote", bought["quote_id"])),
    )
    control(sandbox, bought, "pay")
    assert wait_for(agent, bought, "succeeded")["receipt"]["late"] is True
    assert "it was honoured all the same" in page_of(agent, bought).text


def _given_up(service, bought):
    """As if the provider had said that the page expired, which was not so: nobody heard that it was paid."""
    service.database.rows(
        "UPDATE billing.payment_attempts SET state = 'expired' WHERE id = $1::uuid", attempt_uuid(bought)
    )


def _paid_unheard(sandbox, bought):
    with sandbox.letters("never"):
        return control(sandbox, bought, "pay")["payment_intent"]


async def test_two_pages_of_one_attempt_both_paid_grant_once_and_the_other_is_kept(service, agent, sandbox, house):
    bought = agent.buy(agent.quote())
    first = _paid_unheard(sandbox, bought)
    _given_up(service, bought)
    assert page_of(agent, bought).status_code == 303
    second = reread(agent, bought)["payment_attempt"]["checkout_session_id"]
    sandbox.pay(second)
    granted = wait_for(agent, bought, "succeeded")
    tell(service, sandbox, "checkout.session.completed", first)
    after = reread(agent, bought)
    assert (after["state"], after["receipt"]) == ("succeeded", granted["receipt"])
    assert "A second payment of 5.00 USD arrived; it is kept" in after["payment_attempt"]["reason"]
    assert "A second payment of 5.00 USD" in page_of(agent, bought).text
    assert agent.paid_credits() == 500
    assert payments_of(service, agent) == [GRANTED, UNALLOCATED]
    assert await unallocated_for(house, service, agent) == 500
    [alert] = alerts(service, "second_payment", payment_id=first)
    assert (alert["amount_cents"], alert["refunded"], alert["level"]) == (500, False, "error")
    tell(service, sandbox, "payment_intent.succeeded", first)
    assert payments_of(service, agent) == [GRANTED, UNALLOCATED]


async def test_two_attempts_of_one_quote_both_paid_grant_once_and_the_second_ends_canceled(
    service, agent, sandbox, house
):
    quote = agent.quote()
    one = agent.buy(quote)
    first = _paid_unheard(sandbox, one)
    _given_up(service, one)
    two = agent.buy(quote, key="another")
    second = _paid_unheard(sandbox, two)
    tell(service, sandbox, "checkout.session.completed", first)
    assert reread(agent, one)["receipt"]["credits"] == 500
    tell(service, sandbox, "checkout.session.completed", second)
    ended = reread(agent, two)
    assert (ended["state"], ended["receipt"]) == ("canceled", None)
    assert "second payment" in ended["payment_attempt"]["reason"]
    page = page_of(agent, two).text
    assert "This payment was canceled" in page
    assert "A second payment of 5.00 USD arrived" in page
    assert agent.paid_credits() == 500
    assert payments_of(service, agent) == [GRANTED, UNALLOCATED]
    assert await unallocated_for(house, service, agent) == 500


async def test_a_second_payment_is_sent_back_where_the_service_says_so(service, generous_agent, sandbox, house):
    agent = generous_agent
    quote = agent.quote()
    one = agent.buy(quote)
    first = _paid_unheard(sandbox, one)
    _given_up(service, one)
    two = agent.buy(quote, key="another")
    control(sandbox, two, "pay")
    wait_for(agent, two, "succeeded")
    tell(service, sandbox, "checkout.session.completed", first)
    assert "it is being sent back" in reread(agent, one)["payment_attempt"]["reason"]
    await send_due(house)  # whether or not the service's own worker was faster
    [refund] = until(lambda: _refunds_of(sandbox, first))
    assert (refund["amount"], refund["payment_intent"]) == (500, first)
    query = "SELECT organization_id, amount_cents FROM billing.balance_transactions WHERE source_id = $1"
    assert until(lambda: service.database.rows(query, refund["id"])) == [(PLATFORM, -500)]
    assert agent.paid_credits() == 500
    await books_of(house, PLATFORM)


def _refunds_of(sandbox, intent):
    query = {"payment_intent": intent}
    return httpx.get(f"{sandbox.url}/v1/refunds", params=query, auth=(STRIPE_KEY, ""), timeout=ANSWER_S).json()["data"]


@pytest.mark.parametrize("changes", [{"amount_subtotal": 400, "amount_total": 400}, {"currency": "eur"}], ids=str)
def test_a_payment_that_does_not_agree_waits_for_a_person_and_the_payer_is_told(agent, sandbox, changes):
    bought = agent.buy(agent.quote())
    control(sandbox, bought, "pay", **changes)
    looked_at = wait_for(agent, bought, "processing")
    assert "a person is looking at it" in looked_at["payment_attempt"]["reason"]
    told = page_of(agent, bought).text
    assert "a person is looking at it" in told
    assert "Please do not pay again" in told
    assert agent.paid_credits() == 0
