"""Which payments are for our requirement, judged without a chain."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from eth_account import Account
from hypothesis import example, given
from hypothesis import strategies as st

from rails.evm import calls, eip3009, recursion
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.x402 import verifying
from rails.x402.verifying import CLOCKS_S, call_for, disagreement

with recursion.limit_kept():
    from x402.mechanisms.evm import constants

from tests.x402.judging import (
    AMOUNT,
    AUTHORIZATION,
    BY_AMOUNT,
    BY_BALANCE,
    BY_NONCE,
    BY_RECIPIENT,
    BY_SIGNATURE,
    BY_SIMULATION,
    BY_UNDEPLOYED,
    NOT_OURS,
    NOW,
    PAYEE,
    PAYMENT,
    REQUIREMENT,
    STRANGER,
    TIMEOUT_S,
    TOO_EARLY,
    TOO_LATE,
)


def signed(**terms):
    return replace(PAYMENT, authorization=replace(AUTHORIZATION, **terms))


def word_for(payment, requirement=REQUIREMENT, *, now=NOW):
    refused = disagreement(payment, requirement, now=now)
    return refused and refused.reason


def test_a_payment_for_our_requirement_is_agreed_on():
    assert disagreement(PAYMENT, REQUIREMENT, now=NOW) is None


def test_addresses_may_be_spelled_in_either_case_and_more_may_be_said():
    accepted = REQUIREMENT.wire() | {"asset": REQUIREMENT.asset.lower(), "payTo": PAYEE.upper(), "more": [1]}
    accepted["extra"] = accepted["extra"] | {"more": {}}
    assert word_for(replace(PAYMENT, accepted=accepted)) is None


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"scheme": "upto"}, "unsupported_scheme"),
        ({"network": BASE.caip2}, "network_mismatch"),
        ({"network": "base-sepolia"}, "network_mismatch"),
        ({"asset": BASE.token_address}, NOT_OURS),
        ({"asset": 7}, NOT_OURS),
        ({"amount": "1"}, BY_AMOUNT),
        ({"amount": AMOUNT}, BY_AMOUNT),
        ({"amount": f"0{AMOUNT}"}, BY_AMOUNT),
        ({"payTo": STRANGER}, BY_RECIPIENT),
        ({"payTo": None}, BY_RECIPIENT),
        ({"maxTimeoutSeconds": TIMEOUT_S + 1}, NOT_OURS),
        ({"maxTimeoutSeconds": float(TIMEOUT_S)}, NOT_OURS),
        ({"maxTimeoutSeconds": str(TIMEOUT_S)}, NOT_OURS),
        ({"extra": None}, "invalid_exact_evm_token_name_mismatch"),
        ({"extra": [["name", "USDC"]]}, "invalid_exact_evm_token_name_mismatch"),
    ],
)
def test_what_was_accepted_must_be_what_was_asked_for(changed, word):
    assert word_for(replace(PAYMENT, accepted=REQUIREMENT.wire() | changed)) == word


@pytest.mark.parametrize("field", ["scheme", "network", "asset", "amount", "payTo", "maxTimeoutSeconds", "extra"])
def test_nothing_of_what_was_asked_for_may_be_left_out(field):
    accepted = REQUIREMENT.wire()
    del accepted[field]
    assert word_for(replace(PAYMENT, accepted=accepted)) is not None


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("name", "USD Coin", "invalid_exact_evm_token_name_mismatch"),
        ("name", None, "invalid_exact_evm_token_name_mismatch"),
        ("version", "1", "invalid_exact_evm_token_version_mismatch"),
        ("version", 2, "invalid_exact_evm_token_version_mismatch"),
        ("assetTransferMethod", "permit2", NOT_OURS),
        ("paymentFlow", "authorization", NOT_OURS),
    ],
)
def test_what_was_accepted_must_contain_our_extra(field, value, word):
    accepted = REQUIREMENT.wire()
    accepted["extra"][field] = value
    assert word_for(replace(PAYMENT, accepted=accepted)) == word
    del accepted["extra"][field]
    assert word_for(replace(PAYMENT, accepted=accepted)) == word


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(sorted(REQUIREMENT.wire())), json_values)
@example("maxTimeoutSeconds", float(TIMEOUT_S))
def test_whatever_a_client_says_it_accepted_is_judged_and_only_ours_is_agreed_on(field, value):
    for changed in (REQUIREMENT.wire() | {field: value}, {field: value}):
        refused = word_for(replace(PAYMENT, accepted=changed))
        assert (refused is None) == (as_json(changed) == as_json(REQUIREMENT.wire()))


def as_json(wire):
    """What tells 300 from 300.0, and 1 from true, which are equal to Python."""
    return json.dumps(wire, sort_keys=True)


@pytest.mark.parametrize("value", [0, 1, AMOUNT - 1, AMOUNT + 1, 2**256 - 1])
def test_any_other_amount_is_refused(value):
    assert word_for(signed(value=value)) == BY_AMOUNT


def test_any_other_recipient_is_refused():
    assert word_for(signed(to=STRANGER)) == BY_RECIPIENT


@pytest.mark.parametrize(
    ("from_now", "word"),
    [
        (-1, TOO_LATE),
        (eip3009.SLACK_S - 1, TOO_LATE),
        (eip3009.SLACK_S, None),
        (TIMEOUT_S + CLOCKS_S, None),
        (TIMEOUT_S + CLOCKS_S + 1, TOO_LATE),
    ],
)
def test_a_signature_is_good_for_as_long_as_it_takes_and_not_for_years(from_now, word):
    assert word_for(signed(valid_before=int(NOW.timestamp()) + from_now)) == word


def test_a_signature_that_never_ends_is_refused():
    assert word_for(signed(valid_before=2**256 - 1)) == TOO_LATE


@pytest.mark.parametrize(("from_now", "word"), [(-TIMEOUT_S, None), (0, None), (1, TOO_EARLY)])
def test_a_signature_must_be_valid_already(from_now, word):
    assert word_for(signed(valid_after=int(NOW.timestamp()) + from_now)) == word


def test_the_same_payment_expires():
    assert word_for(PAYMENT, now=NOW + timedelta(seconds=TIMEOUT_S)) == TOO_LATE


def test_all_words_are_those_of_the_protocol():
    theirs = {value for name, value in vars(constants).items() if name.startswith("ERR_")}
    of_the_specification = {NOT_OURS}
    ours = {*verifying._FIELDS.values(), *verifying._EXTRA.values(), *verifying._IN_WORDS, verifying._WINDOW}
    on_chain = {BY_SIGNATURE, BY_SIMULATION, BY_NONCE, BY_BALANCE, BY_UNDEPLOYED}
    assert (ours | on_chain) - theirs == of_the_specification


def test_the_call_is_of_parts_for_a_key_and_of_bytes_for_a_contract():
    key = Account.create()
    made = bytes(key.unsafe_sign_hash(bytes(32)).signature)
    payment = replace(PAYMENT, signature=made)
    by_key = call_for(payment, REQUIREMENT, network=BASE_SEPOLIA, sender=STRANGER, has_code=False)
    by_contract = call_for(payment, REQUIREMENT, network=BASE_SEPOLIA, sender=STRANGER, has_code=True)
    assert by_key == calls.Call(STRANGER, REQUIREMENT.asset, calls.transfer_by_parts(AUTHORIZATION, made))
    assert by_contract == calls.Call(STRANGER, REQUIREMENT.asset, calls.transfer_by_bytes(AUTHORIZATION, made))
    with pytest.raises(ValueError, match="no signature of a key"):
        call_for(replace(payment, signature=b""), REQUIREMENT, network=BASE_SEPOLIA, sender=STRANGER, has_code=False)


@pytest.mark.parametrize("changed", [{"network": BASE.caip2}, {"asset": BASE.token_address}])
def test_no_call_is_made_for_another_chain_or_token(changed):
    elsewhere = replace(REQUIREMENT, **changed)
    with pytest.raises(ValueError, match="not carried out on eip155:84532"):
        call_for(PAYMENT, elsewhere, network=BASE_SEPOLIA, sender=STRANGER, has_code=True)
