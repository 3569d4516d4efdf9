"""The demo's service: `purser serve` in a fresh folder, on free ports; stopped and removed at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from api.demo.telling import Failed
from api.running.children import end, environment, free_port, module, new_log

FOLDER: Final = Path(".purser-demo")
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
COMMAND_TIMEOUT_S: Final = 60.0
LOG_LINES: Final = 40
_POLL_S: Final = 0.1


@dataclass(frozen=True)
class Service:
    """A running `purser serve` and what it keeps."""

    url: str
    sandbox_url: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Until it is ready. Raises `Failed`."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the service ended with status {self.process.returncode}")
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            time.sleep(_POLL_S)
        raise Failed(f"the service was not ready within {START_TIMEOUT_S:.0f} s")

    def run(self, *command: str) -> str:
        """What a `purser` command says of its data. Raises `Failed` when it does not end well."""
        arguments = module("api.cli", *command, "--data-dir", str(self.data_dir))
        ended = subprocess.run(  # noqa: S603 - our own command
            arguments, env=environment(), timeout=COMMAND_TIMEOUT_S, check=False, capture_output=True, text=True
        )
        if ended.returncode != 0:
            raise Failed(f"`purser {command[0]}` ended with status {ended.returncode}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def log_tail(self) -> list[str]:
        """The last lines it logged."""
        return (self.data_dir / "serve.log").read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]


@contextmanager
def fresh_service(*, with_chain: bool) -> Iterator[Service]:
    """A service that starts from nothing, in a new folder below `FOLDER`; with a local chain where there can be one."""
    with fresh_folder() as data_dir:
        service = _start(data_dir, with_chain=with_chain)
        try:
            yield service
        finally:
            end(service.process, within_s=STOP_TIMEOUT_S)


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """A new folder below `FOLDER` for a service's data; it and its cluster are removed with the block."""
    FOLDER.mkdir(exist_ok=True)
    data_dir = Path(tempfile.mkdtemp(dir=FOLDER)).resolve()
    data_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)  # as root, the database's user passes through
    try:
        yield data_dir
    finally:
        _remove(data_dir)


def _start(data_dir: Path, *, with_chain: bool) -> Service:
    port, sandbox_port = free_port(), free_port()
    command = module("api.cli", "serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(data_dir))
    with new_log(data_dir / "serve.log") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, *(["--local-chain"] if with_chain else []), "--die-with-parent"],
            # The chain is fetched already, and found where the person's own cache is.
            env=environment(PURSER_SANDBOX_PORT=str(sandbox_port), HOME=str(Path.home())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Service(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}", data_dir, process)


def _remove(data_dir: Path) -> None:
    """The folder, and the cluster where it had to live outside (see `api/postgres/identity.py`)."""
    with suppress(OSError, ValueError):
        outside = json.loads((data_dir / "postgres" / "state.json").read_text(encoding="utf-8")).get("outside")
        if outside is not None:
            shutil.rmtree(outside)
    shutil.rmtree(data_dir)
    with suppress(OSError):  # another demo may run beside this one
        FOLDER.rmdir()
