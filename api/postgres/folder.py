"""The directory we keep for one server: lock, password, remembered port, log; the cluster itself is usually in it too.

A directory is ours when it holds our lock file, which is the first thing we ever write there. Every file belongs to
the directory's owner and is private to it, also when root wrote it, so that the owner can take over later.
"""

import fcntl
import json
import os
import secrets
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .unavailable import PostgresUnavailable

HOST = "127.0.0.1"
LOCK_FILE = "purser-postgres.lock"
LOG_BYTES_MAX = 10 * 1024 * 1024  # two files of at most about this size are kept
_LOG_TAIL_BYTES = 2_000
_SMALL_FILE_BYTES_MAX = 4_096
_PASSWORD_BYTES = 32
_FLOCK = "@hhqqi4x"  # `struct flock` of 64-bit Linux: type, whence, start, length, process
# Below Linux's range for outgoing connections (32768–60999), one of which could hold the port at the next start.
_PORTS = range(20_000, 32_000)
_PORT_TRIES_MAX = 100


@dataclass(frozen=True)
class Folder:
    """A directory of ours, locked by this process until `release`."""

    path: Path
    lock: int

    def release(self) -> None:
        """Let another service have the directory."""
        os.close(self.lock)

    def read(self, name: str) -> str | None:
        """The text of one of our small files; None when there is none."""
        return _read(self.path / name)

    def write(self, name: str, text: str) -> None:
        """Replace one of our small files, all or nothing, mode 0600."""
        unfinished = self.path / f"{name}.unfinished"
        unfinished.unlink(missing_ok=True)
        with os.fdopen(_create(unfinished, os.O_WRONLY | os.O_EXCL), "wb") as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(self.path / name)

    def password(self, *, cluster_exists: bool) -> str:
        """The superuser's password: made once, before the cluster, and kept beside it."""
        password = self.read("password")
        if password is None and cluster_exists:
            raise PostgresUnavailable(
                f"{self.path / 'password'} is gone, so the cluster beside it cannot be opened; "
                "put the file back, or start with an empty directory"
            )
        if password is None:
            password = secrets.token_urlsafe(_PASSWORD_BYTES)
            self.write("password", password)
        return password

    def remembered(self) -> dict[str, Any]:
        """What an earlier start noted down: `port`, and `outside` where the cluster had to live elsewhere."""
        return noted(self.path)

    def remember(self, **facts: object) -> None:
        """Note down facts for the next start, beside those already known."""
        known = self.remembered()
        if known | facts != known:
            self.write("state.json", json.dumps(known | facts))

    def choose_port(self) -> int:
        """The port of last time while it is free, else a free one."""
        port = self.remembered().get("port")
        if isinstance(port, int) and is_free(port):
            return port
        for _ in range(_PORT_TRIES_MAX):
            port = secrets.choice(_PORTS)
            if is_free(port):
                return port
        raise PostgresUnavailable(f"no free port on {HOST} between {_PORTS.start} and {_PORTS.stop}; free some")

    def open_log(self) -> int:
        """A descriptor that appends to the server's log."""
        return _create(self.path / "postgres.log", os.O_RDWR | os.O_APPEND)

    def shrink_log(self) -> None:
        """Move a log that grew too big aside. The server keeps its descriptor, so the text is moved, not the file."""
        with os.fdopen(self.open_log(), "rb+") as full:
            size = os.fstat(full.fileno()).st_size
            if size > LOG_BYTES_MAX:
                older = self.path / "postgres.log.1"
                older.unlink(missing_ok=True)
                with os.fdopen(_create(older, os.O_WRONLY | os.O_EXCL), "wb") as kept:
                    os.sendfile(kept.fileno(), full.fileno(), size - LOG_BYTES_MAX, LOG_BYTES_MAX)
                full.truncate(0)

    def log_size(self) -> int:
        """How many bytes the log holds now."""
        return (self.path / "postgres.log").lstat().st_size

    def log_tail(self, since: int) -> str:
        """The last lines the server wrote after position `since`."""
        with os.fdopen(self.open_log(), "rb") as log:
            log.seek(max(since, self.log_size() - _LOG_TAIL_BYTES))
            return log.read(_LOG_TAIL_BYTES).decode(errors="replace").strip()


def noted(path: Path) -> dict[str, Any]:
    """What was noted down in the directory `path`; see `Folder.remembered`. Needs no lock."""
    try:
        facts = json.loads(_read(path / "state.json") or "{}")
    except ValueError:
        raise PostgresUnavailable(f"{path / 'state.json'} is damaged; delete it (a new port is chosen)") from None
    return facts if isinstance(facts, dict) else {}


def holder(path: Path) -> int | None:
    """The process that holds the lock of the directory `path`, by the kernel's word; None when nobody does.

    Never for a directory that this process holds: closing the file here would give the lock up (fcntl(2)).
    """
    try:
        file = os.open(path / LOCK_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    finally:
        os.close(file)
    return None if kind == fcntl.F_UNLCK else pid


def claim(directory: Path) -> Folder:
    """Lock `directory` for this process, made where missing; refused where it is in use or not ours."""
    path = directory.resolve()
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise PostgresUnavailable(f"the name of {path!r} is not UTF-8; choose another directory") from None
    # Root's server runs as another uid, which has to pass through; every file in it is private all the same.
    path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    held = {entry.name for entry in path.iterdir()}
    if held and LOCK_FILE not in held:
        raise PostgresUnavailable(
            f"{path} is not empty and not a PostgreSQL directory of ours, so it is left alone; choose another directory"
        )
    return Folder(path=path, lock=_lock(path))


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _read(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(file, "rb") as opened:
            return opened.read(_SMALL_FILE_BYTES_MAX).decode()
    return None


def _lock(path: Path) -> int:
    """A record lock, not flock(2): a forked worker must not keep the directory when the service is killed."""
    descriptor = _create(path / LOCK_FILE, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        pid = os.pread(descriptor, _SMALL_FILE_BYTES_MAX, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise PostgresUnavailable(
            f"process {pid} already runs the PostgreSQL of {path}; stop it (kill {pid}), or choose another directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _create(path: Path, flags: int) -> int:
    """Open or make a private file that belongs to its directory's owner; never through a symbolic link."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    owner = path.parent.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor
