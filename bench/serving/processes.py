"""The two services as processes of their own that end with the run."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measuring.stage import BooksUrls
from bench.serving.naive import DATABASE

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60
STOP_TIMEOUT_S: Final = 30
_ROOT: Final = Path(__file__).parents[2]
_PAUSE_S: Final = 0.05
_PLENTY: Final = "10000000"


@contextmanager
def purser(urls: BooksUrls, **settings: str) -> Iterator[int]:
    """`purser serve` on the database of `urls`, with the sandbox, one process and more settings; its port."""
    port = _free_port()
    environment = {
        "PURSER_DATABASE_URL": urls.run,
        "PURSER_MIGRATE_URL": urls.owner,
        "PURSER_SANDBOX": "true",
        "PURSER_SIGNUPS_PER_MINUTE": _PLENTY,
        "PURSER_REQUESTS_PER_MINUTE": _PLENTY,
        "PURSER_LOG_FORMAT": "json",
        **settings,
    }
    command = [sys.executable, "-P", "-m", "api.cli", "serve", "--port", str(port), "--die-with-parent"]
    with _process(command, environment):
        yield port


@contextmanager
def naive(url: str) -> Iterator[int]:
    """The naive service on the database `url`; its port."""
    port = _free_port()
    with _process([sys.executable, "-m", "bench.serving.naive", str(port), str(os.getpid())], {DATABASE: url}):
        yield port


@contextmanager
def chain() -> Iterator[dict[str, str]]:
    """The sandbox's chain in a folder of its own; what it tells of itself. Raises `TimeoutError`."""
    with tempfile.TemporaryDirectory(prefix="purser-bench-chain-") as folder:
        told = Path(folder) / "chain.json"
        command = [sys.executable, "-m", "sandbox.chain", "--folder", folder, "--die-with-parent"]
        with _process(command, {}):
            deadline = time.monotonic() + START_TIMEOUT_S
            while not told.exists():
                if time.monotonic() > deadline:
                    raise TimeoutError("the chain does not start: python -m sandbox.chain --fetch may say why")
                time.sleep(_PAUSE_S)
            found: dict[str, str] = json.loads(told.read_text(encoding="utf-8"))
            yield found


async def answers(port: int) -> None:
    """Wait until somebody listens there. Raises `TimeoutError`."""
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(_PAUSE_S)
            else:
                writer.close()
                await writer.wait_closed()
                return


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """A process in a folder of its own, without settings of a service that may run here; its log goes with it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    with tempfile.TemporaryDirectory(prefix="purser-bench-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a command of our own
            command, cwd=folder, env={**inherited, "PYTHONPATH": str(_ROOT), **environment},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
