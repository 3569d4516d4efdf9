"""Every way in which a crypto deposit can end, as far as Stripe tells, over HTTP."""

import pytest

from ledger.ids import parse
from tests.flows.endings import attempt_uuid, books_of, page_of, payments_of, reread, wait_for
from tests.service import DEPOSIT, until


def deposit(agent):
    quote = agent.quote(DEPOSIT)
    bought = agent.buy(quote)
    return quote, bought


def send(sandbox, bought, cents):
    due = bought["stripe_x402"]["payable_instructions"]
    return sandbox.control(
        "POST",
        "wallet/transfers",
        network=due["network"],
        token_currency=due["token_currency"],
        to=due["deposit_address"],
        amount_atomic=str(cents * 10_000),
    )


def act_on(service, sandbox, bought, act):
    """The provider's object stays inside of the service, so it is looked up there."""
    query = "SELECT external_id FROM billing.provider_requests WHERE attempt_id = $1::uuid"
    [[intent]] = service.database.rows(query, attempt_uuid(bought))
    return sandbox.control("POST", f"payment_intents/{intent}/{act}")


async def test_a_deposit_of_the_exact_amount_settles(agent, sandbox, house):
    _, bought = deposit(agent)
    assert send(sandbox, bought, 500)["matched"]
    done = wait_for(agent, bought, "succeeded")
    assert {"transaction_hash", "network", "token_currency"} <= set(done["receipt"]["details"])
    assert agent.paid_credits() == 500
    assert "Payment received" in page_of(agent, bought).text
    book = await books_of(house, parse("org", agent.organization_id))
    assert (book["deferred_revenue"], book.get("deposit_remainder", 0)) == (500, 0)


def test_a_deposit_that_fails_ends_its_attempt_and_the_quote_can_be_bought_again(service, agent, sandbox):
    quote, bought = deposit(agent)
    act_on(service, sandbox, bought, "fail")
    failed = wait_for(agent, bought, "failed")
    assert "could not be matched" in failed["payment_attempt"]["reason"]
    assert "could not be matched" in page_of(agent, bought).text
    assert failed["next"]["agent_action"] == "buy_quote"
    again = agent.buy(quote, key=failed["next_actions"]["recommended_buy"]["purchase_idempotency_key"])
    assert send(sandbox, again, 500)["matched"]
    wait_for(agent, again, "succeeded")
    assert agent.paid_credits() == 500


def test_a_deposit_that_expires_is_not_asked_for_any_more(service, agent, sandbox):
    _, bought = deposit(agent)
    act_on(service, sandbox, bought, "expire")
    expired = wait_for(agent, bought, "expired")
    assert expired["next"]["agent_action"] == "buy_quote"
    assert (
        "payable_instructions" not in str(expired["payment_attempt"])
        or not (expired["payment_attempt"]["stripe_x402"]["payable_instructions"])
    )
    page = page_of(agent, bought).text
    assert "The time to pay is over" in page
    assert bought["stripe_x402"]["payable_instructions"]["deposit_address"] not in page
    assert not send(sandbox, bought, 500)["matched"]
    assert agent.paid_credits() == 0


@pytest.mark.parametrize("cents", [499, 501])
def test_another_amount_is_not_matched_unless_the_service_takes_it(agent, sandbox, cents):
    _, bought = deposit(agent)
    assert not send(sandbox, bought, cents)["matched"]
    assert reread(agent, bought)["state"] == "action_required"
    assert agent.paid_credits() == 0


async def test_a_deposit_of_less_grants_its_share_and_the_receipt_says_both(generous, generous_agent, sandbox, house):
    agent = generous_agent
    _, bought = deposit(agent)
    assert send(sandbox, bought, 320)["matched"]
    done = wait_for(agent, bought, "succeeded")
    receipt = done["receipt"]
    assert (receipt["credits"], receipt["subtotal_cents"], receipt["amount_cents"]) == (320, 320, 320)
    assert {"requested_cents": 500, "received_cents": 320, "remainder_cents": 0, "credits_quoted": 500}.items() <= (
        receipt["details"].items()
    )
    assert done["quote"]["state"] == "succeeded"
    assert agent.paid_credits() == 320
    assert payments_of(generous, agent) == [("payment_intent", "granted", 320)]
    book = await books_of(house, parse("org", agent.organization_id))
    assert (book["deferred_revenue"], book["stripe_clearing"] + book.get("stripe_fees", 0)) == (320, 320)
    page = page_of(agent, bought).text
    assert "Part of the payment received" in page
    assert "320 credits" in page


async def test_a_deposit_of_more_grants_what_was_quoted_and_the_rest_stands_as_remainder(
    generous, generous_agent, sandbox, house
):
    agent = generous_agent
    _, bought = deposit(agent)
    assert send(sandbox, bought, 625)["matched"]
    receipt = wait_for(agent, bought, "succeeded")["receipt"]
    assert (receipt["credits"], receipt["amount_cents"], receipt["details"]["remainder_cents"]) == (500, 625, 125)
    assert agent.paid_credits() == 500
    assert payments_of(generous, agent) == [("payment_intent", "granted", 625)]
    book = await books_of(house, parse("org", agent.organization_id))
    assert (book["deferred_revenue"], book["deposit_remainder"]) == (500, 125)
    assert "More arrived than was asked for" in page_of(agent, bought).text


def test_stripes_word_of_a_deposit_in_part_is_a_letter_of_ours(service, generous_agent, sandbox):
    agent = generous_agent
    _, bought = deposit(agent)
    intent = send(sandbox, bought, 100)["payment_intent"]
    wait_for(agent, bought, "succeeded")

    def letters():
        query = "SELECT state FROM webhooks.letters WHERE type = $1 AND position($2::bytea IN body) > 0"
        return [row[0] for row in service.database.rows(query, "payment_intent.partially_funded", intent.encode())]

    assert until(lambda: letters() == ["done"] or None)
