"""Signed receipts: one spelling of a statement, its signature, and how anybody checks it without asking us. Pure.

What is signed are the bytes of the statement in canonical JSON: keys sorted, no spaces, UTF-8 (RFC 8785, of which
objects, lists, strings, integers, booleans and null are enough here; another number is refused). The signature is
pure Ed25519 (RFC 8032, section 5.1). A key is named by the first 16 hexadecimal digits of the SHA-256 of its 32
public bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

ALGORITHM: Final = "Ed25519"
FORMAT: Final = "purser.receipt.v1"
SEED_BYTES: Final = 32
DOCUMENT_BYTES_MAX: Final = 65_536
INTEGER_MAX: Final = 2**53 - 1
"""Beyond it a reader that keeps numbers as JavaScript does would see another one (RFC 8785, section 3.2.2.3)."""

_EVERY: Final[Mapping[str, type]] = {
    "format": str, "kind": str, "receipt_id": str, "organization_id": str, "credits": int, "journal": dict,
}  # fmt: skip
FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "payment": {
        **_EVERY, "payment_attempt_id": str, "quote_id": str, "subtotal_cents": int, "discount_cents": int,
        "tax_cents": int, "amount_cents": int, "currency": str, "payment_method": str, "live_money": bool,
        "late": bool, "settled_at": str, "created_at": str,
    },
    "job": {**_EVERY, "job_id": str, "charged_at": str},
}  # fmt: skip
"""What a statement of each kind says: all of it, and nothing else."""
_JOURNAL: Final[Mapping[str, type]] = {"operation_id": str, "seq": int, "head": str}
_SIGNATURE: Final[Mapping[str, type]] = {"algorithm": str, "key_id": str, "value": str}
_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{2 * SEED_BYTES}}}")


class Unverified(ValueError):
    """The document is not a receipt that one of the keys has signed; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The 32 bytes by which signatures of one key are checked."""

    raw: bytes

    @property
    def key_id(self) -> str:
        """What signatures name the key by."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The key in base64, as it is published."""
        return base64.b64encode(self.raw).decode()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs: a secret of 32 bytes (RFC 8032, section 5.1.5)."""

    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """What checks its signatures."""
        return PublicKey(_private(self.seed).public_key().export_key(format="raw"))


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key that signs now, if any, and the public keys that signed before."""

    signing: SigningKey | None = None
    retired: tuple[PublicKey, ...] = ()

    @property
    def public(self) -> tuple[PublicKey, ...]:
        """Every key that our receipts may be signed with, the present one first."""
        present = () if self.signing is None else (self.signing.public,)
        return (*present, *(one for one in self.retired if one not in present))


def signing_key(text: str) -> SigningKey:
    """The key of a seed in 64 hexadecimal digits or in base64. Raises `ValueError`, which never quotes it."""
    given = text.strip()
    seed = bytes.fromhex(given) if _HEX.fullmatch(given) else _bytes_of(given)
    if len(seed) != SEED_BYTES:
        raise ValueError(f"must be {SEED_BYTES} bytes, as {2 * SEED_BYTES} hexadecimal digits or base64")
    return SigningKey(seed)


