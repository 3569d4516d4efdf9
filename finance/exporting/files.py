"""Which files an export has: their names, what they are, and who writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

from finance.exporting import (
    account_maps,
    accounting,
    beancount,
    heads,
    journal,
    receipt_rows,
    reconciliation_rows,
    revenue_rows,
    statement,
    trial_balance,
)
from finance.exporting.account_maps import AccountMap
from finance.exporting.counting import Counted
from finance.exporting.reading import Reading

Chunks = Callable[[Reading, Counted], AsyncIterator[bytes]]
CSV: Final = "text/csv"
STATEMENT: Final = "statement.csv"
MANIFEST: Final = "manifest.json"
MANIFEST_TYPE: Final = "application/json"
OWN_MAP: Final = "own"
READY_MAPS: Final = ("quickbooks", "xero")
_MAPS: Final = Path(__file__).with_name("maps")


@dataclass(frozen=True, slots=True)
class File:
    """A file of an export, in UTF-8. `chunks` writes it piece by piece and counts what it writes."""

    name: str
    media_type: str
    chunks: Chunks


_ALWAYS: Final = (
    File("journal.csv", CSV, journal.csv_chunks),
    File("journal.jsonl", "application/jsonl", journal.jsonl_chunks),
    File("trial-balance.csv", CSV, trial_balance.chunks),
    File("roll-forward.csv", CSV, revenue_rows.chunks),
    File("receipts.csv", CSV, receipt_rows.chunks),
    File("reconciliation.csv", CSV, reconciliation_rows.chunks),
    File("ledger.beancount", "text/plain", beancount.chunks),
    File("heads.csv", CSV, heads.chunks),
)


def ready_map(name: str) -> AccountMap:
    """One of `READY_MAPS`."""
    path = _MAPS / f"{name}.yaml"
    return account_maps.read(path.read_bytes(), name=path.name)


def files(maps: Mapping[str, AccountMap], *, organization_id: UUID | None = None) -> dict[str, File]:
    """The files of an export by name: a journal for each map, and a statement when it is said whose.

    A map of somebody's own is named `OWN_MAP`, and its file `accounting.csv`; that of `xero` is `accounting-xero.csv`.
    """
    found = [*_ALWAYS]
    for name, wanted in sorted(maps.items()):
        called = "accounting.csv" if name == OWN_MAP else f"accounting-{name}.csv"
        found.append(File(called, CSV, partial(accounting.chunks, wanted)))
    if organization_id is not None:
        found.append(File(STATEMENT, CSV, partial(statement.chunks, organization_id)))
    return {file.name: file for file in found}
