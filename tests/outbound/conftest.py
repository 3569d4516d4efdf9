"""What the tests of outbound share: receivers that misbehave, doors, and times."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest
import pytest_asyncio

from outbound.door import Door
from outbound.executor import Work
from tests.outbound.receivers import CERTIFICATE, Behaviour, Receiver, read_call, server_tls

PATIENCE_S = 20.0
"""For what has to come, on a machine that stalls: no test waits until this is over."""


class StartReceiver(Protocol):
    """Start a receiver that reads a call and behaves; `first` behaves before anything is read."""

    async def __call__(
        self, behave: Behaviour | None = None, *, first: Behaviour | None = None, tls: bool = False
    ) -> Receiver: ...


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[StartReceiver]:
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def start(behave: Behaviour | None = None, *, first: Behaviour | None = None, tls: bool = False) -> Receiver:
        here = Receiver(0)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            here.connections += 1
            try:
                if first is not None:
                    await first(reader, writer)
                else:
                    here.calls.append(await read_call(reader))
                    here.called.set()
                    assert behave is not None
                    await behave(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the caller left first, as some tests want it to
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls(here) if tls else None)
        servers.append(server)
        here.port = server.sockets[0].getsockname()[1]
        return here

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors that are made from now on trust the certificate of the tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


@pytest_asyncio.fixture
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Door]]:
    """Make doors, to private addresses unless told otherwise; they are closed at the end."""
    monkeypatch.setattr("outbound.door.CONNECT_TIMEOUT_S", PATIENCE_S)
    doors: list[Door] = []

    def make(*, allow_private: bool = True, timeout_s: float = 3 * PATIENCE_S, **others: Any) -> Door:
        doors.append(Door(allow_private=allow_private, timeout_s=timeout_s, **others))
        return doors[-1]

    yield make
    for each in doors:
        await each.aclose()


@pytest.fixture
def nobody_there() -> Iterator[str]:
    """The URL of a port of this machine that takes no connection, and that nobody else comes to listen at meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}/"


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@pytest.fixture
def work() -> Work:
    return Work(
        job_id="job_01jd9x8g000000000000000000",
        organization_id="org_01jd9x8g000000000000000000",
        agent_id="agt_01jd9x8g000000000000000000",
        operation="image.generate",
        model_id="fal.flux",
        request={"prompt": "a café at night", "model_parameters": {"strength": 0.5}},
        units=2,
        credits=10,
        deadline=datetime(2026, 11, 21, 8, 10, tzinfo=UTC),
    )
