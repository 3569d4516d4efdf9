"""The exceptions of a reconciliation, as its report kept them: the last run that was made before the watermark was.

So the same watermark has the same run for ever. Its id stands in the manifest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from sqlmodel import col, select

from finance.exporting.cells import csv_rows, safe
from finance.exporting.counting import Counted
from finance.exporting.reading import Reading
from finance.reconciling.listing import RUN_PREFIX
from finance.statement_tables import ReconciliationRun
from ledger.ids import external

COLUMNS: Final = (
    "exception_id", "source", "subject", "finding", "amount", "currency", "occurred_at", "age_days", "state", "reason",
)  # fmt: skip

NONE_YET: Final = "there was no reconciliation before the watermark"


def row(found: Mapping[str, Any]) -> list[object]:
    """One exception in the order of `COLUMNS`; numbers stay numbers."""
    values = [found.get(name) for name in COLUMNS]
    return [value if value is None or isinstance(value, int) else safe(str(value)) for value in values]


async def chunks(reading: Reading, counted: Counted) -> AsyncIterator[bytes]:
    """The exceptions as CSV, in the order of the report. A report is bounded by what makes it."""
    query = (
        select(ReconciliationRun)
        .where(col(ReconciliationRun.created_at) <= reading.marked.created_at)
        .order_by(col(ReconciliationRun.created_at).desc(), col(ReconciliationRun.id).desc())
        .limit(1)
    )
    run = (await reading.session.exec(query)).first()
    exceptions = run.report["exceptions"] if run is not None else []
    counted.rows = len(exceptions)
    counted.notes["reconciliation"] = external(RUN_PREFIX, run.id) if run is not None else NONE_YET
    if run is not None and (more := run.report.get("more_exceptions", 0)):
        counted.notes["left_out"] = f"{more} more exceptions, which the report only counts"
    yield csv_rows([COLUMNS, *map(row, exceptions)])
