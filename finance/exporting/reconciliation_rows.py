"""The exceptions of a reconciliation, as its report kept them: of the run that belongs to the export.

Which one that is was kept when the export was made, so it is the same for ever. Its id stands in the manifest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from finance.exporting.cells import csv_rows, safe
from finance.exporting.counting import Counted
from finance.exporting.reading import Reading
from finance.reconciling.listing import RUN_PREFIX
from finance.statement_tables import ReconciliationRun
from ledger.ids import external

COLUMNS: Final = (
    "exception_id", "source", "subject", "finding", "amount", "currency", "occurred_at", "age_days", "state",
)  # fmt: skip

NONE_YET: Final = "there was no reconciliation before the export"


def row(found: Mapping[str, Any]) -> list[object]:
    """One exception in the order of `COLUMNS`; numbers stay numbers."""
    values = [found.get(name) for name in COLUMNS]
    return [value if value is None or isinstance(value, int) else safe(str(value)) for value in values]


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The exceptions as CSV, in the order of the report: what stands, then what was resolved before.

    A report is bounded by what makes it, and has no text that a person wrote.
    """
    its = reading.marked.reconciliation_id
    run = await reading.session.get(ReconciliationRun, its) if its is not None else None
    report = run.report if run is not None else {"exceptions": []}
    exceptions = [*report["exceptions"], *report.get("resolved", [])]
    counted.rows = len(exceptions)
    counted.notes["reconciliation"] = external(RUN_PREFIX, run.id) if run is not None else NONE_YET
    if more := report.get("more_exceptions", 0) + report.get("more_resolved", 0):
        counted.notes["left_out"] = f"{more} more exceptions, which the report only counts"
    yield csv_rows([COLUMNS, *map(row, exceptions)])
