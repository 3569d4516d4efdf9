"""The caps of an agent: operators set them and pause, agents of the organization read them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from litestar import get, post, put
from litestar.params import FromPath

from api.http import fields_ledger as fields
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Envelope, answer
from api.http.fields_spending import BookAsked
from api.http.reading import body_of, query_of
from api.http.routes.describe import POSTING, described
from api.http.views.caps import caps as caps_view
from api.http.views.spending import posted_view
from billing import caps
from billing.database import Sessions, snapshot
from billing.scopes import Scope
from billing.spending import on_behalf, unknown_agent
from ledger import allowances, ids
from ledger.operations import Operation
from ledger.outcomes import Posted

Change = Callable[[Sessions, caps.Asked], Awaitable[tuple[Operation, Posted]]]


@put(
    "/v1/agents/{agent_id:str}/caps",
    status_code=200,
    guards=[allowed(Scope.OPERATE)],
    opt=described("caps set", body=fields.CapsAsked, refuses=POSTING),
)
async def set_caps(request: AnyRequest, agent_id: FromPath[str]) -> Envelope:
    """Replace all caps of an agent; null is no limit. A paused agent stays paused."""
    asked = await body_of(request, fields.CapsAsked)

    async def change(sessions: Sessions, whose: caps.Asked) -> tuple[Operation, Posted]:
        return await caps.set_all(sessions, whose, asked.caps)

    return await _changed(request, agent_id, asked, change)


@post(
    "/v1/agents/{agent_id:str}/pause",
    status_code=200,
    guards=[allowed(Scope.OPERATE)],
    opt=described("caps pause", body=fields.PauseAsked, refuses=POSTING),
)
async def pause(request: AnyRequest, agent_id: FromPath[str]) -> Envelope:
    """Let an agent spend and hold nothing until it is resumed. Holds that it made can still be captured."""
    return await _changed(request, agent_id, await body_of(request, fields.PauseAsked), caps.pause)


@post(
    "/v1/agents/{agent_id:str}/resume",
    status_code=200,
    guards=[allowed(Scope.OPERATE)],
    opt=described("caps resume", body=fields.PauseAsked, refuses=POSTING),
)
async def resume(request: AnyRequest, agent_id: FromPath[str]) -> Envelope:
    """Let a paused agent spend again, within the caps that it has."""
    return await _changed(request, agent_id, await body_of(request, fields.PauseAsked), caps.resume)


@get(
    "/v1/agents/{agent_id:str}/caps",
    guards=[allowed(Scope.READ)],
    opt=described("caps show", query=fields.ReadAsked),
)
async def show_caps(request: AnyRequest, agent_id: FromPath[str]) -> Envelope:
    """The caps of an agent of the organization, what it used of them, and when that frees up."""
    asked = query_of(request, fields.ReadAsked)
    organization_id = on_behalf(principal_of(request), asked.organization_id).organization_id
    return answer(request, await _now(request, organization_id, _agent_id(agent_id)))


async def _changed(request: AnyRequest, agent_id: str, asked: BookAsked, change: Change) -> Envelope:
    """What was posted, the balance after it, and the caps as they are now, also when it is a repetition."""
    principal, house = principal_of(request), house_of(request)
    organization_id = on_behalf(principal, asked.organization_id).organization_id
    whose = caps.Asked(organization_id, _agent_id(agent_id), principal.id, asked.idempotency_key, house.clock())
    operation, posted = await change(house.sessions, whose)
    return answer(request, posted_view(operation, posted) | await _now(request, organization_id, whose.agent_id))


async def _now(request: AnyRequest, organization_id: UUID, agent_id: UUID) -> dict[str, Any]:
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        await caps.agent_of(session, organization_id, agent_id)
        found = await allowances.allowance(session, organization_id, agent_id, house.clock())
    return caps_view(organization_id, agent_id, found)


def _agent_id(text: str) -> UUID:
    try:
        return ids.parse("agt", text)
    except ids.MalformedId:
        raise unknown_agent() from None


ROUTES: Final[list[Any]] = [set_caps, pause, resume, show_caps]
