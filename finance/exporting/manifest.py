"""The manifest: what an export is of, and of each file its rows, bytes, SHA-256 and control totals. Pure.

Canonical JSON: keys sorted, nothing between them, one line. Whoever has it can prove that no file was changed, and,
with the heads, that the journal behind it was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from finance.exporting.cells import moment
from finance.exporting.counting import Counted
from finance.exporting.marks import Marked

FORMAT: Final = 1


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


def manifest(marked: Marked, written: Iterable[Written]) -> bytes:
    """The manifest of an export, of all its files in the order of their names. Raises `TotalsDiffer`."""
    said = {
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
        "files": sorted((one.entry() for one in written), key=lambda entry: str(entry["name"])),
    }
    return (json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
