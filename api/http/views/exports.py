"""Exports as operators see them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.http.views.plain import at
from finance.exporting.marks import Marked


def export(found: Marked, names: Sequence[str]) -> dict[str, Any]:
    """An export with the names of the files that can be taken."""
    return {
        "export_id": found.name,
        "kind": found.kind,
        "period": found.period.name,
        "books": found.books,
        "digest": found.digest.hex(),
        "created_at": at(found.created_at),
        "files": list(names),
    }
