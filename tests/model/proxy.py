"""A TCP proxy on loopback between a client and PostgreSQL that goes wrong when told.

It lets bytes through both ways until one of its faults is set:

* `lose_reply()`: what the server says is swallowed; when it has finished its answer (the message ReadyForQuery, which
  comes after COMMIT), both sides are cut. The client cannot know what became of its statement, and it was done.
* `cut()`: every connection breaks at once.
* `delay_s`: how long every piece waits, either way.
* `half_open = True`: nothing comes through any more, and nobody hangs up.

Source of the message: https://www.postgresql.org/docs/current/protocol-message-formats.html (ReadyForQuery).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

HOST = "127.0.0.1"
PIECE_MAX = 1 << 16
READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"


class FaultProxy:
    """Forwards to the server of a database URL. `url` is that URL with the proxy in between."""

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._target = (parts.hostname or HOST, parts.port or 5432)
        self._parts = parts
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._losing = False
        self.delay_s = 0.0
        self.half_open = False
        self.replies_lost = 0

    @property
    def url(self) -> str:
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{login}@{HOST}:{port}").geturl()

    def lose_reply(self) -> None:
        """The next complete answer of the server is lost, and its connection with it."""
        self._losing = True

    def cut(self) -> None:
        """Break every connection, without a word to either side."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, server_writer}
        self._writers |= both
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(self._forward(reader, server_writer, from_server=False)),
                    asyncio.ensure_future(self._forward(server_reader, writer, from_server=True)),
                ]
            )
        finally:
            self._writers -= both

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool) -> None:
        """Pass pieces on until one side ends, then end the other."""
        swallowed = b""
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE_MAX):
                await asyncio.sleep(self.delay_s)
                if self.half_open:
                    continue
                if from_server and self._losing:
                    swallowed += piece
                    if swallowed.endswith(READY_FOR_QUERY):
                        self._losing = False
                        self.replies_lost += 1
                        break
                    continue
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()
        if from_server and swallowed:
            self.cut()


@asynccontextmanager
async def proxy_to(server_url: str) -> AsyncIterator[FaultProxy]:
    """A proxy for the length of a block."""
    proxy = FaultProxy(server_url)
    proxy._listener = await asyncio.start_server(proxy._serve, HOST, 0)
    try:
        yield proxy
    finally:
        proxy._listener.close()
        proxy.cut()
        await proxy._listener.wait_closed()
