"""A node that is listened to: it passes every call on to the chain and remembers when one was under way.

Whatever it costs itself falls on the chain's side of the account.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

HOST: Final = "127.0.0.1"
SEND: Final = "eth_sendRawTransaction"
BODY_BYTES_MAX: Final = 1 << 20
_LENGTH: Final = b"content-length:"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the chain, by `time.perf_counter`."""

    method: str
    began: float
    ended: float


@dataclass(slots=True)
class ChainClock:
    """`calls` holds every call since it was cleared, in the order in which they ended."""

    url: str
    calls: list[Call] = field(default_factory=list)

    def in_calls_s(self) -> float:
        """Seconds in which a call or several were under way."""
        total, until = 0.0, 0.0
        for call in sorted(self.calls, key=lambda one: one.began):
            total += max(0.0, call.ended - max(call.began, until))
            until = max(until, call.ended)
        return total

    def until_next_s(self, *, at_most: float) -> float:
        """Seconds after each transaction was sent until the chain was asked again; each `at_most` so long."""
        sent = [call.ended for call in self.calls if call.method == SEND]
        gaps = [min((one.began - end for one in self.calls if one.began >= end), default=0.0) for end in sent]
        return sum(min(gap, at_most) for gap in gaps)


@asynccontextmanager
async def chain_clock(port: int) -> AsyncIterator[ChainClock]:
    """A clock before the node on a loopback port."""
    clock = ChainClock("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_reader, node_writer = await asyncio.open_connection(HOST, port, limit=BODY_BYTES_MAX)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    asked = await _message(reader)
                    began = time.perf_counter()
                    node_writer.write(b"".join(asked))
                    writer.write(b"".join(await _message(node_reader)))
                    await writer.drain()
                    clock.calls.append(Call(json.loads(asked[1])["method"], began, time.perf_counter()))
        finally:
            node_writer.close()
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0, limit=BODY_BYTES_MAX)
    clock.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    try:
        yield clock
    finally:
        server.close()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request or an answer that says its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH)), 0)
    return head, await reader.readexactly(length)
