"""PostgreSQL, sandbox, server and worker of a soak. What is killed is started again, as an init system does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

import migrations
from api.postgres.connection import ask
from api.postgres.databases import create_database
from api.postgres.server import Server, Watch, start, stop
from api.wiring import async_url
from tests.service import (
    HOST,
    LOGIN,
    PASSWORD,
    ROOT,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    Database,
    Sandbox,
    free_port,
    sandbox_running,
)

T = TypeVar("T")

DATABASE: Final = "purser"
RESTART_AFTER_S: Final = 0.3
READY_WITHIN_S: Final = 120.0
DATABASE_BACK_WITHIN_S: Final = 60.0
SETTINGS: Final = {
    "signups_per_minute": 1_000_000,
    "requests_per_minute": 1_000_000,
    "refusals_per_minute": 1_000_000,
    "checkout_payment_methods": "card, us_bank_account",
    "checkout_promotion_codes": True,
    "checkout_tax": True,
    "stripe_timeout_s": 3,
    "events_every_s": 2,
    "look_again_after_s": 10,
    "log_format": "json",
}


@dataclass
class Kept:
    """A process that is started again whenever it ends, until it is told to stay away."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _over: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        self._begin()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of the {self.name}", daemon=True)
        self._keeper.start()

    def kill(self) -> None:
        """As `kill -9`; its children are killed by the kernel."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
        if self._process is not None:
            self._process.kill()  # nothing of it is needed any more, and an orderly stop is tested elsewhere
            self._process.wait()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _begin(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.starts += 1

    def _keep(self) -> None:
        # The kernel ends a process with the thread that started it, so this one lives as long as they shall.
        while not self._over.wait(RESTART_AFTER_S):
            if self._process is not None and self._process.poll() is not None:
                self._begin()


@dataclass
class Stage:
    """All that runs, and where."""

    folder: Path
    url: str
    server: Server
    database: Database
    sandbox: Sandbox
    processes: dict[str, Kept]
    killed: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A connection that was quiet for a while is not used again: the server may be closing it just then."""
        with httpx.Client(base_url=self.url, timeout=30, limits=httpx.Limits(keepalive_expiry=2)) as client:
            yield client

    def rows(self, query: str, *parameters: object) -> list[Any]:
        """What the owner of the database sees, once it answers."""
        return _patient(lambda: self.database.rows(query, *parameters))

    def kill(self, name: str) -> None:
        self.killed[name] += 1
        if name == "postgres":
            pid = int((self.server.data_dir / "postmaster.pid").read_text(encoding="utf-8").split()[0])
            os.kill(pid, signal.SIGKILL)
        else:
            self.processes[name].kill()


def _patient(act: Callable[[], T]) -> T:
    deadline = time.monotonic() + DATABASE_BACK_WITHIN_S
    while True:
        try:
            return act()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def standing(*, partial: bool) -> Iterator[Stage]:
    """Everything runs for the length of the block; nothing of it stays."""
    folder = Path(tempfile.mkdtemp(prefix="purser-soak-"))
    with _postgres(folder) as server:
        create_database(server, DATABASE)
        migrations.upgrade(async_url(server.url(database=DATABASE)))
        ask(server.url(), f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}' IN ROLE purser_run")
        run_url = server.url(database=DATABASE, user=LOGIN, password=PASSWORD)
        database = Database(run_url, server.url(database=DATABASE))
        port = free_port()
        with sandbox_running(webhook_url=f"http://{HOST}:{port}/webhooks/stripe") as sandbox:
            stage = Stage(folder, f"http://{HOST}:{port}", server, database, sandbox, {})
            with _service(stage, port, partial=partial):
                yield stage


@contextmanager
def _postgres(folder: Path) -> Iterator[Server]:
    """A server that keeps every commit and is started again when it dies."""
    server = start(folder / "postgres")
    watch = Watch(server)
    watch.start()
    try:
        yield server
    finally:
        watch.stop()
        stop(server)
        for place in {folder, server.data_dir.parent}:
            shutil.rmtree(place, ignore_errors=place != folder)


@contextmanager
def _service(stage: Stage, port: int, *, partial: bool) -> Iterator[None]:
    environment = _environment(stage, port, partial=partial)
    for name, arguments in (("server", ["serve", str(os.getpid()), str(port)]), ("worker", ["work", str(os.getpid())])):
        command = [sys.executable, "-m", "tests.soak.process", *arguments]
        stage.processes[name] = Kept(name, command, environment, stage.folder / f"{name}.log")
    try:
        for kept in stage.processes.values():
            kept.start()
        _await_ready(stage)
        yield
    finally:
        for kept in stage.processes.values():
            kept.end()


def _environment(stage: Stage, port: int, *, partial: bool) -> dict[str, str]:
    settings = SETTINGS | {
        "database_url": stage.database.run_url,
        "host": HOST,
        "port": port,
        "worker": False,
        "stripe_secret_key": STRIPE_KEY,
        "stripe_webhook_secrets": WEBHOOK_SECRET,
        "stripe_api_base": stage.sandbox.url,
        "stripe_crypto_partial": partial,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    return inherited | {f"PURSER_{name.upper()}": str(value) for name, value in settings.items()}


def _await_ready(stage: Stage) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{stage.url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the server does not answer:\n{stage.processes['server'].said()[-4000:]}")
