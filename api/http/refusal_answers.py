"""Everything that goes wrong becomes an answer here, and nowhere else.

A `Refused` of billing carries its rule. What Litestar raises is mapped to one. What the database raises because it is
away or overloaded is SERVICE_UNAVAILABLE; all else is INTERNAL_ERROR, logged with its traceback and without the body.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import structlog
from litestar.exceptions import HTTPException
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.http import envelope, recoveries
from api.http.commands import Commands
from api.http.context import AnyRequest, asked_of, house_of, trace_id_of
from api.http.envelope import Answer
from billing.fresh import new_key
from billing.packs import METHODS
from billing.refusals import Refusal, Refused

log = structlog.get_logger()

EXIT_CODE_HEADER: Final = "x-image-skill-exit-code"
_BY_STATUS: Final = {
    401: Refusal.AUTH_REQUIRED,
    404: Refusal.NOT_FOUND,
    405: Refusal.METHOD_NOT_ALLOWED,
    413: Refusal.BODY_TOO_LARGE,
    429: Refusal.RATE_LIMITED,
}
_AWAY: Final = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    asyncpg.InterfaceError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
)
_AWAY_STATES: Final = ("08", "25P03", "28", "3D000", "40001", "40P01", "53", "55P03", "57")
"""SQLSTATE classes and codes of a database that is away, overloaded or waits too long; appendix A of its manual."""


def answered(request: AnyRequest, error: Exception) -> Answer:
    """The answer to whatever was raised while a request was served."""
    refused, headers = _as_refused(error)
    if refused.refusal is Refusal.INTERNAL_ERROR:
        log.error("request_failed", trace_id=trace_id_of(request), exc_info=error)
    elif refused.refusal is Refusal.SERVICE_UNAVAILABLE:
        log.warning("database_unavailable", trace_id=trace_id_of(request), reason=type(error).__name__)
    return refusal_of(request, refused, headers)


def refusal_of(request: AnyRequest, refused: Refused, headers: Mapping[str, str]) -> Answer:
    """A refusal as an answer, with `headers` of its own."""
    rule = refused.refusal.rule
    headers = dict(headers)
    error_view = error_of(request, refused)
    if rule.exit_code is not None:
        headers[EXIT_CODE_HEADER] = str(rule.exit_code)
    if rule.http_status in {429, 503}:
        headers["retry-after"] = str(error_view["recovery"]["retry_after_seconds"])
    if rule.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return Answer(envelope.refusal(request, error_view), status_code=rule.http_status, headers=headers)


def error_of(request: AnyRequest, refused: Refused) -> dict[str, Any]:
    """The `error` of an answer, or of one item in a batch."""
    house, asked = house_of(request), asked_of(request)
    available = [method_id for method_id in METHODS if house.unavailable(method_id) is None]
    recovery = recoveries.recovery(
        refused, asked, Commands(house.settings.url), available=available, fresh_key=new_key("quote")
    )
    message = refused.message
    others = recoveries.other_methods(asked, available)
    if refused.refusal is Refusal.PAYMENT_METHOD_UNAVAILABLE and others:
        message = f"{message}; {' and '.join(others)} can be used instead"
    return {
        "code": refused.refusal.code,
        "message": message,
        "retryable": refused.refusal.rule.retryable,
        "recovery": recovery,
    }


def _as_refused(error: Exception) -> tuple[Refused, dict[str, str]]:
    if isinstance(error, Refused):
        return error, {}
    if isinstance(error, HTTPException) and error.status_code < 500:
        refusal = _BY_STATUS.get(error.status_code, Refusal.INVALID_ARGUMENTS)
        return Refused(refusal), _allow(error)
    return Refused(Refusal.SERVICE_UNAVAILABLE if is_database_away(error) else Refusal.INTERNAL_ERROR), {}


def _allow(error: HTTPException) -> dict[str, str]:
    """Which methods the path takes; Litestar names OPTIONS too, which is never served."""
    named = (error.headers or {}).get("allow", "")
    methods = [method for method in named.split(", ") if method not in {"", "OPTIONS"}]
    return {"allow": ", ".join(methods)} if methods else {}


def is_database_away(error: BaseException) -> bool:
    """Whether the database could not be reached or could not answer in time: the same request may work later."""
    if isinstance(error, _AWAY):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return str(getattr(cause, "sqlstate", None) or "").startswith(_AWAY_STATES)
