"""What people have to do with organizations, as it is typed: what agents said, and who owns what."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.letters import LISTED_MAX
from api.command_line.operators import LISTED, Reason
from api.command_line.tables import moment, parse, table
from api.http.fields_people import ClaimAsked
from api.reasons import CannotGoOn
from api.wiring import House
from billing import claims, feedback
from billing.database import snapshot
from billing.erasing import Erased
from billing.operator_actions import COMMAND_LINE
from ledger.ids import external
from webhooks import forgetting

owners_app = typer.Typer(name="owners", help="The humans that own organizations.", no_args_is_help=True)
people_app = typer.Typer(name="people", help="The persons behind organizations.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(owners_app)
    app.add_typer(people_app)
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


@people_app.callback()
def people_at_all() -> None:
    """See to the persons that are known by a contact."""


@people_app.command("erase")
def people_erase(
    contact: Annotated[str, typer.Argument(help="The e-mail address.")], reason: Reason, data_dir: DataDir = None
) -> None:
    """Forget a contact everywhere outside the journal. It cannot be undone; credits and agents' tokens stay."""
    asked = _address(contact)

    async def erased(house: House) -> Erased:
        return await forgetting.forget_contact(house.sessions, asked, by=COMMAND_LINE, reason=reason, now=house.clock())

    done = in_house(data_dir, erased, as_owner=True)
    console().print(
        f"Erased: {done.agents} agents and {done.owners} owners in {done.organizations} organizations, {done.links} "
        f"links, {done.feedback} feedbacks, {done.letters} letters, {done.texts} other texts.\n"
        "Backups and logs that were made before still hold it: docs/retention.md.",
        soft_wrap=True,
    )


def _address(given: str) -> str:
    try:
        return ClaimAsked.model_validate({"contact": given}).contact
    except ValidationError:
        raise CannotGoOn("CONTACT is an e-mail address.", exit_code=2) from None


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
