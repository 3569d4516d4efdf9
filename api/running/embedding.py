"""What a service with no settings brings along: PostgreSQL and the sandbox, below its data directory; a chain if asked.

Theory of operation
-------------------
`completed` gives settings in which nothing is missing, with whatever it had to start for that running as long as the
block lasts. Only the supervisor knows the database's superuser; the migrating role owns the database, and the service
logs in as a third one that may do what `purser_run` may. `attached` is for the commands beside a running service: it
finds what that service runs, or runs the database itself for as long as it needs it. `as_it_is` does the same for a
backup, which wants the schema as it stands, and `unmade` for a restore, which wants a database without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
from pydantic import SecretStr

from api.postgres import databases, server
from api.postgres.connection import ask
from api.postgres.server import Server, Watch
from api.postgres.unavailable import PostgresUnavailable
from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from api.running import local_chain, local_sandbox, migrating, remembered
from api.running.children import is_free
from api.running.remembered import Remembered
from api.settings import Settings

DATABASE: Final = "purser"
MIGRATOR: Final = "purser_migrator"
SERVICE: Final = "purser_service"
_ROLES: Final = {
    "purser_owner": "NOLOGIN",
    "purser_run": "NOLOGIN",
    MIGRATOR: "LOGIN CREATEROLE",
    SERVICE: "LOGIN",
}


@contextmanager
def completed(settings: Settings) -> Iterator[Settings]:
    """Settings with a database and a Stripe, embedded where none is named. Raises `CannotGoOn`, PostgresUnavailable."""
    _refuse_doubt(settings)
    with ExitStack() as running:
        if settings.database_url is None:
            settings = running.enter_context(database(settings))
        if settings.stripe_secret_key is None:
            settings = running.enter_context(_sandbox(settings))
        if settings.local_chain:
            chain = running.enter_context(local_chain.running(settings.data_dir))
            settings = local_chain.with_chain(settings, chain)
        yield settings


def lacks_stripe(settings: Settings) -> bool:
    """Whether a real database would be given a pretend Stripe that nobody asked for."""
    return settings.database_url is not None and settings.stripe_secret_key is None and not settings.sandbox


def _refuse_doubt(settings: Settings) -> None:
    if lacks_stripe(settings):
        raise CannotGoOn(
            "PURSER_DATABASE_URL is set and PURSER_STRIPE_SECRET_KEY is not, so credits could be had for no money; "
            "set the key, or PURSER_SANDBOX=true where a pretend Stripe is meant.",
            exit_code=UNUSABLE_SETTINGS,
        )
    if settings.sandbox and settings.stripe_secret_key is not None:
        raise CannotGoOn(
            "PURSER_SANDBOX is true and PURSER_STRIPE_SECRET_KEY is set; unset one of them.",
            exit_code=UNUSABLE_SETTINGS,
        )


@contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """Settings with the embedded database, which runs, migrated, for the length of the block."""
    with _started(settings) as (started, found):
        asyncio.run(migrating.migrate(migrate_url=_secret(found.migrate_url), run_url=_secret(found.database_url)))
        watch = Watch(started)
        watch.start()
        try:
            yield found
        finally:
            watch.stop()


@contextmanager
def unmade(settings: Settings) -> Iterator[Settings]:
    """Settings with the embedded database, made if there was none, at whatever schema it is: a new one has none.

    Raises `PostgresUnavailable` while a service runs it.
    """
    with _started(settings) as (_, found):
        yield found


@contextmanager
def as_it_is(settings: Settings) -> Iterator[Settings]:
    """Settings with the embedded database at whatever schema it is: that of a running service, or run for the block.

    Raises `CannotGoOn` where nothing was embedded yet.
    """
    _require_embedded(settings)
    known = remembered.recall(settings.data_dir)
    port = running_port(settings.data_dir, known)
    if port is not None:
        yield _with_database(settings, port, known)
        return
    with unmade(settings) as found:
        yield found


@contextmanager
def _started(settings: Settings) -> Iterator[tuple[Server, Settings]]:
    remembered.recall(settings.data_dir)  # makes the folder as it has to be
    with server.running(settings.data_dir / "postgres") as started:
        known = remembered.renew_passwords(settings.data_dir)
        _prepare(started, known)
        yield started, _with_database(settings, started.port, known)


def _require_embedded(settings: Settings) -> None:
    if not remembered.exists(settings.data_dir):
        raise CannotGoOn(
            f"There is no database in {settings.data_dir} yet; start one with `purser serve`, "
            "or set PURSER_DATABASE_URL."
        )


@contextmanager
def attached(settings: Settings) -> Iterator[Settings]:
    """Settings as of the service that embeds its database here; starts that database if no service runs it.

    Settings that name a database stay as they are. Raises `CannotGoOn` where nothing was embedded yet.
    """
    settings = with_receipt_key(settings)
    if settings.database_url is not None:
        yield settings
        return
    _require_embedded(settings)
    known = remembered.recall(settings.data_dir)
    port = running_port(settings.data_dir, known)
    if port is not None:
        yield _with_running_chain(_with_running_sandbox(_with_database(settings, port, known), known))
        return
    with database(settings) as found:
        yield found


def with_receipt_key(settings: Settings) -> Settings:
    """Settings with the key that a sandbox's receipts are signed with, where one was made here and none is named."""
    if settings.receipt_key is not None or settings.stripe_secret_key is not None:
        return settings
    if not remembered.exists(settings.data_dir):
        return settings
    known = remembered.recall(settings.data_dir)
    return settings.model_copy(update={"receipt_key": SecretStr(known.receipt_key)})


