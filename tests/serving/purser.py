"""`purser` as a person runs it: a process of its own in some folder, and what it starts."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from api.cli import main
from tests.programs import started
from tests.service import ROOT, free_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 90.0
ORPHANS_GONE_WITHIN_S = 60.0
ANSWER_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 300.0  # the demo walks every rail
COMMAND = [sys.executable, "-P", "-m", "api.cli"]


def environment(**given: str) -> dict[str, str]:
    """Ours, without settings of a service that may run here."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    return inherited | {"PYTHONPATH": str(ROOT), "PURSER_SANDBOX_PORT": "0"} | given


def purser(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """One command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(**settings), capture_output=True, text=True,
        timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip


def typed(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The same in a fork of a process that has imported everything."""
    with tempfile.TemporaryDirectory() as kept:
        stdout, stderr = Path(kept) / "stdout", Path(kept) / "stderr"
        run = partial(_run, arguments)
        child = started(run, said=stdout, errors=stderr, environment=environment(**settings), folder=folder)
        child.join(COMMAND_TIMEOUT_S)
        if child.exitcode is None:
            child.kill()
            child.join()
        return subprocess.CompletedProcess(arguments, int(child.exitcode or 0), stdout.read_text(), stderr.read_text())


def _run(arguments: tuple[str, ...]) -> None:
    sys.argv = ["purser", *arguments]
    main()


@dataclass
class Serving:
    """A `purser serve`, the address it was given and where it writes."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]
    family: set[int] = field(default_factory=set)

    def said(self) -> str:
        return (self.folder / "serve.log").read_text(errors="replace")

    def await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                    self.family |= descendants(self.process.pid)
                    return
            time.sleep(0.1)
        raise AssertionError(f"it did not answer:\n{self.said()}")

    def end(self, number: signal.Signals) -> int:
        """Send the signal to the one process that a person started; its exit status."""
        self.family |= descendants(self.process.pid)
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)

    def left_over(self) -> set[int]:
        """Its processes that still run; they get a moment, as a kernel needs one to end them."""
        deadline = time.monotonic() + ORPHANS_GONE_WITHIN_S
        while (left := {pid for pid in self.family if is_alive(pid)}) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


@contextmanager
def serving(
    folder: Path, *options: str, port: int | None = None, command: list[str] | None = None, **settings: str
) -> Iterator[Serving]:
    """`purser serve` in `folder`, answering, for the length of the block; `command` starts it another way."""
    chosen = port or free_port()
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [*(command or COMMAND), "serve", "--port", str(chosen), *options, "--die-with-parent"],
            cwd=folder, env=environment(**settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    started = Serving(folder, f"http://127.0.0.1:{chosen}", process)
    try:
        started.await_answer()
        yield started
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def descendants(pid: int) -> set[int]:
    """Every process below `pid` (proc(5))."""
    children: dict[int, set[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parent = int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, set()).add(int(process.name))
    found, waiting = set[int](), [pid]
    while waiting:
        below = children.get(waiting.pop(), set())
        found |= below
        waiting += below
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except OSError:
        return False


def named(pids: set[int], word: str) -> set[int]:
    """Those whose command line has the word."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
                found.add(pid)
    return found


def sign_up(url: str) -> dict[str, Any]:
    body = {"agent_name": "tester", "runtime": "pytest", "return_token": True}
    answer: dict[str, Any] = httpx.post(f"{url}/v1/agent-signups", json=body, timeout=ANSWER_TIMEOUT_S).json()
    assert answer["ok"], answer
    return answer


def whoami(url: str, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{url}/v1/whoami", headers=headers, timeout=ANSWER_TIMEOUT_S)
