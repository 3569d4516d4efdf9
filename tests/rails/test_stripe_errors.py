from __future__ import annotations

from typing import Any

import pytest

from rails import stripe_errors
from rails.rail import OutcomeStored, OutcomeUnknown, ProviderRefused, RailUnavailable
from rails.stripe_errors import Failure, Outcome

INVALID = "invalid_request_error"

TABLE = [
    (Failure(status=None, sent=False, cause="ConnectError"), Outcome.NOT_SENT, RailUnavailable, RailUnavailable),
    (Failure(status=None, cause="ReadTimeout"), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=200), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=302), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=400, type=INVALID), Outcome.REFUSED, ProviderRefused, ProviderRefused),
    (Failure(status=400, type="idempotency_error"), Outcome.STORED, OutcomeStored, RailUnavailable),
    (Failure(status=400, type=INVALID, code="rate_limit"), Outcome.BUSY, RailUnavailable, RailUnavailable),
    (Failure(status=401, type=INVALID), Outcome.KEY_REFUSED, RailUnavailable, RailUnavailable),
    (Failure(status=402, type="card_error"), Outcome.REFUSED, ProviderRefused, ProviderRefused),
    (Failure(status=403, type=INVALID), Outcome.KEY_REFUSED, RailUnavailable, RailUnavailable),
    (Failure(status=404, type=INVALID), Outcome.REFUSED, ProviderRefused, ProviderRefused),
    (Failure(status=404), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=409, type="idempotency_error"), Outcome.CONFLICT, RailUnavailable, RailUnavailable),
    (Failure(status=424, type="api_error"), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=429), Outcome.BUSY, RailUnavailable, RailUnavailable),
    (Failure(status=500, type="api_error"), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
    (Failure(status=500, type="api_error", replayed=True), Outcome.STORED, OutcomeStored, RailUnavailable),
    (Failure(status=400, type=INVALID, replayed=True), Outcome.REFUSED, ProviderRefused, ProviderRefused),
    (Failure(status=503), Outcome.UNKNOWN, OutcomeUnknown, RailUnavailable),
]


@pytest.mark.parametrize(("failure", "outcome", "write_raises", "read_raises"), TABLE)
def test_failure_means_what_its_line_of_the_table_says(
    failure: Any, outcome: Any, write_raises: Any, read_raises: Any
) -> None:
    assert stripe_errors.outcome(failure) is outcome
    assert type(stripe_errors.exception(failure, writing=True)) is write_raises
    assert type(stripe_errors.exception(failure, writing=False)) is read_raises


def test_every_outcome_has_a_line() -> None:
    assert {outcome for _, outcome, _, _ in TABLE} == set(Outcome)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_names_the_setting_and_shows_nothing_of_stripes_message(status: Any) -> None:
    failure = Failure(status=status, type=INVALID, message="Invalid API Key provided: sk_live_***1234")
    reason = str(stripe_errors.exception(failure, writing=True))
    assert "Stripe secret key setting" in reason
    assert "1234" not in reason


def test_refusal_carries_stripes_code_and_its_message_without_ids_and_keys() -> None:
    secrets = ["pi_3Nabc123XYZ", "cs:payatt_01jd9x8g000000000000000000:1", "sk_test_***1234", "pi_3N_secret_Ab9"]
    message = f"No such thing: {' '.join(secrets)}, see payment_method_options[crypto][mode]"
    refusal = stripe_errors.exception(Failure(status=400, type=INVALID, code="x", message=message), writing=True)
    assert isinstance(refusal, ProviderRefused)
    assert refusal.code == "x"
    assert refusal.message == f"No such thing: {'[redacted] ' * 3}[redacted], see payment_method_options[crypto][mode]"


@pytest.mark.parametrize(
    "secret",
    [
        "x_pi_3AbcDefGhi", "my_own_cs_test_a1B2c3", "Xpi_3AbcDefGhi", "for_cus_abcdefghijklmn",
        "pi_abcdefghijklmnopqrstuvwx", "cs_live_abcdefghijklmnopqrstuvwx", "sk_test_of_somebody",
        "whsec_of_somebody", "ch_abcdefghijklmn_secret_abc",
        "zz_abcdefghijklmnopqrstuvwx", "sk_live_***", "payatt_01jd9x8g000000000000000000",
    ],
)  # fmt: skip
def test_id_is_redacted_whole_wherever_it_stands_and_however_it_is_spelled(secret: Any) -> None:
    assert stripe_errors.safe(f"No such thing: '{secret}'.") == "No such thing: '[redacted]'."


@pytest.mark.parametrize(
    "word",
    [
        "payment_method_options[crypto][mode]", "payment_intent_data", "automatic_payment_methods", "card_declined",
        "authentication_required", "address_line1", "unit_amount_decimal", "setup_future_usage",
        "in_progress", "line_items", "re_authentication",
        "payment_method_unactivated", "is_pm_type", "cs_", "sk_test", "per_unit", "statement_descriptor_suffix_kanji",
    ],
)  # fmt: skip
def test_ordinary_word_is_left_alone(word: Any) -> None:
    assert stripe_errors.safe(f"Invalid {word}: try again") == f"Invalid {word}: try again"


def test_refusal_without_a_code_is_named_by_its_type() -> None:
    refusal = stripe_errors.exception(Failure(status=400, type="card_error"), writing=True)
    assert isinstance(refusal, ProviderRefused)
    assert refusal.code == "card_error"


def test_long_message_is_cut() -> None:
    assert len(stripe_errors.safe("x" * 1000)) == stripe_errors.MESSAGE_CHARS_MAX
