"""Nodes of the tests' making: they say whatever a test wants, or nothing at all."""

import asyncio
import gzip
import json
import traceback
from typing import Any

import aiohttp

from rails.evm import rpc
from rails.evm.chain import Chain
from rails.evm.networks import BASE_SEPOLIA
from tests.service import HOST

SECRET = "k3y-that-is-secret"
PATIENCE_S = 60.0  # with a node that answers, on a machine that is busy
IMPATIENCE_S = 0.5  # with one that never does


class Node:
    """A node of the test's making: `answer(method, params)` gives the HTTP status and the body, or None for silence."""

    def __init__(self, answer, *, timeout_s=PATIENCE_S):
        self.answer = answer
        self.timeout_s = timeout_s
        self.asked = []
        self._over = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{HOST}:{port}/v2/{SECRET}"
        self.chain = Chain(BASE_SEPOLIA, self.url, timeout_s=self.timeout_s)
        # Who is impatient may not even have a connection within a part of that: here it is the whole that is bounded.
        transport = self.chain._rpc._transport
        transport._timeout = aiohttp.ClientTimeout(total=transport._timeout.total)
        return self

    async def __aexit__(self, *_):
        self._over.set()
        await self.chain.aclose()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            request = json.loads(await reader.readexactly(length))
            self.asked.append((request["method"], request["params"]))
            said = self.answer(request["method"], request["params"])
            if asyncio.iscoroutine(said):
                said = await said
            if said is None:
                await self._over.wait()
                return
            status, body, *headers = said
            extra = "".join(f"{line}\r\n" for line in headers)
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{extra}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def result(value: Any, status: int = 200) -> tuple[int, bytes]:
    return status, json.dumps({"jsonrpc": "2.0", "id": 0, "result": value}).encode()


def error(code: int, message: str, status: int = 200, **more: Any) -> tuple[int, bytes]:
    return status, json.dumps({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": message, **more}}).encode()


def assert_keeps_the_secret(raised, chain):
    shown = "".join(traceback.format_exception(raised))
    while raised is not None:
        shown += repr(raised) + repr(raised.args)
        raised = raised.__cause__ or raised.__context__
    assert SECRET not in shown + repr(chain) + str(chain) + repr(chain._rpc)


def hangs(*_):
    return None


JUNK = {
    "HTML": (200, b"<html>hello</html>"),
    "nothing": (200, b""),
    "no JSON-RPC": (200, b'{"result": "0x1"}'),
    "another version": (200, b'{"jsonrpc": "1.0", "id": 0, "result": "0x1"}'),
    "a list": (200, b"[1]"),
    "a number": (200, b"7"),
    "null": (200, b"null"),
    "half of it": (200, b'{"jsonrpc": "2.0", "id": 0, "resu'),
    "a deep hole": (200, b"[" * 200_000),
    "no Unicode": (200, b"\xff\xfe\xff"),
    "a huge number": (200, b'{"jsonrpc": "2.0", "id": 0, "result": ' + b"9" * 5000 + b"}"),
    "an error of no form": (200, b'{"jsonrpc": "2.0", "id": 0, "error": "no"}'),
    "an error with no code": (200, b'{"jsonrpc": "2.0", "id": 0, "error": {"message": "no"}}'),
    "both": (200, b'{"jsonrpc": "2.0", "id": 0, "result": "0x1", "error": {"code": 1, "message": "no"}}'),
    "an HTTP error": (503, f"http://node/{SECRET} is down".encode()),
    "too many requests": (429, b"slow down"),
    "a result in an HTTP error": result("0x1", status=500),
    "elsewhere": (302, b"", f"location: http://{HOST}:1/{SECRET}"),
    "a bomb": (200, gzip.compress(b" " * (rpc.BODY_BYTES_MAX + 1)), "content-encoding: gzip"),
    "too much": (200, b" " * (rpc.BODY_BYTES_MAX + 1)),
    "an error": error(-32603, f"internal error at http://node/{SECRET}"),
    "a method that is not served": error(-32601, "the method does not exist"),
    "an HTTP error with an error": error(-32000, f"unauthorized: {SECRET}", status=401),
    "true": result(True),
    "words": result("hello"),
    "a negative": result("-0x1"),
    "an object": result({}),
    "an object of junk": result({"number": [], "logs": 7, "status": None}),
    "a list of junk": result([{}]),
}
