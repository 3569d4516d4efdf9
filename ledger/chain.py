"""The hash over the journal, said a second time in Python so that verification does not trust the database's word.

`hash = sha256(previous ‖ version ‖ operation ‖ opened lot)`, the rows in PostgreSQL's own binary form: the number of
columns, then for each its type (OID), its length (−1 for NULL) and its bytes, big-endian; times are integer
microseconds and dates integer days since 2000. Texts go in as `bytea`. `ledger.hash_v2` writes it. Source:
`record_send` and `array_send` of PostgreSQL (src/backend/utils/adt/rowtypes.c, arrayfuncs.c); the OIDs are those of
`pg_type.dat`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

GENESIS: Final = b""
VERSION: Final = b"\x02"

_BYTEA, _INT8, _INT2, _INT4, _INT8_ARRAY, _DATE, _TIMESTAMPTZ, _UUID = 17, 20, 21, 23, 1016, 1082, 1184, 2950
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_OPERATION: Final = (
    ("lane", _INT2), ("organization_id", _UUID), ("seq", _INT8), ("id", _UUID), ("kind", _BYTEA), ("scope", _UUID),
    ("key", _BYTEA), ("fingerprint", _BYTEA), ("outcome", _BYTEA), ("cause", _BYTEA), ("spender", _UUID),
    ("target", _UUID), ("event_at", _TIMESTAMPTZ), ("posted_at", _TIMESTAMPTZ), ("accounting_date", _DATE),
    ("available_after", _INT8), ("held_after", _INT8), ("paid_after", _INT8), ("lines", _INT8_ARRAY), ("terms", _BYTEA),
)  # fmt: skip
_OPENED: Final = (
    ("lot", _INT4), ("cause", _BYTEA), ("credits", _INT8), ("basis_amount", _INT8), ("basis_currency", _BYTEA),
    ("expires_at", _TIMESTAMPTZ), ("priority", _INT2),
)  # fmt: skip
OPERATION_COLUMNS: Final = tuple(name for name, _ in _OPERATION)
OPENED_COLUMNS: Final = tuple(name for name, _ in _OPENED)
"""What is hashed, in order."""


def operation_hash(previous: bytes, operation: Any, opened: Any | None) -> bytes:
    """The hash that `operation` must carry when `previous` is the head before it.

    `operation` and `opened` (the lot that it opened) have the columns of `ledger.operations` and `ledger.lot_openings`.
    """
    lot = None if opened is None else [sent(value) for value in _opened_values(opened)]
    return hash_of_sent(previous, [sent(value) for value in _operation_values(operation)], lot)


def hash_of_sent(previous: bytes, operation: Iterable[Any], opened: Iterable[Any] | None) -> bytes:
    """The same of values in the order of `OPERATION_COLUMNS` and `OPENED_COLUMNS`; ids, times and dates as `sent`."""
    packed = [
        null if value is None else pack(value) for (null, pack), value in zip(_OPERATION_FORM, operation, strict=True)
    ]
    content = previous + VERSION + _OPERATION_COUNT + b"".join(packed)
    if opened is not None:
        lot = [null if value is None else pack(value) for (null, pack), value in zip(_OPENED_FORM, opened, strict=True)]
        content += _OPENED_COUNT + b"".join(lot)
    return hashlib.sha256(content).digest()


def sent(value: Any) -> Any:
    """An id, a time or a date as PostgreSQL sends it; anything else as it is."""
    match value:
        case UUID():
            return value.bytes
        case datetime():
            return struct.pack(">q", (value - _EPOCH) // timedelta(microseconds=1))
        case date():
            return struct.pack(">i", (value - _EPOCH.date()).days)
    return value


Pack = Callable[[Any], bytes]
"""A value with its type and its length before it."""


def _packed_bytes(value: bytes) -> bytes:
    return struct.pack(">Ii", _BYTEA, len(value)) + value


def _packed_text(value: str) -> bytes:
    return _packed_bytes(value.encode())


def _packed_array(values: Sequence[int]) -> bytes:
    head, pack = _array_form(len(values))
    numbers = [8] * (2 * len(values))
    numbers[1::2] = values
    return head + pack(*numbers)


@lru_cache(maxsize=256)
def _array_form(length: int) -> tuple[bytes, Callable[..., bytes]]:
    dimensions = struct.pack(">iiIii", 1, 0, _INT8, length, 1) if length else struct.pack(">iiI", 0, 0, _INT8)
    elements = struct.Struct(">" + "iq" * length)
    return struct.pack(">Ii", _INT8_ARRAY, len(dimensions) + elements.size) + dimensions, elements.pack


def _form(name: str, oid: int) -> tuple[bytes, Pack]:
    """How NULL is packed, and any other value."""
    numbers = {_INT8: ">Iiq", _INT4: ">Iii", _INT2: ">Iih"}
    pack: Pack
    if oid in numbers:
        form = struct.Struct(numbers[oid])
        pack = partial(form.pack, oid, form.size - 8)
    elif oid == _INT8_ARRAY:
        pack = _packed_array
    elif oid == _BYTEA:
        pack = _packed_bytes if name == "fingerprint" else _packed_text
        pack = lru_cache(maxsize=1024)(pack) if name in _OFTEN_THE_SAME else pack
    else:
        length = {_UUID: 16, _DATE: 4, _TIMESTAMPTZ: 8}[oid]
        pack = struct.pack(">Ii", oid, length).__add__
    return struct.pack(">Ii", oid, -1), pack


_OFTEN_THE_SAME: Final = frozenset({"kind", "outcome", "cause"})
_OPERATION_FORM: Final = tuple(_form(*column) for column in _OPERATION)
_OPENED_FORM: Final = tuple(_form(*column) for column in _OPENED)
_OPERATION_COUNT: Final = struct.pack(">i", len(_OPERATION))
_OPENED_COUNT: Final = struct.pack(">i", len(_OPENED))
_operation_values: Final = attrgetter(*OPERATION_COLUMNS)
_opened_values: Final = attrgetter(*OPENED_COLUMNS)
