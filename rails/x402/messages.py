"""What x402 says over HTTP, in our words and back: requirements, signed payments, outcomes. Pure.

Theory of operation
-------------------
The protocol lives in headers: JSON in base64. What we send is built here from what is stored. What arrives was written
by anybody, so it is read by a reader of our own, which takes less than the protocol's packages do: a bounded length, no
field twice, no fractions, every field of its one type and spelling. `Malformed` names the field and never repeats its
content. What was read is still only a claim: `accepted` may be any requirement and the signature anybody's; that is
`verifying`'s to judge.
A requirement is kept as the protocol writes it, with its order, so that an attempt asks for the same bytes for ever.
Sources: x402-specification-v2.md, specs/transports-v2/http.md, specs/schemes/exact/scheme_exact_evm.md and
specs/extensions/payment_identifier.md of the protocol, as x402 2.25.0 implements them.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from ledger.money import Currency, Money, usdc_atomic_of_cents
from rails.evm.eip3009 import SIGNATURE_BYTES, UINT256_MAX, Authorization
from rails.evm.networks import Network
from rails.x402.terms import VERSION, Malformed, NotPayable, Requirement, SignedPayment

PAYMENT_REQUIRED: Final = "PAYMENT-REQUIRED"
PAYMENT_SIGNATURE: Final = "PAYMENT-SIGNATURE"
PAYMENT_RESPONSE: Final = "PAYMENT-RESPONSE"
VERSION_1_PAYMENT: Final = "X-PAYMENT"
"""Where version 1 of the protocol has its payments. It is not spoken here; who sends it is told `USE_VERSION_2`."""
USE_VERSION_2: Final = (
    f"this is a payment of x402 version 1; version {VERSION} is spoken here: send what {PAYMENT_REQUIRED} asks for "
    f"in {PAYMENT_SIGNATURE}"
)

HEADER_CHARS_MAX: Final = 16 * 1024
"""A stock client sends some 2,900, with our two extensions echoed; a passkey's signature adds 1,700."""
SIGNATURE_BYTES_MAX: Final = 4096
"""A key's signature has 65 bytes, a passkey's through a contract wallet some 700, one of many owners 65 for each."""

PAYMENT_IDENTIFIER: Final = "payment-identifier"
IDENTIFIER_CHARS_MIN: Final = 16
IDENTIFIER_CHARS_MAX: Final = 128

_BASE64: Final = re.compile(r"([A-Za-z0-9+/]+)(={0,2})")
_HEX: Final = re.compile(r"0x((?:[0-9a-fA-F]{2})*)")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_UINT: Final = re.compile(r"0|[1-9][0-9]{0,77}")
_IDENTIFIER: Final = re.compile(rf"[a-zA-Z0-9_-]{{{IDENTIFIER_CHARS_MIN},{IDENTIFIER_CHARS_MAX}}}")
_WRAPPED: Final = bytes.fromhex("6492" * 16)
"""How a signature ends that brings along how to deploy its wallet. Source: https://eips.ethereum.org/EIPS/eip-6492."""


def requirement_for(network: Network, *, pay_to: str, price: Money, timeout_s: int) -> Requirement:
    """What pays `price` at par on `network`. `ValueError` for another currency than USD, or for nothing."""
    if price.currency is not Currency.USD or price.amount <= 0:
        raise ValueError(f"USDC pays a price in USD, not {price.decimal()} {price.currency}")
    return Requirement(
        network=network.caip2,
        asset=network.token_address,
        amount_atomic=usdc_atomic_of_cents(price.amount),
        pay_to=pay_to,
        timeout_s=timeout_s,
        token_name=network.token_name,
        token_version=network.token_version,
    )


def stored(requirement: Requirement) -> str:
    """`requirement` as JSON text whose order is kept."""
    return compact(requirement.wire())


def requirement_of(text: str) -> Requirement:
    """The requirement that `stored` wrote, or that a rail's stored parameters hold."""
    return requirement_from(json.loads(text))