def running_port(data_dir: Path, known: Remembered) -> int | None:
    """The port of the embedded database while a service runs it."""
    with suppress(OSError, PostgresUnavailable, asyncpg.PostgresError):
        port = server.running_port(data_dir / "postgres")
        if port is not None:
            ask(_url(SERVICE, known.service_password, port), "SELECT 1")
            return port
    return None


@contextmanager
def _sandbox(settings: Settings) -> Iterator[Settings]:
    target = f"{reachable_url(settings.host, settings.port)}/webhooks/stripe"
    with local_sandbox.running(settings.data_dir, port=settings.sandbox_port, webhook_url=target) as address:
        yield _with_sandbox(with_receipt_key(settings), address, remembered.recall(settings.data_dir))


def reachable_url(host: str, port: int) -> str:
    """How this machine reaches a server that listens on `host`, which may mean all addresses."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is compared with
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _prepare(started: Server, known: Remembered) -> None:
    """Roles, passwords, memberships and the database, as the superuser; repeating it changes nothing."""
    url = started.url()
    present = {name for (name,) in ask(url, "SELECT rolname FROM pg_roles")}
    for role, attributes in _ROLES.items():
        if role not in present:
            ask(url, f"CREATE ROLE {role} {attributes}")
    # Passwords are hexadecimal: ALTER ROLE takes no parameters.
    ask(url, f"ALTER ROLE {MIGRATOR} PASSWORD '{known.migrator_password}'")
    ask(url, f"ALTER ROLE {SERVICE} PASSWORD '{known.service_password}'")
    ask(url, f"GRANT purser_owner TO {MIGRATOR}")
    ask(url, f"GRANT purser_run TO {SERVICE}")
    if not databases.database_exists(started, DATABASE):
        databases.create_database(started, DATABASE, owner=MIGRATOR)


def _with_database(settings: Settings, port: int, known: Remembered) -> Settings:
    return settings.model_copy(
        update={
            "database_url": SecretStr(_url(SERVICE, known.service_password, port)),
            "migrate_url": SecretStr(_url(MIGRATOR, known.migrator_password, port)),
            "sandbox": settings.stripe_secret_key is None,
        }
    )


def _with_sandbox(settings: Settings, address: str, known: Remembered) -> Settings:
    return settings.model_copy(
        update={
            "stripe_secret_key": SecretStr(known.stripe_secret_key),
            "stripe_api_base": address,
            "stripe_webhook_secrets": [SecretStr(known.webhook_secret)],
        }
    )


def _with_running_sandbox(settings: Settings, known: Remembered) -> Settings:
    port = known.sandbox_port
    if settings.stripe_secret_key is not None or port is None or is_free(local_sandbox.HOST, port):
        return settings
    return _with_sandbox(settings, local_sandbox.address(port), known)


def _with_running_chain(settings: Settings) -> Settings:
    chain = local_chain.found(settings.data_dir) if settings.x402_network is None else None
    return settings if chain is None else local_chain.with_chain(settings, chain)


def _url(user: str, password: str, port: int) -> str:
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{port}/{DATABASE}"


def _secret(value: SecretStr | None) -> str:
    if value is None:
        raise LookupError("the embedded database has both addresses")
    return value.get_secret_value()
