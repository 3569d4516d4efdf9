"""Who may do what how often: sign-ups by address, what costs much by organization, refused spends by agent."""

from __future__ import annotations

from datetime import datetime

from litestar.handlers import BaseRouteHandler

from api.http import addresses
from api.http.context import AnyConnection, actor_of, house_of
from api.windows import Window
from billing.refusals import Refusal, Refused


def count_signup(connection: AnyConnection) -> None:
    """Count a try to sign up from where the connection comes. Raises `Refused(RATE_LIMITED)`."""
    _count(connection.app.state.signups, _address(connection), house_of(connection).clock())


def count_payment(connection: AnyConnection) -> None:
    """Count a request of somebody who may have no token: it may make us ask a chain. Raises `Refused(RATE_LIMITED)`."""
    _count(connection.app.state.payments, _address(connection), house_of(connection).clock())


def _address(connection: AnyConnection) -> str:
    """Where the connection comes from, as it is counted."""
    peer = connection.client.host if connection.client else ""
    forwarded = connection.headers.getall("x-forwarded-for", [])
    address = addresses.client(peer, forwarded, house_of(connection).settings.trusted_proxies)
    return addresses.counted_as(address)


async def measured(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard after `agents_only`: the organization asks for this and its like only so often in a minute.

    Raises `Refused(RATE_LIMITED)`.
    """
    key = str(actor_of(connection).organization_id)
    _count(connection.app.state.requests, key, house_of(connection).clock())


def require_few_refusals(connection: AnyConnection, spender: str) -> None:
    """Raises `Refused(RATE_LIMITED)` for one whose spends were refused too often in the last minute.

    Refusals cost a place in the journal; this keeps a caller that never listens away from the books.
    """
    if not refusals_left(connection, spender):
        raise too_many_refusals(connection, spender)


def refusals_left(connection: AnyConnection, spender: str) -> int:
    """How many refusals it may still get in this minute."""
    return int(connection.app.state.refusals.left(spender, house_of(connection).clock()))


def too_many_refusals(connection: AnyConnection, spender: str) -> Refused:
    """The refusal of one that has none left."""
    wait_s = max(1, connection.app.state.refusals.closed_s(spender, house_of(connection).clock()))
    return Refused(Refusal.RATE_LIMITED, "too many spends were refused", recovery={"retry_after_seconds": wait_s})


def count_refusal(connection: AnyConnection, spender: str) -> None:
    """The books refused a spend."""
    connection.app.state.refusals.wait_s(spender, house_of(connection).clock())


def _count(window: Window, key: str, now: datetime) -> None:
    wait_s = window.wait_s(key, now)
    if wait_s:
        raise Refused(Refusal.RATE_LIMITED, recovery={"retry_after_seconds": wait_s})
