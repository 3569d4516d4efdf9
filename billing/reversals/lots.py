"""From an operation of the journal to the lot that it opened, as every statement here joins them."""

from __future__ import annotations

from typing import Any

from sqlmodel import col

from ledger.tables import LotOpeningRow, LotRow, OperationRow


def with_opening(query: Any) -> Any:
    """`query`, which has operations in it, with the lot opening of each; operations that opened none fall out."""
    return query.join(
        LotOpeningRow,
        (col(OperationRow.lane) == col(LotOpeningRow.lane))
        & (col(OperationRow.organization_id) == col(LotOpeningRow.organization_id))
        & (col(OperationRow.seq) == col(LotOpeningRow.seq)),
    )


def with_lot(query: Any) -> Any:
    """The same, and with the lot as it stands."""
    return with_opening(query).join(
        LotRow,
        (col(LotRow.lane) == col(LotOpeningRow.lane))
        & (col(LotRow.organization_id) == col(LotOpeningRow.organization_id))
        & (col(LotRow.lot) == col(LotOpeningRow.lot)),
    )
