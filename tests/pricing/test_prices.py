from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing import (
    JOB_CREDITS_MAX,
    PARAMETER_LENGTH_MAX,
    PARAMETER_NUMBER_MAX,
    Availability,
    Model,
    NoSuchModel,
    NotExecutable,
    Parameter,
    Policy,
    Price,
    PriceList,
    checked_parameters,
    choose,
    price_of,
)

unhurried = settings(deadline=None)
"""A machine that stalls for a while is no fault of what is tested."""

COSTS = st.integers(0, 10**12)
MARGINS = st.integers(0, 999_999)
UNITS = st.integers(1, 100)
FIXED = st.builds(Price, st.just(Policy.FIXED), st.integers(1, JOB_CREDITS_MAX), st.none() | COSTS)
PER_UNIT = st.builds(Price, st.just(Policy.PER_UNIT), st.integers(1, JOB_CREDITS_MAX), st.none() | COSTS)
COST_PLUS = st.builds(Price, st.just(Policy.COST_PLUS), st.just(0), COSTS, MARGINS)
PRICES = FIXED | PER_UNIT | COST_PLUS


@unhurried
@given(COST_PLUS, UNITS)
def test_cost_plus_covers_the_cost_and_its_margin_and_wastes_less_than_a_credit(price, units):
    wanted = Fraction(price.cost_micro_usd * units, 10_000) * (1 + Fraction(price.margin_basis_points, 10_000))
    credits_ = price.credits_for(units)
    assert credits_ >= wanted
    assert credits_ == 1 or credits_ - wanted < 1


@unhurried
@given(COST_PLUS, UNITS, COSTS)
def test_what_the_provider_took_is_charged_with_the_same_margin(price, units, took):
    wanted = Fraction(took, 10_000) * (1 + Fraction(price.margin_basis_points, 10_000))
    assert wanted <= price.credits_for(units, took) < max(wanted, Fraction(1)) + 1


@unhurried
@given(PRICES, UNITS, UNITS)
def test_more_units_never_cost_less_and_every_price_is_a_whole_credit_or_more(price: Price, some: int, more: int):
    assert type(price.credits_for(some)) is int
    assert 1 <= price.credits_for(some) <= price.credits_for(some + more)


@unhurried
@given(PER_UNIT, UNITS)
def test_per_unit_is_so_many_times_the_unit(price, units):
    assert price.credits_for(units) == price.credits * units == price.credits_for(units, 10**12)


@unhurried
@given(FIXED, UNITS)
def test_fixed_is_the_same_for_any_units(price, units):
    assert price.credits_for(units) == price.credits


@unhurried
@given(PRICES)
def test_a_price_that_was_stored_is_the_same_price(price):
    assert price_of(price.stored()) == price


@pytest.mark.parametrize(
    ("cost", "margin", "units", "credits_"),
    [(0, 0, 1, 1), (10_000, 0, 1, 1), (10_001, 0, 1, 2), (12_500, 2_500, 1, 2), (12_500, 2_500, 18, 29)],
)
def test_worked_prices_round_up_once_over_all_units(cost, margin, units, credits_):
    assert Price(Policy.COST_PLUS, 0, cost, margin).credits_for(units) == credits_


def _model(name: str, **more: Any) -> Model:
    given_: dict[str, Any] = {
        "provider": "house",
        "operations": ("create",),
        "availability": Availability.AVAILABLE,
        "price": Price(Policy.FIXED, 7),
        **more,
    }
    return Model(id=name, name=name, modality="image", deadline=timedelta(minutes=5), **given_)


DEAR = _model("house.dear", aliases=("dear",))
CHEAP = _model("other.cheap", provider="other", price=Price(Policy.FIXED, 1))
AWAY = _model("house.away", availability=Availability.UNAVAILABLE)
LISTED = _model("third.listed", provider="third", availability=Availability.CATALOG_ONLY)
EDITOR = _model("house.editor", operations=("edit",))
PRICE_LIST = PriceList([AWAY, CHEAP, DEAR, LISTED, EDITOR], "house.dear", "digest")


def _chosen(prices: PriceList = PRICE_LIST, **asked: Any) -> tuple[str, str]:
    found = choose(prices, **{"operation": "create", "model": None, "provider": None, **asked})
    assert found.model.id in found.reason
    return found.model.id, found.policy


