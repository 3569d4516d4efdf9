"""Signing in with the wallet that paid (`SIGN-IN-WITH-X`): what is asked, what comes back. Pure.

Theory of operation
-------------------
A settled payment is public, so presenting it proves nothing. Who lost its token proves instead that it holds the paying
address: it signs a text that names us, a nonce of ours and the time (EIP-4361). The text itself never travels. The
header has its fields, `message_of` puts the text together again, and the signature is over its hash. Therefore two
different sets of fields must never give one text: every field has its own narrow alphabet, without line breaks, and an
optional field is either absent or not empty (the clients' packages disagree on what an empty one looks like).
What the signature is for stands in the text too, as its request id: one caught on its way to signing in links nothing.
Who signed is asked of the key (`eip191.signer`) or, of a payer with code, of the chain (EIP-1271, with the same hash).
That a nonce is ours and was never used before is billing's to keep.
Sources: specs/extensions/sign-in-with-x.md of x402 (and x402 2.25.0, extensions/sign_in_with_x),
https://eips.ethereum.org/EIPS/eip-4361, https://chainagnostic.org/CAIPs/caip-122, RFC 3339 and RFC 3986.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from rails.evm.eip191 import personal_digest
from rails.x402.messages import decoded, is_wrapped, signature_of
from rails.x402.terms import Malformed

HEADER: Final = "SIGN-IN-WITH-X"
EXTENSION: Final = "sign-in-with-x"

AGE_MAX: Final = timedelta(minutes=5)
"""How long after it was issued a text is taken: what the x402 packages allow."""
AHEAD_MAX: Final = timedelta(seconds=30)
"""How far our processes' clocks may be apart: `issuedAt` is of the one that made the challenge."""
RESOURCES_MAX: Final = 16

Disagreement = Literal[
    "invalid_siwx_domain_mismatch",
    "invalid_siwx_uri_mismatch",
    "invalid_siwx_unsupported_chain",
    "invalid_siwx_request_id",
    "invalid_siwx_issued_at_in_future",
    "invalid_siwx_issued_at_too_old",
    "invalid_siwx_expired",
    "invalid_siwx_not_yet_valid",
]
"""Words of the extension (x402 2.25.0, extensions/sign_in_with_x/types.py), and one for what it leaves to us."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.\-]*://[^/?#]+)([/?#].*)?")
_ALPHABETS: Final = {
    "domain": re.compile(r"[A-Za-z0-9\-._~:\[\]]+"),
    "address": re.compile(r"0x[0-9a-fA-F]{40}"),
    "uri": _URI,
    "version": re.compile(r"1"),
    "chainId": re.compile(r"eip155:[1-9][0-9]{0,19}"),
    "type": re.compile(r"eip191"),
    "nonce": re.compile(r"[a-zA-Z0-9]{8,128}"),
    "issuedAt": _TIME,
    "statement": re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;= ]+"),
    "expirationTime": _TIME,
    "notBefore": _TIME,
    "requestId": re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%]+"),
}
"""What each field may be made of, by its name on the wire: the grammar of EIP-4361, or narrower."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a wallet is asked to sign. `domain` is our host (with its port), `uri` one under it; `network` is CAIP-2.

    `request_id` says what is asked for beside signing in, which has none.
    `ValueError` for one that no wallet could sign as we would read it: the text's alphabets hold for us too.
    """

    domain: str
    uri: str
    statement: str
    nonce: str
    issued_at: datetime
    expires_at: datetime
    network: str
    request_id: str | None = None

    def __post_init__(self) -> None:
        given = {**self.info(), "chainId": self.network}
        for name, value in given.items():
            if not _ALPHABETS[name].fullmatch(value):
                raise ValueError(f"no wallet can sign this {name}: {value!r}")

    def info(self) -> dict[str, str]:
        """The fields that are the same on every chain, by their names on the wire."""
        return {
            "domain": self.domain,
            "uri": self.uri,
            "statement": self.statement,
            "version": "1",
            "nonce": self.nonce,
            "issuedAt": _written(self.issued_at),
            "expirationTime": _written(self.expires_at),
            **({"requestId": self.request_id} if self.request_id is not None else {}),
        }


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a `SIGN-IN-WITH-X` header holds, understood but not yet believed. Its texts stand as they were sent.

    `address` is in whatever case the wallet has it; `chain_id` is CAIP-2; times are those of RFC 3339.
    """

    domain: str
    address: str
    uri: str
    chain_id: str
    nonce: str
    issued_at: str
    statement: str | None
    expiration_time: str | None
    not_before: str | None
    request_id: str | None
    resources: tuple[str, ...]
    signature: bytes = field(repr=False)
    """Until its nonce has been used, this is as good as the wallet's token."""


