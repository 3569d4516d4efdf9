"""The commands about webhooks that we send, as they are typed: add, list, rotate, disable, enable, test, replay, …"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console, visible
from api.command_line.operators import LISTED, Before, Limit, Reason
from api.command_line.tables import instant, moment, parse, table
from api.http.views import hooks as views
from api.reasons import CannotGoOn
from api.wiring import House
from billing.activity import EventType
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from billing.outbound_tables import DeliveryState
from billing.subscriptions import delivering, endpoints, listing, trying
from billing.subscriptions.endpoints import NewSecret

GRACE_S: Final = int(endpoints.GRACE.total_seconds())
GRACE_S_MAX: Final = int(endpoints.GRACE_MAX.total_seconds())

hooks_app = typer.Typer(name="webhooks", help="The webhooks that we send to the product.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(hooks_app)


@hooks_app.command("add")
def add(
    url: Annotated[str, typer.Argument(help="Where to send: https, without a user or password.")],
    *,
    reason: Reason,
    type_: Annotated[
        list[EventType] | None, typer.Option("--type", help="What to tell; all without one. May be given often.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Tell a URL what happens from now on, and print its signing secret, this once."""
    if len(description) > endpoints.DESCRIPTION_LENGTH_MAX or not description.isprintable():
        raise CannotGoOn(
            f"--description has at most {endpoints.DESCRIPTION_LENGTH_MAX} printable characters.", exit_code=2
        )

    async def made(house: House) -> NewSecret:
        return await endpoints.make(
            house.sessions,
            url=url,
            types=type_ or (),
            description=description,
            check=house.outside.door.check,
            by=COMMAND_LINE,
            reason=reason,
            now=house.clock(),
        )

    _print_secret(in_house(data_dir, made))


@hooks_app.command("list")
def list_endpoints(limit: Limit = LISTED, before: Before = None, data_dir: DataDir = None) -> None:
    """List endpoints, newest first, without their secrets."""
    console().print(in_house(data_dir, lambda house: _endpoints_table(house, limit=limit, before=before)))


@hooks_app.command("rotate")
def rotate(
    endpoint: str,
    *,
    reason: Reason,
    grace: Annotated[
        int, typer.Option(min=0, max=GRACE_S_MAX, help="Seconds that the old secret signs too; 0 after a leak.")
    ] = GRACE_S,
    data_dir: DataDir = None,
) -> None:
    """Give an endpoint a new signing secret and print it, this once."""

    async def rotated(house: House) -> NewSecret:
        return await endpoints.rotate(
            house.sessions,
            _endpoint_id(endpoint),
            grace=timedelta(seconds=grace),
            by=COMMAND_LINE,
            reason=reason,
            now=house.clock(),
        )

    _print_secret(in_house(data_dir, rotated))


