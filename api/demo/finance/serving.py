"""The service of this demo: the real application and its worker, in a thread of this process, on a clock of its own.

`purser serve` starts processes, and those read the process clock. So here the same application is served by the same
server, but embedded; everything else (database, pretend Stripe, chain) is started as for `purser serve`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from api import logs
from api.demo.telling import Failed
from api.http.app import app_for
from api.running.children import is_free, new_log
from api.settings import Settings
from api.wiring import House, build
from billing.refusals import Refused
from billing.requests import Clock

T = TypeVar("T")

LOG: Final = "service.log"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0
ACT_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02


class OwnSettings(Settings):
    """Settings of the demo alone: whatever stands in a person's environment is of another service."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings calls with these names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given."""
        return (init_settings,)


class Serving:
    """A service that runs in a thread."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._house: House | None = None
        self._server: Any = None
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Start it, until it answers. Raises `Failed`."""
        self._thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while is_free(self._settings.host, self._settings.port):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise Failed(f"the service does not start: {self._broken}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop it in order: requests, then the worker, then its connections."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(STOP_TIMEOUT_S)

    def do(self, act: Callable[[House], Awaitable[T]]) -> T:
        """Do in the service's house what a `purser` command does in one of its own.

        Raises `Failed` for a refusal and when it takes too long.
        """

        async def done() -> T:
            if self._house is None:
                raise Failed("the service does not run")
            return await act(self._house)

        if self._loop is None:
            raise Failed("the service does not run")
        try:
            return asyncio.run_coroutine_threadsafe(done(), self._loop).result(ACT_TIMEOUT_S)
        except Refused as refused:
            raise Failed(f"refused: {refused.message}") from refused
        except TimeoutError as late:
            raise Failed(f"not done within {ACT_TIMEOUT_S:.0f} s") from late

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._broken = error
            raise

    async def _serve(self) -> None:
        self._house = build(self._settings, clock=self._clock)
        self._server = Server(
            app_for(self._house),
            address=self._settings.host,
            port=self._settings.port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        self._loop = asyncio.get_running_loop()
        await self._server.serve()


@contextmanager
def serving(settings: Settings, clock: Clock, folder: Path) -> Iterator[Serving]:
    """The service for the length of the block; what it logs stands in `LOG` of the folder."""
    with new_log(folder / LOG) as log:
        logs.configure(settings)
        structlog.configure(logger_factory=structlog.BytesLoggerFactory(file=log))
        service = Serving(settings, clock)
        try:
            service.start()
            yield service
        finally:
            service.stop()
