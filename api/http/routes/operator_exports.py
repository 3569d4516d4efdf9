"""Operators and exports: mark a month, list what was marked, and take the files, which are streamed.

An export has everything that the books know, keys and causes that callers wrote too: taking one is for those who act.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api import account_map
from api.http import fields_exports as fields
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import described
from api.http.routes.operator_letters import ACTS, LOOKS, acting, organization
from api.http.streaming import FileAnswer
from api.http.views import operator as plain_views
from api.http.views.exports import export
from api.wiring import House, async_url
from billing import operator_actions
from billing.database import Sessions, engine, sessions, snapshot
from billing.operator_actions import Act
from billing.refusals import Refusal, Refused
from finance.exporting import files, marks, writing
from finance.exporting.files import MANIFEST, MANIFEST_TYPE
from finance.exporting.reading import reading
from finance.periods import Period

AT_ONCE: Final = 2
"""Exports that one process marks or streams at a time; each on a connection of its own, so that no other one waits."""
_ROOT: Final = "/v1/operator/exports"


@post(
    _ROOT,
    status_code=200,
    guards=[ACTS],
    opt=described("operator export create", body=fields.ExportAsked, refuses=(Refusal.SPENDING_CONFLICT,)),
)
async def make_export(request: AnyRequest) -> Envelope:
    """Fix what an export of a month is of: its seal when it is closed, else a mark of where every book stands now.

    The month's last mark is answered again when nothing has changed since.
    """
    asked, house = await body_of(request, fields.ExportAsked), house_of(request)
    by, month = acting(request, asked.idempotency_key), Period.parse(asked.period)
    async with _room(request), _unhurried(house) as of:
        recorded, replayed = await operator_actions.once(
            of,
            by,
            Act.MAKE_EXPORT,
            subject=month.name,
            reason=asked.reason,
            act=lambda: marks.make(of, month, by=by, reason=asked.reason, now=house.clock()),
        )
    async with snapshot(house.sessions) as session:
        found = await marks.named(session, recorded.details["export_id"])
    return answer(
        request, {"action": plain_views.action(recorded), "replayed": replayed, "export": export(found, _names(house))}
    )


@get(_ROOT, guards=[LOOKS], opt=described("operator exports", query=fields.ExportsAsked))
async def list_exports(request: AnyRequest) -> Envelope:
    """Exports, newest first, with the names of their files."""
    asked, house = query_of(request, fields.ExportsAsked), house_of(request)
    before = None if asked.cursor is None else _cursor(asked.cursor)
    async with snapshot(house.sessions) as session:
        found = await marks.listed(session, before=before, limit=asked.limit + 1)
    shown = [export(one, _names(house)) for one in found]
    return answer(request, plain_views.page("exports", shown, limit=asked.limit, key="export_id"))


@get(f"{_ROOT}/{{export_id:str}}/{{file:str}}", guards=[ACTS], opt={"command": "operator export file"})
async def take_file(request: AnyRequest, export_id: FromPath[str], file: FromPath[str]) -> FileAnswer:
    """One file of an export, as it is: no envelope. `statement.csv` is of `?organization_id=`."""
    house, whose = house_of(request), organization(request.query_params.get("organization_id"))
    async with snapshot(house.sessions) as session:
        marked = await marks.named(session, export_id)
    known = files.files(account_map.all_maps(house.account_map), organization_id=whose)
    if file == MANIFEST:
        media_type, chunks = MANIFEST_TYPE, partial(writing.manifest_chunks, files=known.values())
    elif file in known:
        media_type, chunks = known[file].media_type, partial(writing.file_chunks, file=known[file])
    else:
        raise Refused(Refusal.NOT_FOUND, "an export has no such file")
    room = _room(request)

    async def sent() -> AsyncGenerator[bytes, None]:
        async with room, _unhurried(house) as of, reading(of, marked) as found:
            async for chunk in chunks(reading=found):
                yield chunk

    return FileAnswer(sent(), media_type=media_type, name=f"{marked.period.name}-{marked.name}-{file}")


def _room(request: AnyRequest) -> asyncio.Semaphore:
    """Room for one more export. Raises `Refused(OVERLOADED)`."""
    at_once: asyncio.Semaphore = request.app.state.exports
    if at_once.locked():
        raise Refused(Refusal.OVERLOADED)
    return at_once


@asynccontextmanager
async def _unhurried(house: House) -> AsyncIterator[Sessions]:
    """Sessions on a connection of its own, whose statements may take as long as whoever asks them lets them."""
    if house.settings.database_url is None:
        raise Refused(Refusal.SERVICE_UNAVAILABLE)
    on = engine(async_url(house.settings.database_url.get_secret_value()), connections_max=1, answer_timeout_s=None)
    try:
        yield sessions(on)
    finally:
        await on.dispose()


def _names(house: House) -> list[str]:
    return [*files.files(account_map.all_maps(house.account_map)), files.STATEMENT, MANIFEST]


def _cursor(text: str) -> UUID:
    try:
        return marks.parsed(text)
    except Refused:
        raise Refused(Refusal.INVALID_ARGUMENTS, "cursor is not one that a page ended with") from None


ROUTES: Final[list[Any]] = [make_export, list_exports, take_file]
