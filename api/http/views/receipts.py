"""Keys of receipts as they are published. Pure."""

from __future__ import annotations

from typing import Any

from finance.receipt_signing import ALGORITHM, Keyring


def keys(ring: Keyring) -> dict[str, Any]:
    """Every public key, the present one first; `signs` tells whether new receipts are signed with it."""
    present = ring.signing.public if ring.signing is not None else None
    return {
        "keys": [
            {
                "key_id": one.key_id,
                "algorithm": ALGORITHM,
                "public_key": one.text,
                "signs": one == present,
            }
            for one in ring.public
        ]
    }
