"""Is the process there, and can it serve?"""

from __future__ import annotations

from typing import Any, Final

from litestar import get
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

import migrations
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.routes.describe import described
from billing.refusals import Refusal, Refused

API_VERSION: Final = "v1"
VERSION: Final = "0.1.0"
"""The version of the distribution; a test compares it with `pyproject.toml`."""


@get("/healthz", opt=described("doctor"))
async def healthz(request: AnyRequest) -> Envelope:
    """The process answers. Asks nothing of the database."""
    return answer(request, {"status": "ok", "api_version": API_VERSION, "version": VERSION})


@get("/readyz", opt=described("doctor"))
async def readyz(request: AnyRequest) -> Envelope:
    """The database answers and is migrated to what this code expects; 503 otherwise."""
    try:
        async with house_of(request).sessions() as session:
            found = (await session.execute(text("SELECT version_num FROM public.alembic_version"))).scalar_one_or_none()
    except ProgrammingError:  # there is no such table, or the role may not read it
        found = None
    if found != request.app.state.newest_migration:
        raise Refused(Refusal.SERVICE_UNAVAILABLE, "the database is not migrated to the version of this service")
    return answer(request, {"status": "ready", "api_version": API_VERSION, "version": VERSION, "database": "migrated"})


def newest_migration() -> str:
    """The revision that `readyz` compares with."""
    return migrations.newest()


ROUTES: Final[list[Any]] = [healthz, readyz]
