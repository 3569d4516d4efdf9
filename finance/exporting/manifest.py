"""The manifest: what an export is of, and of each file its rows, bytes, SHA-256 and control totals. Pure.

Canonical JSON: keys sorted, nothing between them, one line. Whoever has it can prove that no file was changed, and,
with the heads, that the journal behind it was not. Files of one watermark may be written at different times: what an
earlier manifest says of a file that is not written again, the next one says too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from finance.exporting.cells import moment
from finance.exporting.counting import Counted
from finance.exporting.marks import Marked

FORMAT: Final = 1
BYTES_MAX: Final = 1_048_576
"""Of a manifest that is read again."""


class OtherExport(ValueError):
    """A manifest is of another export, or is none."""


@dataclass(slots=True)
class Written:
    """A file as far as it was written."""

    name: str
    counted: Counted = field(default_factory=Counted)
    size: int = 0
    _sha256: Any = field(default_factory=hashlib.sha256, repr=False)

    def add(self, chunk: bytes) -> None:
        """Count what was written."""
        self.size += len(chunk)
        self._sha256.update(chunk)

    def entry(self) -> dict[str, Any]:
        """Its entry in the manifest. Raises `TotalsDiffer`."""
        return {
            "name": self.name,
            "rows": self.counted.rows,
            "bytes": self.size,
            "sha256": self._sha256.hexdigest(),
            "totals": self.counted.totals(),
            "notes": self.counted.notes,
        }


def manifest(marked: Marked, written: Iterable[Written], before: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The manifest of an export, of all its files in the order of their names. Raises `TotalsDiffer`.

    `before` are entries of an earlier one; those of files that are written now are left out.
    """
    entries = {str(entry["name"]): entry for entry in (*before, *(one.entry() for one in written))}
    said = {**_of(marked), "files": [entries[name] for name in sorted(entries)]}
    return (json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def entries_of(raw: bytes, marked: Marked) -> list[dict[str, Any]]:
    """What the manifest of an earlier export says of its files. Raises `OtherExport`."""
    try:
        said = json.loads(raw)
        entries = [{**entry, "name": str(entry["name"]), "bytes": int(entry["bytes"])} for entry in said["files"]]
        its = said["watermark"]["id"], said["period"]["name"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise OtherExport("a manifest that cannot be read") from None
    if {**said, "files": []} != {**_of(marked), "files": []}:
        raise OtherExport(f"an export of {its[1]!r:.40} under {its[0]!r:.40}")
    return entries


def _of(marked: Marked) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "period": {
            "name": marked.period.name,
            "first_day": marked.period.first_day.isoformat(),
            "last_day": marked.period.last_day.isoformat(),
            "zone": "UTC",
        },
        "watermark": {
            "id": marked.name,
            "kind": marked.kind,
            "digest": marked.digest.hex(),
            "books": marked.books,
            "created_at": moment(marked.created_at),
        },
    }
