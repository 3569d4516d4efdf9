"""PostgreSQL's own client programs, pg_dump and psql: found, and run without a secret on any command line.

They are taken from PATH or from the wheel, whichever is the oldest that is as new as the server: pg_dump refuses a
newer server, and what a newer pg_dump writes an older server need not understand
(https://www.postgresql.org/docs/current/app-pgdump.html, "Notes"). At the same version the one on PATH wins, because
the wheel's programs are built without TLS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from . import binaries
from .unavailable import PostgresUnavailable

RUN_TIMEOUT_S: Final = 6 * 3600
"""How long one dump or restore may take."""
LOCK_TIMEOUT: Final = "30s"
"""How long pg_dump waits for a table that somebody changes at the moment."""
_VERSION_TIMEOUT_S: Final = 20
_SAID_BYTES_MAX: Final = 2_000
_VERSION: Final = re.compile(r"\(PostgreSQL\) ((\d+)[.\w]*)")


@dataclass(frozen=True, kw_only=True)
class Login:
    """Whom a program logs in as, and where; what is none is left to libpq.

    `host` may be the folder of a socket; `ssl` is libpq's `sslmode`.
    """

    host: str | None
    port: int | None
    user: str | None
    database: str | None
    password: str | None = field(default=None, repr=False)
    ssl: str | None = None

    def environment(self) -> dict[str, str]:
        """The whole environment of such a program; nobody but its own user can read it (proc(5))."""
        found = {
            "PGHOST": self.host,
            "PGPORT": None if self.port is None else str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.ssl,
            "PGAPPNAME": "purser backup",
            "PGCONNECT_TIMEOUT": "10",
            "PGTZ": "UTC",
            "LC_ALL": "C",
            "PATH": os.defpath,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Tool:
    """A program, and its version as it says it."""

    path: Path
    version: str
    major: int


def find(name: str, *, server_major: int) -> Tool:
    """The program to use with a server of this major version. Raises `PostgresUnavailable`, naming what there is."""
    found = list(_found(name))
    fitting = [tool for tool in found if tool.major >= server_major]
    if not fitting:
        there = ", ".join(f"{tool.version} at {tool.path}" for tool in found) or "none"
        raise PostgresUnavailable(
            f"the server is PostgreSQL {server_major}, and there is no {name} that is as new (found: {there}); "
            f"install the client programs of PostgreSQL {server_major} and put them on the PATH"
        )
    return min(fitting, key=lambda tool: tool.major)  # the first of equals, which is the one on PATH


def _found(name: str) -> Iterator[Tool]:
    on_path = shutil.which(name)
    if on_path is not None and (tool := _asked(Path(on_path))) is not None:
        yield tool
    for version in binaries.VERSIONS:
        try:
            of_wheel = _asked(binaries.locate(version) / "bin" / name)
        except PostgresUnavailable:
            continue
        if of_wheel is not None:
            yield of_wheel


def _asked(path: Path) -> Tool | None:
    try:
        answer = subprocess.run(  # noqa: S603 - a program of the operator's PATH, or the wheel's
            [path, "--version"],
            env={"PATH": os.defpath, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = _VERSION.search(answer.stdout)
    return Tool(path, said[1], int(said[2])) if said else None


def dump(tool: Tool, login: Login, options: Sequence[str], into: IO[bytes]) -> None:
    """Write what pg_dump says into `into`; raises `PostgresUnavailable` with its complaint when it does not finish."""
    command = [str(tool.path), "--no-password", f"--lock-wait-timeout={LOCK_TIMEOUT}", *options]
    with _running(command, login, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise LookupError("its output was asked for")
        shutil.copyfileobj(process.stdout, into)


def feed(tool: Tool, login: Login, script: IO[bytes]) -> None:
    """Run a script with psql in one transaction: all of it, or nothing and `PostgresUnavailable` with the complaint."""
    options = ("--no-psqlrc", "--quiet", "--no-password", "--single-transaction", "--output=/dev/null", "--file=-")
    # VERBOSITY: a complaint about a row would quote it, and rows are not for a terminal or a log.
    command = [str(tool.path), *options, "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse"]
    with _running(command, login, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        if process.stdin is None:
            raise LookupError("its input was asked for")
        with suppress(BrokenPipeError):  # it has given up, and says why
            shutil.copyfileobj(script, process.stdin)
        with suppress(BrokenPipeError):
            process.stdin.close()


@contextmanager
def _running(command: list[str], login: Login, *, stdin: int, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - a program of the operator's PATH, or the wheel's
            command, env=login.environment(), cwd="/", stdin=stdin, stdout=stdout, stderr=said
        )
        too_long = threading.Timer(RUN_TIMEOUT_S, process.kill)
        too_long.start()
        try:
            yield process
            status = process.wait()
        finally:
            too_long.cancel()
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if status != 0:
            said.seek(max(0, said.tell() - _SAID_BYTES_MAX))
            complaint = said.read(_SAID_BYTES_MAX).decode(errors="replace").strip()
            raise PostgresUnavailable(f"{Path(command[0]).name} did not finish (status {status}):\n{complaint}")
