"""A file as an answer: sent while it is made, with an end in time, however it ends.

Litestar's own stream leaves it to the garbage collector to close what makes a file when its reader has gone. What makes
one of ours holds a connection to the database and room for others, so here it is closed before the answer ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import structlog
from litestar import Response
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

log = structlog.get_logger()

STREAM_S_MAX: Final = 3_600
"""How long a file may be on its way, however slowly its reader takes it."""


class FileAnswer(Response[bytes]):
    """A file to download, in UTF-8 if it is text. An answer that breaks off is not whole, and its connection closes."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, media_type: str, name: str) -> None:
        super().__init__(b"")
        self._chunks, self._name = chunks, name
        kind = f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type
        said = {"content-type": kind, "content-disposition": f'attachment; filename="{name}"'}
        self._head = [(key.encode(), value.encode()) for key, value in said.items()]

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The answer as something that sends itself."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the names of ASGI
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": 200, "headers": self._head}
        sending, gone = asyncio.create_task(self._body(start, send)), asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, timeout=STREAM_S_MAX, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() and not gone.done():
                log.warning("file_cut", file=self._name, after_s=STREAM_S_MAX)
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.wait({sending, gone})
        if not sending.cancelled():
            sending.result()

    async def _body(self, start: HTTPResponseStartEvent, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            await send(start)
            async for chunk in chunks:
                await send(_part(chunk, more=True))
        await send(_part(b"", more=False))


def _part(chunk: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def _gone(receive: Receive) -> None:
    """Ends when the reader has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue
