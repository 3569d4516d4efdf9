"""The outermost layer: every request gets a trace id, every answer its headers, and the log one line for each.

It stands outside of Litestar's routing, because a path or method that no route has must be answered and logged too.
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.http.context import TRACE_ID, AnyRequest
from api.http.receiving import Body
from api.wiring import House
from billing.fresh import new_id
from ledger.ids import external

log = structlog.get_logger()

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""What stands in the log as it was sent; any other word may be as long as a body, and is logged as `other`."""
_HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_SENT: Final = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def doorway(inner: ASGIApp, house: House) -> ASGIApp:
    """`inner` with a trace id in the state of each request, headers on each answer, and a line in the log.

    Bodies have a deadline. An answer that does not wait for the body's end says that the connection ends with it: the
    server cannot find the next request behind a body that nobody reads, hangs up, and a client that was not told would
    lose what it sends next (RFC 9112, 9.6).
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await inner(scope, receive, send)
            return
        trace_id = external("trace", new_id(house.clock()))
        # A dictionary of its own: what one request leaves here, another must never find.
        scope["state"] = {**scope.get("state", {}), TRACE_ID: trace_id}
        began, status, body = time.monotonic(), 0, Body(receive)

        async def sends(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, trace_id, hangs_up=not body.complete and _announces_body(scope))
            await send(message)

        try:
            await inner(scope, body.receive, sends)
        finally:
            log.info(
                "request",
                trace_id=trace_id,
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=scope.get("path_template", "unknown"),
                status=status,
                took_ms=round((time.monotonic() - began) * 1000, 1),
            )

    return app


def _announces_body(scope: Scope) -> bool:
    """Whether the request's head says that a body follows (RFC 9112, 6.3)."""
    head = dict(scope["headers"])
    return b"transfer-encoding" in head or head.get(b"content-length", b"0") != b"0"


def _add_headers(message: Any, trace_id: str, *, hangs_up: bool) -> None:
    headers = list(message["headers"])
    given = {name.lower() for name, _ in headers}
    headers += [pair for pair in _SENT if pair[0] not in given]
    if hangs_up:
        headers.append((b"connection", b"close"))
    message["headers"] = [*headers, (b"x-trace-id", trace_id.encode())]


async def no_options(request: AnyRequest) -> None:
    """A `before_request` hook: what Litestar answers to OPTIONS by itself has no body, so it is refused instead."""
    if request.method == "OPTIONS":
        allowed = request.app.route_handler_method_map[request.scope["path_template"]]
        raise MethodNotAllowedException(headers={"allow": ", ".join(sorted(allowed))})
