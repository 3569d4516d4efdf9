"""Who asks. Bearer tokens only; every token that does not hold is AUTH_REQUIRED, whatever is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar.handlers import BaseRouteHandler

from api.http.context import AnyConnection, house_of, sets_actor, sets_operator, sets_principal
from billing import identity, operator_keys
from billing.identity import Actor
from billing.operator_keys import Operator
from billing.principals import OF_AGENTS, principal_of
from billing.refusals import Refusal, Refused
from billing.scopes import Scope

TOKEN_LENGTH_MAX: Final = 256


async def agents_only(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard: the route is served to an agent with an active token. Raises `Refused(AUTH_REQUIRED)`."""
    actor = await presented(connection)
    if actor is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    sets_actor(connection, actor)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A guard: see `allowed`. Agents are served when they may do it and the route is not for operators alone."""

    scope: Scope
    operators_alone: bool = False
    also: Scope | None = None
    """Another scope that is enough."""

    @property
    def serves_agents(self) -> bool:
        """Whether an agent's token may come in."""
        return self.scope in OF_AGENTS and not self.operators_alone

    async def __call__(self, connection: AnyConnection, _: BaseRouteHandler) -> None:
        """Remembers who asks, or raises `Refused`."""
        asking = await principal(connection)
        if isinstance(asking, Actor):
            sets_actor(connection, asking)
        else:
            sets_operator(connection, asking)
        found = principal_of(asking)
        enough = found.may(self.scope) or (self.also is not None and found.may(self.also))
        if not enough or (found.is_agent and not self.serves_agents):
            message = f"this needs an operator key with the scope {self.scope.value}"
            raise Refused(Refusal.SCOPE_MISSING, message, recovery={"required_scope": self.scope.value})
        sets_principal(connection, found)


def allowed(scope: Scope, *, operators_alone: bool = False, also: Scope | None = None) -> Allowed:
    """A guard: the route is served to agents and operators that may do what `scope` is for, or `also`.

    Raises `Refused`: AUTH_REQUIRED without a token or key that lives, SCOPE_MISSING for one that may not.
    """
    return Allowed(scope, operators_alone, also)


async def presented(connection: AnyConnection) -> Actor | None:
    """The agent whose token was presented; none when none was. Raises `Refused(AUTH_REQUIRED)` for a bad one."""
    token = _bearer(connection)
    if token is None:
        return None
    house = house_of(connection)
    return await identity.authenticate(house.bearers.agents, token, now=house.clock())


async def principal(connection: AnyConnection) -> Actor | Operator:
    """The agent or the operator that asks, told apart by the token. Raises `Refused(AUTH_REQUIRED)`, also for none."""
    token = _bearer(connection)
    if token is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    house = house_of(connection)
    if token.startswith(operator_keys.TOKEN_PREFIX):
        return await operator_keys.authenticate(house.bearers.operators, token, now=house.clock())
    return await identity.authenticate(house.bearers.agents, token, now=house.clock())


def _bearer(connection: AnyConnection) -> str | None:
    """What stands behind `Bearer`; none without the header. Raises `Refused(AUTH_REQUIRED)` for any other header."""
    given = connection.headers.getall("authorization", [])
    if not given:
        return None
    scheme, _, token = given[0].strip().partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or len(token) > TOKEN_LENGTH_MAX:
        raise Refused(Refusal.AUTH_REQUIRED)
    return token.strip()
