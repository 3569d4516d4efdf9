from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import ids
from ledger.money import AMOUNT_MAX, Currency, Money, usd, usdc_atomic_of_cents

moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
randoms = st.binary(min_size=10, max_size=10)


@pytest.mark.parametrize("amount", [1.0, True, "1", None])
def test_money_is_a_whole_number_and_nothing_that_looks_like_one(amount):
    with pytest.raises(TypeError, match="whole number"):
        Money(amount, Currency.USD)


def test_money_beyond_what_json_keeps_exactly_is_refused():
    with pytest.raises(ValueError, match="kept exactly"):
        Money(AMOUNT_MAX + 1, Currency.USD)


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (usd(500), "5.00"),
        (usd(7), "0.07"),
        (usd(-105), "-1.05"),
        (Money(5_000_000, Currency.USDC), "5.000000"),
        (Money(42, Currency.CREDIT), "42"),
        (usd(0), "0.00"),
    ],
)
def test_money_is_written_with_all_its_digits(money, text):
    assert money.decimal() == text


@given(st.integers(0, 10**9))
def test_cents_become_atomic_usdc_exactly(cents):
    assert Money(usdc_atomic_of_cents(cents), Currency.USDC).decimal() == f"{usd(cents).decimal()}0000"


@given(moments, randoms)
def test_an_id_survives_the_way_out_and_back(now, random_bytes):
    value = ids.uuid7(now, random_bytes)
    assert value.version == 7
    assert ids.parse("quote", ids.external("quote", value)) == value


@given(moments, randoms, st.timedeltas(timedelta(milliseconds=1), timedelta(days=9)), randoms)
def test_later_ids_sort_behind_earlier_ones_inside_and_outside(now, one, later, other):
    first, second = ids.uuid7(now, one), ids.uuid7(now + later, other)
    assert first < second
    assert ids.external("evt", first) < ids.external("evt", second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quote_",
        "payatt_01jd0000000000000000000000",
        "quote_01jd000000000000000000000",
        "quote_01JD0000000000000000000000",
        "quote_o1jd0000000000000000000000",
        "quote_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "quote_quote_01jd0000000000000000000000",
        "quote_01jd000000000000000000000\x00",
    ],
)
def test_what_is_not_exactly_an_id_is_refused(text):
    with pytest.raises(ids.MalformedId):
        ids.parse("quote", text)