@hooks_app.command("disable")
def disable(endpoint: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Tell an endpoint nothing more; what waits for it fails."""

    async def disabled(house: House) -> None:
        await endpoints.disable(
            house.sessions, _endpoint_id(endpoint), by=COMMAND_LINE, reason=reason, now=house.clock()
        )

    in_house(data_dir, disabled)
    console().print(f"{endpoint} is told nothing more.")


@hooks_app.command("enable")
def enable(endpoint: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Tell an endpoint again, from now on."""

    async def enabled(house: House) -> None:
        await endpoints.enable(
            house.sessions, _endpoint_id(endpoint), by=COMMAND_LINE, reason=reason, now=house.clock()
        )

    in_house(data_dir, enabled)
    console().print(f"{endpoint} is told what happens from now on; `purser webhooks replay` sends what it missed.")


@hooks_app.command("test")
def send_test(endpoint: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Send a test message now, and say what came of it; exit 1 when it was not delivered."""
    done = in_house(data_dir, lambda house: _tested(house, endpoint, reason=reason))
    if done["state"] != DeliveryState.DELIVERED:
        raise CannotGoOn(f"{done['delivery_id']} was not delivered: {visible(done['last_error'] or '')}.")
    console().print(f"{done['delivery_id']} was delivered: the receiver answered {done['last_status']}.")


@hooks_app.command("deliveries")
def deliveries(
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = LISTED,
    before: Before = None,
    data_dir: DataDir = None,
) -> None:
    """List deliveries, newest first."""
    console().print(
        in_house(
            data_dir,
            lambda house: _deliveries_table(house, endpoint=endpoint, state=state, limit=limit, before=before),
        )
    )


@hooks_app.command("show")
def show(delivery: str, data_dir: DataDir = None) -> None:
    """Print one delivery as JSON, with the body that was sent."""
    typer.echo(json.dumps(in_house(data_dir, lambda house: _delivery_shown(house, delivery)), indent=2))


@hooks_app.command("replay")
def replay(delivery: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Send a delivery again, whatever became of it, under the same id."""

    async def replayed(house: House) -> None:
        await trying.replay(house.sessions, _delivery_id(delivery), by=COMMAND_LINE, reason=reason, now=house.clock())

    in_house(data_dir, replayed)
    console().print(f"{delivery} will be sent again by the worker.")


async def _tested(house: House, endpoint: str, *, reason: str) -> dict[str, Any]:
    stored = await trying.store_test(
        house.sessions,
        _endpoint_id(endpoint),
        body=views.test_message(endpoint, house.clock()),
        by=COMMAND_LINE,
        reason=reason,
        now=house.clock(),
    )
    return views.delivery(await trying.send_test(house.sessions, house.outside.door, stored.id, clock=house.clock))


async def _delivery_shown(house: House, delivery: str) -> dict[str, Any]:
    async with snapshot(house.sessions) as session:
        return views.whole_delivery(await listing.delivery(session, _delivery_id(delivery)))


async def _endpoints_table(house: House, *, limit: int, before: str | None) -> Table:
    behind = None if before is None else _endpoint_id(before)
    async with snapshot(house.sessions) as session:
        found = await listing.endpoint_page(session, before=behind, limit=limit + 1)
    names = [endpoints.public_id(one.id) for one in found]
    return table(
        ("endpoint", "made", "url", "types", "state"),
        [
            (name, moment(one.created_at), one.url, ", ".join(one.types) or "all", one.disabled_reason or "enabled")
            for name, one in zip(names, found, strict=True)
        ],
        whole=("endpoint",),
        limit=limit,
        go_on=lambda n: f"purser webhooks list --before {names[n]}",
        nothing="no webhook endpoints",
    )


async def _deliveries_table(
    house: House, *, endpoint: str | None, state: str | None, limit: int, before: str | None
) -> Table:
    of = None if endpoint is None else _endpoint_id(endpoint)
    behind = None if before is None else _delivery_id(before)
    async with snapshot(house.sessions) as session:
        found = await listing.deliveries(session, endpoint_id=of, state=state, before=behind, limit=limit + 1)
    names = [delivering.public_id(one.id) for one in found]
    return table(
        ("delivery", "made", "state", "type", "tries", "error"),
        [
            (name, moment(one.created_at), one.state, one.type, str(one.tries), one.last_error or "")
            for name, one in zip(names, found, strict=True)
        ],
        whole=("delivery",),
        limit=limit,
        go_on=lambda n: f"purser webhooks deliveries --before {names[n]}",
        nothing="no deliveries",
    )


def _print_secret(made: NewSecret) -> None:
    out, found = console(), made.endpoint
    out.print(f"{endpoints.public_id(found.id)} sends to {escape(visible(found.url))}. Its secret:", soft_wrap=True)
    out.print(f"  [bold]{escape(made.secret)}[/]", soft_wrap=True)
    out.print("It is shown this once: keep it now. A lost one is replaced with `purser webhooks rotate`.")
    if found.old_until is not None:
        out.print(f"The secret before it signs too until {instant(found.old_until)}.")


def _endpoint_id(name: str) -> Any:
    return parse(endpoints.PREFIX, name, "a webhook endpoint")


def _delivery_id(name: str) -> Any:
    return parse(delivering.PREFIX, name, "a webhook delivery")
