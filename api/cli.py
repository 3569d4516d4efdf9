"""`purser`: the door of the command line. What goes wrong is said in a sentence, never as a traceback.

Exit status: 0 done, 1 it did not work (or something is wrong), 2 wrong settings or options.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from api import demo, logs, worker
from api.command_line import (
    backup,
    books,
    exceptions,
    exports,
    hooks,
    keys,
    operators,
    people,
    periods,
    receipts,
    reconciling,
    treasury,
)
from api.command_line.attached import DataDir, in_house
from api.command_line.banner import banner
from api.command_line.console import complain, console, visible
from api.demo import finance as finance_demo
from api.http.routes.health import VERSION
from api.http.views.hooks import told
from api.postgres.unavailable import PostgresUnavailable
from api.reasons import CannotGoOn, read_settings
from api.running import checks, embedding, migrating, remembered, serving
from api.running.children import die_with_parent
from api.settings import Settings
from api.wiring import build
from billing import operator_keys
from billing.scopes import Scope

KEYS_LISTED: Final = 50
GRACE_S: Final = int(operator_keys.GRACE.total_seconds())
GRACE_S_MAX: Final = int(operator_keys.GRACE_MAX.total_seconds())

app = typer.Typer(
    name="purser",
    help="A credits and payments ledger for agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(
    name="keys", help="The keys of operators: of the products that spend and grant credits.", no_args_is_help=True
)
app.add_typer(keys_app)


def main() -> None:
    """Run one command."""
    with _sentences():
        app()


@app.command()
def serve(  # noqa: PLR0917 - typer takes options so
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: DataDir = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Run no worker inside.")] = False,  # noqa: FBT002
    local_chain: Annotated[bool, typer.Option("--local-chain", help="Run a pretend chain for x402 too.")] = False,  # noqa: FBT002
    tied: Annotated[bool, typer.Option("--die-with-parent", hidden=True)] = False,  # noqa: FBT002
) -> None:
    """Serve until stopped; with no settings, on an embedded database and the sandbox."""
    if tied:
        die_with_parent(os.getppid())
    worker_inside, chain = False if no_worker else None, True if local_chain else None
    settings = read_settings(host=host, port=port, data_dir=data_dir, worker=worker_inside, local_chain=chain)
    logs.configure(settings)
    serving.serve(settings, ready=lambda in_use: banner(settings, in_use))


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema, and the run login into its role."""
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)
    with _database_to_migrate(settings) as found:
        if found.database_url is None or found.migrate_url is None:
            raise CannotGoOn(
                "Set PURSER_MIGRATE_URL beside PURSER_DATABASE_URL: the run role may not migrate.", exit_code=2
            )
        done = asyncio.run(
            migrating.migrate(
                migrate_url=found.migrate_url.get_secret_value(), run_url=found.database_url.get_secret_value()
            )
        )
    out = console()
    if done.before == done.after:
        out.print(f"The schema is the newest already ({done.after}).")
    else:
        out.print(f"Migrated from {done.before or 'nothing'} to {done.after}.")
    if done.left_to_do is not None:
        out.print("This role may not admit the run login; somebody who may has to run:")
        out.print(f"  {escape(done.left_to_do)}", soft_wrap=True)
        raise typer.Exit(1)


@contextmanager
def _database_to_migrate(settings: Settings) -> Iterator[Settings]:
    """The named database, or the embedded one, made where there is none yet."""
    if settings.database_url is None and not remembered.exists(settings.data_dir):
        with embedding.database(settings) as found:
            yield found
    else:
        with embedding.attached(settings) as found:
            yield found


@app.command()
def work(data_dir: DataDir = None) -> None:
    """Run a worker alone, beside a service that serves with --no-worker or on other machines."""
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)
    with embedding.attached(settings) as found:
        if found.stripe_secret_key is None or found.database_url is None:
            raise CannotGoOn(
                "A worker needs the payment providers: set PURSER_STRIPE_SECRET_KEY, or start `purser serve` first, "
                "which runs the sandbox.",
                exit_code=2,
            )
        asyncio.run(migrating.require_newest(found.database_url.get_secret_value()))
        asyncio.run(_work(found))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    house = build(settings)
    console().print("The worker is at work; Ctrl-C ends it.")
    try:
        await worker.run(house, stop, render=told)
    finally:
        await house.close()


@app.command()
def check(data_dir: DataDir = None) -> None:
    """Say what is wrong with settings, database, roles and rails, and how to mend it."""
    settings = read_settings(data_dir=data_dir)
    out = console()
    if settings.database_url is None and not remembered.exists(settings.data_dir):
        _print_findings(out.print, list(checks.of_settings(settings)))
        out.print(
            f"[green]OK[/]     database: none named; `purser serve` embeds one in {escape(str(settings.data_dir))}"
        )
        return

    async def all_findings(found: Settings) -> list[checks.Finding]:
        return [finding async for finding in checks.findings(found)]

    with embedding.attached(settings) as found:
        _print_findings(out.print, asyncio.run(all_findings(found)))