def declaration(challenge: Challenge) -> dict[str, Any]:
    """The extension that asks for `challenge`, `{name: declaration}`, for `PaymentRequired.extensions`."""
    text = {"type": "string"}
    uri, time = {**text, "format": "uri"}, {**text, "format": "date-time"}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            **dict.fromkeys(("domain", "address", "statement"), text),
            "uri": uri,
            **dict.fromkeys(("version", "chainId", "type", "nonce"), text),
            **dict.fromkeys(("issuedAt", "expirationTime", "notBefore"), time),
            "requestId": text,
            "resources": {"type": "array", "items": uri},
            "signature": text,
        },
        "required": ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
    }
    chains = [{"chainId": challenge.network, "type": "eip191"}]
    return {EXTENSION: {"info": challenge.info(), "supportedChains": chains, "schema": schema}}


def parse(header: str) -> SignIn:
    """The fields of a `SIGN-IN-WITH-X` header. Raises `Malformed`, also for what is no version 1 of an EVM wallet."""
    content = decoded(header, name=HEADER)
    given = {name: _text(content, name) for name in ("domain", "address", "uri", "chainId", "nonce", "issuedAt")}
    for name in ("version", "type"):
        _text(content, name)
    optional = {
        name: None if content.get(name) is None else _text(content, name)
        for name in ("statement", "expirationTime", "notBefore", "requestId")
    }
    signature = signature_of(content)
    if is_wrapped(signature):
        raise Malformed("signature must be of a wallet that is deployed, without the wrapper of EIP-6492")
    return SignIn(
        domain=given["domain"],
        address=given["address"],
        uri=given["uri"],
        chain_id=given["chainId"],
        nonce=given["nonce"],
        issued_at=given["issuedAt"],
        statement=optional["statement"],
        expiration_time=optional["expirationTime"],
        not_before=optional["notBefore"],
        request_id=optional["requestId"],
        resources=_resources(content),
        signature=signature,
    )


def message_of(sign_in: SignIn) -> str:
    """The text that the wallet has signed, letter by letter as EIP-4361 has it."""
    numeric_chain = sign_in.chain_id.partition(":")[2]
    optional = (
        ("Expiration Time", sign_in.expiration_time),
        ("Not Before", sign_in.not_before),
        ("Request ID", sign_in.request_id),
    )
    return "\n".join(
        [
            f"{sign_in.domain} wants you to sign in with your Ethereum account:",
            sign_in.address,
            "",
            *([sign_in.statement] if sign_in.statement is not None else []),
            "",
            f"URI: {sign_in.uri}",
            "Version: 1",
            f"Chain ID: {numeric_chain}",
            f"Nonce: {sign_in.nonce}",
            f"Issued At: {sign_in.issued_at}",
            *(f"{name}: {value}" for name, value in optional if value is not None),
            *(["Resources:"] if sign_in.resources else []),
            *(f"- {resource}" for resource in sign_in.resources),
        ]
    )


def digest_of(message: str) -> bytes:
    """The 32 bytes that were signed for `message`: what a key or, by EIP-1271, a contract wallet vouches for."""
    return personal_digest(message)


def disagreement(
    sign_in: SignIn, *, domain: str, uri_origin: str, network: str, request_id: str | None, now: datetime
) -> Disagreement | None:
    """Why this is no sign-in to us, now and for `request_id`, in the extension's words; None when it is one.

    `uri_origin` is scheme, host and port, as in `https://purser.example`; `network` is CAIP-2. It is taken for
    `AGE_MAX` after it was issued at the most, and while its own window is open. Who signed it is not asked here.
    """
    origin = _ORIGIN.fullmatch(sign_in.uri)
    if sign_in.domain != domain:
        return "invalid_siwx_domain_mismatch"
    if origin is None or origin[1] != uri_origin:
        return "invalid_siwx_uri_mismatch"
    if sign_in.chain_id != network:
        return "invalid_siwx_unsupported_chain"
    if sign_in.request_id != request_id:
        return "invalid_siwx_request_id"
    age = now - _read(sign_in.issued_at)
    if age < -AHEAD_MAX:
        return "invalid_siwx_issued_at_in_future"
    if age > AGE_MAX:
        return "invalid_siwx_issued_at_too_old"
    if sign_in.expiration_time is not None and now >= _read(sign_in.expiration_time):
        return "invalid_siwx_expired"
    if sign_in.not_before is not None and now < _read(sign_in.not_before):
        return "invalid_siwx_not_yet_valid"
    return None


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} must be a string")
    alphabet = _ALPHABETS[name]
    if not alphabet.fullmatch(value) or (alphabet is _TIME and not _is_time(value)):
        raise Malformed(f"{name} must be as EIP-4361 writes it")
    return value


def _resources(content: Mapping[str, Any]) -> tuple[str, ...]:
    value = content.get("resources")
    if value is None:
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= RESOURCES_MAX:
        raise Malformed(f"resources must be a list of 1 to {RESOURCES_MAX}, or left out")
    if not all(isinstance(resource, str) and _URI.fullmatch(resource) for resource in value):
        raise Malformed("resources must be URIs")
    return tuple(value)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(time: str) -> datetime:
    return datetime.fromisoformat(time)


def _is_time(value: str) -> bool:
    try:
        _read(value)
    except ValueError:  # the 30th of February
        return False
    return True
