"""One request to a node, and its raw answer.

Loaded when a node is asked for the first time, because web3 takes long to load and most processes never ask one.
web3 speaks JSON-RPC here, over a transport of ours instead of its `AsyncHTTPProvider`: that one writes the URL into
its log and its `str`, throws away the body of an HTTP 4xx (where several providers say which range of blocks they would
have answered), reads a body of any size, and opens a connection for every call. The URL of a node is a secret, since
most carry their key in the path or in the host: no error, log line or `repr` of this module contains it, nor a word of
what came back.
Sources: https://www.jsonrpc.org/specification, web3 8.0.0 providers/rpc/async_rpc.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

import aiohttp
from pydantic_core import from_json

from rails.evm import recursion
from rails.evm.failures import NoAnswer, NodeError

with recursion.limit_kept():
    from web3 import AsyncWeb3
    from web3.exceptions import Web3Exception, Web3RPCError
    from web3.providers.async_base import AsyncJSONBaseProvider
    from web3.types import RPCEndpoint, RPCResponse

CONNECT_TIMEOUT_S: Final = 3.0
CONNECTIONS_MAX: Final = 10
KEEP_ALIVE_S: Final = 10.0
"""Shorter than any provider's: a connection that the other side is closing would lose the call sent on it."""
BODY_BYTES_MAX: Final = 8 * 1024 * 1024

_NOTHING_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_NO_ANSWER: Final = (aiohttp.ClientError, Web3Exception, OSError, ValueError, TypeError, AttributeError)
"""What a lost answer, or one that is no JSON-RPC, turns into on its way through aiohttp and web3."""


class Rpc:
    """A node behind a URL. Safe to share between tasks of one event loop."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """`url` may hold a key; `timeout_s` bounds a whole call."""
        self._transport = _Transport(url, timeout_s)
        self._web3: AsyncWeb3[_Transport] = AsyncWeb3(self._transport, middleware=[])

    def __repr__(self) -> str:
        return "Rpc()"

    async def ask(self, method: str, parameters: Sequence[Any]) -> Any:
        """The `result` of one call, as the JSON said it. Raises `NodeError` or `NoAnswer`."""
        failure: Exception
        try:
            return await self._web3.manager.coro_request(RPCEndpoint(method), list(parameters))
        except NoAnswer as error:
            failure = error
        except Web3RPCError as error:
            failure = _node_error(error)
        except _NOTHING_SENT as error:
            failure = NoAnswer(f"cannot be reached ({type(error).__name__})", sent=False)
        except TimeoutError:
            failure = NoAnswer("did not answer in time", sent=True)
        except _NO_ANSWER as error:
            failure = NoAnswer(f"did not answer in JSON-RPC ({type(error).__name__})", sent=True)
        # Raised out here, so that no `__context__` carries the library's error, and with it the URL, to a log.
        raise failure

    async def aclose(self) -> None:
        """Close the connections. The next call would open new ones."""
        await self._transport.disconnect()


class _Transport(AsyncJSONBaseProvider):
    """JSON-RPC over HTTP for web3. The session belongs to the event loop of the first call."""

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        self._url = url
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s / 2)
        # Of `connect` waiting for one of our own connections would be a part: a busy node is not one that is not there.
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_s)
        self._session: aiohttp.ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Send one call. web3 checks the envelope of what this gives."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
            )
        body = self.encode_rpc_request(method, params)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            answer = _object_in(await _bounded(response))
        if answer is None or (response.status != 200 and "error" not in answer):
            _no_answer(f"answered HTTP {response.status} without JSON-RPC")
        return cast("RPCResponse", answer)

    async def disconnect(self) -> None:
        """Close the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            _no_answer("answered more than is read")
    return bytes(body)


def _object_in(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is, by a parser that bounds how deep it goes whatever Python's limit is."""
    try:
        answer: object = from_json(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _no_answer(what: str) -> NoReturn:
    raise NoAnswer(what, sent=True) from None


def _node_error(error: Web3RPCError) -> NodeError:
    said = cast("dict[str, Any]", (error.rpc_response or {}).get("error", {}))
    return NodeError(code=int(said.get("code", 0)), said=str(said.get("message", "")), data=said.get("data"))
