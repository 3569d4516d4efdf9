"""The hash over the journal, said a second time in Python so that verification does not trust the database's word.

`hash = sha256(previous ‖ version ‖ fields)`: every field is its length as a signed 32-bit integer (−1 for NULL) and its
bytes, big-endian; times are integer microseconds since 1970, dates integer days. `ledger.post_v1` writes it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

from ledger.tables import LotOpeningRow, OperationRow, TransferRow

GENESIS: Final = b""
VERSION: Final = b"\x01"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Value = bytes | str | int | UUID | datetime | date | None


def field(value: Value) -> bytes:
    """One value in its length-prefixed form."""
    if value is None:
        return struct.pack(">i", -1)
    content = _bytes_of(value)
    return struct.pack(">i", len(content)) + content


def _bytes_of(value: Value) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case UUID():
            return value.bytes
        case datetime():
            return struct.pack(">q", (value - _EPOCH) // timedelta(microseconds=1))
        case date():
            return struct.pack(">q", (value - _EPOCH.date()).days)
        case int():
            return struct.pack(">q", value)
    raise TypeError(f"no binary form for {type(value).__name__}")


def _fields(*values: Value) -> bytes:
    return b"".join(field(value) for value in values)


def operation_hash(
    previous: bytes,
    operation: OperationRow,
    transfers: Sequence[TransferRow],
    lots: Sequence[LotOpeningRow],
) -> bytes:
    """The hash that `operation` must carry when `previous` is the head before it. Transfers come in line order."""
    o = operation
    body = _fields(
        o.lane, o.organization_id, o.seq, o.id, o.kind, o.scope, o.key, o.fingerprint, o.outcome, o.cause, o.spender,
        o.event_at, o.posted_at, o.accounting_date, o.available_after, o.held_after, o.terms,
    )  # fmt: skip
    moved = b"".join(
        _fields(t.line, t.debit, t.credit, t.currency, t.amount, t.lot, t.debit_after, t.credit_after)
        for t in transfers
    )
    opened = b"".join(
        _fields(w.lot, w.cause, w.credits, w.basis_amount, w.basis_currency, w.expires_at, w.priority) for w in lots
    )
    counts = [struct.pack(">i", len(rows)) for rows in (transfers, lots, ())]
    content = previous + VERSION + body + counts[0] + moved + counts[1] + opened + counts[2]
    return hashlib.sha256(content).digest()
