"""Calls to servers that others name: one POST, one bounded answer, at addresses that were checked.

Theory of operation
-------------------
The name in a URL is looked up once. Every address that comes back is checked (`guarding`), and the connection goes to
one of those very addresses, so that a name which says something else a moment later (DNS re-binding) gains nothing. TLS
still asks for the name. Redirects are answers like others; proxies of the environment are not used. Which authorities
are trusted may be said with SSL_CERT_FILE or SSL_CERT_DIR, as to any program that uses OpenSSL.

A receiver that is slow delays nobody else: each call has a connection of its own, at most `CALLS_MAX` go to one host
and port at once, the others wait for a place; and waiting, looking up, connecting, sending and reading to the last byte
together take `timeout_s` at most. No call is repeated here, and a call without an answer may have been heard.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

import httpcore
import httpx

from outbound import guarding
from outbound.guarding import Forbidden, Target
from outbound.names import Names

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 65_536
CALLS_MAX: Final = 20
"""Calls to one host and port at once."""
ADDRESSES_MAX: Final = 4
"""Addresses of a name that are tried; all are checked."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""All addresses of a name. Raises `OSError`."""

_ALWAYS: Final = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "connection": "close",
    "user-agent": "purser",
}


class NotSent(Exception):
    """No answer was had, though the receiver may have heard us. `reason` names neither URL, address nor header."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Names of headers are in lower case; `body` is cut where it got too long, and then not `whole`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    whole: bool = True


class Door:
    """Where calls go out. Safe to share between tasks of one event loop."""

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_s: float,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        lookup: Lookup | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`allow_private` also allows plain http; `timeout_s` bounds a whole call.

        `lookup` and `network` stand in for the system's names and sockets.
        """
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._names = Names()
        self._network = _Checked(
            lookup or self._names.lookup, network or httpcore.AnyIOBackend(), allow_private=allow_private
        )
        self._tls: ssl.SSLContext = httpx.create_ssl_context()
        self._places: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()
        self._closed = False

    def check(self, url: str) -> None:
        """Return when `url` could be called, as far as can be said before its name is resolved. Raises `Forbidden`."""
        guarding.target(url, allow_private=self._allow_private)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send `body` as JSON, or as what `headers` say. Raises `NotSent`."""
        if self._closed:
            raise NotSent("the service is stopping")
        try:
            target = guarding.target(url, allow_private=self._allow_private)
            place = self._places.setdefault((target.host, target.port), asyncio.Semaphore(CALLS_MAX))
            async with asyncio.timeout(self._timeout_s), place:
                return await self._exchange(target, body, headers)
        except Forbidden as error:
            raise NotSent(str(error)) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise NotSent("no whole answer came in time") from None
        except socket.gaierror:
            raise NotSent("the name could not be resolved") from None
        except httpcore.ConnectError:
            raise NotSent("no connection could be made, or no secure one") from None
        except (httpcore.NetworkError, OSError):
            raise NotSent("the connection broke before a whole answer came") from None
        except httpcore.ProtocolError:
            raise NotSent("what came back is not HTTP, or breaks off") from None

    async def aclose(self) -> None:
        """Take no more calls. Those under way end by themselves, in `timeout_s` at most; nothing else is open."""
        self._closed = True
        self._names.close()

    async def _exchange(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Reply:
        scheme, host = target.scheme.encode(), _bracketed(target.host).encode()
        connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(scheme, target.host.encode(), target.port), self._tls, network_backend=self._network
        )
        url = httpcore.URL(scheme=scheme, host=target.host.encode(), port=target.port, target=target.path)
        default = target.port == guarding.PORTS[target.scheme]
        sent: dict[str, str | bytes] = {
            **_ALWAYS,
            **{name.lower(): value for name, value in headers.items()},
            "host": host if default else b"%b:%d" % (host, target.port),
        }
        connect_s = min(CONNECT_TIMEOUT_S, self._timeout_s / 3)
        try:
            async with connection.stream(
                "POST", url, headers=list(sent.items()), content=body, extensions={"timeout": {"connect": connect_s}}
            ) as answer:
                return await self._read(answer)
        finally:
            await connection.aclose()

    async def _read(self, answer: httpcore.Response) -> Reply:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        body = bytearray()
        async for chunk in answer.aiter_stream():
            body += chunk
            if len(body) > self._answer_bytes_max:
                return Reply(answer.status, headers, bytes(body[: self._answer_bytes_max]), whole=False)
        return Reply(answer.status, headers, bytes(body))


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that may be called, and looks a name up once for it."""

    def __init__(self, lookup: Lookup, network: httpcore.AsyncNetworkBackend, *, allow_private: bool) -> None:
        self._lookup = lookup
        self._network = network
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address of `host` that takes one. Raises `Forbidden` if any may not be called."""
        addresses = [host] if guarding.literal(host) else await self._lookup(host)
        guarding.check(addresses, allow_private=self._allow_private)
        failed: Exception = httpcore.ConnectError()
        for address in addresses[:ADDRESSES_MAX]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