def _print_findings(print_line: Callable[[str], None], found: list[checks.Finding]) -> None:
    for one in found:
        state = "[green]OK[/]    " if one.mend is None else "[bold red]WRONG[/] "
        print_line(f"{state} {one.subject}: {escape(visible(one.found))}")
        if one.mend is not None:
            print_line(f"       → {escape(one.mend)}")
    if any(one.mend is not None for one in found):
        raise typer.Exit(1)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="Who holds the key.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; give one --scope for each.")],
    data_dir: DataDir = None,
) -> None:
    """Make an operator key and print its token, this once."""
    keys.print_new(in_house(data_dir, lambda house: keys.created(house, name=name, scopes=scope)))


@keys_app.command("list")
def keys_list(
    limit: Annotated[int, typer.Option(min=1, max=keys.LISTED_MAX)] = KEYS_LISTED,
    after: Annotated[str | None, typer.Option(help="Only keys newer than this one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List operator keys, oldest first, without their tokens."""
    console().print(in_house(data_dir, lambda house: keys.listed(house, limit=limit, after=after)))


@keys_app.command("rotate")
def keys_rotate(
    key_id: str,
    grace: Annotated[
        int, typer.Option(min=0, max=GRACE_S_MAX, help="Seconds that older tokens still work; 0 after a leak.")
    ] = GRACE_S,
    data_dir: DataDir = None,
) -> None:
    """Give a key a new token and print it, this once. The key stays the same, and so does what it may do."""
    keys.print_new(in_house(data_dir, lambda house: keys.rotated(house, key_id, grace_s=grace)))


@keys_app.command("revoke")
def keys_revoke(key_id: str, data_dir: DataDir = None) -> None:
    """End a key and all its tokens, at once."""
    ended = in_house(data_dir, lambda house: keys.revoked(house, key_id))
    console().print(f"{key_id} was revoked at {ended.revoked_at:%Y-%m-%d %H:%M:%S} UTC; its tokens work no more.")


operators.add_to(app)
people.add_to(app)
hooks.add_to(app)
reconciling.add_to(app)
exceptions.add_to(app)
treasury.add_to(app)
receipts.add_to(app)
exports.add_to(app)
periods.add_to(app)


@app.command("books")
def books_of(organization: str, data_dir: DataDir = None) -> None:
    """Print one organization's trial balance (org_platform: what belongs to none)."""
    which = books.parse_organization(organization)
    rows = in_house(data_dir, lambda house: books.trial_balance(house, which))
    console().print(books.table(organization, rows))


@app.command()
def verify(
    organization: Annotated[str | None, typer.Argument(help="One organization; all when left out.")] = None,
    head: Annotated[
        list[str] | None, typer.Option(help="A head that was published, as org_…=HEX@SEQ; may be given often.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Rebuild balances and hash chain from the journal, compare it with what was paid, and name what does not fit."""
    which = None if organization is None else books.parse_organization(organization)
    heads = books.parse_heads(head or [], of=which)
    with books.progress_told() as progress:
        found = in_house(data_dir, lambda house: books.verify(house, which, published=heads, progress=progress))
    if not books.tell(found):
        raise typer.Exit(1)


@app.command("backup")
def back_up(
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file of that name.")] = False,  # noqa: FBT002
    data_dir: DataDir = None,
) -> None:
    """Write the whole database, as of one moment, into one file. The service may go on."""
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)
    backup.back_up(settings, file, force=force)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `purser backup` wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Fill an empty database from a backup, verify it, and say what happens next."""
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)
    if not backup.restore(settings, file):
        raise typer.Exit(1)


@app.command("version")
def print_version() -> None:
    """Print the version."""
    typer.echo(VERSION)


@app.command("demo")
def run_demo() -> None:
    """Walk agents through every rail, on a service of its own that is removed afterwards."""
    raise typer.Exit(demo.run())


@app.command("demo-finance")
def run_demo_finance() -> None:
    """Let a month of business pass, reconcile and close it, and write its export to ./.purser/exports."""
    raise typer.Exit(finance_demo.run())


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what can be expected to go wrong into a sentence and an exit status."""
    try:
        yield
    except CannotGoOn as reason:
        complain(str(reason))
        raise SystemExit(reason.exit_code) from None
    except PostgresUnavailable as reason:
        complain(str(reason))
        raise SystemExit(1) from None
    except OSError as error:
        complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
