"""The books as their owners and operators read them: accounts, entries, operations, balances at any time. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from api.http.views.plain import at, at_or_none, exactly, expiry, limits, lot_name
from api.http.views.spending import posted_view
from ledger.chart import BY_CODE
from ledger.ids import external
from ledger.operations import SYSTEM_SCOPE, Kind, Operation
from ledger.outcomes import Posted
from ledger.statements import Balance, Entry, Expiry, Place, TrialRow, entries_of
from ledger.tables import Book, OperationRow

_ABOUT_HOLDS: Final = frozenset({Kind.CAPTURE, Kind.VOID, Kind.EXTEND, Kind.HOLD_EXPIRY})
_SINCE_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)


def granted(operation: Operation, posted: Posted) -> dict[str, Any]:
    """Credits that were given, and until when they can be spent."""
    view, lot = posted_view(operation, posted), operation.lot
    if lot is not None:
        view |= {"cause": lot.cause.value, "credits": lot.credits, "expires_at": at_or_none(lot.expires_at)}
    return view


def head(book: Book) -> dict[str, Any]:
    """How far the journal of a book has come, and its hash up to there, in hex."""
    return {"seq": book.last_seq, "head": book.head.hex()}


def accounts(book: Book, rows: Sequence[TrialRow]) -> dict[str, Any]:
    """A book as a table that balances, in minor units, as it was last posted."""
    totals: dict[str, dict[str, int]] = {}
    for row in rows:
        total = totals.setdefault(row.currency, {"debits": 0, "credits": 0})
        total["debits"] += row.debits
        total["credits"] += row.credits
    return {
        "organization_id": external("org", book.organization_id),
        "journal": head(book),
        "accounts": [_account(row) for row in rows],
        "totals": totals,
    }


def _account(row: TrialRow) -> dict[str, Any]:
    return {
        "account": row.code,
        "meaning": BY_CODE[row.code].meaning,
        "currency": row.currency,
        "side": row.side,
        "debits": row.debits,
        "credits": row.credits,
        "balance": row.balance,
    }


def entries_page(book: Book, found: Sequence[Entry], following: Place | None) -> dict[str, Any]:
    """Entries in the order of the journal, each with the operation that it belongs to."""
    return {
        "organization_id": external("org", book.organization_id),
        "journal": head(book),
        "entries": [_entry(entry) | _of_operation(entry.operation) for entry in found],
        "next_cursor": f"entry_{following.seq}_{following.entries}" if following is not None else None,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "line": entry.line,
        "account": entry.account,
        "side": entry.side,
        "currency": entry.currency,
        "amount": entry.amount,
        "balance_after": entry.balance_after,
        "lot_id": lot_name(entry.lot) if entry.lot is not None else None,
    }


def _of_operation(row: OperationRow) -> dict[str, Any]:
    return {
        "operation_id": external("op", row.id),
        "kind": row.kind,
        "cause": row.cause,
        "seq": row.seq,
        "event_at": exactly(row.happened_at),
        "posted_at": exactly(row.posted_at),
        "accounting_date": row.accounting_date.isoformat(),
    }


def operation(row: OperationRow, *, asking: UUID, by_agent: bool) -> dict[str, Any]:
    """One operation with its entries. Its idempotency key is told to whoever used it, and to nobody else.

    `head` is the hash of the book's journal up to this operation, in hex.
    """
    return _of_operation(row) | {
        "organization_id": external("org", row.organization_id),
        "status": row.outcome,
        "asked_by": _asked_by(row.scope, by_agent=by_agent),
        "idempotency_key": row.key if row.scope == asking else None,
        "agent_id": external("agt", row.spender) if row.spender is not None else None,
        **_about(row),
        "limits": limits(Balance(row.paid_after, row.available_after - row.paid_after, row.held_after)),
        "terms": _terms(json.loads(row.terms)) if row.terms is not None else None,
        "entries": [_entry(entry) for entry in entries_of(row)],
        "head": row.hash.hex(),
    }


def _asked_by(scope: UUID, *, by_agent: bool) -> dict[str, Any]:
    """Operators are not told apart: who holds which key is no matter of the organization's."""
    if by_agent:
        return {"type": "agent", "agent_id": external("agt", scope)}
    return {"type": "system" if scope == SYSTEM_SCOPE else "operator", "agent_id": None}


def _about(row: OperationRow) -> dict[str, Any]:
    """The hold that it made or is about, and the operation that it is about."""
    about_hold = row.kind in _ABOUT_HOLDS
    hold_id = row.target if about_hold else row.id if row.kind == Kind.HOLD else None
    target = None if about_hold else row.target
    return {
        "hold_id": external("hold", hold_id) if hold_id is not None else None,
        "target_operation_id": external("op", target) if target is not None else None,
    }


def _terms(terms: Mapping[str, Any]) -> dict[str, Any]:
    """What no entry shows, with the times (microseconds since 1970 in the journal) and the holds in it spelled out."""
    found = dict(terms)
    if "deadline" in found:
        found["deadline"] = at(_SINCE_1970 + timedelta(microseconds=found["deadline"]))
    if "held" in found:
        found["held"] = [[external("hold", UUID(hold_id)), credits_] for hold_id, credits_ in found["held"]]
    return found


def balance(book: Book, found: Balance, moment: datetime) -> dict[str, Any]:
    """What could be spent at a time that has passed."""
    return {
        "organization_id": external("org", book.organization_id),
        "at": exactly(moment),
        "limits": limits(found),
    }


def balance_ahead(
    book: Book, found: Balance, moment: datetime, expiring: Sequence[Expiry], *, limit: int
) -> dict[str, Any]:
    """What can be spent now or at a time to come, and at most `limit` of what expires until then, soonest first."""
    return balance(book, found, moment) | {
        "expires": [expiry(each) for each in expiring[:limit]],
        "more_expires": len(expiring) > limit,
    }
