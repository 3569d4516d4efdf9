"""PostgreSQL's own pg_dump: found, and run without a secret on any command line.

It is taken from PATH or from the wheel, whichever is the oldest that is as new as the server: pg_dump refuses a newer
server, and what a newer pg_dump writes an older server need not understand
(https://www.postgresql.org/docs/current/app-pgdump.html, "Notes"). At the same version the one on PATH wins. The
wheel's is built without TLS, and libpq without TLS goes on in plain text and says nothing (`sslmode=prefer`), so where
the way to the server can be overheard a program has to show first that it speaks TLS.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

from . import binaries
from .unavailable import PostgresUnavailable

RUN_TIMEOUT_S: Final = 6 * 3600
"""How long one dump may take, and one statement of a restore."""
LOCK_TIMEOUT: Final = "30s"
"""How long pg_dump waits for a table that somebody changes at the moment."""
_VERSION_TIMEOUT_S: Final = 20
_SAID_BYTES_MAX: Final = 2_000
_NOWHERE: Final = "/nowhere"
"""A folder of a socket that is not there."""
_TLS_DEMANDED: Final = frozenset({"require", "verify-ca", "verify-full"})
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

    @property
    def wants_tls(self) -> bool:
        """Whether a program must be able to speak TLS: it is asked for, or the server may be on another machine."""
        return self.ssl in _TLS_DEMANDED or (self.ssl != "disable" and not _on_this_machine(self.host))

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


def _on_this_machine(host: str | None) -> bool:
    if host is None or host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find(login: Login, *, server_major: int) -> Tool:
    """The pg_dump for a server of this major version. Raises `PostgresUnavailable`, naming what there is."""
    found = list(_found())
    new_enough = [tool for tool in found if tool.major >= server_major]
    fitting = [tool for tool in new_enough if not login.wants_tls or _speaks_tls(tool.path)]
    if not fitting:
        there = ", ".join(f"{tool.version} at {tool.path}" for tool in found) or "none"
        lacking = "as new and speaks TLS, without which a backup would travel in plain text" if new_enough else "as new"
        raise PostgresUnavailable(
            f"the server is PostgreSQL {server_major}, and there is no pg_dump that is {lacking} (found: {there}); "
            f"install the client programs of PostgreSQL {server_major} or newer (Debian: postgresql-client-"
            f"{server_major}) and put them on the PATH"
        )
    return min(fitting, key=lambda tool: tool.major)  # the first of equals, which is the one on PATH


def _found() -> Iterator[Tool]:
    on_path = shutil.which("pg_dump")
    if on_path is not None and (tool := _asked(Path(on_path))) is not None:
        yield tool
    for version in binaries.VERSIONS:
        try:
            of_wheel = _asked(binaries.locate(version) / "bin" / "pg_dump")
        except PostgresUnavailable:
            continue
        if of_wheel is not None:
            yield of_wheel


def _asked(path: Path) -> Tool | None:
    said = _VERSION.search(_answer(path, "--version"))
    return Tool(path, said[1], int(said[2])) if said else None


def _speaks_tls(path: Path) -> bool:
    """Whether it comes as far as looking for the socket: without TLS, libpq refuses `sslmode=require` before that."""
    return _NOWHERE in _answer(path, "--no-password", f"--dbname=host={_NOWHERE} sslmode=require")


def _answer(path: Path, *options: str) -> str:
    """All that it says; nothing when it cannot run."""
    try:
        return subprocess.run(  # noqa: S603 - a program of the operator's PATH, or the wheel's
            [path, *options],
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def dump(tool: Tool, login: Login, options: Sequence[str], into: IO[bytes]) -> None:
    """Write what pg_dump says into `into`; raises `PostgresUnavailable` with its complaint when it does not finish."""
    command = [str(tool.path), "--no-password", f"--lock-wait-timeout={LOCK_TIMEOUT}", *options]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(  # noqa: S603 - a program of the operator's PATH, or the wheel's
            command,
            env=login.environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        too_long = threading.Timer(RUN_TIMEOUT_S, process.kill)
        too_long.start()
        try:
            with cast("IO[bytes]", process.stdout) as answer:
                shutil.copyfileobj(answer, into)
            status = process.wait()
        finally:
            too_long.cancel()
            process.kill()
            process.wait()
        if status != 0:
            said.seek(max(0, said.tell() - _SAID_BYTES_MAX))
            complaint = said.read(_SAID_BYTES_MAX).decode(errors="replace").strip()
            raise PostgresUnavailable(f"{tool.path.name} did not finish (status {status}):\n{complaint}")
