"""What a request carries with it: the house, its trace id, the agent that asks, and what it asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from litestar import Request
from litestar.connection import ASGIConnection

from api.wiring import House
from billing.identity import Actor
from billing.operator_keys import Operator
from billing.packs import Wanted
from billing.principals import Principal
from billing.refusals import Refusal, Refused

AnyRequest = Request[Any, Any, Any]
AnyConnection = ASGIConnection[Any, Any, Any, Any]

TRACE_ID: Final = "trace_id"
_ACTOR: Final = "actor"
_PRINCIPAL: Final = "principal"
_OPERATOR: Final = "operator"
_ASKED: Final = "asked"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request is about, as far as it was understood: a refusal's commands are made of it."""

    wanted: Wanted | None = None
    quote_id: str | None = None
    attempt_id: str | None = None
    method_id: str | None = None


def house_of(connection: AnyConnection) -> House:
    """The house that the application was made for."""
    return cast("House", connection.app.state.house)


def _left(connection: AnyConnection) -> dict[str, Any]:
    """What was left with this request. `connection.state` is a wrapper with a lock, made anew for each look."""
    return connection.scope["state"]


def trace_id_of(connection: AnyConnection) -> str:
    """The id under which this request stands in the log."""
    return cast("str", _left(connection)[TRACE_ID])


def sets_actor(connection: AnyConnection, actor: Actor) -> None:
    """Remember who asks."""
    _left(connection)[_ACTOR] = actor


def actor_of(connection: AnyConnection) -> Actor:
    """Who asks. Raises `Refused(AUTH_REQUIRED)` on a route that nobody authenticated for."""
    actor = _left(connection).get(_ACTOR)
    if actor is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    return cast("Actor", actor)


def actor_or_none(connection: AnyConnection) -> Actor | None:
    """Who asks, if that is known."""
    return cast("Actor | None", _left(connection).get(_ACTOR))


def sets_principal(connection: AnyConnection, principal: Principal) -> None:
    """Remember who asks on a route that agents and operators share."""
    _left(connection)[_PRINCIPAL] = principal


def principal_of(connection: AnyConnection) -> Principal:
    """Who asks, agent or operator. Raises `Refused(AUTH_REQUIRED)` on a route that nobody authenticated for."""
    principal = _left(connection).get(_PRINCIPAL)
    if principal is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    return cast("Principal", principal)


def sets_operator(connection: AnyConnection, operator: Operator) -> None:
    """Remember which operator key asks, with its holder."""
    _left(connection)[_OPERATOR] = operator


def operator_of(connection: AnyConnection) -> Operator:
    """Which operator key asks. Raises `Refused(AUTH_REQUIRED)` on a route that none authenticated for."""
    operator = _left(connection).get(_OPERATOR)
    if operator is None:
        raise Refused(Refusal.AUTH_REQUIRED)
    return cast("Operator", operator)


def sets_asked(connection: AnyConnection, asked: Asked) -> None:
    """Remember what was asked for, in case the answer is a refusal."""
    _left(connection)[_ASKED] = asked


def asked_of(connection: AnyConnection) -> Asked:
    """What was asked for, as far as it is known."""
    return cast("Asked", _left(connection).get(_ASKED) or Asked())
