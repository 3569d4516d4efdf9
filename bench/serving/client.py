"""A client that costs little, so that two cores are left to what is measured: HTTP/1.1 over kept connections.

It reads what our two services send (a status line and a `Content-Length`), and nothing more.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final, Self

CONNECT_TIMEOUT_S: Final = 10
ANSWER_TIMEOUT_S: Final = 30
ANSWER_BYTES_MAX: Final = 1 << 20
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(slots=True)
class Connection:
    """One connection, one request at a time."""

    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect to a loopback port."""
        opening = asyncio.open_connection(host, port, limit=ANSWER_BYTES_MAX)
        reader, writer = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        return cls(f"{host}:{port}", reader, writer)

    async def post(self, path: str, body: dict[str, Any], token: str = "") -> tuple[int, bytes]:
        """Send a JSON body; the status and the body of the answer. Raises `OSError`, `TimeoutError`, `EOFError`."""
        content = json.dumps(body, separators=(",", ":")).encode()
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            f"{bearer}Content-Length: {len(content)}\r\n\r\n"
        )
        self.writer.write(head.encode("ascii") + content)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            answer = await self.reader.readuntil(_HEAD_END)
            return int(answer[9:12]), await self.reader.readexactly(_length(answer))

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        await self.writer.wait_closed()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise ValueError("the answer says no Content-Length")
