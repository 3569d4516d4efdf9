"""Where and on what a row was measured: without this a number says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from api.postgres.connection import ask
from api.postgres.server import Server

_SETTINGS: Final = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
)
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_GIT_TIMEOUT_S: Final = 10


def machine() -> dict[str, Any]:
    """Processor, cores that we may use, memory, kernel."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions(server: Server) -> dict[str, str]:
    """Of everything that has a share in the numbers. The commit has a `+` when files differ from it."""
    [(postgres,)] = ask(server.url(), "SHOW server_version")
    return {
        "python": platform.python_version(),
        "postgresql": postgres,
        "asyncpg": version("asyncpg"),
        "uvloop": version("uvloop"),
        "commit": _commit(),
    }


def settings(server: Server) -> dict[str, str]:
    """PostgreSQL's settings that decide about speed. Raises `RuntimeError` when a power cut could lose a commit."""
    found = {name: str(ask(server.url(), "SELECT current_setting($1)", name)[0][0]) for name in _SETTINGS}
    if {name: found[name] for name in _DURABLE} != _DURABLE:
        raise RuntimeError(f"PostgreSQL gives up durability: {found}")
    return found


def load_average() -> list[float]:
    """Of the last 1, 5 and 15 minutes."""
    return [round(one, 2) for one in os.getloadavg()]


def today() -> str:
    """The moment, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far (proc(5), VmHWM)."""
    kilobytes = (_field("/proc/self/status", "VmHWM") or "0 kB").split()[0]
    return int(kilobytes) * 1024


def reset_peak_memory() -> None:
    """Let `peak_memory_bytes` begin anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _field(file: str, name: str) -> str | None:
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - arguments of our own
            ["git", *arguments],  # noqa: S607 - whichever git the person uses
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True,
        ).stdout.strip()  # fmt: skip

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
