"""An agent that polls, and a payer who comes back, learn of a payment although no letter ever told of it."""

import time

import pytest

from ledger import ids
from tests.service import CHECKOUT, DEPOSIT

SESSIONS = "/v1/checkout/sessions"
HANGS_S = 40


def grow_old(service, attempt_id, seconds):
    """As if nothing had been heard of the attempt for some time."""
    service.database.rows(
        "UPDATE billing.payment_attempts SET updated_at = updated_at - $1 * interval '1 second', "
        "looked_at = looked_at - $1 * interval '1 second' WHERE id = $2",
        seconds,
        attempt_id,
    )


def buy(agent, service, method):
    """An open attempt: its name, its row's id and the provider's object."""
    name = agent.buy(agent.quote(method))["payment_attempt_id"]
    attempt_id = ids.parse("payatt", name)
    query = "SELECT object_id FROM billing.payment_attempts WHERE id = $1"
    [(object_id,)] = service.database.rows(query, attempt_id)
    return name, attempt_id, object_id


@pytest.mark.parametrize("method", [CHECKOUT, DEPOSIT])
def test_the_status_of_an_attempt_that_was_quiet_for_long_is_read_again_before_it_is_answered(
    agent, service, sandbox, method
):
    name, attempt_id, object_id = buy(agent, service, method)
    with sandbox.letters("never"):
        if method == CHECKOUT:
            sandbox.pay(object_id)
        else:
            sandbox.control("POST", f"payment_intents/{object_id}/settle")
        grow_old(service, attempt_id, 21)
        found = agent.status(payment_attempt_id=name)
    assert (found["state"], found["limits"]["payment_backed_remaining_credits"]) == ("succeeded", 500)


def test_a_provider_that_hangs_makes_no_status_hang_or_fail(agent, service, sandbox):
    name, attempt_id, object_id = buy(agent, service, CHECKOUT)
    grow_old(service, attempt_id, 21)
    sandbox.fault("hang", f"{SESSIONS}/{object_id}", method="GET", times=1, seconds=HANGS_S)
    began = time.monotonic()
    found = agent.status(payment_attempt_id=name)
    again = agent.status(payment_attempt_id=name)
    assert time.monotonic() - began < HANGS_S / 2
    assert [found["state"], again["state"]] == ["action_required", "action_required"]


def test_the_payer_who_comes_back_from_paying_sees_that_it_is_paid(agent, service, sandbox, http):
    name, attempt_id, object_id = buy(agent, service, CHECKOUT)
    with sandbox.letters("never"):
        sandbox.pay(object_id)
        grow_old(service, attempt_id, 4)
        page = http.get(f"/pay/{name}", params={"returned": "1"})
    assert page.status_code == 200
    assert agent.status(payment_attempt_id=name)["state"] == "succeeded"
    assert "receipt" in page.text.lower()
