"""Lines of Stripe's balance as Stripe tells them, and its itemized report. Pure.

Sources: https://docs.stripe.com/reports/payout-reconciliation (columns; amounts are decimal, the API's are cents),
https://docs.stripe.com/reports/reporting-categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from finance.reconciling.files import StatementRefused, rows
from rails.money import BalanceTransaction

OF_PAYOUTS: Final = frozenset({"payout", "payout_reversal"})
CATEGORIES: Final = OF_PAYOUTS | frozenset({
    "advance", "advance_funding", "anticipation_repayment", "charge", "charge_failure", "climate_order_purchase",
    "climate_order_refund", "connect_collection_transfer", "connect_reserved_funds", "contribution", "dispute",
    "dispute_reversal", "fee", "financing_paydown", "financing_paydown_reversal", "financing_payout",
    "financing_payout_reversal", "issuing_authorization_hold", "issuing_authorization_release", "issuing_dispute",
    "issuing_transaction", "network_cost", "other_adjustment", "partial_capture_reversal", "platform_earning",
    "platform_earning_refund", "refund", "refund_failure", "risk_reserved_funds", "tax", "topup", "topup_reversal",
    "transfer", "transfer_reversal", "unreconciled_customer_funds",
})  # fmt: skip
"""Stripe's words for accounting. A line with another one is refused: who knows what it means must say so here first."""

COLUMNS: Final = (
    ("balance_transaction_id",), ("created_utc",), ("currency",), ("gross",), ("fee",), ("net",),
    ("reporting_category",),
)  # fmt: skip
"""What the report must have. `created` is not enough: it is in the account's time zone."""


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the balance as the provider tells it, and the payout that took it, once that is told."""

    line: BalanceTransaction
    payout_id: str | None


def checked(told: Told, where: str) -> Told:
    """The line itself. Raises `StatementRefused` for one that these books cannot compare."""
    line = told.line
    if line.category not in CATEGORIES:
        raise StatementRefused(f"{where}: {line.transaction_id} is a {line.category[:60]!r}, an unknown category")
    if line.currency != "usd":
        raise StatementRefused(f"{where}: {line.transaction_id} is in {line.currency[:10]}, and not in usd")
    if line.amount - line.fee != line.net:
        raise StatementRefused(f"{where}: {line.transaction_id}: {line.amount} less {line.fee} is not {line.net}")
    return told


def parsed(content: bytes, file: str) -> Sequence[Told]:
    """The lines of an itemized report. Raises `StatementRefused`, also where it tells one line twice."""
    found: dict[str, Told] = {}
    for row in rows(content, file, columns=COLUMNS):
        name, category = row.text("balance_transaction_id"), row.text("reporting_category")
        if not name:
            raise row.refused("balance_transaction_id", "is empty")
        if name in found:
            raise row.refused("balance_transaction_id", f"{name[:60]} stands there twice")
        if category not in CATEGORIES:
            raise row.refused("reporting_category", f"{category[:60]!r} is not known")
        line = BalanceTransaction(
            transaction_id=name,
            category=category,
            amount=row.cents("gross"),
            fee=row.cents("fee"),
            net=row.cents("net"),
            currency=row.currency(),
            source_id=row.text("source_id") or None,
            occurred_at=row.moment("created_utc"),
        )
        if line.amount - line.fee != line.net:
            raise row.refused("net", f"{row.text('gross')} less {row.text('fee')} is not {row.text('net')}")
        found[name] = Told(line, row.text("automatic_payout_id") or None)
    return tuple(found.values())
