"""Start, stop and watch over the PostgreSQL of one directory.

Theory of operation

One process supervises one server. It holds a lock on the directory (`folder.py`), so whatever else still runs there
has lost its service and is stopped and replaced: a server is never adopted, because only a child of ours can be reaped
and dies with us. "It runs" is never read from a file: it is a connection with our password to a server that names our
data directory and our cluster's system identifier, while our child is alive.

    service killed       the kernel sends the server SIGINT (`launch.py`); the next start waits for its end
    server killed        `Watch` starts it again, same port, same directory; PostgreSQL recovers from its log
    both killed          the next start finds a stale `postmaster.pid`, proves that it lies, removes it
    killed in initdb     the cluster appears by a rename; the unfinished one is removed at the next start
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg
import structlog

from . import binaries, cluster, folder, identity
from .connection import ask
from .process import Postmaster, listening, parent_of, stop_leftover
from .unavailable import PostgresUnavailable

START_TIMEOUT_S = 120.0  # recovery after a crash reads at most max_wal_size of log
SPAWN_ATTEMPTS_MAX = 4  # a port may be taken between choice and use; backends of a killed server need a moment to leave
_SPAWN_PAUSE_S = 0.25
_READY_POLL_S = 0.02
WATCH_INTERVAL_S = 0.1
WATCH_BACKOFF_S, WATCH_BACKOFF_MAX_S = 0.1, 10.0
WATCH_STABLE_S = 30.0  # a server that lived this long was healthy: the next restart begins without delay again

_SETTINGS = {
    "listen_addresses": folder.HOST,
    "unix_socket_directories": "",  # their paths have a limit of 107 bytes, and loopback does
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    # Statements and row values may hold secrets; the service logs what failed in its own words.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# Tests run many services beside each other, each with a pool of connections.
_FOR_TESTS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "500"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, where its cluster is, and the password of its superuser `postgres`."""

    host: str
    port: int
    data_dir: Path
    password: str = field(repr=False)

    def url(self, *, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """`postgresql://…`, for the superuser unless another user and password are given."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@{self.host}:{self.port}/{quote(database, safe='')}"


@dataclass
class _Supervised:
    """What this process knows of a server that it runs."""

    folder: folder.Folder
    place: identity.Place
    durable: bool
    pid: int = field(default_factory=os.getpid)  # a forked worker inherits this table, but not the lock
    guard: threading.Lock = field(default_factory=threading.Lock)  # one restart or stop at a time
    postmaster: Postmaster | None = None


_supervised: dict[Path, _Supervised] = {}  # by data directory
_starting = threading.Lock()


def start(directory: Path, *, version: int = 18, durable: bool = True, port: int | None = None) -> Server:
    """Run the PostgreSQL of `directory`, made on first use; blocks until it answers as ours.

    Listens on 127.0.0.1 only, on `port`, or else on the port of last time while it is free. `durable=False` gives up
    the promise to survive a power cut, for tests. Raises PostgresUnavailable. Linux only.
    """
    with _starting:
        try:
            install = binaries.locate(version)
            _refuse_twice(directory)
            claimed = folder.claim(directory)
        except OSError as error:
            raise _unusable(directory, error) from error
        try:
            return _open(claimed, install, version=version, durable=durable, port=port)
        except OSError as error:
            claimed.release()
            raise _unusable(directory, error) from error
        except BaseException:
            claimed.release()
            raise


def stop(server: Server) -> None:
    """Fast shutdown; returns when the server is gone and the directory free. Nothing happens at a second call."""
    supervised = _supervised.get(server.data_dir)
    if supervised is None or supervised.pid != os.getpid():
        return
    with supervised.guard:
        if _supervised.pop(server.data_dir, None) is None:
            return
        try:
            if supervised.postmaster:
                supervised.postmaster.stop()
        finally:
            supervised.folder.release()


def running_port(directory: Path) -> int | None:
    """The port of the server of `directory` while a process, this or another, runs it; nothing is sent to anybody.

    A remembered port proves nothing: once the service has ended, anybody may listen there and ask for our password.
    What counts is a live process that holds the directory's lock and whose child is the postmaster of our cluster.
    Raises `PostgresUnavailable` and `OSError` when the directory cannot be read.
    """
    path = directory.resolve()
    here = any(one.folder.path == path and one.pid == os.getpid() for one in _supervised.values())
    holder = os.getpid() if here else folder.holder(path)
    outside = folder.noted(path).get("outside")
    found = listening((Path(outside) if isinstance(outside, str) else path) / "cluster")
    if holder is None or found is None or parent_of(found[0]) != holder:
        return None
    return found[1]


@contextmanager
def running(directory: Path, *, version: int = 18, durable: bool = True) -> Iterator[Server]:
    """A server for the length of a `with` block; see `start`."""
    server = start(directory, version=version, durable=durable)
    try:
        yield server
    finally:
        stop(server)


class Watch:
    """A thread that brings a server back on the same port and directory when it dies, and keeps its log bounded.

    Tries again for as long as the service runs, with a pause that doubles up to `WATCH_BACKOFF_MAX_S`, and writes one
    line for each restart and each failure.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postgres-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; the server must have been started by this process."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns when no restart is under way any more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s, up_since = 0.0, time.monotonic()
        while not self._ended.wait(WATCH_INTERVAL_S):
            supervised = _supervised.get(self._server.data_dir)
            if supervised is None or supervised.postmaster is None:
                return
            if not supervised.postmaster.exited.is_set():
                with suppress(OSError):  # a log that stays long is no reason to stop watching
                    supervised.folder.shrink_log()
                continue
            if time.monotonic() - up_since > WATCH_STABLE_S:
                pause_s = 0.0
            if self._ended.wait(pause_s):
                return
            pause_s = min(max(2 * pause_s, WATCH_BACKOFF_S), WATCH_BACKOFF_MAX_S)
            self._restart(supervised, pause_s)
            up_since = time.monotonic()

    def _restart(self, supervised: _Supervised, next_pause_s: float) -> None:
        began = time.monotonic()
        with supervised.guard:
            if self._server.data_dir not in _supervised:  # stopped meanwhile
                return
            try:
                stop_leftover(self._server.data_dir)
                _spawn(supervised, self._server)
            except Exception as error:  # noqa: BLE001  # whatever it is, the next try is the answer
                log.error(  # noqa: TRY400  # the reason is in the line
                    "postgres_restart_failed", port=self._server.port, reason=str(error), next_try_s=next_pause_s
                )
                return
        log.warning("postgres_restarted", port=self._server.port, took_s=round(time.monotonic() - began, 3))


def _refuse_twice(directory: Path) -> None:
    """Before the lock file is opened: a process loses its record locks when it closes any descriptor of the file."""
    path = directory.resolve()
    if any(one.folder.path == path and one.pid == os.getpid() for one in _supervised.values()):
        raise PostgresUnavailable(
            f"process {os.getpid()}, this one, already runs the PostgreSQL of {path}; stop that server first"
        )


def _unusable(directory: Path, error: OSError) -> PostgresUnavailable:
    return PostgresUnavailable(
        f"the directory {directory} cannot be used for PostgreSQL ({error}); "
        "run as its owner, make room on the disk, or choose another directory"
    )


def _open(claimed: folder.Folder, install: Path, *, version: int, durable: bool, port: int | None) -> Server:
    place = identity.settle(claimed, install)
    password = claimed.password(cluster_exists=cluster.exists(place))
    if cluster.exists(place):
        cluster.check(place, version)
        stop_leftover(place.data_dir)
    else:
        cluster.create(place, password=password, durable=durable)
    supervised = _Supervised(folder=claimed, place=place, durable=durable)
    server = _first_answer(supervised, password, port)
    _supervised[server.data_dir] = supervised
    return server


def _first_answer(supervised: _Supervised, password: str, port: int | None) -> Server:
    """Spawn until it answers; a port that we chose and somebody took meanwhile is replaced by another."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for attempt in range(1, SPAWN_ATTEMPTS_MAX + 1):
        server = Server(
            host=folder.HOST,
            port=supervised.folder.choose_port() if port is None else port,
            data_dir=supervised.place.data_dir,
            password=password,
        )
        supervised.folder.remember(port=server.port)
        try:
            _spawn(supervised, server)
        except PostgresUnavailable:
            if attempt == SPAWN_ATTEMPTS_MAX or time.monotonic() > deadline:
                raise
            time.sleep(_SPAWN_PAUSE_S)
        else:
            return server
    raise AssertionError("unreachable: the last attempt raises")


def _spawn(supervised: _Supervised, server: Server) -> None:
    """One try: spawn the server and wait until it answers as ours, or leave nothing running."""
    if not folder.is_free(server.port):
        raise PostgresUnavailable(f"port {server.port} of {server.host} is taken by another program; free it")
    supervised.folder.shrink_log()
    log_file = supervised.folder.open_log()
    try:
        since = supervised.folder.log_size()
        postmaster = Postmaster(_command(supervised, server), log_file)
    finally:
        os.close(log_file)
    try:
        _await_answer(supervised, server, postmaster, since)
    except BaseException:
        postmaster.stop()
        raise
    supervised.postmaster = postmaster


def _command(supervised: _Supervised, server: Server) -> list[str]:
    settings = _SETTINGS | {"port": str(server.port)} | ({} if supervised.durable else _FOR_TESTS)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    postgres = supervised.place.install / "bin" / "postgres"
    return supervised.place.identity.command(postgres, "-D", server.data_dir, *options)


def _await_answer(supervised: _Supervised, server: Server, postmaster: Postmaster, since: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if postmaster.exited.wait(_READY_POLL_S):
            tail = supervised.folder.log_tail(since)
            raise PostgresUnavailable(
                f"PostgreSQL did not start in {server.data_dir}; mend what its log says and start again:\n{tail}"
            )
        # Before our password is sent: the port may have been taken by somebody who asks for it.
        if listening(server.data_dir) == (postmaster.pid, server.port) and _answers_as_ours(server):
            return
    tail = supervised.folder.log_tail(since)
    raise PostgresUnavailable(
        f"PostgreSQL did not answer on port {server.port} within {START_TIMEOUT_S:.0f} s; its log says:\n{tail}"
    )


def _answers_as_ours(server: Server) -> bool:
    """True once our cluster answers, False while nobody does; raises when somebody else does."""
    question = "SELECT system_identifier, current_setting('data_directory') FROM pg_control_system()"
    try:
        [(identifier, data_dir)] = ask(server.url(), question)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return False
    except asyncpg.PostgresError as error:
        raise PostgresUnavailable(
            f"the server on port {server.port} refuses the superuser ({error}); "
            f"the password kept for {server.data_dir} or its pg_hba.conf was changed: put it back"
        ) from error
    if (identifier, Path(data_dir)) != (cluster.system_identifier(server.data_dir), server.data_dir):
        raise PostgresUnavailable(f"port {server.port} is answered by the cluster in {data_dir}, not by ours; free it")
    return True
