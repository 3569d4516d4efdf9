"""The routes as operations: what each takes, whom it serves, and everything that it may refuse. Pure.

A refusal is derived where a route's guards, path or models make it possible; the rest is declared with the route.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from litestar.handlers import HTTPRouteHandler
from litestar.routes import BaseRoute, HTTPRoute

from api.documents.operations import Operation
from api.http.authentication import Allowed, agents_only
from api.http.rate_limits import measured
from billing.refusals import Refusal

_ORDER = {refusal: place for place, refusal in enumerate(Refusal)}


def operations(routes: Iterable[BaseRoute]) -> list[Operation]:
    """Every operation that is described, by path and method."""
    found = [
        _operation(route, handler, method)
        for route in routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "query" in handler.opt
        for method in handler.http_methods
    ]
    return sorted(found, key=lambda operation: (operation.path, operation.method))


def _operation(route: HTTPRoute, handler: HTTPRouteHandler, method: str) -> Operation:
    guards = handler.guards or ()
    allowed = [guard for guard in guards if isinstance(guard, Allowed)]
    return Operation(
        method=method,
        path=route.path_format,
        operation_id=handler.handler_name,
        command=f"image-skill {handler.opt['command']}",
        text=inspect.getdoc(handler.fn) or "",
        agents=agents_only in guards or any(guard.serves_agents for guard in allowed),
        operators=bool(allowed),
        path_parameters=tuple(route.path_parameters),
        body=handler.opt["body"],
        query=handler.opt["query"],
        refusals=tuple(sorted({*_derived(route, handler), *handler.opt.get("refuses", ())}, key=_ORDER.__getitem__)),
    )


def _derived(route: HTTPRoute, handler: HTTPRouteHandler) -> Iterator[Refusal]:
    """What its kind refuses: every route may find the database away or break."""
    guards, body, query = handler.guards or (), handler.opt["body"], handler.opt["query"]
    yield from (Refusal.SERVICE_UNAVAILABLE, Refusal.INTERNAL_ERROR)
    if guards:
        yield from (Refusal.AUTH_REQUIRED, Refusal.OVERLOADED)
    if any(isinstance(guard, Allowed) for guard in guards):
        yield Refusal.SCOPE_MISSING
    if measured in guards:
        yield Refusal.RATE_LIMITED
    if body is not None:
        yield from (Refusal.BODY_TOO_LARGE, Refusal.BODY_TOO_SLOW)
    if body is not None or query is not None:
        yield Refusal.INVALID_ARGUMENTS
    names_organization = any(model is not None and "organization_id" in model.model_fields for model in (body, query))
    if route.path_parameters or names_organization:
        yield Refusal.NOT_FOUND
