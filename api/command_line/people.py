"""What people have to do with organizations, as it is typed: what agents said, and who owns what."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.letters import LISTED_MAX
from api.command_line.operators import LISTED, Reason
from api.command_line.tables import moment, parse, table
from api.wiring import House
from billing import claims, feedback
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from ledger.ids import external

owners_app = typer.Typer(name="owners", help="The humans that own organizations.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(owners_app)
    app.command("feedback")(feedback_list)


@owners_app.callback()
def owners_at_all() -> None:
    """See to the humans that own organizations."""


@owners_app.command("end")
def owners_end(organization: str, reason: Reason, data_dir: DataDir = None) -> None:
    """End the ownership of an organization, with its owner's sessions and links. Its agents are not touched."""
    whose = parse("org", organization, "an organization")
    in_house(
        data_dir,
        lambda house: claims.end(house.sessions, whose, reason=reason, by=COMMAND_LINE, now=house.clock()),
    )
    console().print(f"{organization} is owned by nobody; an agent of it may ask a human again.")


def feedback_list(
    limit: Annotated[int, typer.Option(min=1, max=LISTED_MAX)] = LISTED,
    before: Annotated[str | None, typer.Option(help="Only what is older than this one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List what agents said, newest first."""
    console().print(in_house(data_dir, lambda house: _feedback(house, limit=limit, before=before)))


async def _feedback(house: House, *, limit: int, before: str | None) -> Table:
    behind = parse(feedback.PREFIX, before, "feedback") if before is not None else None
    async with snapshot(house.sessions) as session:
        found = await feedback.listed(session, before=behind, limit=limit + 1)
    names = [external(feedback.PREFIX, one.id) for one in found]
    return table(
        ("feedback", "given", "severity", "what"),
        [
            (name, moment(one.created_at), one.said["severity"], one.said.get("title") or one.said["body"])
            for name, one in zip(names, found, strict=True)
        ],
        whole=("feedback",),
        limit=limit,
        go_on=lambda n: f"purser feedback --before {names[n]}",
        nothing="no feedback",
    )
