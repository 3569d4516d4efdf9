"""The sandbox as a child process: started, waited for until it answers, stopped with the service."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from api.reasons import CannotGoOn
from api.running import remembered
from api.running.children import end, environment, free_port, given_secretly, is_free, module, new_log
from api.running.remembered import Remembered

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 5.0
PORT_WAIT_S: Final = 3.0
"""How long the sandbox of a service that was killed may take to leave its port."""
_POLL_S: Final = 0.02


@contextmanager
def running(data_dir: Path, *, port: int, webhook_url: str) -> Iterator[str]:
    """The address of a sandbox that keeps its state in `data_dir`. `port` 0: that of last time, or a free one."""
    known = remembered.recall(data_dir)
    chosen = _choose(port, known)
    remembered.keep(data_dir, replace(known, sandbox_port=chosen))
    process = _started(data_dir, chosen, webhook_url, known)
    try:
        _await_answer(process, chosen, data_dir)
        yield address(chosen)
    finally:
        end(process, within_s=STOP_TIMEOUT_S)


def address(port: int) -> str:
    """Where a sandbox on this port answers."""
    return f"http://{HOST}:{port}"


def _choose(port: int, known: Remembered) -> int:
    """Links to its pages are stored, so the port of last time is the best one."""
    wanted = port or known.sandbox_port
    if wanted is None:
        return free_port(HOST)
    deadline = time.monotonic() + PORT_WAIT_S
    while not is_free(HOST, wanted):
        if time.monotonic() > deadline:
            if port:
                raise CannotGoOn(f"Port {port} of {HOST} is in use; set PURSER_SANDBOX_PORT to another, or to 0.")
            return free_port(HOST)
        time.sleep(_POLL_S)
    return wanted


def _started(data_dir: Path, port: int, webhook_url: str, known: Remembered) -> subprocess.Popen[bytes]:
    secret = given_secretly(known.webhook_secret)
    try:
        with new_log(data_dir / "sandbox.log") as log:
            return subprocess.Popen(  # noqa: S603 - our own module
                _command(data_dir, port, webhook_url, secret),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=0o077,
                pass_fds=[secret],
                start_new_session=True,  # Ctrl-C is for the service, which then stops it in order
            )
    finally:
        os.close(secret)


def _command(data_dir: Path, port: int, webhook_url: str, secret: int) -> list[str]:
    return module(
        "sandbox",
        *("--host", HOST, "--port", str(port), "--state", str(data_dir / "sandbox.sqlite3")),
        *("--webhook-url", webhook_url, "--webhook-secret-file", f"/dev/fd/{secret}", "--die-with-parent"),
    )


def _await_answer(process: subprocess.Popen[bytes], port: int, data_dir: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_free(HOST, port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotGoOn(f"The sandbox does not start; {data_dir / 'sandbox.log'} says why.")
        time.sleep(_POLL_S)
