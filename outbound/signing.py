"""Signing what we send, and verifying what is sent to us. Pure but for `new_secret`.

Three headers go with a body: `webhook-id` (the same for every repetition of a message), `webhook-timestamp` (Unix
seconds) and `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, one for each secret that
is current while one is rotated, separated by spaces. A secret is `whsec_` and the base64 of 24 to 64 bytes.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE: Final = timedelta(minutes=5)
"""How far the time of a message may lie from now, on both sides."""
KEY_BYTES: Final = 32
KEY_BYTES_MIN: Final = 24
KEY_BYTES_MAX: Final = 64
ID_LENGTH_MAX: Final = 256
HEADER_LENGTH_MAX: Final = 4096

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"


class BadSignature(Exception):
    """The body was not signed with one of the secrets, or not lately. Its text is for who has sent it."""


def new_secret() -> str:
    """A secret that nobody knows yet."""
    return PREFIX + b64encode(token_bytes(KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that `secret` stands for. Raises `ValueError`, without the secret."""
    text = secret.strip().removeprefix(PREFIX)
    try:
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise ValueError(
            f"a signing secret is {PREFIX} and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random bytes"
        )
    return key


def signed(secrets: Sequence[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that go with `body`. `message_id` is the same for every repetition. Raises `ValueError`."""
    if not secrets:
        raise ValueError("nothing can be signed without a secret")
    timestamp = str(int(at.timestamp()))
    signatures = [_signature(key_of(secret), message_id, timestamp, body) for secret in secrets]
    return {ID: message_id, TIMESTAMP: timestamp, SIGNATURE: " ".join(signatures)}


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: datetime) -> None:
    """Return when one of `secrets` signed `body` within `TOLERANCE` of `now`.

    Every signature is compared with every secret, each in constant time. Raises `BadSignature`, or `ValueError` for a
    secret of ours that is none.
    """
    message_id, timestamp, given = _read(headers)
    if len(timestamp) > 12 or not timestamp.isdigit():
        raise BadSignature(f"{TIMESTAMP} is not a number of seconds")
    if abs(int(timestamp) - now.timestamp()) > TOLERANCE.total_seconds():
        raise BadSignature(f"{TIMESTAMP} is more than {int(TOLERANCE.total_seconds())} seconds from now")
    offered = [signature.encode() for signature in given.split(" ")]
    expected = [_signature(key_of(secret), message_id, timestamp, body).encode() for secret in secrets]
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in offered]
    if not any(matches):
        raise BadSignature(f"{SIGNATURE} fits none of the secrets")


def _read(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """Id, timestamp and signatures, whatever the case of the headers' names. `hmac` compares ASCII only."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = []
    for name, length_max in ((ID, ID_LENGTH_MAX), (TIMESTAMP, ID_LENGTH_MAX), (SIGNATURE, HEADER_LENGTH_MAX)):
        value = lower.get(name, "")
        if not value or len(value) > length_max or not value.isascii():
            raise BadSignature(f"{name} is missing, too long or not ASCII")
        found.append(value)
    return found[0], found[1], found[2]


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{b64encode(digest).decode()}"
