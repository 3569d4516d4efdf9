"""What is said over HTTP, against the protocol's own Python package, and what anybody may send."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.money import Money, usd, usdc
from rails.evm import eip3009, recursion
from rails.evm.eip3009 import Authorization
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.x402 import messages
from rails.x402.terms import Malformed, NotPayable, Requirement, SignedPayment

with recursion.limit_kept():
    from eth_account import Account
    from x402 import x402ClientSync
    from x402.extensions.payment_identifier import (
        PAYMENT_IDENTIFIER,
        append_payment_identifier_to_extensions,
        declare_payment_identifier_extension,
    )
    from x402.http.utils import (
        decode_payment_required_header,
        decode_payment_response_header,
        encode_payment_signature_header,
    )
    from x402.mechanisms.evm.constants import ERC6492_MAGIC_VALUE
    from x402.mechanisms.evm.exact import ExactEvmScheme
    from x402.schemas import PaymentRequired, PaymentRequirements, SettleResponse

KEY = Account.from_key("0x" + "42" * 32)
PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
URL = "https://purser.example/v1/x402/top-up/starter"
REQUIREMENT = messages.requirement_for(BASE_SEPOLIA, pay_to=PAYEE, price=usd(100), timeout_s=300)
AUTHORIZATION = Authorization(
    from_=KEY.address, to=PAYEE, value=1_000_000, valid_after=0, valid_before=1_795_000_000, nonce=bytes(range(32))
)
SIGNATURE = bytes(range(65))


def wire(authorization: Authorization = AUTHORIZATION, signature: bytes = SIGNATURE) -> dict[str, Any]:
    """A payment as a client says it."""
    return {
        "x402Version": 2,
        "payload": {
            "signature": "0x" + signature.hex(),
            "authorization": {
                "from": authorization.from_,
                "to": authorization.to,
                "value": str(authorization.value),
                "validAfter": str(authorization.valid_after),
                "validBefore": str(authorization.valid_before),
                "nonce": "0x" + authorization.nonce.hex(),
            },
        },
        "accepted": REQUIREMENT.wire(),
    }


def changed(path: str, value: Any) -> dict[str, Any]:
    """A payment with `value` in one place; `...` takes the place away."""
    payment = wire()
    *outer, last = path.split(".")
    place = payment
    for name in outer:
        place = place.setdefault(name, {})
    if value is ...:
        place.pop(last, None)
    else:
        place[last] = value
    return payment


def header(content: Any) -> str:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def why_malformed(content: Any) -> str:
    with pytest.raises(Malformed) as raised:
        messages.parse_payment(header(content))
    return str(raised.value)


def required(**extensions: Any) -> str:
    said = messages.payment_required(REQUIREMENT, url=URL, description="100 credits", error=None, extensions=extensions)
    return messages.encoded(said)


def test_the_python_client_pays_what_is_asked_for_and_is_read() -> None:
    client = x402ClientSync()
    client.register(BASE_SEPOLIA.caip2, ExactEvmScheme(KEY))
    payload = client.create_payment_payload(
        decode_payment_required_header(required(**messages.payment_identifier_declaration()))
    )
    payment = messages.parse_payment(encode_payment_signature_header(payload))
    assert payment.accepted == REQUIREMENT.wire()
    assert payment.authorization.from_ == KEY.address
    assert eip3009.signer(payment.authorization, payment.signature, BASE_SEPOLIA) == KEY.address
    now = datetime.fromtimestamp(payment.authorization.valid_before - 300, UTC)
    assert eip3009.disagreement(payment.authorization, payee=PAYEE, amount=1_000_000, now=now) is None
    assert payment.payment_identifier is None


def test_the_identifier_that_the_python_package_adds_is_read() -> None:
    extensions = append_payment_identifier_to_extensions(messages.payment_identifier_declaration())
    payment = messages.parse_payment(header({**wire(), "extensions": extensions}))
    assert payment.payment_identifier == extensions[PAYMENT_IDENTIFIER]["info"]["id"]


def test_the_declaration_of_the_identifier_is_the_packages_own() -> None:
    assert messages.payment_identifier_declaration() == {PAYMENT_IDENTIFIER: declare_payment_identifier_extension()}


@pytest.mark.parametrize("error", [None, "insufficient_funds"])
@pytest.mark.parametrize("extensions", [{}, messages.payment_identifier_declaration()])
def test_what_is_required_is_read_back_equal_by_the_package(error: Any, extensions: Any) -> None:
    said = messages.payment_required(
        REQUIREMENT, url=URL, description="Hundert Kredite für fünf", error=error, extensions=extensions
    )
    read = decode_payment_required_header(messages.encoded(said))
    assert isinstance(read, PaymentRequired)
    assert read.model_dump(by_alias=True, exclude_none=True) == said
    assert read.accepts == [PaymentRequirements.model_validate(REQUIREMENT.wire())]


@pytest.mark.parametrize(
    ("transaction", "payer", "amount_atomic", "reason"),
    [
        ("0x" + "ab" * 32, KEY.address, 1_000_000, None),
        ("", KEY.address, None, "invalid_exact_evm_insufficient_balance"),
        ("0x" + "ab" * 32, None, None, "settlement_pending"),
    ],
)
def test_an_outcome_is_read_back_equal_by_the_package(
    transaction: str, payer: str | None, amount_atomic: int | None, reason: str | None
) -> None:
    said = messages.settle_response(
        success=reason is None,
        transaction=transaction,
        network=BASE.caip2,
        payer=payer,
        amount_atomic=amount_atomic,
        reason=reason,
    )
    read = decode_payment_response_header(messages.encoded(said))
    assert isinstance(read, SettleResponse)
    assert read.model_dump(by_alias=True, exclude_none=True) == said
    assert (read.success, read.error_reason) == (reason is None, reason)
    assert (read.transaction, read.payer, read.amount) == (transaction, payer, "1000000" if amount_atomic else None)


def test_a_header_is_ascii_whatever_it_says() -> None:
    assert messages.encoded({"a": "é", "b": [1]}) == base64.b64encode(b'{"a":"\\u00e9","b":[1]}').decode()


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
signatures = st.binary(min_size=65, max_size=300).filter(lambda raw: not messages.is_wrapped(raw))
identifiers = st.none() | st.from_regex(r"[a-zA-Z0-9_-]{16,128}", fullmatch=True)


@given(authorization=authorizations, signature=signatures, identifier=identifiers, padded=st.booleans())
def test_what_a_client_says_is_what_is_read(
    authorization: Any,
    signature: bytes,
    identifier: str | None,
    padded: bool,  # noqa: FBT001 -- hypothesis names it
) -> None:
    said = wire(authorization, signature)
    if identifier is not None:
        said["extensions"] = {PAYMENT_IDENTIFIER: {"info": {"required": False, "id": identifier}}}
    sent = header(said) if padded else header(said).rstrip("=")
    assert messages.parse_payment(sent) == SignedPayment(authorization, signature, REQUIREMENT.wire(), identifier)


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
places = st.sampled_from(
    [
        *("x402Version", "payload", "payload.signature", "payload.authorization", "accepted", "extensions"),
        *(f"payload.authorization.{name}" for name in wire()["payload"]["authorization"]),
        *(f"accepted.{name}" for name in REQUIREMENT.wire()),
        *(f"extensions.{PAYMENT_IDENTIFIER}{inner}" for inner in ("", ".info", ".info.id")),
    ]
)


@given(sent=st.text() | st.binary().map(header) | jsons.map(header))
def test_anything_at_all_is_malformed(sent: str) -> None:
    with pytest.raises(Malformed):
        messages.parse_payment(sent)


@given(place=places, value=jsons)
def test_anything_in_one_place_is_malformed_or_a_payment(place: str, value: Any) -> None:
    try:
        payment = messages.parse_payment(header(changed(place, value)))
    except Malformed:
        return
    assert payment.authorization == AUTHORIZATION or place.startswith("payload.authorization")
    assert eip3009.digest(payment.authorization, BASE_SEPOLIA)


NO_STRING: list[Any] = [None, 1, 1.5, True, [], {}, ["1"]]
NO_UINT = ["", "-1", "+1", "1.0", "1e6", "0x10", "01", " 1", "1\n", "1_0", "١", str(2**256), "9" * 79, "9" * 5000]
NO_ADDRESS = ["", "0x", PAYEE[2:], PAYEE + "00", PAYEE[:-1], "0X" + PAYEE[2:], PAYEE[:-1] + "g", PAYEE + "\n"]
NO_HEX = ["", "0x0", "00" * 65, "0x" + "zz" * 65, "0x" + "00" * 65 + "\n", "0x" + "é" * 130]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        *((f"payload.authorization.{name}", [*NO_STRING, *NO_UINT, ...]) for name in ("value", "validAfter")),
        ("payload.authorization.validBefore", [*NO_STRING, *NO_UINT, ...]),
        *((f"payload.authorization.{name}", [*NO_STRING, *NO_ADDRESS, ...]) for name in ("from", "to")),
        ("payload.authorization.nonce", [*NO_STRING, *NO_HEX, "0x", "0x" + "00" * 31, "0x" + "00" * 33, ...]),
        ("payload.signature", [*NO_STRING, *NO_HEX, "0x", "0x" + "00" * 64, "0x" + "00" * 4097, ...]),
        *((f"accepted.{name}", [None, 1, True, [], {}, ...]) for name in ("scheme", "network", "asset", "payTo")),
        ("accepted.amount", [*NO_STRING, *NO_UINT, ...]),
        ("accepted.maxTimeoutSeconds", [None, "300", 300.0, True, [], ...]),
        ("accepted.extra", [1, "", []]),
        *((name, [None, 1, "", [], ...]) for name in ("payload", "accepted", "payload.authorization")),
        ("extensions", [1, "", []]),
        (f"extensions.{PAYMENT_IDENTIFIER}", [1, "", []]),
        (f"extensions.{PAYMENT_IDENTIFIER}.info", [None, 1, "x", [], ...]),
        (f"extensions.{PAYMENT_IDENTIFIER}.info.id", [1, True, [], "", "a" * 15, "a" * 129, "a" * 16 + "\n", "ä" * 16]),
        ("x402Version", [None, 0, 3, "2", 2.0, True, [], ...]),
    ],
)
def test_a_field_that_is_not_as_the_protocol_has_it_is_malformed(path: str, values: list[Any]) -> None:
    for value in values:
        why = why_malformed(changed(path, value))
        assert path.rpartition(".")[2] in why or (type(value) is float and "fraction" in why)


def test_what_is_wrong_is_told_without_repeating_it() -> None:
    for path in ("payload.signature", "payload.authorization.value", "accepted.amount", "payload.authorization.nonce"):
        assert "s3cret" not in why_malformed(changed(path, "s3cret"))


def test_a_payment_of_version_1_is_told_to_use_version_2() -> None:
    of_version_1 = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": wire()["payload"]}
    assert why_malformed(of_version_1) == messages.USE_VERSION_2
    assert "PAYMENT-SIGNATURE" in messages.USE_VERSION_2


def test_a_payment_by_permit2_is_told_what_is_taken() -> None:
    assert "EIP-3009" in why_malformed(changed("payload", {"permit2Authorization": {}, "signature": "0x"}))


def test_a_signature_that_deploys_its_wallet_is_not_payable_in_the_protocols_word() -> None:
    wrapped = bytes(200) + ERC6492_MAGIC_VALUE
    with pytest.raises(NotPayable) as raised:
        messages.parse_payment(header(wire(signature=wrapped)))
    assert raised.value.reason == "invalid_exact_evm_payload_undeployed_smart_wallet"


def test_an_identifier_is_nobodys_duty() -> None:
    without: list[Any] = [None, {}, {"bazaar": {}}, {PAYMENT_IDENTIFIER: None}]
    for extensions in (*without, messages.payment_identifier_declaration()):
        assert messages.parse_payment(header(changed("extensions", extensions))).payment_identifier is None


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("", "base64"),
        ("%%%%", "base64"),
        ("e30=\n", "base64"),
        (" e30=", "base64"),
        ("e3-_", "base64"),
        ("e30==", "base64"),
        ("e30===", "base64"),
        ("e", "base64"),
        ("é" * 4, "base64"),
        (header(b"\xff\xfe"), "JSON"),
        (header(b"\xef\xbb\xbf{}"), "JSON"),
        (header(b"{} {}"), "JSON"),
        (header(b'{"a":NaN}'), "JSON"),
        (header(b'{"a":"\\ud800"}'), "JSON"),
        (header(b'{"a":' + b"9" * 5000 + b"}"), "JSON"),
        (header(b"[" * 5000 + b"]" * 5000), "JSON"),
        (header(b'{"a":' * 300 + b"1" + b"}" * 300), "JSON"),
        (header(b"[]"), "object"),
        (header(b"2"), "object"),
        (header(b'{"a":1,"a":1}'), "twice"),
        (header(b'{"a":{"b":1,"b":2}}'), "twice"),
        (header(b'{"a":1.0}'), "fraction"),
        (header(b'{"a":1e400}'), "fraction"),
        ("A" * (messages.HEADER_CHARS_MAX + 4), "at most 16384"),
    ],
)
def test_a_header_that_two_readers_could_read_differently_is_malformed(sent: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        messages.parse_payment(sent)


def test_the_longest_signature_that_is_taken_fits_into_a_header() -> None:
    longest = bytes(messages.SIGNATURE_BYTES_MAX)
    said = {
        **wire(signature=longest),
        "resource": {"url": URL},
        "extensions": messages.payment_identifier_declaration(),
    }
    assert messages.parse_payment(header(said)).signature == longest


@given(
    cents=st.integers(1, 10**9),
    timeout_s=st.integers(1, 86_400),
    network=st.sampled_from([BASE, BASE_SEPOLIA]),
)
def test_a_stored_requirement_is_read_back_and_stays_the_same_bytes(cents: int, timeout_s: int, network: Any) -> None:
    requirement = messages.requirement_for(network, pay_to=PAYEE, price=usd(cents), timeout_s=timeout_s)
    text = messages.stored(requirement)
    assert messages.requirement_of(text) == requirement
    assert messages.stored(messages.requirement_of(text)) == text
    assert requirement == Requirement(
        network=network.caip2,
        asset=network.token_address,
        amount_atomic=cents * 10_000,
        pay_to=PAYEE,
        timeout_s=timeout_s,
        token_name=network.token_name,
        token_version=network.token_version,
    )


@pytest.mark.parametrize("price", [usdc(1_000_000), usd(0), usd(-1)])
def test_nothing_and_other_money_are_not_asked_for(price: Money) -> None:
    with pytest.raises(ValueError, match="a price in USD"):
        messages.requirement_for(BASE, pay_to=PAYEE, price=price, timeout_s=300)
