"""Who asks. Bearer tokens only; every token that does not hold is AUTH_REQUIRED, whatever is wrong with it."""

from __future__ import annotations

from typing import Final

from litestar.handlers import BaseRouteHandler

from api.http.context import AnyConnection, house_of, sets_actor
from billing import identity
from billing.identity import Actor
from billing.refusals import Refusal, Refused

TOKEN_LENGTH_MAX: Final = 256


async def agents_only(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard: the route is served to an agent with an active token. Raises `Refused(AUTH_REQUIRED)`."""
    actor = await presented(connection)
    if actor is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    sets_actor(connection, actor)


async def presented(connection: AnyConnection) -> Actor | None:
    """The agent whose token was presented; none when none was. Raises `Refused(AUTH_REQUIRED)` for a bad one."""
    given = connection.headers.getall("authorization", [])
    if not given:
        return None
    scheme, _, token = given[0].strip().partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or len(token) > TOKEN_LENGTH_MAX:
        raise Refused(Refusal.AUTH_REQUIRED)
    house = house_of(connection)
    async with house.sessions() as session:
        return await identity.authenticate(session, token.strip(), now=house.clock())
