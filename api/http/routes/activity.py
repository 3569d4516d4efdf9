"""What happened in the agent's organization."""

from __future__ import annotations

from typing import Any, Final

from litestar import get
from litestar.params import FromPath

from api.http import fields_ledger as fields
from api.http.authentication import agents_only
from api.http.context import AnyRequest, actor_of, house_of
from api.http.envelope import Envelope, answer
from api.http.fields import PAGE_ITEMS_MAX, REFERENCE_LENGTH_MAX
from api.http.reading import query_of
from api.http.routes.describe import described
from api.http.views import happenings
from billing import feed
from billing.database import snapshot
from billing.refusals import Refusal, Refused
from ledger import ids


@get("/v1/activity", guards=[agents_only], opt=described("activity list", query=fields.ActivityAsked))
async def list_activity(request: AnyRequest) -> Envelope:
    """Events, newest first, spends included. A page may come short, even empty, and still have a `next_cursor`."""
    asked = query_of(request, fields.ActivityAsked)
    wanted = feed.Wanted(asked.limit, _place(asked.cursor), asked.subject, asked.type)
    return answer(request, happenings.events_page(await _page(request, wanted)))


@get("/v1/activity/{reference:str}", guards=[agents_only], opt=described("activity show"))
async def show_activity(request: AnyRequest, reference: FromPath[str]) -> Envelope:
    """The event with this id, or the events about the thing with this id, whatever it is.

    With a `next_cursor` there may be more, which `GET /v1/activity` tells with this id as `subject`.
    """
    found = feed.Page((), None)
    if len(reference) <= REFERENCE_LENGTH_MAX and reference.isprintable():
        found = await _page(request, feed.Wanted(PAGE_ITEMS_MAX, reference=reference))
    if not found.events and found.following is None:
        raise Refused(Refusal.NOT_FOUND, "no event is about that")
    return answer(request, happenings.events_page(found))


async def _page(request: AnyRequest, wanted: feed.Wanted) -> feed.Page:
    async with snapshot(house_of(request).sessions) as session:
        return await feed.page(session, actor_of(request).organization_id, wanted)


def _place(text: str | None) -> feed.Place | None:
    """Where a page begins. Raises `Refused(INVALID_ARGUMENTS)` for what no answer ever gave."""
    try:
        return feed.place_of(text) if text is not None else None
    except ids.MalformedId:
        raise Refused(Refusal.INVALID_ARGUMENTS, "cursor must be the next_cursor of an earlier answer") from None


ROUTES: Final[list[Any]] = [list_activity, show_activity]
