"""Identifiers: UUIDs of version 7 inside, `prefix_` + 26 letters outside. Both sort by time.

The outside form is Crockford's base 32 in lower case (no i, l, o, u), most significant digit first, so that text
order is byte order is time order. Source: RFC 9562 section 5.7 (UUIDv7), https://www.crockford.com/base32.html.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 26
_LETTERS: Final = frozenset(ALPHABET)
_PAIRS: Final = tuple(first + second for first in ALPHABET for second in ALPHABET)
_SHIFTS: Final = tuple(range(120, -1, -10))
_DIGITS: Final = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
"""From our letters to those that `int` reads in base 32."""


class MalformedId(ValueError):
    """The text is not an identifier of the kind that was asked for. The caller sent a wrong reference."""


def uuid7(now: datetime, random_bytes: bytes) -> UUID:
    """A version 7 UUID of the millisecond `now`, with 74 of the 80 bits of `random_bytes` (10 bytes)."""
    if len(random_bytes) != 10:
        raise ValueError("a version 7 UUID takes 10 random bytes")
    milliseconds = int(now.timestamp() * 1000)
    rand_a = int.from_bytes(random_bytes[:2]) & 0x0FFF
    rand_b = int.from_bytes(random_bytes[2:]) & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)


def external(prefix: str, value: UUID) -> str:
    """The outside form of `value`, as in `quote_01jd…`."""
    number = value.int
    return f"{prefix}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def parse(prefix: str, text: str) -> UUID:
    """The UUID inside `text`. Raises `MalformedId` unless it is exactly what `external(prefix, …)` would give."""
    head, _, tail = text.rpartition("_")
    if head != prefix or len(tail) != LENGTH or not _LETTERS.issuperset(tail):
        raise MalformedId(f"not an identifier of the form {prefix}_…")
    number = int(tail.translate(_DIGITS), 32)
    if number >= 1 << 128:
        raise MalformedId(f"not an identifier of the form {prefix}_…")
    return UUID(int=number)
