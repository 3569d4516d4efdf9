"""A receiver on loopback that does to a call whatever a test wants, and remembers what it read."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore

CERTIFICATE = Path(__file__).parent / "receiver.pem"
"""Of `receiver.test`, signed by itself, until 2120. Its key is known to everybody: it is for tests."""
NAME = "receiver.test"
PUBLIC = "93.184.215.14"
"""An address that may be called. No test calls it: `Elsewhere` leads to loopback."""


@dataclass
class Call:
    """A request as the receiver read it."""

    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """Where it is, and what came: connections, calls that were read whole, names that TLS asked for."""

    port: int
    connections: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def until(self, *, calls: int) -> None:
        """Wait for so many calls."""
        while len(self.calls) < calls:
            self.called.clear()
            await self.called.wait()


@dataclass
class Elsewhere(httpcore.AsyncNetworkBackend):
    """Sockets that all lead to loopback, and where they were to lead; `dead` addresses take no connection."""

    dead: Sequence[str] = ()
    addresses: list[str] = field(default_factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        if host in self.dead:
            raise httpcore.ConnectError
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", port, timeout, local_address, socket_options)


@dataclass
class Says:
    """A lookup that answers each time with the next addresses, and with the last ones for ever."""

    answers: list[Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def read_call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Call(first.split(" ")[1], headers, body)


def answer(status: int = 200, body: object = None, *, headers: str = "") -> bytes:
    """An answer in JSON (text is sent as it is); `headers` are lines with their ends."""
    payload = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def raw(*parts: bytes, pause_s: float = 0) -> Behaviour:
    """Send `parts` as they are, each after a pause, and close."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await asyncio.sleep(pause_s)
            writer.write(part)
            await writer.drain()

    return behave


def dripping(first: bytes, again: bytes, *, pause_s: float = 0.05) -> Behaviour:
    """Send `first`, and then `again` after each pause, until the caller leaves."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        part = first
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
            part = again

    return behave


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the caller leaves."""
    await reader.read()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End the connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def server_tls(receiver: Receiver) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda _, name, __: receiver.names.append(name)
    return context
