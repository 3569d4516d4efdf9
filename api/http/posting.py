"""One operation of a request goes to the books, and what they say becomes an answer or a refusal with its way on.

A success costs nothing besides the posting. What a refused caller needs to know is read after it was refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from api.http.commands import Commands
from api.http.context import AnyRequest, house_of, principal_of
from api.http.rate_limits import count_refusal, require_few_refusals
from api.http.routes.catalog import reasons
from api.http.views import spending as views
from api.http.views.plain import limits
from billing import asking, spending
from billing.database import snapshot
from billing.fresh import new_key
from billing.refusals import Refused
from billing.spending import Behalf
from billing.standing import Standing, as_first_asked, refundable, standing
from ledger import statements
from ledger.ids import external
from ledger.operations import Kind, Operation
from ledger.outcomes import FREEZES_KEY, Outcome, Posted
from ledger.tables import HoldRow

SHORT_KINDS: Final = frozenset({Kind.SPEND, Kind.HOLD})
"""Kinds that may be refused for want of credits, and then cost a place in the journal. Only these are counted."""


async def post(
    request: AnyRequest, behalf: Behalf, operation: Operation, *, lasting: timedelta | None = None
) -> Posted:
    """The books' answer: posted, or else raises `Refused`.

    `lasting` is given when the deadline was asked for as a time from now.
    """
    if operation.kind in SHORT_KINDS:
        require_few_refusals(request, behalf.counted_as)
    posted = await asking.post(house_of(request).lane, operation)
    if posted.outcome is Outcome.EXISTS_WITH_DIFFERENT_CONTENT and lasting is not None:
        posted = await _as_first_asked(request, operation, lasting) or posted
    if posted.outcome is not Outcome.POSTED:
        if operation.kind in SHORT_KINDS and not posted.replayed:
            count_refusal(request, behalf.counted_as)
        raise await refusal(request, operation, posted)
    return posted


async def _as_first_asked(request: AnyRequest, operation: Operation, lasting: timedelta) -> Posted | None:
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        first = await as_first_asked(session, operation, lasting)
    return await asking.post(house.lane, first) if first is not None else None


async def refusal(request: AnyRequest, operation: Operation, posted: Posted) -> Refused:
    """What the books' refusal of one operation means to the caller, with all that it needs to go on."""
    if posted.outcome in FREEZES_KEY:
        return spending.refused(posted.outcome, await _frozen(request, operation, posted))
    if operation.kind in views.HOLD_KINDS - {Kind.HOLD}:
        return spending.refused(posted.outcome, await _about_hold(request, operation, posted.outcome))
    if posted.outcome is Outcome.EXISTS_WITH_DIFFERENT_CONTENT:
        return spending.refused(posted.outcome, _conflict(operation))
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        recovery: dict[str, Any] = await _limits_now(session, operation, house.clock())
        if posted.outcome is Outcome.EXCEEDS_TARGET and operation.target is not None:
            recovery["rest_credits"] = await refundable(session, operation.organization_id, operation.target)
    return spending.refused(posted.outcome, recovery)


async def _limits_now(session: AsyncSession, operation: Operation, now: datetime) -> dict[str, Any]:
    balance = await statements.balance(session, operation.organization_id, now)
    return {"current": {"limits": limits(balance)}}


def _conflict(operation: Operation) -> dict[str, Any]:
    return {"operation_id": external("op", operation.id), "idempotency_key": new_key(operation.kind.value)}


async def _frozen(request: AnyRequest, operation: Operation, posted: Posted) -> dict[str, Any]:
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        found = await standing(
            session, operation.organization_id, operation.spender, required=operation.credits, now=house.clock()
        )
    key = {"idempotency_key": new_key(operation.kind.value)}
    return frozen_recovery(request, posted, found, in_full=True) | key


def frozen_recovery(request: AnyRequest, posted: Posted, found: Standing, *, in_full: bool) -> dict[str, Any]:
    """Where a frozen refusal stands, how things are now, and what to buy; `in_full` with all ways to top up."""
    house = house_of(request)
    recovery = views.frozen(posted) | {"current": views.current(found)}
    if posted.outcome is Outcome.CAP_EXCEEDED and not found.missing:
        return recovery
    commands = Commands(house.settings.url)
    return recovery | views.buying(found, house.place.offer, reasons(house), commands, in_full=in_full)


async def _about_hold(request: AnyRequest, operation: Operation, outcome: Outcome) -> dict[str, Any]:
    if outcome is Outcome.EXISTS_WITH_DIFFERENT_CONTENT:
        return _conflict(operation)
    house = house_of(request)
    now = house.clock()
    async with snapshot(house.sessions) as session:
        row = await statements.hold(session, operation.organization_id, operation.target or operation.id)
        if row is None:
            return {}
        recovery = {"hold": views.hold_now(row, now), **await _limits_now(session, operation, now)}
        if outcome is Outcome.HOLD_EXPIRED and operation.kind is Kind.CAPTURE:
            found = await standing(session, operation.organization_id, row.spender, required=operation.credits, now=now)
            recovery |= _way_on(request, operation, row, found)
    if outcome is Outcome.EXCEEDS_TARGET:
        recovery["rest_credits"] = row.remaining
    return recovery


def _way_on(request: AnyRequest, operation: Operation, row: HoldRow, found: Standing) -> dict[str, Any]:
    """The work was done and its hold is gone: spend what it cost, and buy before when that is not there."""
    house, key = house_of(request), new_key("spend")
    instead = views.spend_instead(operation, row, key, is_agent=principal_of(request).is_agent)
    commands = Commands(house.settings.url)
    buying = views.buying(found, house.place.offer, reasons(house), commands, in_full=False)
    return {"idempotency_key": key, "next_request": instead, "current": views.current(found)} | buying
