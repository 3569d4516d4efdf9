import pytest

from tests.service import CHECKOUT, DEPOSIT, data_of, error_of

KINDS = ("quote_id", "payment_attempt_id", "checkout_session_id", "receipt_id")
PATH = "/v1/credit-purchases/status"


@pytest.fixture
def paid(agent, sandbox):
    """The references of a paid checkout purchase."""
    bought = agent.buy(agent.quote(pack_id="starter-500"))
    sandbox.pay(bought["checkout_session_id"])
    found = agent.wait_for_state("succeeded", payment_attempt_id=bought["payment_attempt_id"])
    return {
        "quote_id": bought["quote_id"],
        "payment_attempt_id": bought["payment_attempt_id"],
        "checkout_session_id": bought["checkout_session_id"],
        "receipt_id": found["receipt"]["receipt_id"],
    }


def test_all_four_references_tell_the_same_purchase(agent, paid):
    answers = [agent.status(**{kind: paid[kind]}) for kind in KINDS]
    assert all(answer == answers[0] for answer in answers)
    found = answers[0]
    assert found["state"] == found["quote"]["state"] == found["payment_attempt"]["attempt_status"] == "succeeded"
    assert found["quote"]["pack_id"] == "starter-500"
    receipt, event = found["receipt"], found["credit_event"]
    assert (receipt["credits"], receipt["amount_cents"], receipt["late"]) == (500, 500, False)
    assert (event["credits"], event["available_credits_after"], event["journal_seq"]) == (500, 500, 2)
    assert receipt["credit_event_id"] == event["credit_event_id"]
    assert found["limits"]["payment_backed_remaining_credits"] == 500
    assert found["provider_event"]["occurred_at"] == receipt["settled_at"]
    assert found["next"]["agent_action"] == "use_credits"


def test_status_of_an_open_quote_repeats_how_to_buy_it(agent):
    quote = agent.quote(DEPOSIT)
    found = agent.status(quote_id=quote["quote_id"])
    assert (found["state"], found["payment_attempt"], found["receipt"]) == ("created", None, None)
    assert found["next_actions"]["recommended_buy"] == quote["next_actions"]["recommended_buy"]
    assert found["quote"]["x402"]["method_id"] == DEPOSIT


def test_status_of_a_deposit_repeats_what_to_send(agent):
    bought = agent.buy(agent.quote(DEPOSIT))
    found = agent.status(quote_id=bought["quote_id"])
    attempt = found["payment_attempt"]
    assert attempt["attempt_status"] == "requires_action"
    assert attempt["stripe_x402"] == bought["stripe_x402"]
    settlement = found["next_actions"]["recommended_settlement"]
    assert settlement["payable_instructions_path"] == "data.payment_attempt.stripe_x402.payable_instructions"
    assert found["next"] == bought["next"]


def test_status_of_a_checkout_repeats_its_links(agent):
    bought = agent.buy(agent.quote(CHECKOUT))
    attempt = agent.status(checkout_session_id=bought["checkout_session_id"])["payment_attempt"]
    for name in ("checkout_session_id", "checkout_handoff_url", "checkout_compact_url", "checkout_url"):
        assert attempt[name] == bought[name]


def test_without_a_reference_status_is_the_quota(agent):
    assert agent.status() == agent.get("/v1/quota")
    assert agent.status(unknown="x") == agent.get("/v1/quota")


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_two_references_are_refused(agent, first, second):
    query = [(first, "a"), (second, "b")]
    answer = agent.client.get(PATH, params=query, headers=agent.headers)
    message = error_of(answer, 400, "INVALID_ARGUMENTS")["message"]
    assert message.startswith(f"{first} may be given once" if first == second else "at most one of ")
    assert answer.headers["x-image-skill-exit-code"] == "2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["", " ", "\x00", "a" * 256], ids=repr)
def test_malformed_references_are_refused(agent, kind, value):
    error = error_of(agent.send("GET", PATH, **{kind: value}), 400, "INVALID_ARGUMENTS")
    assert error["message"].startswith(f"{kind} ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["nonsense", "quote_" + "0" * 26, "receipt_" + "z" * 26, "cs_test_unknown", "pi_1"])
def test_unknown_references_are_not_found(agent, kind, value):
    error_of(agent.send("GET", PATH, **{kind: value}), 404, "NOT_FOUND")


def test_a_payment_intent_is_no_reference(agent, service):
    bought = agent.buy(agent.quote(DEPOSIT))
    [(intent,)] = service.database.rows(
        "SELECT object_id FROM billing.payment_attempts WHERE state = 'action_required' AND method = $1 "
        "ORDER BY created_at DESC LIMIT 1",
        DEPOSIT,
    )
    assert intent.startswith("pi_")
    assert bought["state"] == "action_required"
    error_of(agent.send("GET", PATH, checkout_session_id=intent), 404, "NOT_FOUND")


def test_references_survive_a_paid_receipt_of_taxes_and_discounts(agent, sandbox):
    bought = agent.buy(agent.quote(credits_=1000))
    sandbox.pay(bought["checkout_session_id"], tax=80, discount=100)
    found = agent.wait_for_state("succeeded", quote_id=bought["quote_id"])
    receipt = found["receipt"]
    assert (receipt["subtotal_cents"], receipt["discount_cents"], receipt["tax_cents"]) == (1000, 100, 80)
    assert (receipt["amount_cents"], receipt["credits"]) == (980, 1000)
    assert data_of(agent.send("GET", PATH, receipt_id=receipt["receipt_id"])) == found
