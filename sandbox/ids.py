"""Identifiers in Stripe's shapes, and the hexadecimal ones of the pretend chain."""

import hashlib
import secrets

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new(prefix: str, length: int = 24) -> str:
    """`prefix_` and `length` random letters and digits, as `pi_3Nxy…`."""
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(length))}"


def deposit_address(intent: str, network: str) -> str:
    """`0x` and 40 lower-case hex digits, the same for the same intent for ever, without a checksum."""
    return "0x" + hashlib.sha256(f"{network}:{intent}".encode()).hexdigest()[:40]


def transaction_hash() -> str:
    """`0x` and 64 hex digits, new each time."""
    return "0x" + secrets.token_hex(32)


def checkout_fragment() -> str:
    """The part after `#` of a hosted page's URL; a client that drops it breaks the real page."""
    return "fid" + "".join(secrets.choice(ALPHABET) for _ in range(120))
