"""Reconciliation as operators see it: exceptions, and what runs came to. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from api.http.views.plain import at
from billing.operator_keys import KEY_PREFIX
from finance.reconciling.listing import LISTS, RUN_PREFIX, Came, age_days, public_id
from finance.statement_tables import ReconciliationException, ReconciliationRun
from ledger.ids import external
from ledger.money import Currency, Money


def decimal(amount: int, currency: str) -> str:
    """An amount of an exception in whole units with its currency, as `-7.00 USD`."""
    code = Currency(currency.upper())
    return f"{Money(amount, code).decimal()} {code}"


def exception(found: ReconciliationException, now: datetime) -> dict[str, Any]:
    """An exception as it is listed: without what either side says, and without what people wrote and who they are."""
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
        "operator_key_id": external(KEY_PREFIX, found.holder_key) if found.holder_key is not None else None,
        "proposal": adjustment.get("proposal"),
        "proposal_id": adjustment.get("proposal_id"),
        "operation_id": external("op", found.operation_id) if found.operation_id is not None else None,
        "occurred_at": at(found.occurred_at),
        "age_days": age_days(found, now),
        "first_seen_at": at(found.first_seen_at),
        "last_seen_at": at(found.last_seen_at),
        "updated_at": at(found.updated_at),
    }


def whole_exception(found: ReconciliationException, now: datetime) -> dict[str, Any]:
    """An exception with what each side says, who decided of it, and why."""
    return exception(found, now) | {
        "reason": found.reason,
        "holder": found.holder,
        "approver": found.approver,
        "here": found.here,
        "there": found.there,
    }


def run(found: Came | ReconciliationRun) -> dict[str, Any]:
    """A comparison with its counts, without the exceptions that stood then."""
    return {
        "reconciliation_id": external(RUN_PREFIX, found.id),
        "holder": found.holder,
        "created_at": at(found.created_at),
        **{name: value for name, value in found.report.items() if name not in LISTS},
    }


def whole_run(found: ReconciliationRun) -> dict[str, Any]:
    """A comparison with the exceptions that stood then, and those that had been resolved lately."""
    return run(found) | {name: found.report[name] for name in LISTS}