def test_the_default_is_chosen_when_nothing_is_named_and_else_the_first_that_can():
    assert _chosen() == ("house.dear", "default_model")
    assert _chosen(provider="other") == ("other.cheap", "first_executable_model")
    assert _chosen(replace(PRICE_LIST, default_id="house.away")) == ("other.cheap", "first_executable_model")
    assert _chosen(operation="edit") == ("house.editor", "first_executable_model")


def test_a_draft_gets_the_cheapest_and_another_intent_changes_nothing():
    assert _chosen(intent=" Draft ") == ("other.cheap", "cheapest_for_draft")
    assert _chosen(intent="draft", provider="house") == ("house.dear", "cheapest_for_draft")
    assert _chosen(intent="hero") == ("house.dear", "default_model")


@pytest.mark.parametrize("name", ["house.dear", "dear", "default"])
def test_a_model_is_named_by_its_id_an_alias_or_as_the_default(name):
    assert _chosen(model=name, intent="draft", provider="house") == ("house.dear", "requested_model")


@pytest.mark.parametrize("asked", [{"model": "nobody"}, {"provider": "nobody"}, {"model": "dear", "provider": "other"}])
def test_what_nobody_is_called_is_no_such_model(asked):
    with pytest.raises(NoSuchModel, match=r"^(model|provider|house\.dear) "):
        _chosen(**asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "house.away"}, "house.away is not available for the time being"),
        ({"model": "third.listed"}, "third.listed is listed only"),
        ({"model": "house.editor"}, "house.editor is for edit and for nothing else"),
        ({"provider": "third"}, "no model"),
        ({"operation": "sing"}, "no model"),
    ],
)
def test_what_cannot_be_ordered_now_is_not_executable(asked, said):
    with pytest.raises(NotExecutable, match=said):
        _chosen(**asked)


def test_without_an_executor_nothing_can_be_ordered():
    listed = PRICE_LIST.without_executor()
    assert [model.availability for model in listed.models].count(Availability.CATALOG_ONLY) == 4
    with pytest.raises(NotExecutable):
        _chosen(listed)


TAKES = _model(
    "house.takes",
    parameters={
        "style": Parameter("string", ("plain", "drawn")),
        "note": Parameter("string"),
        "seed": Parameter("integer", minimum=0, maximum=10),
        "size": Parameter("integer", (1, 2)),
        "any": Parameter("integer"),
        "strength": Parameter("number", minimum=0, maximum=1),
        "loud": Parameter("boolean"),
    },
)
TAKEN = [
    {},
    {"style": "drawn"},
    {"note": ""},
    {"note": "x" * PARAMETER_LENGTH_MAX},
    {"seed": 0, "size": 2, "any": -PARAMETER_NUMBER_MAX},
    {"strength": 0},
    {"strength": 0.5},
    {"loud": False},
]
NOT_TAKEN = [
    ("style", "DRAWN"),
    ("style", ["drawn"]),
    ("note", "x" * (PARAMETER_LENGTH_MAX + 1)),
    ("note", "a\x00b"),
    ("note", "\ud800"),
    ("note", 1),
    ("seed", -1),
    ("seed", 11),
    ("seed", True),
    ("seed", 1.0),
    ("seed", "1"),
    ("seed", None),
    ("size", True),
    ("size", 1.0),
    ("any", PARAMETER_NUMBER_MAX + 1),
    ("strength", 1.1),
    ("strength", float("inf")),
    ("strength", float("nan")),
    ("strength", True),
    ("strength", {}),
    ("loud", 1),
    ("loud", "true"),
]


@pytest.mark.parametrize("given_", TAKEN)
def test_parameters_that_fit_stay_as_they_are(given_):
    assert checked_parameters(TAKES, given_) == given_


@pytest.mark.parametrize(("name", "value"), NOT_TAKEN)
def test_a_parameter_that_does_not_fit_is_named_and_not_repeated(name, value):
    with pytest.raises(ValueError, match=rf"^model_parameters\.{name} must be ") as raised:
        checked_parameters(TAKES, {"loud": True, name: value})
    assert str(value) in {"1", "True", "None", "true"} or str(value) not in str(raised.value)


def test_unknown_parameters_are_refused_with_those_that_are_taken():
    with pytest.raises(ValueError, match=r"^model_parameters .* house\.takes .* only style, note, seed") as raised:
        checked_parameters(TAKES, {"style": "drawn", "secret": 1})
    assert "secret" not in str(raised.value)
    with pytest.raises(ValueError, match="it takes none"):
        checked_parameters(DEAR, {"style": "drawn"})
