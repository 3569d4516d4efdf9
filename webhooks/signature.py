"""Was this body signed for us, lately? Pure: time is passed in, and the raw bytes are never parsed first.

`Stripe-Signature: t=<unix>,v1=<hex>[,v1=…]`, HMAC-SHA256 over `t.body`. Several secrets may be current while one is
rotated. Source: https://docs.stripe.com/webhooks#verify-manually; the comparison is the stripe package's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from stripe import SignatureVerificationError, WebhookSignature

TOLERANCE: Final = timedelta(seconds=300)
HEADER_LENGTH_MAX: Final = 4096


def is_valid(body: bytes, header: str, *, secrets: Sequence[str], now: datetime) -> bool:
    """Whether any of `secrets` signed `body` and the signature's time is within `TOLERANCE` of `now`, on both sides."""
    # The package compares signatures with `hmac.compare_digest`, which raises for text that is not ASCII.
    if len(header) > HEADER_LENGTH_MAX or not header.isascii():
        return False
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    return _recent(header, now) and any(_signed(text, header, secret) for secret in secrets if secret.strip())


def _recent(header: str, now: datetime) -> bool:
    times = [part[2:] for part in header.split(",") if part.startswith("t=")]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        return False
    return abs(int(times[0]) - now.timestamp()) <= TOLERANCE.total_seconds()


def _signed(text: str, header: str, secret: str) -> bool:
    try:
        # No tolerance here: the package reads the process clock and lets the future pass; `_recent` does neither.
        WebhookSignature.verify_header(text, header, secret, tolerance=None)
    except (SignatureVerificationError, ValueError):
        return False
    return True
