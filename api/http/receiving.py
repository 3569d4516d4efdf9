"""A body comes whole and in time, or the request is refused.

Without a deadline, connections that announce a body and send one byte of it hold the service for as long as they like.
"""

from __future__ import annotations

import asyncio
from typing import Final

from litestar.types import HTTPDisconnectEvent, HTTPRequestEvent, Receive, WebSocketReceiveMessage

from billing.refusals import Refusal, Refused

BODY_WITHIN_S: Final = 10.0
"""For the whole body, from when it is first waited for."""


def whole_in_time(receive: Receive, *, within_s: float = BODY_WITHIN_S) -> Receive:
    """`receive` for one request; after the body is complete it may wait for ever.

    What it gives raises `Refused`: BODY_TOO_SLOW, and INVALID_ARGUMENTS when the client leaves before the end.
    """
    deadline: float | None = None
    complete = False

    async def receives() -> HTTPRequestEvent | HTTPDisconnectEvent | WebSocketReceiveMessage:
        nonlocal deadline, complete
        if complete:
            return await receive()
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise Refused(Refusal.BODY_TOO_SLOW) from None
        if message["type"] == "http.disconnect":
            raise Refused(Refusal.INVALID_ARGUMENTS, "the body ended before its announced length")
        complete = message["type"] == "http.request" and not message.get("more_body", False)
        return message

    return receives
