"""Where the newer client looks for what to do next: every field of section 4.9 of its contract, on the real service."""

from typing import Any

import pytest

from ledger.operations import Caps
from tests.giving import give, set_caps
from tests.service import CHECKOUT, DEPOSIT, PURCHASES, data_of, error_of

QUOTE = {
    "purpose", "recommendation_reason", "method_id", "pack_id", "command", "quote_command_copy_runnable", "buy_command",
    "status_command", "requires_auth", "live_money", "requires_browser", "agent_settleable", "command_effect",
}  # fmt: skip
BUY = {
    "purpose", "recommendation_reason", "quote_id", "method_id", "provider", "command", "buy_command_copy_runnable",
    "purchase_idempotency_key", "status_command", "status_command_copy_runnable", "status_command_after_payment",
    "status_command_after_payment_copy_runnable", "requires_auth", "live_money", "requires_browser", "agent_settleable",
    "human_handoff_required", "command_effect",
}  # fmt: skip
SETTLEMENT = {
    "purpose", "quote_id", "payment_attempt_id", "method_id", "payable_instructions_path", "status_command",
    "quota_command", "command_effect",
}  # fmt: skip
TOP_UP = {
    "available", "recommended", "recommendation_reason", "urgency", "urgency_score", "urgency_reasons", "path",
    "preferred_payment_method", "first_command", "quote_command", "quote_command_copy_runnable", "quote_command_effect",
    "commands", "workflow",
}  # fmt: skip
COMMANDS = {"inspect_methods", "inspect_packs", "quote", "buy", "status", "fallback_quote", "fallback_buy"}
EFFECT = {"no_spend", "payment_object", "credit_debit", "media_write"}
REASONS = {CHECKOUT: "human_checkout_handoff", DEPOSIT: "browserless_agent_self_fund"}


def at_path(answer, path):
    found = {"data": answer}
    for name in path.split("."):
        found = found[name]
    return found


def assert_complete(top_up):
    """The client makes its own `self_fund` of it only when it is all there."""
    assert set(top_up) >= TOP_UP
    assert top_up["available"] is True
    assert set(top_up["commands"]) == COMMANDS
    assert all(command.startswith("image-skill ") for command in top_up["commands"].values())
    assert [step["command"] for step in top_up["workflow"]["steps"]]


def test_the_methods_recommend_a_quote(http):
    found = data_of(http.get("/v1/payment-methods"))["next_actions"]["recommended_quote"]
    assert set(found) >= QUOTE
    assert (found["purpose"], found["recommendation_reason"]) == ("quote_credit_top_up", REASONS[DEPOSIT])
    assert found["command_effect"] == {
        "label": "live_money_quote_no_charge", "no_spend": True, "payment_object": True, "credit_debit": False,
        "media_write": False,
    }  # fmt: skip


@pytest.mark.parametrize("method", PURCHASES)
def test_a_quote_and_the_status_of_an_open_one_recommend_to_buy_it(agent, method):
    quote = agent.quote(method)
    found = quote["next_actions"]["recommended_buy"]
    assert set(found) >= BUY
    assert (found["purpose"], found["recommendation_reason"]) == ("complete_credit_top_up", REASONS[method])
    assert found["purchase_idempotency_key"] == f"purchase:{quote['quote_id']}"
    assert found["human_handoff_required"] is found["requires_browser"] is not found["agent_settleable"]
    assert set(found["command_effect"]) >= EFFECT
    assert found["command_effect"]["label"] == "live_money_payment_attempt_requires_completion"
    assert found["command_effect"]["no_spend"] is False, "only for who may spend"
    assert agent.status(quote_id=quote["quote_id"])["next_actions"] == {"recommended_buy": found}


def test_a_deposit_and_its_status_recommend_to_settle_it_by_what_stands_at_the_path(agent):
    bought = agent.buy(agent.quote(DEPOSIT))
    status = agent.status(payment_attempt_id=bought["payment_attempt_id"])
    for answer in (bought, status):
        found = answer["next_actions"]["recommended_settlement"]
        assert set(found) >= SETTLEMENT
        assert found["purpose"] == "settle_stripe_x402_credit_top_up"
        assert found["command_effect"]["wallet_settlement"] is True
        assert found["command_effect"]["no_spend"] is False
        assert at_path(answer, found["payable_instructions_path"]) == bought["stripe_x402"]["payable_instructions"]
        assert bought["payment_attempt_id"] in found["status_command"]


def test_a_checkout_recommends_no_settlement_because_a_human_pays(agent):
    bought = agent.buy(agent.quote(CHECKOUT))
    assert bought["next_actions"] == agent.status(quote_id=bought["quote_id"])["next_actions"] == {}


ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "a spend": ("/v1/spends", {"credits": 9}),
    "a hold": ("/v1/holds", {"credits": 9, "expires_in_seconds": 60}),
    "a job": ("/v1/create", {"prompt": "a fox"}),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_refused_for_want_of_credits_has_the_whole_top_up(agent, asked):
    path, body = ASKED[asked]
    assert_complete(error_of(agent.ask(path, **body), 402, "QUOTA_EXCEEDED")["recovery"]["top_up"])


@pytest.mark.parametrize("asked", ASKED)
def test_what_a_cap_refuses_has_the_top_up_where_buying_would_be_needed_too(agent, database, asked):
    path, body = ASKED[asked]
    set_caps(database, agent, Caps(per_spend=1))
    assert_complete(error_of(agent.ask(path, **body), 402, "SPEND_CAP_EXCEEDED")["recovery"]["top_up"])
    give(database, agent, 50)
    recovery = error_of(agent.ask(path, **body), 402, "SPEND_CAP_EXCEEDED")["recovery"]
    assert "top_up" not in recovery, "there is enough: buying would not help"


def test_the_quota_has_the_same_top_up(agent):
    assert_complete(agent.get("/v1/quota")["top_up"])
