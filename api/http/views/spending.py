"""Spends and holds, and what a refused one is told. Pure.

A success says how things stood when it was posted, for ever the same; only its `hold` is as it is now. A refusal's
`current` block is made anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from api.http.commands import Commands, suggestions
from api.http.views.catalog import preferred_method
from api.http.views.plain import at, at_or_none, exactly, limits
from api.http.views.quota import LOW_CREDITS, Outlook, top_up
from billing.packs import METHODS, Offer
from billing.principals import Principal
from billing.spending import CapNow, what_to_buy
from billing.standing import Standing, maker_of
from ledger.ids import external
from ledger.operations import COUNTED, Kind, Operation
from ledger.outcomes import Posted
from ledger.statements import Balance
from ledger.tables import HoldRow

HOLD_KINDS: Final = frozenset({Kind.HOLD, Kind.CAPTURE, Kind.VOID, Kind.EXTEND})


def posted_view(operation: Operation, posted: Posted, hold: dict[str, Any] | None = None) -> dict[str, Any]:
    """What was posted, where it stands in the journal, and the balance after it."""
    view: dict[str, Any] = {
        "operation_id": external("op", posted.operation_id),
        "kind": operation.kind.value,
        "status": posted.outcome.value,
        "replayed": posted.replayed,
        "organization_id": external("org", operation.organization_id),
        "agent_id": external("agt", operation.spender) if operation.spender is not None else None,
        "position": position(posted),
        "limits": limits_after(posted),
    }
    if operation.kind in COUNTED:
        view["credits"] = operation.credits
    if operation.kind is Kind.SPEND_REFUND and operation.target is not None:
        view["refunded_operation_id"] = external("op", operation.target)
    if hold is not None:
        view |= {"hold_id": hold["hold_id"], "hold": hold}
    return view


def position(posted: Posted) -> dict[str, Any] | None:
    """Where an operation stands in the journal of its book; none for one that left no trace."""
    if posted.seq is None or posted.posted_at is None or posted.accounting_date is None:
        return None
    return {
        "seq": posted.seq,
        "posted_at": exactly(posted.posted_at),
        "accounting_date": posted.accounting_date.isoformat(),
    }


def limits_after(posted: Posted) -> dict[str, Any]:
    """The balance right after an operation, under the contract's names."""
    available, paid = posted.available_after or 0, posted.paid_after or 0
    return limits(Balance(paid=paid, promotional=available - paid, held=posted.held_after or 0))


def new_hold(operation: Operation) -> dict[str, Any]:
    """The hold that an operation has just made."""
    return _hold(
        hold_id=external("hold", operation.id),
        state="open",
        credits=operation.credits,
        remaining=operation.credits,
        deadline=operation.deadline,
    )


def ended_hold(row: HoldRow, state: str) -> dict[str, Any]:
    """A hold that an operation has just ended."""
    hold_id = external("hold", row.id)
    return _hold(hold_id=hold_id, state=state, credits=row.credits, remaining=0, deadline=row.deadline)


def hold_now(row: HoldRow, now: datetime) -> dict[str, Any]:
    """A hold in short, as it is now. Past its deadline it has expired, whether or not anybody has posted that."""
    open_ = row.open and row.deadline > now
    return _hold(
        hold_id=external("hold", row.id),
        state="open" if open_ else row.ended or "expired",
        credits=row.credits,
        remaining=row.remaining if open_ else 0,
        deadline=row.deadline,
    )


def _hold(*, hold_id: str, state: str, credits: int, remaining: int, deadline: datetime | None) -> dict[str, Any]:  # noqa: A002
    return {
        "hold_id": hold_id,
        "state": state,
        "credits": credits,
        "remaining_credits": remaining,
        "deadline": at_or_none(deadline),
    }


def hold_view(row: HoldRow, now: datetime, *, to: Principal) -> dict[str, Any]:
    """A hold in full, as `to` may know it."""
    parts = zip(row.lots, row.amounts, row.reversed_amounts, strict=True)
    return hold_now(row, now) | {
        "made_by": maker_of(row, to=to),
        "agent_id": external("agt", row.spender) if row.spender is not None else None,
        "made_at": at(row.made_at),
        "lots": [
            {"lot_id": f"lot_{lot}", "credits": amount, "reversed_credits": taken}
            for lot, amount, taken in parts
            if amount and row.deadline > now
        ],
    }


def holds_page(rows: Sequence[HoldRow], now: datetime, *, limit: int, to: Principal) -> dict[str, Any]:
    """At most `limit` of `rows`, which holds one more when there are more."""
    page = rows[:limit]
    return {
        "holds": [hold_view(row, now, to=to) for row in page],
        "next_cursor": external("hold", page[-1].id) if len(rows) > limit else None,
    }


def current(standing: Standing) -> dict[str, Any]:
    """How things stand now towards what was refused."""
    return {
        "at": at(standing.at),
        "limits": limits(standing.balance),
        "required_credits": standing.required,
        "missing_credits": standing.missing,
        "owed_credits": standing.balance.owed,
        "caps": [_cap(cap) for cap in standing.caps],
    }


def _cap(cap: CapNow) -> dict[str, Any]:
    return {
        "cap": cap.name,
        "limit_credits": cap.limit,
        "used_credits": cap.used,
        "frees_up_at": at_or_none(cap.frees_up_at),
        "exceeded": cap.exceeded,
    }


def frozen(posted: Posted) -> dict[str, Any]:
    """Where a refusal stands that keeps its key for ever."""
    return {
        "operation_id": external("op", posted.operation_id),
        "replayed": posted.replayed,
        "position": position(posted),
    }


def buying(
    standing: Standing, offer: Offer, reasons: Mapping[str, str | None], commands: Commands, *, in_full: bool
) -> dict[str, Any]:
    """What to run to have the credits that are missing: nothing when they have come meanwhile."""
    little = Outlook(low_credits=max(LOW_CREDITS, standing.required))
    found: dict[str, Any] = {"top_up": top_up(standing.balance, offer, reasons, commands, little)} if in_full else {}
    method = preferred_method(reasons)
    if standing.missing and method is not None:
        others = [each for each in METHODS.values() if each is not method and reasons[each.method_id] is None]
        quotes = [commands.quote(what_to_buy(standing.missing, offer, each)) for each in (method, *others)]
        found |= suggestions([*quotes, commands.quota()])
        found["suggested_command"] = found["suggested_commands"][0]
    return found


def spend_instead(operation: Operation, row: HoldRow, key: str, *, is_agent: bool) -> dict[str, Any]:
    """The request that charges work whose hold has expired."""
    body: dict[str, Any] = {"credits": operation.credits, "idempotency_key": key}
    if not is_agent:
        body["organization_id"] = external("org", operation.organization_id)
        if row.spender is not None:
            body["agent_id"] = external("agt", row.spender)
    return {"method": "POST", "path": "/v1/spends", "body": body}
