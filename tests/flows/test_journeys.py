"""The two ways from nothing to credits, and every way in which a payment must not be granted twice or wrongly."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import statements, verification
from ledger.ids import parse
from tests.patience import served
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, agent_of, data_of, error_of, new_agent, new_key, sign_up, until

METHODS = [CHECKOUT, DEPOSIT]
EVENTS = ["checkout.session.completed", "payment_intent.succeeded"]


def pay(sandbox, bought, **changes):
    if "checkout_session_id" in bought:
        return sandbox.pay(bought["checkout_session_id"], **changes)["payment_intent"]
    return sandbox.send_usdc(bought["stripe_x402"]["payable_instructions"])["payment_intent"]


def letters_about(service, thing):
    query = "SELECT type, state, reason, body FROM webhooks.letters WHERE position($1::bytea IN body) > 0 ORDER BY id"
    return service.database.rows(query, thing.encode())


def settled(service, thing, *, least=1):
    """The letters about `thing`, once there are some and none of them waits."""

    def look():
        found = letters_about(service, thing)
        return found if len(found) >= least and all(row[1] != "pending" for row in found) else None

    return until(look)


@pytest.mark.parametrize("method", METHODS)
async def test_from_nothing_to_credits(http, service, sandbox, house, method):
    agent = agent_of(http, data_of(sign_up(http, agent_contact=f"{new_key()}@agents.example")))
    assert agent.paid_credits() == 0
    offered = {row["method_id"]: row for row in data_of(http.get("/v1/payment-methods"))["methods"]}[method]
    assert offered["available"]
    quote = agent.quote(method, pack_id=offered["default_pack_id"])
    bought = agent.buy(quote, key=quote["next_actions"]["recommended_buy"]["purchase_idempotency_key"])
    assert agent.paid_credits() == 0
    pay(sandbox, bought)
    done = agent.wait_for_state("succeeded", quote_id=quote["quote_id"])
    assert done["receipt"]["credits"] == agent.paid_credits() == 500
    organization_id = parse("org", agent.organization_id)
    until(
        lambda: service.database.rows(
            "SELECT FROM billing.balance_transactions WHERE organization_id = $1", organization_id
        )
    )
    async with house.sessions() as session:
        rows = await statements.trial_balance(session, organization_id)
        problems = await verification.verify_book(session, organization_id)
    assert not problems
    balances = {row.code: row.balance for row in rows if row.balance}
    fee = {CHECKOUT: 45, DEPOSIT: 8}[method]
    assert balances == {
        "wallet": 500, "issued": 500, "deferred_revenue": 500, "stripe_clearing": 500 - fee, "stripe_fees": fee,
    }  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["normal", "twice", "shuffled", "late"])
def test_letters_in_any_order_and_number_grant_once(agent, service, sandbox, method, mode):
    sandbox.control("PUT", "deliveries", mode=mode, delay_seconds=0.3)
    try:
        bought = agent.buy(agent.quote(method))
        intent = pay(sandbox, bought)
        agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
        settled(service, intent, least=2)
    finally:
        sandbox.control("PUT", "deliveries", mode="normal")
    assert_granted_once(agent, service, bought)


def assert_granted_once(agent, service, bought):
    attempt_id = str(parse("payatt", bought["payment_attempt_id"]))
    counts = service.database.rows(
        "SELECT (SELECT count(*) FROM billing.receipts WHERE attempt_id = $1::uuid), "
        "(SELECT count(*) FROM billing.external_payments WHERE attempt_id = $1::uuid), "
        "(SELECT count(*) FROM ledger.operations WHERE kind = 'grant' AND position($2 IN cause) > 0), "
        "(SELECT count(*) FROM billing.activity_events WHERE links ->> 'payment_attempt_id' = $2 "
        " AND type = 'credits.payment_backed_granted')",
        attempt_id,
        bought["payment_attempt_id"],
    )
    assert [tuple(row) for row in counts] == [(1, 1, 1, 1)]
    assert agent.paid_credits() == 500


@pytest.mark.parametrize("method", METHODS)
def test_replayed_letter_grants_once(agent, http, service, sandbox, method):
    bought = agent.buy(agent.quote(method))
    intent = pay(sandbox, bought)
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    for _, _, _, body in settled(service, intent, least=2):
        answer = http.post("/webhooks/stripe", content=bytes(body), headers=service.signed(bytes(body)))
        assert data_of(answer)["duplicate"]
    assert_granted_once(agent, service, bought)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_payment_told_ten_times_at_once_under_new_names_grants_once(agent, service, sandbox, method):
    with sandbox.letters("never"):
        bought = agent.buy(agent.quote(method))
        intent = pay(sandbox, bought)
        event = until(lambda: _event(sandbox, intent, method))
    bodies = [json.dumps({**event, "id": f"{event['id']}_{number}"}).encode() for number in range(10)]
    with service.client() as client, ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda body: data_of(
                    served(lambda: client.post("/webhooks/stripe", content=body, headers=service.signed(body)))
                ),
                bodies,
            )
        )
    assert [answer["duplicate"] for answer in answers] == [False] * 10
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    assert {row[1] for row in settled(service, intent, least=10) if row[0] in event["type"]} == {"done"}
    assert_granted_once(agent, service, bought)


def _event(sandbox, intent, method):
    wanted = "checkout.session.completed" if method == CHECKOUT else "payment_intent.succeeded"
    return sandbox.event_about(wanted, intent)


@pytest.mark.parametrize("order", [EVENTS, EVENTS[::-1]], ids=lambda order: order[0])
def test_two_kinds_of_events_of_one_payment_grant_once(agent, http, service, sandbox, order):
    with sandbox.letters("never"):
        bought = agent.buy(agent.quote())
        intent = pay(sandbox, bought)
    for number, event_type in enumerate(order, 1):
        body = json.dumps(sandbox.event_about(event_type, intent)).encode()
        data_of(http.post("/webhooks/stripe", content=body, headers=service.signed(body)))
        assert {row[1] for row in settled(service, intent, least=number) if row[0] in EVENTS} == {"done"}
        assert_granted_once(agent, service, bought)


def test_a_letter_with_a_lie_grants_what_is_true(agent, http, service, sandbox):
    """A signed but stale or altered payload is only a nudge: the objects are read again."""
    with sandbox.letters("never"):
        bought = agent.buy(agent.quote())
        session = next(one for one in sandbox.sessions() if one["id"] == bought["checkout_session_id"])
    lie = {**session, "status": "complete", "payment_status": "paid", "amount_subtotal": 500, "amount_total": 500}
    event = {"id": f"evt_{new_key()}", "object": "event", "type": "checkout.session.completed", "data": {"object": lie}}
    body = json.dumps(event).encode()
    data_of(http.post("/webhooks/stripe", content=body, headers=service.signed(body)))
    settled(service, event["id"])
    assert agent.status(quote_id=bought["quote_id"])["state"] == "action_required"
    assert agent.paid_credits() == 0


@pytest.mark.parametrize(
    "changes",
    [{"amount_subtotal": 499, "amount_total": 499}, {"amount_total": 400}, {"currency": "eur"}, {"livemode": True}],
    ids=str,
)
def test_money_that_does_not_agree_is_parked_and_not_granted(agent, service, sandbox, changes):
    bought = agent.buy(agent.quote())
    intent = pay(sandbox, bought, **changes)
    # Which of the letters tells of the amounts depends on their order; those before it are of no matter.
    parked = until(lambda: [row for row in settled(service, intent) if row[1] == "parked"])
    assert all(row[2] for row in parked)
    settled(service, intent, least=2)
    assert agent.paid_credits() == 0
    assert agent.status(quote_id=bought["quote_id"])["receipt"] is None


def test_deposit_of_another_amount_grants_nothing(agent, sandbox):
    bought = agent.buy(agent.quote(DEPOSIT))
    due = bought["stripe_x402"]["payable_instructions"]
    sent = sandbox.control(
        "POST",
        "wallet/transfers",
        network="base",
        token_currency="usdc",
        to=due["deposit_address"],
        amount_atomic=str(int(due["token_amount_atomic"]) - 1),
    )
    assert not sent["matched"]
    assert agent.status(quote_id=bought["quote_id"])["state"] != "succeeded"
    assert agent.paid_credits() == 0


def test_payment_after_the_quote_expired_is_honoured_and_marked_late(agent, service, sandbox):
    bought = agent.buy(agent.quote())
    service.database.rows(
        "UPDATE billing.credit_quotes SET expires_at = created_at - interval '1 minute' WHERE id = $1::uuid",
        str(parse("quote", bought["quote_id"])),
    )
    pay(sandbox, bought)
    done = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    assert done["receipt"]["late"] is True
    assert agent.paid_credits() == 500


def test_paid_quote_is_not_sold_twice(agent, sandbox):
    bought = agent.buy(agent.quote())
    pay(sandbox, bought)
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    body = {"quote_id": bought["quote_id"], "idempotency_key": new_key()}
    error_of(agent.send("POST", PURCHASES[CHECKOUT], body), 409, "CREDIT_QUOTE_ALREADY_PAID")
    replayed = agent.buy(bought, key=bought["idempotency_key"])
    assert (replayed["state"], replayed["next"]["agent_action"]) == ("succeeded", "use_credits")
    assert replayed["receipt"]["credits"] == 500


def test_declined_card_leaves_the_page_open(agent, sandbox):
    bought = agent.buy(agent.quote())
    sandbox.control("POST", f"sessions/{bought['checkout_session_id']}/decline")
    assert agent.status(quote_id=bought["quote_id"])["state"] == "action_required"
    pay(sandbox, bought)
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])


def test_credits_belong_to_the_organization_and_to_nobody_else(http, agent, sandbox):
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "b", "runtime": "pytest"}))
    bought = agent.buy(agent.quote())
    pay(sandbox, bought)
    agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    assert (sibling.paid_credits(), new_agent(http).paid_credits()) == (500, 0)
