"""Hashes and signatures against what the chains, the EIP, the x402 specification and eth-account say."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from eth_abi.abi import decode
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from rails.evm import calls
from rails.evm.eip3009 import (
    AUTHORIZATION_CANCELED,
    AUTHORIZATION_USED,
    SLACK_S,
    TRANSFER,
    TRANSFER_TYPEHASH,
    Authorization,
    digest,
    disagreement,
    domain_separator,
    signature_parts,
    signer,
    typed_data,
)
from rails.evm.networks import BASE, BASE_SEPOLIA, NETWORKS

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = Account.from_key("0x" + "42" * 32)
PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
AUTHORIZATION = Authorization(
    from_=KEY.address,
    to=PAYEE,
    value=1_000_000,
    valid_after=0,
    valid_before=int(NOW.timestamp()) + 60,
    nonce=bytes(range(32)),
)
SIGNATURE = bytes(KEY.sign_message(encode_typed_data(full_message=typed_data(AUTHORIZATION, BASE))).signature)

# https://github.com/coinbase/x402 specs/x402-specification-v2.md, the example of a payment payload on Base Sepolia
OF_THE_SPECIFICATION = Authorization(
    from_="0x857b06519E91e3A54538791bDbb0E22373e36b66",
    to=PAYEE,
    value=10_000,
    valid_after=1740672089,
    valid_before=1740672154,
    nonce=bytes.fromhex("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480"),
)
SIGNATURE_OF_THE_SPECIFICATION = bytes.fromhex(
    "2d6a7588d6acca505cbf0d9a4a227e0c52c6c34008c8e8986a1283259764173608a2ce6496642e377d6da8dbbf5836e9bd15092f9ecab05ded3d6293af148b571c"
)

uint256 = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
authorizations = st.builds(
    Authorization,
    from_=addresses,
    to=addresses,
    value=uint256,
    valid_after=uint256,
    valid_before=uint256,
    nonce=st.binary(min_size=32, max_size=32),
)


def test_constants_are_those_of_the_eip_and_of_the_tokens_logs():
    assert TRANSFER_TYPEHASH.hex() == "7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267"
    assert AUTHORIZATION_USED.hex() == "98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
    assert AUTHORIZATION_CANCELED.hex() == "1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81"
    assert TRANSFER.hex() == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def test_domains_are_those_that_the_real_tokens_say():
    assert domain_separator(BASE).hex() == "02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f"
    assert domain_separator(BASE_SEPOLIA).hex() == "71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818"


def test_the_example_of_the_x402_specification_is_signed_by_its_payer():
    found = signer(OF_THE_SPECIFICATION, SIGNATURE_OF_THE_SPECIFICATION, BASE_SEPOLIA)
    assert found == OF_THE_SPECIFICATION.from_
    assert signer(OF_THE_SPECIFICATION, SIGNATURE_OF_THE_SPECIFICATION, BASE) != found


@given(authorizations, st.sampled_from(list(NETWORKS.values())))
def test_what_is_signed_is_what_eth_account_would_sign(authorization, network):
    theirs = encode_typed_data(full_message=typed_data(authorization, network))
    assert digest(authorization, network) == Account.sign_message(theirs, KEY.key).message_hash


@given(authorizations)
@settings(max_examples=20)
def test_the_signer_is_whoever_signed(authorization):
    signed = KEY.sign_message(encode_typed_data(full_message=typed_data(authorization, BASE)))
    assert signer(authorization, bytes(signed.signature), BASE) == KEY.address


@given(st.integers(0, 65 * 8 - 1))
@settings(max_examples=60)
def test_no_other_bit_of_a_signature_leads_to_the_signer(bit):
    flipped = bytearray(SIGNATURE)
    flipped[bit // 8] ^= 1 << bit % 8
    assert signer(AUTHORIZATION, bytes(flipped), BASE) != KEY.address


@pytest.mark.parametrize(
    "changed",
    [{"to": KEY.address}, {"value": 999_999}, {"valid_after": 1}, {"valid_before": 1}, {"nonce": bytes(32)}],
)
def test_a_signature_is_of_one_authorization_only(changed):
    assert signer(replace(AUTHORIZATION, **changed), SIGNATURE, BASE) != KEY.address


def test_a_signature_is_of_one_network_only():
    assert [n.name for n in NETWORKS.values() if signer(AUTHORIZATION, SIGNATURE, n) == KEY.address] == ["base"]


def test_v_of_0_or_1_means_27_or_28():
    low = SIGNATURE[:64] + bytes([SIGNATURE[64] - 27])
    assert signer(AUTHORIZATION, low, BASE) == KEY.address
    assert calls.transfer_by_parts(AUTHORIZATION, low) == calls.transfer_by_parts(AUTHORIZATION, SIGNATURE)


def test_the_other_signature_that_mathematics_gives_is_refused():
    s = ORDER - int.from_bytes(SIGNATURE[32:64], "big")
    twin = SIGNATURE[:32] + s.to_bytes(32, "big") + bytes([55 - SIGNATURE[64]])
    assert Account._recover_hash(digest(AUTHORIZATION, BASE), signature=twin) == KEY.address
    assert signer(AUTHORIZATION, twin, BASE) is None


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE[:64],
        SIGNATURE + b"\0",
        bytes(65),
        *(SIGNATURE[:64] + bytes([v]) for v in (2, 3, 26, 29, 35, 255)),
        bytes(32) + SIGNATURE[32:],
        SIGNATURE[:32] + bytes(32) + SIGNATURE[64:],
        ORDER.to_bytes(32, "big") + SIGNATURE[32:],
        b"\xff" * 64 + b"\x1b",
    ],
)
def test_what_the_token_would_not_take_is_nobodys_signature(signature):
    assert signature_parts(signature) is None
    assert signer(AUTHORIZATION, signature, BASE) is None
    with pytest.raises(ValueError, match="no signature"):
        calls.transfer_by_parts(AUTHORIZATION, signature)


@given(st.binary(max_size=70) | st.binary(min_size=64, max_size=64).map(lambda rs: rs + b"\x1b"))
def test_junk_is_signed_by_somebody_else_or_nobody(junk):
    assert signer(AUTHORIZATION, junk, BASE) != KEY.address


@pytest.mark.parametrize(
    "changed",
    [
        {"from_": "0x1"},
        {"from_": "vitalik.eth"},
        {"to": PAYEE[2:]},
        {"value": -1},
        {"value": 2**256},
        {"valid_after": -1},
        {"valid_before": 2**256},
        {"nonce": bytes(31)},
    ],
)
def test_what_cannot_be_hashed_cannot_be_built(changed):
    with pytest.raises(ValueError, match=r"address|unsigned|nonce"):
        replace(AUTHORIZATION, **changed)


def test_addresses_are_kept_in_one_spelling():
    assert replace(AUTHORIZATION, to=PAYEE.lower()) == AUTHORIZATION


def asked(*, authorization=AUTHORIZATION, payee=PAYEE, amount=1_000_000, now=NOW, slack_s=SLACK_S):
    return disagreement(authorization, payee=payee, amount=amount, now=now, slack_s=slack_s)


def at(**seconds):
    return replace(AUTHORIZATION, **{name: int(NOW.timestamp()) + offset for name, offset in seconds.items()})


def test_the_transfer_that_was_asked_for_is_agreed_on():
    assert asked() is None
    assert asked(payee=PAYEE.lower()) is None


@pytest.mark.parametrize("amount", [0, 999_999, 1_000_001])
def test_any_other_amount_is_refused(amount):
    assert asked(amount=amount) == "invalid_exact_evm_payload_authorization_value_mismatch"


def test_any_other_recipient_is_refused():
    assert asked(payee=KEY.address) == "invalid_exact_evm_payload_recipient_mismatch"


def test_an_authorization_must_live_as_long_as_it_takes_to_carry_it_out():
    too_late = "invalid_exact_evm_payload_authorization_valid_before"
    assert asked(authorization=at(valid_before=SLACK_S)) is None
    assert asked(authorization=at(valid_before=SLACK_S - 1)) == too_late
    assert asked(authorization=at(valid_before=SLACK_S), now=NOW.replace(microsecond=1)) == too_late
    assert asked(authorization=at(valid_before=30), slack_s=31) == too_late
    assert asked(authorization=replace(AUTHORIZATION, valid_before=2**256 - 1)) is None


def test_an_authorization_of_the_future_is_refused():
    too_early = "invalid_exact_evm_payload_authorization_valid_after"
    assert asked(authorization=at(valid_after=0)) is None
    assert asked(authorization=at(valid_after=1)) == too_early
    assert asked(authorization=replace(AUTHORIZATION, valid_after=2**256 - 1)) == too_early


def test_calls_are_those_that_the_real_token_knows():
    who = [AUTHORIZATION.from_.lower(), PAYEE.lower(), 1_000_000, 0, AUTHORIZATION.valid_before, AUTHORIZATION.nonce]
    kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
    by_parts = calls.transfer_by_parts(AUTHORIZATION, SIGNATURE)
    assert by_parts[:4].hex() == "e3ee160e"
    assert list(decode([*kinds, "uint8", "bytes32", "bytes32"], by_parts[4:])) == [
        *who,
        SIGNATURE[64],
        SIGNATURE[:32],
        SIGNATURE[32:64],
    ]
    by_bytes = calls.transfer_by_bytes(AUTHORIZATION, b"of any length")
    assert by_bytes[:4].hex() == "cf092995"
    assert list(decode([*kinds, "bytes"], by_bytes[4:])) == [*who, b"of any length"]
    assert calls.authorization_state(PAYEE, bytes(32)).hex() == f"e94a0102{PAYEE[2:].lower():0>64}{0:064}"
    assert calls.balance_of(PAYEE).hex() == f"70a08231{PAYEE[2:].lower():0>64}"
    assert calls.is_valid_signature(bytes(32), b"")[:4].hex() == "1626ba7e"
