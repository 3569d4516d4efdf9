"""One postmaster: spawned and waited for, asked to stop, or found left over from an earlier service."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from .identity import ENVIRONMENT
from .unavailable import PostgresUnavailable

SPAWN_TIMEOUT_S = 20.0
# What to send and how long to wait for the end, politest first: fast, immediate, kill (postgres(1)).
FAST_STOP_TIMEOUT_S, IMMEDIATE_STOP_TIMEOUT_S, KILL_TIMEOUT_S = 30.0, 10.0, 5.0
_ENDINGS = (
    (signal.SIGINT, FAST_STOP_TIMEOUT_S),
    (signal.SIGQUIT, IMMEDIATE_STOP_TIMEOUT_S),
    (signal.SIGKILL, KILL_TIMEOUT_S),
)
_POLL_S = 0.02


class Postmaster:
    """A server process of ours, with a thread that spawns it and waits for it.

    The death signal of `launch.py` comes when the *thread* that spawned the process ends, not when the service does;
    so that thread lives exactly as long as the process, and reaps it at once.
    """

    def __init__(self, command: list[str], log: int) -> None:
        self.exited = threading.Event()
        self._spawned = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._live, args=(command, log), name="postgres", daemon=True).start()
        if not self._spawned.wait(SPAWN_TIMEOUT_S):
            raise PostgresUnavailable(f"PostgreSQL was not spawned in {SPAWN_TIMEOUT_S:.0f} s; the machine is too busy")
        if self._process is None:
            raise PostgresUnavailable("PostgreSQL cannot be spawned; the process or memory limit is reached: raise it")

    def _live(self, command: list[str], log: int) -> None:
        try:
            # A session of its own: Ctrl-C in the terminal is for the service, which then stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603  # our launcher and the wheel's binary
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._spawned.set()
            self._process.wait()
        finally:
            self.exited.set()
            self._spawned.set()

    @property
    def pid(self) -> int | None:
        """The process id; None when it could not be spawned at all."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """Fast shutdown, then harder; returns when the process is gone."""
        for ending, timeout_s in _ENDINGS:
            if self._process and not self.exited.is_set():
                self._process.send_signal(ending)
            if self.exited.wait(timeout_s):
                return
        raise PostgresUnavailable(f"PostgreSQL (process {self.pid}) does not end, even when killed; look at the disk")


def stop_leftover(data_dir: Path) -> None:
    """Stop the postmaster that still runs on this cluster, if one does, and remove a `postmaster.pid` that lies.

    Only call with the folder locked: then a server that runs here has lost its service. The pid in the file proves
    nothing (recycled, foreign, a zombie); what counts is whether that process is a postmaster of this very directory.
    PostgreSQL's own interlock (a shared memory segment keyed by the directory) stays as the second line.
    """
    pidfile = data_dir / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(pidfile.read_text().splitlines()[0])
        if is_postmaster_of(pid, data_dir):
            _end(pid, data_dir)
    pidfile.unlink(missing_ok=True)


def is_postmaster_of(pid: int, data_dir: Path) -> bool:
    """Whether this process is alive and is the postmaster (not a backend) of this cluster (proc(5))."""
    process = Path("/proc") / str(pid)
    try:
        state = process.joinpath("stat").read_bytes().rpartition(b")")[2].split()[0]
        arguments = process.joinpath("cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if state in b"ZX" or Path(os.fsdecode(arguments[0])).name != "postgres" or b"-D" not in arguments[:-1]:
        return False
    if arguments[arguments.index(b"-D") + 1] == os.fsencode(data_dir):
        return True
    try:  # the directory may have been renamed since; the kernel follows
        return process.joinpath("cwd").readlink() == data_dir
    except OSError:
        return False


def listening(data_dir: Path) -> tuple[int, int] | None:
    """Process id and port of the live postmaster of this cluster, once it listens; None before and after.

    Nothing is sent to anybody. The postmaster notes `ready` down only when the port is its own (utils/pidfile.h: the
    pid is line 1, the port line 4, the status line 8).
    """
    with suppress(OSError, ValueError, IndexError):
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        pid, port, status = int(lines[0]), int(lines[3]), lines[7].strip()
        if status == "ready" and is_postmaster_of(pid, data_dir):
            return pid, port
    return None


def parent_of(pid: int) -> int | None:
    """The process that started this one; None when there is no such process (proc(5))."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def _end(pid: int, data_dir: Path) -> None:
    for ending, timeout_s in _ENDINGS:
        with suppress(ProcessLookupError):
            os.kill(pid, ending)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not is_postmaster_of(pid, data_dir):
                return
            time.sleep(_POLL_S)
    raise PostgresUnavailable(
        f"an earlier PostgreSQL (process {pid}) still runs on {data_dir} and does not end; end it, then start again"
    )