def requirement_from(wire: Mapping[str, Any]) -> Requirement:
    """The requirement that our own `Requirement.wire` wrote; what else stands beside it is left alone."""
    return Requirement(
        network=wire["network"],
        asset=wire["asset"],
        amount_atomic=int(wire["amount"]),
        pay_to=wire["payTo"],
        timeout_s=wire["maxTimeoutSeconds"],
        token_name=wire["extra"]["name"],
        token_version=wire["extra"]["version"],
    )


def payment_required(
    requirement: Requirement, *, url: str, description: str, error: str | None, extensions: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `PAYMENT-REQUIRED`: `url` is sold, and `requirement` is the one way to pay for it.

    `error` says why an earlier payment was not taken. `extensions` are `{name: declaration}`, as the declaring
    functions of this room give them.
    """
    return {
        "x402Version": VERSION,
        **({"error": error} if error is not None else {}),
        "resource": {"url": url, "description": description, "mimeType": "application/json"},
        "accepts": [requirement.wire()],
        **({"extensions": dict(extensions)} if extensions else {}),
    }


def settle_response(
    *, success: bool, transaction: str, network: str, payer: str | None, amount_atomic: int | None, reason: str | None
) -> dict[str, Any]:
    """The content of `PAYMENT-RESPONSE`. `transaction` is empty when none is known, `reason` one of the protocol's."""
    return {
        "success": success,
        **({"errorReason": reason} if reason is not None else {}),
        **({"payer": payer} if payer is not None else {}),
        "transaction": transaction,
        "network": network,
        **({"amount": str(amount_atomic)} if amount_atomic is not None else {}),
    }


def payment_identifier_declaration() -> dict[str, Any]:
    """The extension by which a payer may name its payment, `{name: declaration}`; nobody has to."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "required": {"type": "boolean"},
            "id": {
                "type": "string",
                "minLength": IDENTIFIER_CHARS_MIN,
                "maxLength": IDENTIFIER_CHARS_MAX,
                "pattern": "^[a-zA-Z0-9_-]+$",
            },
        },
        "required": ["required"],
    }
    return {PAYMENT_IDENTIFIER: {"info": {"required": False}, "schema": schema}}


def parse_payment(header: str) -> SignedPayment:
    """The payment in a `PAYMENT-SIGNATURE` header.

    Raises `Malformed`; and `NotPayable` for a signature that first has to deploy its wallet (EIP-6492), which can be
    read and is not carried out here.
    """
    content = decoded(header, name=PAYMENT_SIGNATURE)
    version = content.get("x402Version")
    if type(version) is not int or version != VERSION:
        raise Malformed(USE_VERSION_2 if type(version) is int and version == 1 else f"x402Version must be {VERSION}")
    payload = _object(content, "payload")
    if "permit2Authorization" in payload:
        raise Malformed("payload must have an EIP-3009 authorization, as assetTransferMethod asks; not one of Permit2")
    authorization = _authorization(_object(payload, "authorization"))
    signature = signature_of(payload)
    if is_wrapped(signature):
        raise NotPayable(
            "invalid_exact_evm_payload_undeployed_smart_wallet",
            "the signature brings along how to deploy its wallet (EIP-6492): deploy it first, and sign without that",
        )
    return SignedPayment(
        authorization=authorization,
        signature=signature,
        accepted=_accepted(_object(content, "accepted")),
        payment_identifier=_payment_identifier(content),
    )


def encoded(content: Mapping[str, Any]) -> str:
    """`content` as a header has it: JSON of ASCII in base64, so that no client has to guess an encoding."""
    return b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()


def decoded(header: str, *, name: str) -> dict[str, Any]:
    """The JSON object that a header called `name` has in base64, padded or not. Raises `Malformed`."""
    if len(header) > HEADER_CHARS_MAX:
        raise Malformed(f"{name} must have at most {HEADER_CHARS_MAX} characters")
    raw = _unpacked(header)
    if raw is None:
        raise Malformed(f"{name} must be base64")
    try:
        # First this one: it bounds how deep the brackets go, whatever the limit of the process is.
        from_json(raw, allow_inf_nan=False)
        content: object = _JSON.decode(raw.decode())
    except _Unreadable as error:
        raise Malformed(f"{name} has {error}") from None
    except (ValueError, RecursionError):
        raise Malformed(f"{name} must be JSON in base64") from None
    if not isinstance(content, dict):
        raise Malformed(f"{name} must be a JSON object in base64")
    return content


def compact(content: Mapping[str, Any]) -> str:
    """`content` as JSON text for keeping: order as given, letters as they are."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def signature_of(content: Mapping[str, Any]) -> bytes:
    """The field `signature`: hex of a key's or a contract wallet's signature. Raises `Malformed`."""
    signature = _bytes(content, "signature")
    if not SIGNATURE_BYTES <= len(signature) <= SIGNATURE_BYTES_MAX:
        raise Malformed(f"signature must have between {SIGNATURE_BYTES} and {SIGNATURE_BYTES_MAX} bytes")
    return signature


def is_wrapped(signature: bytes) -> bool:
    """Whether the signature brings along how to deploy its wallet (EIP-6492)."""
    return signature.endswith(_WRAPPED)


class _Unreadable(Exception):
    """JSON that two readers could understand differently."""


def _unpacked(header: str) -> bytes | None:
    shape = _BASE64.fullmatch(header)
    if shape is None or len(shape[1]) % 4 == 1 or (shape[2] and len(header) % 4):
        return None
    return b64decode(shape[1] + "=" * (-len(shape[1]) % 4))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Unreadable("a field twice")
    return values


def _no_fraction(_: str) -> Any:
    raise _Unreadable("a number with a fraction or an exponent")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_float=_no_fraction)


