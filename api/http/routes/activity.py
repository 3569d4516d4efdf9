"""What happened in the agent's organization."""

from __future__ import annotations

from typing import Any, Final

from litestar import get
from litestar.params import FromPath

from api.http import fields
from api.http.authentication import agents_only
from api.http.context import AnyRequest, actor_of, house_of
from api.http.envelope import Envelope, answer
from api.http.reading import query_of
from api.http.routes.describe import described
from api.http.routes.people import cursor
from api.http.views import happenings
from billing import activity
from billing.database import snapshot
from billing.refusals import Refusal, Refused
from billing.tables import ActivityEvent
from ledger import ids


@get("/v1/activity", guards=[agents_only], opt=described("activity list", query=fields.ActivityAsked))
async def list_activity(request: AnyRequest) -> Envelope:
    """Events, newest first."""
    asked = query_of(request, fields.ActivityAsked)
    before = cursor("evt", asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await activity.events(
            session,
            actor_of(request).organization_id,
            before=before,
            limit=asked.limit + 1,
            subject=asked.subject,
        )
    return answer(request, happenings.events_page(found, limit=asked.limit))


@get("/v1/activity/{reference:str}", guards=[agents_only], opt=described("activity show"))
async def show_activity(request: AnyRequest, reference: FromPath[str]) -> Envelope:
    """The event with this id, or the events about the thing with this id."""
    found = await _about(request, reference)
    if not found:
        raise Refused(Refusal.NOT_FOUND, "no event is about that")
    return answer(request, happenings.events_page(found, limit=fields.PAGE_ITEMS_MAX))


async def _about(request: AnyRequest, reference: str) -> list[ActivityEvent]:
    organization_id = actor_of(request).organization_id
    async with snapshot(house_of(request).sessions) as session:
        try:
            event = await activity.by_id(session, organization_id, ids.parse("evt", reference))
        except ids.MalformedId:
            if len(reference) > fields.REFERENCE_LENGTH_MAX or not reference.isprintable():
                return []
            return await activity.about(session, organization_id, reference, limit=fields.PAGE_ITEMS_MAX)
    return [event] if event else []


ROUTES: Final[list[Any]] = [list_activity, show_activity]
