"""New identifiers and secrets: the one place of billing that draws random bytes."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID

from ledger import ids


def new_id(now: datetime) -> UUID:
    """A new time-ordered id."""
    return ids.uuid7(now, secrets.token_bytes(10))


def new_secret() -> str:
    """256 random bits in 43 characters that need no escaping."""
    return secrets.token_urlsafe(32)


def new_nonce() -> str:
    """160 random bits as letters and digits only, which is all that a nonce may be made of (EIP-4361)."""
    return secrets.token_hex(20)


def new_key(purpose: str) -> str:
    """An idempotency key to suggest, as in `quote-4f9c2a61d0b7`."""
    return f"{purpose}-{secrets.token_hex(6)}"
