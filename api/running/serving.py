"""`purser serve`: everything the service needs, started in order, served until a signal, stopped in order.

Theory of operation
-------------------
The process that a person starts is a supervisor: it runs PostgreSQL and the sandbox where they are embedded, and
Granian, which spawns the server processes. Those build the application from their environment, so what was found or
started here is put there. Everything that is started dies with this process, however it ends:

    SIGTERM, SIGINT, SIGHUP   the server processes finish their requests, then the sandbox, then PostgreSQL stop
    kill -9                   the kernel ends all children (PR_SET_PDEATHSIG); the next start recovers
    a server process dies     Granian spawns another
    PostgreSQL dies           its watch starts it again on the same port
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer
from litestar import Litestar
from pydantic import SecretStr

from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.running import checks, embedding, migrating
from api.running.children import die_with_parent, is_free
from api.settings import Settings

REQUESTS_END_WITHIN_S: Final = 20
"""How long a server process may finish its requests after a signal before it is killed."""
PORT_WAIT_S: Final = 2.0
"""How long the server processes of a service that was just killed may take to leave the port."""
READY_WITHIN_S: Final = 60.0
HEADERS_WITHIN_MS: Final = 10_000
"""How long a connection may take to say its request's head; also how long it may be idle between two requests."""
CONNECTIONS_MAX: Final = 4096
"""Connections that one server process takes at once, where the limit of open files allows it; more wait in line."""
FILES_BESIDES: Final = 256
"""Open files that a server process needs beside its connections: database, Stripe, modules."""
_POLL_S: Final = 0.02

Say = Callable[[Settings], None]


def serve(settings: Settings, *, ready: Say) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once the port answers, with the settings that are in use.

    Raises `CannotGoOn` or `PostgresUnavailable` when it cannot start, `SystemExit` when the server processes fail.
    """
    _end_on_signals()
    _check_complete(settings)
    _check_port(settings.host, settings.port)
    with embedding.completed(settings) as in_use:
        if settings.database_url is not None:
            asyncio.run(migrating.require_newest(settings.database_url.get_secret_value()))
        asyncio.run(checks.require_chain(in_use))
        _hand_over(in_use)
        threading.Thread(target=_when_ready, args=(in_use, ready), daemon=True).start()
        _run(in_use)


def create_app() -> Litestar:
    """The application, in a server process that ends with its supervisor. Granian calls this."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None and supervisor.pid is not None:
        die_with_parent(supervisor.pid)
    from api.http.app import create_app as application  # noqa: PLC0415 - only the server processes need it

    return application()


def _load() -> Litestar:
    """What Granian calls in a server process.

    Not Granian's own loading of a target by its name: that puts the working directory before all other places of
    modules, so that a file in the operator's folder would run with all secrets.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < (needed := _connections() + FILES_BESIDES):  # RLIM_INFINITY is negative
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard < 0 else min(needed, hard), hard))
    return create_app()


def _connections() -> int:
    """How many connections a server process takes at once: each is an open file, and those have a limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS_MAX if hard < 0 else max(1, min(CONNECTIONS_MAX, hard - FILES_BESIDES))


def _run(settings: Settings) -> None:
    # Forking would copy a process that has threads; a fresh one also inherits nothing of the supervisor's secrets, and
    # with this variable takes no module from the working directory before it is told where ours are.
    os.environ["PYTHONSAFEPATH"] = "1"
    multiprocessing.set_start_method("spawn", force=True)
    server = MPServer(
        "api.running.serving:create_app",
        interface=Interfaces.ASGI,
        address=settings.host,
        port=settings.port,
        workers=settings.processes,
        # Not `auto`: that would speak HTTP/2 in clear, and wait for ever for a connection that says nothing.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS),
        backpressure=_connections(),
        websockets=False,
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=REQUESTS_END_WITHIN_S,
    )
    # Granian reloads on SIGHUP; a terminal that closes means the end.
    server.on_startup(lambda: signal.signal(signal.SIGHUP, server.signal_handler_interrupt))
    server.serve(target_loader=_load, wrap_loader=False)


def _end_on_signals() -> None:
    """Until Granian listens to signals itself: leave by an exception, so that what was started is stopped."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)


def _check_complete(settings: Settings) -> None:
    if settings.stripe_secret_key is not None and not settings.stripe_webhook_secrets:
        raise CannotGoOn(
            "PURSER_STRIPE_SECRET_KEY is set and PURSER_STRIPE_WEBHOOK_SECRETS is not, so no payment could be "
            "verified; set it to the signing secret of your webhook endpoint.",
            exit_code=UNUSABLE_SETTINGS,
        )


def _check_port(host: str, port: int) -> None:
    deadline = time.monotonic() + PORT_WAIT_S
    try:
        while not is_free(host, port):
            if time.monotonic() > deadline:
                raise CannotGoOn(
                    f"Port {port} of {host} is in use by another program; end that one, or choose another port "
                    "with --port or PURSER_PORT."
                )
            time.sleep(_POLL_S)
    except OSError as error:
        raise CannotGoOn(
            f"This machine cannot listen on {host}, port {port} ({error.strerror}); correct --host or PURSER_HOST."
        ) from error


def _hand_over(settings: Settings) -> None:
    """Put what is in use where the server processes read their settings: the environment, and there alone.

    They get no address for migrating: what only the supervisor needs stays here.
    """
    given: dict[str, Any] = {
        "DATA_DIR": Path(settings.data_dir).resolve(),
        "DATABASE_URL": settings.database_url,
        "HOST": settings.host,
        "PORT": settings.port,
        "WORKER": settings.worker,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key,
        "STRIPE_WEBHOOK_SECRETS": ",".join(one.get_secret_value() for one in settings.stripe_webhook_secrets),
        "STRIPE_API_BASE": settings.stripe_api_base,
        "RECEIPT_KEY": settings.receipt_key,
        "LOCAL_CHAIN": settings.local_chain,
        "X402_NETWORK": settings.x402_network,
        "X402_RPC_URL": settings.x402_rpc_url,
        "X402_TREASURY": settings.x402_treasury,
        "X402_GAS_KEY": settings.x402_gas_key,
        "X402_GAS_GWEI_PER_HOUR": settings.x402_gas_gwei_per_hour,
    }
    os.environ.pop("PURSER_MIGRATE_URL", None)
    for name, value in given.items():
        if value is not None:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            os.environ[f"PURSER_{name}"] = plain


def _when_ready(settings: Settings, ready: Say) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if not is_free(settings.host, settings.port):
            ready(settings)
            return
        time.sleep(_POLL_S)
