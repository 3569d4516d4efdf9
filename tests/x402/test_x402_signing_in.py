"""Signing in: the text is the package's, letter by letter; nothing is smuggled in; only ours, now, is taken."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rails.evm import eip191, recursion
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.x402 import signing_in
from rails.x402.messages import SIGNATURE_BYTES_MAX
from rails.x402.signing_in import Challenge, SignIn, disagreement, message_of, parse
from rails.x402.terms import Malformed

with recursion.limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from x402.extensions.sign_in_with_x import (
        SIGN_IN_WITH_X,
        SIWxExtension,
        SIWxPayload,
        assert_siwx_challenge_bound_to_origin,
        build_siwx_schema,
        encode_siwx_header,
        sign_evm_message,
    )
    from x402.mechanisms.evm.constants import ERC6492_MAGIC_VALUE

KEY = Account.from_key("0x" + "42" * 32)
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
ORIGIN = "https://api.example.com"
HERE: dict[str, Any] = {"domain": "api.example.com", "uri_origin": ORIGIN, "network": BASE.caip2}
OURS: dict[str, Any] = {**HERE, "request_id": None, "now": NOW}
CHALLENGE = Challenge(
    domain="api.example.com",
    uri=f"{ORIGIN}/v1/sign-in",
    statement="Sign in to get a new token for your credits.",
    nonce="32891756abcdEFGH",
    issued_at=datetime(2026, 11, 21, 12, tzinfo=UTC),
    expires_at=datetime(2026, 11, 21, 12, 5, tzinfo=UTC),
    network=BASE.caip2,
)

FIELDS = {
    "domain": "api.example.com",
    "address": KEY.address,
    "uri": "https://api.example.com/v1/sign-in?a=b#c",
    "version": "1",
    "chainId": "eip155:8453",
    "type": "eip191",
    "nonce": "32891756abcdEFGH",
    "issuedAt": "2026-11-21T12:00:00.000Z",
    "signature": "0x" + "01" * 65,
}
OPTIONAL: dict[str, Any] = {
    "statement": "Sign in to your credits: yes, really?",
    "expirationTime": "2026-11-21T13:05:00+01:00",
    "notBefore": "2026-11-21T11:59:00Z",
    "requestId": "a%20b",
    "resources": ["ipfs://bafy", "https://api.example.com/a?b=c#d"],
}
COMBINATIONS = list(chain.from_iterable(combinations(OPTIONAL, count) for count in (0, 1, 4, 5)))
# For each combination of the optional fields, the hash of what x402 2.25.0 has a wallet sign: `format_siwe_message`
# (with signinwithethereum's siwe, which needs an older web3 than ours), hashed by eth-account.
DIGESTS = [
    "7182fa5cd962a0b158971f573e019593404aecdb37e467e5f67b2fdaa7638f24",
    "8a31aea3fb97ac5b25fc127a3ce3ebe500c65ebe97bd334de023f1e365d53a3e",
    "da5a4eb71afd7842a8c85d190bc0fa8e44789dd13688f77c95e810672b2bfba9",
    "1cc3b74d96074a4ccf70594215e6eb816ef5b67b2a02a4599b8a7733a168c953",
    "64289500a1509920ebb45d29e66f07fcd553fbdd0b36182f20a6080b13c78153",
    "29a5c1ba5a2a17194ab2b09eb05998f680e40ad41420995cedd73ceea2b7bae3",
    "99edf57651a1301917774a35bb7d23bdf6404a034258ff00bf8f922290ed3278",
    "252cee4a8adb6c14d05866e0437a7a3141e22b3b192b266aec70bb95b6b0b020",
    "b94aac34f9ad2ec965508e570ce39ec5e17b35d67d081f80eb7df9cdaf881592",
    "398355fbeafb8e15f04f8461d92e60731101d4a0c8f60fcb7bb36662a20a38fe",
    "ba30a399e17cef702e40ae6ab3672b7838c7250acca504d165eb142b9828752b",
    "e98dcfb4a22c0aab256e38ece65895daa13cc624acb1476c51a724f3a87a488b",
]
# What `create_siwx_payload` and `encode_siwx_header` of x402 2.25.0 made of all fields with KEY.
OF_THE_PACKAGE = (
    "eyJkb21haW4iOiAiYXBpLmV4YW1wbGUuY29tIiwgImFkZHJlc3MiOiAiMHgxN2M1MTg1MTY3NDAxZUQwMGNGNUY1YjJmYzk3RDlCQmZEYjdE"
    "MDI1IiwgInVyaSI6ICJodHRwczovL2FwaS5leGFtcGxlLmNvbS92MS9zaWduLWluP2E9YiNjIiwgInZlcnNpb24iOiAiMSIsICJjaGFpbklk"
    "IjogImVpcDE1NTo4NDUzIiwgInR5cGUiOiAiZWlwMTkxIiwgIm5vbmNlIjogIjMyODkxNzU2YWJjZEVGR0giLCAiaXNzdWVkQXQiOiAiMjAy"
    "Ni0xMS0yMVQxMjowMDowMC4wMDBaIiwgInN0YXRlbWVudCI6ICJTaWduIGluIHRvIHlvdXIgY3JlZGl0czogeWVzLCByZWFsbHk/IiwgImV4"
    "cGlyYXRpb25UaW1lIjogIjIwMjYtMTEtMjFUMTM6MDU6MDArMDE6MDAiLCAibm90QmVmb3JlIjogIjIwMjYtMTEtMjFUMTE6NTk6MDBaIiwg"
    "InJlcXVlc3RJZCI6ICJhJTIwYiIsICJyZXNvdXJjZXMiOiBbImlwZnM6Ly9iYWZ5IiwgImh0dHBzOi8vYXBpLmV4YW1wbGUuY29tL2E/Yj1j"
    "I2QiXSwgInNpZ25hdHVyZSI6ICIweDkzZmY4YzY3ODFhMDI5YmVkNzI0ODE0MzkxOWExMjNmNjlmYmRkMTNkMzY4Njg2MTJmN2Q3YWQ3YzJj"
    "NDhjNzk3OWQzNzA1NjU2NDI1YjMwNWU1NDVkNDc0YjdkNTRkYWI1NzIzMjhhZjFiYjViZmU0NWEwMWI5MDU2MTVkMjEzMWMifQ=="
)


def header(content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def read(**changes: Any) -> SignIn:
    return parse(header({**FIELDS, **changes}))


def why_malformed(content: Any) -> str:
    with pytest.raises(Malformed) as raised:
        parse(header(content))
    return str(raised.value)


def answered(challenge: Challenge, **changes: Any) -> str:
    """What a client of the package sends for `challenge`: it echoes the fields and signs their text."""
    declared = SIWxExtension.model_validate(signing_in.declaration(challenge)[SIGN_IN_WITH_X])
    assert_siwx_challenge_bound_to_origin(declared.info, f"https://{challenge.domain}/v1/sign-in")
    told = {
        **declared.info.model_dump(exclude_none=True),
        "chain_id": declared.supported_chains[0].chain_id,
        "type": declared.supported_chains[0].type,
        "address": KEY.address,
        **changes,
    }
    unsigned = encode_siwx_header(SIWxPayload(**told, signature="0x" + "00" * 65))
    signature = asyncio.run(sign_evm_message(message_of(parse(unsigned)), KEY))
    return encode_siwx_header(SIWxPayload(**told, signature=signature))


def signed_by(sign_in: SignIn) -> str | None:
    return eip191.signer(signing_in.digest_of(message_of(sign_in)), sign_in.signature)


@pytest.mark.parametrize(("names", "digest"), list(zip(COMBINATIONS, DIGESTS, strict=True)))
def test_the_text_is_the_one_that_the_package_has_signed(names: tuple[str, ...], digest: str) -> None:
    sign_in = read(**{name: OPTIONAL[name] for name in names})
    assert signing_in.digest_of(message_of(sign_in)).hex() == digest


def test_a_header_of_the_package_is_read_and_its_signer_known() -> None:
    sign_in = parse(OF_THE_PACKAGE)
    assert signed_by(sign_in) == sign_in.address == KEY.address
    assert sign_in == replace(read(**OPTIONAL), signature=sign_in.signature)
    assert message_of(sign_in) == (
        "api.example.com wants you to sign in with your Ethereum account:\n"
        f"{KEY.address}\n\n"
        "Sign in to your credits: yes, really?\n\n"
        "URI: https://api.example.com/v1/sign-in?a=b#c\n"
        "Version: 1\nChain ID: 8453\nNonce: 32891756abcdEFGH\nIssued At: 2026-11-21T12:00:00.000Z\n"
        "Expiration Time: 2026-11-21T13:05:00+01:00\nNot Before: 2026-11-21T11:59:00Z\nRequest ID: a%20b\n"
        "Resources:\n- ipfs://bafy\n- https://api.example.com/a?b=c#d"
    )


def test_the_example_of_the_eip_is_written_as_it_stands_there() -> None:
    # https://eips.ethereum.org/EIPS/eip-4361, its example with a port
    sign_in = read(
        domain="example.com:3388",
        address="0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
        statement="I accept the ExampleOrg Terms of Service: https://example.com/tos",
        uri="https://example.com/login",
        chainId="eip155:1",
        nonce="32891756",
        issuedAt="2021-09-30T16:25:24Z",
        resources=[
            "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/",
            "https://example.com/my-web2-claim.json",
        ],
    )
    assert (
        message_of(sign_in)
        == """example.com:3388 wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json"""
    )


@given(message=st.text())
def test_the_hash_of_a_text_and_its_signer_are_those_of_eth_account(message: str) -> None:
    signed = KEY.sign_message(encode_defunct(text=message))
    assert eip191.personal_digest(message) == signed.message_hash
    assert eip191.signer(signed.message_hash, bytes(signed.signature)) == KEY.address


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\x01" * 64 + b"\x1d", b"\xff" * 64 + b"\x1b"])
def test_what_is_no_signature_of_a_key_has_no_signer(signature: bytes) -> None:
    assert eip191.signer(bytes(32), signature) is None


def test_a_client_of_the_package_answers_what_is_declared() -> None:
    sign_in = parse(answered(CHALLENGE))
    assert signed_by(sign_in) == KEY.address
    assert (sign_in.nonce, sign_in.statement) == (CHALLENGE.nonce, CHALLENGE.statement)
    assert sign_in.expiration_time == "2026-11-21T12:05:00.000Z"
    assert disagreement(sign_in, **OURS) is None


def test_the_declaration_is_an_extension_with_the_packages_own_schema() -> None:
    declared = signing_in.declaration(CHALLENGE)[SIGN_IN_WITH_X]
    read_back = SIWxExtension.model_validate(declared)
    assert read_back.model_dump(by_alias=True, exclude_none=True) == declared
    assert declared["schema"] == build_siwx_schema()
    assert declared["supportedChains"] == [{"chainId": "eip155:8453", "type": "eip191"}]


@pytest.mark.parametrize(
    "change",
    [
        {"statement": "Sign in – now"},
        {"statement": "Sign in\nURI: https://evil.example"},
        {"statement": ""},
        {"domain": "api.example.com/v1"},
        {"uri": "/v1/sign-in"},
        {"nonce": "short"},
        {"nonce": "with-hyphens-1"},
        {"network": "base"},
    ],
)
def test_what_no_wallet_could_sign_is_not_asked_for(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no wallet can sign this"):
        replace(CHALLENGE, **change)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"domain": "evil.example"}, "invalid_siwx_domain_mismatch"),
        ({"domain": "api.example.com:443"}, "invalid_siwx_domain_mismatch"),
        ({"uri": "https://evil.example/v1/sign-in"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "http://api.example.com/v1/sign-in"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "https://api.example.com:444/v1/sign-in"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "https://api.example.com@evil.example/"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "https://api.example.com.evil.example/"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "https:api.example.com"}, "invalid_siwx_uri_mismatch"),
        ({"uri": "urn:x"}, "invalid_siwx_uri_mismatch"),
        ({"chainId": BASE_SEPOLIA.caip2}, "invalid_siwx_unsupported_chain"),
        ({"requestId": "link:agt_1"}, "invalid_siwx_request_id"),
        ({"issuedAt": "2026-11-21T12:01:01Z"}, "invalid_siwx_issued_at_in_future"),
        ({"issuedAt": "9999-12-31T23:59:59-23:59"}, "invalid_siwx_issued_at_in_future"),
        ({"issuedAt": "2026-11-21T11:55:29Z"}, "invalid_siwx_issued_at_too_old"),
        ({"issuedAt": "0001-01-01T00:00:00+23:59"}, "invalid_siwx_issued_at_too_old"),
        ({"expirationTime": "2026-11-21T12:00:30Z"}, "invalid_siwx_expired"),
        ({"expirationTime": "2026-11-21T12:10:30+00:10"}, "invalid_siwx_expired"),
        ({"notBefore": "2026-11-21T12:00:30.001Z"}, "invalid_siwx_not_yet_valid"),
    ],
)
def test_a_sign_in_to_somebody_else_or_at_another_time_is_refused_in_the_packages_words(
    changes: dict[str, str], why: str
) -> None:
    assert disagreement(read(**changes), **OURS) == why


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"uri": ORIGIN},
        {"uri": f"{ORIGIN}/"},
        {"uri": f"{ORIGIN}?a"},
        {"uri": f"{ORIGIN}#a"},
        {"issuedAt": "2026-11-21T12:01:00Z"},
        {"issuedAt": "2026-11-21T11:55:30Z"},
        {"issuedAt": "2026-11-21T13:00:00.123456789+01:00"},
        {"expirationTime": "2026-11-21T12:00:30.001Z"},
        {"notBefore": "2026-11-21T12:00:30Z"},
        {"statement": None, "requestId": None, "resources": None, "signatureScheme": "eip1271"},
    ],
)
def test_a_sign_in_to_us_and_now_is_taken(changes: dict[str, Any]) -> None:
    assert disagreement(read(**changes), **OURS) is None


def test_a_text_without_an_end_of_its_own_ends_with_its_age() -> None:
    sign_in = read()
    assert sign_in.expiration_time is None
    assert disagreement(sign_in, **{**OURS, "now": (end := CHALLENGE.expires_at)}) is None
    assert disagreement(sign_in, **{**OURS, "now": end + timedelta(microseconds=1)}) == "invalid_siwx_issued_at_too_old"


TEXTS = [name for name in (*FIELDS, *OPTIONAL) if name not in {"signature", "resources"}]
SMUGGLED = ["\n", "\r", "\r\nURI: https://evil.example", "\x00", "\x7f", "\u0085", "\u2028", "\t", "é", '"', "\\", "<"]


@pytest.mark.parametrize("name", TEXTS)
def test_no_field_can_carry_a_line_break_or_what_is_not_in_the_grammar(name: str) -> None:
    whole = {**FIELDS, **OPTIONAL}
    for smuggled in SMUGGLED:
        for value in (whole[name] + smuggled, smuggled + whole[name], whole[name][:8] + smuggled + whole[name][8:]):
            assert name in why_malformed({**whole, name: value})


@pytest.mark.parametrize("smuggled", SMUGGLED)
def test_no_resource_can_carry_a_line_break_or_what_is_not_in_the_grammar(smuggled: str) -> None:
    assert "resources" in why_malformed({**FIELDS, "resources": ["ipfs://a", f"ipfs://b{smuggled}"]})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, [..., None, 1, True, [], {}, ""]) for name in FIELDS),
        *((name, [1, True, [], {}, ""]) for name in OPTIONAL if name != "resources"),
        ("resources", [1, "ipfs://a", {}, [], [1], [None], [""], ["no uri"], ["ipfs://a"] * 17]),
        ("address", [KEY.address[2:], KEY.address[:-1], KEY.address + "0", "0x" + "g" * 40]),
        ("version", ["2", "01", "1.0"]),
        ("chainId", ["8453", "eip155:", "eip155:0", "eip155:08453", "eip155:-1", "solana:mainnet", "eip155:8453 "]),
        ("type", ["ed25519", "EIP191"]),
        ("nonce", ["1234567", "a" * 129, "with-hyphen", "with space"]),
        ("uri", ["api.example.com", "//api.example.com", "https:", "1https://a", "https://a b"]),
        *(
            (name, ["now", "2026-11-21", "2026-11-21T12:00:00", "2026-02-30T12:00:00Z", "2026-11-21T24:00:01Z"])
            for name in ("issuedAt", "expirationTime", "notBefore")
        ),
        ("issuedAt", ["2026-11-21T12:00:00+99:00", "2026-11-21T12:00:60Z", "2026-11-21 12:00:00Z", "20261121T120000Z"]),
        ("signature", ["0x", "0x0", "0x" + "00" * 64, "00" * 65, "0x" + "00" * (SIGNATURE_BYTES_MAX + 1)]),
        ("signature", ["0x" + (bytes(65) + ERC6492_MAGIC_VALUE).hex()]),
    ],
)
def test_a_field_that_is_not_as_the_extension_has_it_is_malformed(name: str, values: list[Any]) -> None:
    for value in values:
        content = {key: told for key, told in {**FIELDS, name: value}.items() if told is not ...}
        assert name in why_malformed(content)


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(sent=st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()) | jsons.map(header))
def test_anything_at_all_is_malformed(sent: str) -> None:
    with pytest.raises(Malformed):
        parse(sent)


def test_a_header_with_a_field_twice_is_malformed() -> None:
    twice = json.dumps(FIELDS)[:-1] + ', "nonce": "another1"}'
    with pytest.raises(Malformed, match="SIGN-IN-WITH-X has a field twice"):
        parse(base64.b64encode(twice.encode()).decode())


LINES = re.compile(
    r"(?P<domain>.+) wants you to sign in with your Ethereum account:\n(?P<address>.+)\n\n((?P<statement>.+)\n)?\n"
    r"URI: (?P<uri>.+)\nVersion: 1\nChain ID: (?P<chain>.+)\nNonce: (?P<nonce>.+)\nIssued At: (?P<issued_at>.+)"
    r"(\nExpiration Time: (?P<expiration_time>.+))?(\nNot Before: (?P<not_before>.+))?"
    r"(\nRequest ID: (?P<request_id>.+))?(\nResources:(?P<resources>(\n- .+)+))?"
)
times = st.datetimes(datetime(1000, 1, 1), datetime(9000, 1, 1)).map(lambda at: at.isoformat() + "Z")


def drawn(name: str) -> st.SearchStrategy[str]:
    return st.from_regex(signing_in._ALPHABETS[name], fullmatch=True)


@given(
    content=st.fixed_dictionaries(
        {
            **{name: drawn(name) for name in ("domain", "address", "uri", "version", "chainId", "type", "nonce")},
            "issuedAt": times,
            "signature": st.just("0x" + "01" * 65),
        },
        optional={
            "statement": drawn("statement")
            | st.sampled_from(["URI: https://a.b", "Version: 1", "Resources:", "- a:b"]),
            "expirationTime": times,
            "notBefore": times,
            "requestId": drawn("requestId"),
            "resources": st.lists(drawn("uri"), min_size=1, max_size=3),
        },
    )
)
def test_the_fields_can_be_told_from_the_text_so_no_two_sign_ins_share_one(content: dict[str, Any]) -> None:
    sign_in = parse(header(content))
    found = LINES.fullmatch(message_of(sign_in))
    assert found is not None
    told = found.groupdict()
    resources = tuple((told.pop("resources") or "").split("\n- ")[1:])
    chain_id = f"eip155:{told.pop('chain')}"
    assert SignIn(**told, chain_id=chain_id, resources=resources, signature=sign_in.signature) == sign_in


def test_the_signature_is_not_shown() -> None:
    assert "signature" not in repr(read())
