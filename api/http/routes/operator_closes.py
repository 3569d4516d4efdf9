"""Operators and the months that were closed: their seals, and what was opened again."""

from __future__ import annotations

from typing import Any

from litestar import get

from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.fields_operator import PageAsked
from api.http.reading import query_of
from api.http.routes.describe import described
from api.http.routes.operator_letters import LOOKS
from api.http.routes.people import cursor
from api.http.views import operator as plain_views
from api.http.views.plain import at, at_or_none
from billing.database import snapshot
from finance.closing import sealing
from finance.tables import Close
from ledger.ids import external


@get("/v1/operator/closes", guards=[LOOKS], opt=described("operator closes", query=PageAsked))
async def list_closes(request: AnyRequest) -> Envelope:
    """Closes, newest first: of each month the one that stands, and those that were opened again."""
    asked, house = query_of(request, PageAsked), house_of(request)
    before = None if asked.cursor is None else cursor(sealing.PREFIX, asked.cursor)
    async with snapshot(house.sessions) as session:
        found = await sealing.closes(session, before=before, limit=asked.limit + 1)
    shown = [_close(one) for one in found]
    return answer(request, plain_views.page("closes", shown, limit=asked.limit, key="close_id"))


def _close(found: Close) -> dict[str, Any]:
    return {
        "close_id": external(sealing.PREFIX, found.id),
        "period": found.period,
        "state": found.state,
        "holder": found.holder,
        "reason": found.reason,
        "books": found.books,
        "seal": found.seal.hex() if found.seal is not None else None,
        "started_at": at(found.started_at),
        "sealed_at": at_or_none(found.sealed_at),
        "reopened_at": at_or_none(found.reopened_at),
        "reopened_by": found.reopened_by,
        "reopen_reason": found.reopen_reason,
    }


ROUTES = (list_closes,)
