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


class Body:
    """The body of one request. `complete`: all of it has been received; what follows may be waited for for ever."""

    def __init__(self, receive: Receive, *, within_s: float = BODY_WITHIN_S) -> None:
        self.complete = False
        self._receive = receive
        self._within_s = within_s
        self._deadline: float | None = None

    async def receive(self) -> HTTPRequestEvent | HTTPDisconnectEvent | WebSocketReceiveMessage:
        """The next event. Raises `Refused`: BODY_TOO_SLOW, and INVALID_ARGUMENTS when the client leaves amid it."""
        if self.complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._within_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Refused(Refusal.BODY_TOO_SLOW) from None
        if message["type"] == "http.disconnect":
            raise Refused(Refusal.INVALID_ARGUMENTS, "the body ended before its announced length")
        self.complete = message["type"] == "http.request" and not message.get("more_body", False)
        return message
