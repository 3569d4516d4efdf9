"""The guide as a function of what is known: its stages in their order, and what each step says of itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.commands import Commands
from api.http.fields_guide import GuideAsked
from api.http.views import guide as views
from api.http.views.guide_stages import KEYED, READY, Known, Seen, Stage, TokenStatus, required_credits, staged
from api.http.views.purchases import Scene
from api.settings import Settings
from billing.attempts import AttemptState
from billing.packs import METHODS, STRIPE_CHECKOUT, STRIPE_X402, X402, price
from billing.pricing import Availability, Model, Policy, Price, PriceList, choose
from billing.purchases import Place
from billing.standing import Standing
from billing.status import Status
from billing.tables import CreditQuote, PaymentAttempt
from ledger.allowances import Allowance, Window
from ledger.statements import Balance

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
AGENT, OTHER = UUID(int=1), UUID(int=2)
OFFER = Settings().offer()
MODEL = Model(
    id="house.painter", name="Painter", provider="house", modality="image", operations=("create",),
    availability=Availability.AVAILABLE, price=Price(Policy.PER_UNIT, 7), deadline=timedelta(minutes=1),
)  # fmt: skip
PRICES = PriceList([MODEL], MODEL.id, "digest")
PAINTER = choose(PRICES, operation="create", model=None, provider=None)
QUOTE = CreditQuote(
    organization_id=UUID(int=9), id=UUID(int=5), agent_id=AGENT, idempotency_key="q", credits=50, price_cents=50,
    currency="USD", payment_method=STRIPE_X402.method_id, live_money=True, created_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)  # fmt: skip


def standing(required, spendable=0, allowance=None):
    return Standing(NOW, Balance(spendable, 0, 0), required, allowance)


def allowance(*, paused=False, per_spend=None, per_hour=None, per_day=None, total=None):
    def window(limit, frees_up_in):
        return Window(limit, 0, NOW, NOW + frees_up_in if frees_up_in else None)

    hour, day = window(per_hour, timedelta(hours=1)), window(per_day, timedelta(days=1))
    return Allowance(paused, per_spend, hour, day, window(None, timedelta(days=9)), window(total, None))


def attempt(state=AttemptState.ACTION_REQUIRED, *, method=STRIPE_X402, agent_id=AGENT):
    return PaymentAttempt(
        organization_id=UUID(int=9), id=UUID(int=6), agent_id=agent_id, quote_id=QUOTE.id, idempotency_key="its-own",
        method=method.method_id, state=state, request_number=1, payable_until=NOW + timedelta(days=1), created_at=NOW,
        updated_at=NOW, looked_at=NOW,
    )  # fmt: skip


def purchase(found=None, *, method=STRIPE_X402):
    quote = QUOTE.model_copy(update={"payment_method": method.method_id})
    return Status(quote, found, None, None, None, Balance(0, 0, 0))


def seen(asked=None, *, spendable=None, methods=(STRIPE_CHECKOUT, STRIPE_X402), **changes):
    """What is known of an agent with `spendable` credits; of nobody without them."""
    asked = GuideAsked(**(asked or {}))
    selection = changes.pop("selection", PAINTER if asked.is_create else None)
    known = None
    if spendable is not None:
        parts: dict[str, Any] = {"waiting": None, "buyable": None, "jobs_today": 0, "allowance": None}
        parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
        stands = standing(required_credits(asked, selection), spendable, parts.pop("allowance"))
        known = Known(agent_id=AGENT, standing=stands, **parts)
    found = Seen(
        asked=asked, selection=selection, obstacle=None if selection or not asked.is_create else "nothing can do it",
        token_status=TokenStatus.ACTIVE if known else TokenStatus.MISSING, known=known,
        reasons={method_id: None if METHODS[method_id] in methods else "not here" for method_id in METHODS},
        live=dict.fromkeys(METHODS, True), jobs_per_day=None,
        scene=Scene(Place("https://purser.test", OFFER), Commands("https://purser.test"), NOW, "purchase-fresh"),
        keys={purpose: f"{purpose}-fresh" for purpose in KEYED},
    )  # fmt: skip
    return replace(found, **changes)


CREATE = {"operation": "create", "prompt": "a fox"}
SPEND = {"credits": "40"}
CASES = {
    "no model": (seen(CREATE, selection=None), Stage.NO_EXECUTABLE_MODEL, "inspect_models"),
    "no model, no money": (seen(CREATE, spendable=0, selection=None), Stage.NO_EXECUTABLE_MODEL, "inspect_models"),
    "nobody": (seen(SPEND), Stage.AUTH_REQUIRED, "sign_up"),
    "nobody creates": (seen(CREATE), Stage.AUTH_REQUIRED, "sign_up"),
    "paused": (
        seen(SPEND, spendable=0, allowance=allowance(paused=True, per_spend=1)), Stage.SPENDER_PAUSED, "ask_operator",
    ),
    "too much at once": (
        seen(SPEND, spendable=0, allowance=allowance(per_spend=39)), Stage.CAP_REACHED, "ask_operator"
    ),
    "too much in all": (seen(SPEND, spendable=90, allowance=allowance(total=39)), Stage.CAP_REACHED, "ask_operator"),
    "more than any hour": (
        seen(SPEND, spendable=90, allowance=allowance(per_hour=39)), Stage.CAP_REACHED, "ask_operator"
    ),
    "no jobs left today": (
        seen(CREATE, spendable=0, jobs_per_day=3, jobs_today=3), Stage.QUOTA_REQUIRED, "wait_for_next_day"
    ),
    "jobs do not matter to spends": (
        seen(SPEND, spendable=90, jobs_per_day=3, jobs_today=3), Stage.READY_TO_SPEND, "spend_credits"
    ),
    "no credits": (seen(SPEND, spendable=39), Stage.QUOTA_REQUIRED, "quote_credit_top_up"),
    "no credits, no method": (
        seen(SPEND, spendable=39, methods=()), Stage.QUOTA_REQUIRED, "inspect_payment_methods"
    ),
    "not by that method": (
        seen({**SPEND, "payment_method": X402.method_id}, spendable=0), Stage.QUOTA_REQUIRED, "inspect_payment_methods"
    ),
    "quoted": (seen(SPEND, spendable=0, buyable=purchase()), Stage.READY_TO_BUY, "complete_credit_top_up"),
    "bought": (
        seen(SPEND, spendable=0, waiting=purchase(attempt()), buyable=purchase()), Stage.PAYMENT_PENDING,
        "watch_payment",
    ),
    "buying was cut short": (
        seen(SPEND, spendable=0, waiting=purchase(attempt(AttemptState.CREATED))), Stage.PAYMENT_PENDING,
        "repeat_purchase",
    ),
    "another agent's buying was cut short": (
        seen(SPEND, spendable=0, waiting=purchase(attempt(AttemptState.CREATED, agent_id=OTHER))),
        Stage.PAYMENT_PENDING, "watch_payment",
    ),
    "to be signed": (
        seen(SPEND, spendable=0, waiting=purchase(attempt(method=X402), method=X402)), Stage.PAYMENT_PENDING,
        "send_signed_payment",
    ),
    "signed": (
        seen(SPEND, spendable=0, waiting=purchase(attempt(AttemptState.PROCESSING, method=X402), method=X402)),
        Stage.PAYMENT_PENDING, "watch_payment",
    ),
    "ready to create": (seen(CREATE, spendable=7), Stage.READY_TO_CREATE, "create"),
    "ready for one, not for many": (
        seen({**CREATE, "credits": "70"}, spendable=69), Stage.QUOTA_REQUIRED, "quote_credit_top_up"
    ),
    "ready to spend": (seen(SPEND, spendable=40), Stage.READY_TO_SPEND, "spend_credits"),
    "ready to spend anything": (seen(spendable=1), Stage.READY_TO_SPEND, "spend_credits"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_stage_names_the_one_step_that_takes_away_what_stands_in_the_way(case):
    known, stage, purpose = CASES[case]
    told = views.guide(known)
    assert (told["stage"], told["next_action"]["purpose"]) == (stage, purpose)
    assert told["ready"] is (stage in READY)
    assert (told["reason"] is None) is told["ready"]


def test_every_stage_of_the_closed_list_is_reached():
    assert {stage for _, stage, _ in CASES.values()} == set(Stage)


@pytest.mark.parametrize("case", CASES)
def test_what_stops_without_spending_spends_nothing_and_every_step_is_whole(case):
    told = views.guide(CASES[case][0])
    steps = [told["next_action"], told["after_next"], *told["where_to_stop"]]
    for step in steps:
        assert set(step["effect"]) == {"label", "no_spend", "payment_object", "credit_debit", "media_write"}
        assert step["path"].startswith("/")
        assert (step["body"] is None) or step["method"] == "POST"
        assert step["command"] is None or step["command"].startswith("image-skill ")
        assert all(word in f"{step['path']} {step['body']} {step['command']}" for word in step["missing_inputs"])
    for step in told["where_to_stop"]:
        assert step["effect"]["no_spend"] is True
        assert not step["effect"]["credit_debit"] | step["effect"]["payment_object"] | step["effect"]["media_write"]
        assert step["live_money"] is False
    assert "read_guide_again" in [step["purpose"] for step in told["where_to_stop"]]


def test_waiting_lasts_until_the_last_cap_that_refuses_frees_up():
    caps = allowance(per_hour=50, per_day=60)
    used = replace(caps, per_hour=replace(caps.per_hour, used=30), per_day=replace(caps.per_day, used=30))
    action = views.guide(seen(SPEND, spendable=90, allowance=used))["next_action"]
    assert (action["purpose"], action["not_before"]) == ("wait_for_allowance", "2026-11-22T08:30:00.000Z")


def test_a_cap_is_held_against_one_job_and_the_balance_against_all_of_them():
    told = views.guide(seen({**CREATE, "credits": "70"}, spendable=70, allowance=allowance(per_spend=7)))
    assert told["stage"] == Stage.READY_TO_CREATE
    assert (told["cost"]["credits"], told["cost"]["required_credits"]) == (7, 70)


def test_when_the_day_is_over_the_next_one_is_named():
    told = views.guide(seen(CREATE, spendable=70, jobs_per_day=3, jobs_today=5))
    assert told["reason"] == "daily_job_cap_reached"
    assert told["next_action"]["not_before"] == "2026-11-22T00:00:00.000Z"
    assert told["checks"]["quota"]["daily_jobs"]["remaining"] == 0


def test_the_price_that_was_told_is_the_most_that_the_job_may_cost():
    action = views.guide(seen(CREATE, spendable=7))["next_action"]
    assert action["body"]["max_estimated_usd_per_image"] == 0.07
    assert action["effect"] == {
        "label": "live_create_credits_debit", "no_spend": False, "payment_object": False, "credit_debit": True,
        "media_write": True,
    }  # fmt: skip


def test_a_prompt_that_is_missing_is_named_and_one_that_looks_like_a_placeholder_is_not():
    assert views.guide(seen({"operation": "create"}, spendable=7))["next_action"]["missing_inputs"] == ["PROMPT"]
    shouted = views.guide(seen({"operation": "create", "prompt": "PROMPT NAME"}, spendable=7))
    assert shouted["next_action"]["missing_inputs"] == []


@pytest.mark.parametrize(
    ("methods", "path"),
    [
        ((STRIPE_CHECKOUT, STRIPE_X402), "browserless_agent_self_fund"),
        ((X402,), "browserless_agent_self_fund"),
        ((STRIPE_CHECKOUT,), "human_payment_handoff"),
        ((), "payment_method_inspection"),
    ],
)
def test_the_path_of_a_top_up_is_that_of_the_method_that_is_suggested(methods, path):
    assert views.guide(seen(SPEND, spendable=0, methods=methods))["top_up_path"] == path


def test_where_the_client_has_no_words_the_step_is_a_request_alone():
    action = views.guide(seen(SPEND, spendable=0, methods=(X402,)))["next_action"]
    assert (action["path"], action["command"]) == ("/v1/credit-quotes", None)
    assert action["body"]["payment_method"] == X402.method_id


@pytest.mark.parametrize("state", [AttemptState.ACTION_REQUIRED, AttemptState.PROCESSING])
def test_a_purchase_that_waits_can_be_given_up_until_money_is_on_its_way(state):
    told = views.guide(seen(SPEND, spendable=0, waiting=purchase(attempt(state))))
    can_end = "cancel_purchase" in [step["purpose"] for step in told["where_to_stop"]]
    assert can_end is (state == AttemptState.ACTION_REQUIRED)
    assert told["payment"]["payment_attempt"]["payment_attempt_id"].startswith("payatt_")


@given(required=st.integers(1, 2**53 - 1), spendable=st.integers(0, 2**53 - 1), method=st.sampled_from([*METHODS]))
def test_what_is_to_be_bought_is_for_sale_and_enough_unless_it_is_the_most_there_is(required, spendable, method):
    asked = {"credits": str(required), "payment_method": method}
    known = seen(asked, spendable=spendable, methods=tuple(METHODS.values()))
    cost = views.guide(known)["cost"]
    missing = max(0, required - spendable)
    assert cost["missing_credits"] == missing
    if not missing:
        assert (staged(known)[0], cost["amount_cents"]) == (Stage.READY_TO_SPEND, 0)
        return
    assert price(OFFER, known.wanted).cents == cost["amount_cents"] == cost["buy_credits"]
    assert cost["buy_credits"] >= min(missing, 5000)
