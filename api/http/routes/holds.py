"""Holds: credits that are reserved until a deadline, captured in parts, voided, or extended.

All agents of an organization see its holds; a hold is ended by whoever made it, or by an operator with `admin`.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_spending as fields
from api.http import posting
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import ENDING, SPENDING, described
from api.http.routes.people import cursor
from api.http.views import spending as views
from billing import spending
from billing.database import snapshot
from billing.refusals import Refusal
from billing.scopes import Scope
from billing.spending import Behalf, not_found, on_behalf, parsed
from billing.standing import hold_to_end, require_agent, require_book
from ledger import statements
from ledger.operations import Kind, Operation
from ledger.outcomes import Outcome, Posted
from ledger.tables import HoldRow


@post(
    "/v1/holds",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    opt=described("holds make", body=fields.HoldAsked, refuses=SPENDING),
)
async def make_hold(request: AnyRequest) -> Envelope:
    """Reserve credits until a deadline, at most 30 days ahead. They count against the agent's caps at once."""
    asked = await body_of(request, fields.HoldAsked)
    house, principal = house_of(request), principal_of(request)
    behalf = on_behalf(principal, asked.organization_id, asked.agent_id)
    if asked.agent_id is not None:
        async with snapshot(house.sessions) as session:
            await require_agent(session, behalf)
    now = house.clock()
    operation = spending.hold(behalf, asked.idempotency_key, asked.credits, deadline=asked.until(now), now=now)
    posted = await posting.post(request, behalf, operation, lasting=asked.lasting)
    hold = await _reread(request, operation) if posted.replayed else views.new_hold(operation)
    return answer(request, views.posted_view(operation, posted, hold))


@post(
    "/v1/holds/{hold_id:str}/capture",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    opt=described(
        "holds capture",
        body=fields.CaptureAsked,
        refuses=(*ENDING, Refusal.HOLD_FROZEN, Refusal.AMOUNT_EXCEEDS_REST, Refusal.CREDITS_TOO_FRAGMENTED),
    ),
)
async def capture_hold(request: AnyRequest, hold_id: FromPath[str]) -> Envelope:
    """Spend from a hold before its deadline. The rest goes back, unless the capture is not final."""
    asked = await body_of(request, fields.CaptureAsked)
    behalf, row = await _to_end(request, hold_id, asked.organization_id)
    operation = spending.capture(behalf, asked.idempotency_key, row.id, asked.credits, final=asked.final)
    posted = await posting.post(request, behalf, operation)
    return await _ended(request, row, operation, posted)


@post(
    "/v1/holds/{hold_id:str}/void",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    opt=described("holds void", body=fields.VoidAsked, refuses=ENDING),
)
async def void_hold(request: AnyRequest, hold_id: FromPath[str]) -> Envelope:
    """Give all that is left of a hold back."""
    asked = await body_of(request, fields.VoidAsked)
    behalf, row = await _to_end(request, hold_id, asked.organization_id)
    operation = spending.void(behalf, asked.idempotency_key, row.id)
    posted = await posting.post(request, behalf, operation)
    return await _ended(request, row, operation, posted)


@post(
    "/v1/holds/{hold_id:str}/extend",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    opt=described("holds extend", body=fields.ExtendAsked, refuses=ENDING),
)
async def extend_hold(request: AnyRequest, hold_id: FromPath[str]) -> Envelope:
    """Move a hold's deadline further away, at most 30 days after it was made."""
    asked = await body_of(request, fields.ExtendAsked)
    behalf, row = await _to_end(request, hold_id, asked.organization_id)
    now = house_of(request).clock()
    operation = spending.extend(behalf, asked.idempotency_key, row.id, deadline=asked.until(now), now=now)
    posted = await posting.post(request, behalf, operation, lasting=asked.lasting)
    return answer(request, views.posted_view(operation, posted, await _reread(request, operation)))


@get("/v1/holds", guards=[allowed(Scope.READ)], opt=described("holds list", query=fields.HoldsAsked))
async def list_holds(request: AnyRequest) -> Envelope:
    """The organization's holds, in no order that means anything."""
    asked = query_of(request, fields.HoldsAsked)
    behalf = on_behalf(principal_of(request), asked.organization_id)
    after, house = cursor("hold", asked.cursor), house_of(request)
    now = house.clock()
    async with snapshot(house.sessions) as session:
        await require_book(session, behalf.organization_id)
        rows = await statements.holds(
            session,
            behalf.organization_id,
            after=after,
            limit=asked.limit + 1,
            is_open=None if asked.state is None else asked.state == "open",
            at=now,
        )
    return answer(request, views.holds_page(rows, now, limit=asked.limit, to=principal_of(request)))


@get("/v1/holds/{hold_id:str}", guards=[allowed(Scope.READ)], opt=described("holds show", query=fields.OneAsked))
async def show_hold(request: AnyRequest, hold_id: FromPath[str]) -> Envelope:
    """One hold, with the lots that its credits come from."""
    asked = query_of(request, fields.OneAsked)
    behalf = on_behalf(principal_of(request), asked.organization_id)
    found_id, house = parsed("hold", hold_id, Outcome.HOLD_NOT_FOUND), house_of(request)
    async with snapshot(house.sessions) as session:
        row = await statements.hold(session, behalf.organization_id, found_id)
    if row is None:
        raise not_found(Outcome.HOLD_NOT_FOUND)
    return answer(request, {"hold": views.hold_view(row, house.clock(), to=principal_of(request))})


async def _to_end(request: AnyRequest, hold_id: str, organization_id: str | None) -> tuple[Behalf, HoldRow]:
    """On whose behalf, and which hold. It is read before it is posted about, because the books know no principals."""
    principal = principal_of(request)
    behalf = on_behalf(principal, organization_id)
    found_id = parsed("hold", hold_id, Outcome.HOLD_NOT_FOUND)
    async with snapshot(house_of(request).sessions) as session:
        return behalf, await hold_to_end(session, principal, behalf, found_id)


async def _ended(request: AnyRequest, row: HoldRow, operation: Operation, posted: Posted) -> Envelope:
    if posted.replayed or not operation.final:
        hold = await _reread(request, operation)
    else:
        hold = views.ended_hold(row, "voided" if operation.kind is Kind.VOID else "captured")
    return answer(request, views.posted_view(operation, posted, hold))


async def _reread(request: AnyRequest, operation: Operation) -> dict[str, Any]:
    """The hold as it is now."""
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        row = await statements.hold(session, operation.organization_id, operation.target or operation.id)
    if row is None:
        raise not_found(Outcome.HOLD_NOT_FOUND)
    return views.hold_now(row, house.clock())


ROUTES: Final[list[Any]] = [make_hold, capture_hold, void_hold, extend_hold, list_holds, show_hold]