def public_key(text: str) -> PublicKey:
    """The public key in base64. Raises `ValueError` for what is none."""
    raw = _bytes_of(text.strip())
    if len(raw) != SEED_BYTES:
        raise ValueError(f"must be {SEED_BYTES} bytes in base64")
    eddsa.import_public_key(raw)  # which raises for bytes that are no point of the curve
    return PublicKey(raw)


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value. Raises `ValueError` for what has none here, as a number with a point."""
    _require_plain(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def signed(statement: Mapping[str, Any], key: SigningKey | None) -> dict[str, Any]:
    """A receipt as it is handed out: `receipt`, and its `signature`, which is none without a key.

    The same statement and key give the same bytes for ever: Ed25519 has no randomness.
    """
    return {"receipt": dict(statement), "signature": None if key is None else _signature(statement, key)}


def verified(text: bytes, keys: Iterable[PublicKey]) -> dict[str, Any]:
    """The statement in a signed receipt, which one of `keys` has signed as it stands.

    `text` is JSON: what `GET /v1/receipts/{receipt_id}` answers, or its `data` alone; the order of keys and spaces do
    not matter. Raises `Unverified`.
    """
    document = _document(text)
    signature = _mapping(document["signature"], _SIGNATURE, "the signature")
    statement = _statement(document["receipt"])
    if signature["algorithm"] != ALGORITHM:
        raise Unverified(f"it is signed with {signature['algorithm']!r:.40}, and not with {ALGORITHM}")
    key = next((one for one in keys if one.key_id == signature["key_id"]), None)
    if key is None:
        raise Unverified(f"it is signed with the key {signature['key_id']!r:.40}, which is none of those given")
    try:
        value = _bytes_of(signature["value"])
        eddsa.new(eddsa.import_public_key(key.raw), "rfc8032").verify(canonical(statement), value)
    except ValueError:
        raise Unverified("the signature does not fit: something was changed after it was signed") from None
    return statement


def _signature(statement: Mapping[str, Any], key: SigningKey) -> dict[str, str]:
    value = eddsa.new(_private(key.seed), "rfc8032").sign(canonical(dict(statement)))
    return {"algorithm": ALGORITHM, "key_id": key.public.key_id, "value": base64.b64encode(value).decode()}


def _private(seed: bytes) -> ECC.EccKey:
    return eddsa.import_private_key(seed)


def _bytes_of(text: str) -> bytes:
    """What stands in base64, in its one spelling."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if base64.b64encode(found).decode() != text:
        raise ValueError("is not base64 in its usual spelling")
    return found


def _require_plain(value: Any) -> None:
    if isinstance(value, dict):
        for name, inside in value.items():
            if not isinstance(name, str) or not name.isascii():  # beyond ASCII, RFC 8785 sorts otherwise than Python
                raise ValueError("a name is not ASCII")
            _require_plain(inside)
    elif isinstance(value, list):
        for inside in value:
            _require_plain(inside)
    elif type(value) is int:
        if abs(value) > INTEGER_MAX:
            raise ValueError("a number is too large")
    elif not isinstance(value, str | bool | None):
        raise ValueError("only strings, integers, booleans, null, lists and objects can be signed")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unverified("a field stands in it twice")
    return found


def _document(text: bytes) -> dict[str, Any]:
    if len(text) > DOCUMENT_BYTES_MAX:
        raise Unverified(f"it is longer than {DOCUMENT_BYTES_MAX} bytes")
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except Unverified:
        raise
    except (ValueError, RecursionError):
        raise Unverified("it is not JSON") from None
    if isinstance(found, dict) and "ok" in found:  # a whole answer of the service
        found = found.get("data")
    if not isinstance(found, dict) or set(found) != {"receipt", "signature"}:
        raise Unverified("it does not hold a receipt and its signature, and nothing else")
    if found["signature"] is None:
        raise Unverified("it is not signed")
    return found


def _statement(found: Any) -> dict[str, Any]:
    kind = found.get("kind") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in FIELDS or found.get("format") != FORMAT:
        raise Unverified(f"it is no receipt of the format {FORMAT}")
    statement = _mapping(found, FIELDS[kind], "the receipt")
    _mapping(statement["journal"], _JOURNAL, "the receipt's journal")
    return statement


def _mapping(found: Any, fields: Mapping[str, type], what: str) -> dict[str, Any]:
    """`found` with exactly these fields. Raises `Unverified`, naming the first that is wrong."""
    if not isinstance(found, dict):
        raise Unverified(f"{what} is not an object")
    for name in sorted({*found, *fields}):
        if name not in fields:
            raise Unverified(f"{what} has the unknown field {name!r:.60}")
        if name not in found:
            raise Unverified(f"{what} lacks {name}")
        if type(found[name]) is not fields[name]:
            raise Unverified(f"{name} of {what} is not what it has to be")
    return found
