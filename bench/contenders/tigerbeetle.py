"""TigerBeetle's figures, quoted: measured once on 2 quiet cores with its Python client, and not again by this bench.

They stand in every table as *quoted, not measured here*; a ratio to them compares two machines as well.
"""

from __future__ import annotations

from typing import Final

from bench.rounds import Measured, quoted

SINGLES_PER_S: Final = {1: 1_000, 16: 6_200, 64: 11_700, 256: 14_600}
"""Single transfers a second, by clients."""
P99_AT_64_MS: Final = 10.7
BATCHES_PER_S: Final = 86_000
"""Transfers a second in batches of 1,000."""


def with_clients(number: int) -> str:
    """In words."""
    return f"{number} client{'s' if number > 1 else ''}"


def singles(clients: int) -> Measured:
    """Its rate of single transfers with so many clients."""
    return quoted(f"TigerBeetle, {with_clients(clients)}", SINGLES_PER_S[clients])


def batches() -> Measured:
    """Its rate in batches of 1,000."""
    return quoted("TigerBeetle, batches of 1,000", BATCHES_PER_S)