def _authorization(content: Mapping[str, Any]) -> Authorization:
    nonce = _bytes(content, "nonce")
    if len(nonce) != 32:
        raise Malformed("nonce must have 32 bytes")
    return Authorization(
        from_=_address(content, "from"),
        to=_address(content, "to"),
        value=_uint(content, "value"),
        valid_after=_uint(content, "validAfter"),
        valid_before=_uint(content, "validBefore"),
        nonce=nonce,
    )


def _accepted(content: dict[str, Any]) -> dict[str, Any]:
    for field in ("scheme", "network", "asset", "payTo"):
        _text(content, field)
    _uint(content, "amount")
    if type(content.get("maxTimeoutSeconds")) is not int:  # a bool is an int too, and equals 0 or 1
        raise Malformed("maxTimeoutSeconds must be a whole number")
    if content.get("extra") is not None:
        _object(content, "extra")
    return content


def _payment_identifier(content: Mapping[str, Any]) -> str | None:
    extensions = content.get("extensions")
    if extensions is None:
        return None
    if not isinstance(extensions, dict):
        raise Malformed("extensions must be an object")
    if extensions.get(PAYMENT_IDENTIFIER) is None:
        return None
    identifier = _object(_object(extensions, PAYMENT_IDENTIFIER), "info").get("id")
    if identifier is None:
        return None
    if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
        raise Malformed(
            f"the id of {PAYMENT_IDENTIFIER} must have {IDENTIFIER_CHARS_MIN} to {IDENTIFIER_CHARS_MAX} letters, "
            "digits, hyphens or underscores"
        )
    return identifier


def _object(content: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = content.get(field)
    if not isinstance(value, dict):
        raise Malformed(f"{field} must be an object")
    return value


def _text(content: Mapping[str, Any], field: str) -> str:
    value = content.get(field)
    if not isinstance(value, str):
        raise Malformed(f"{field} must be a string")
    return value


def _address(content: Mapping[str, Any], field: str) -> str:
    value = _text(content, field)
    if not _ADDRESS.fullmatch(value):
        raise Malformed(f"{field} must be an address, 0x and 40 hexadecimal digits")
    return value


def _bytes(content: Mapping[str, Any], field: str) -> bytes:
    shape = _HEX.fullmatch(_text(content, field))
    if shape is None:
        raise Malformed(f"{field} must be 0x and hexadecimal digits, two for a byte")
    return bytes.fromhex(shape[1])


def _uint(content: Mapping[str, Any], field: str) -> int:
    value = _text(content, field)
    if not _UINT.fullmatch(value) or int(value) > UINT256_MAX:
        raise Malformed(f"{field} must be a string of decimal digits, at most 256 bits")
    return int(value)
