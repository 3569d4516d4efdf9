"""Reconciliation as operators see it: exceptions, and what runs came to. Pure."""

from __future__ import annotations

from typing import Any, Final

from api.http.views.plain import at
from billing.operator_keys import KEY_PREFIX
from finance.reconciling.listing import RUN_PREFIX, public_id
from finance.statement_tables import ReconciliationException, ReconciliationRun
from ledger.ids import external
from ledger.money import Currency, Money

_LEFT_OUT: Final = frozenset({"exceptions"})


def decimal(amount: int, currency: str) -> str:
    """An amount of an exception in whole units with its currency, as `-7.00 USD`."""
    code = Currency(currency.upper())
    return f"{Money(amount, code).decimal()} {code}"


def exception(found: ReconciliationException) -> dict[str, Any]:
    """An exception, without what either side says."""
    whose, adjustment = found.organization_id, found.adjustment or {}
    return {
        "exception_id": public_id(found.id),
        "source": found.source,
        "subject": found.subject,
        "finding": found.finding,
        "state": found.state,
        "amount": found.amount,
        "currency": found.currency,
        "organization_id": external("org", whose) if whose is not None else None,
        "reason": found.reason,
        "holder": found.holder,
        "operator_key_id": external(KEY_PREFIX, found.holder_key) if found.holder_key is not None else None,
        "approver": found.approver,
        "proposal": adjustment.get("proposal"),
        "operation_id": external("op", found.operation_id) if found.operation_id is not None else None,
        "occurred_at": at(found.occurred_at),
        "first_seen_at": at(found.first_seen_at),
        "last_seen_at": at(found.last_seen_at),
        "updated_at": at(found.updated_at),
    }


def whole_exception(found: ReconciliationException) -> dict[str, Any]:
    """An exception with what each side says."""
    return exception(found) | {"here": found.here, "there": found.there}


def run(found: ReconciliationRun) -> dict[str, Any]:
    """A comparison with its counts, without the exceptions that stood then."""
    return {
        "reconciliation_id": external(RUN_PREFIX, found.id),
        "holder": found.holder,
        "created_at": at(found.created_at),
        **{name: value for name, value in found.report.items() if name not in _LEFT_OUT},
    }


def whole_run(found: ReconciliationRun) -> dict[str, Any]:
    """A comparison with the exceptions that stood then."""
    return run(found) | {"exceptions": found.report["exceptions"]}
