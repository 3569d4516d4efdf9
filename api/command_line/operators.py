"""The commands of operators, as they are typed: letters, attempts, settlements, owed, freeze, refund, actions."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final

import typer

from api.command_line import letters, payments, settlements
from api.command_line.attached import DataDir, in_house
from api.command_line.console import console, visible
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from billing.fresh import new_key
from billing.operator_actions import COMMAND_LINE, REASON_LENGTH_MAX
from billing.reversals import refunding
from billing.settling_tables import Decision

LISTED: Final = 50


def _reason(given: str) -> str:
    found = given.strip()
    if not found or not found.isprintable() or len(found) > REASON_LENGTH_MAX:
        raise typer.BadParameter(f"is 1 to {REASON_LENGTH_MAX} printable characters")
    return found


Reason = Annotated[str, typer.Option(help="Why; it is recorded.", callback=_reason)]
Warned = Annotated[bool, typer.Option("--warned", help="Also what fraud warnings froze: somebody has looked.")]
LetterState = Annotated[str | None, typer.Option(help="pending, done, ignored or parked.")]
SettlementState = Annotated[str | None, typer.Option(help="Only payments in this state, as in `held`.")]
AttemptState = Annotated[str | None, typer.Option(help="Only attempts in this state.")]
Organization = Annotated[str | None, typer.Option(help="Only of this organization.")]
Stuck = Annotated[bool, typer.Option("--stuck", help="Only those that somebody should look at.")]
Limit = Annotated[int, typer.Option(min=1, max=letters.LISTED_MAX)]
Before = Annotated[str | None, typer.Option(help="Only what is older than this one.")]

letters_app = typer.Typer(name="letters", help="The letters of the payment providers.", invoke_without_command=True)
attempts_app = typer.Typer(name="attempts", help="The payment attempts.", invoke_without_command=True)
settlements_app = typer.Typer(
    name="settlements", help="Payments that wallets have signed.", invoke_without_command=True
)
owed_app = typer.Typer(name="owed", help="Credits that were spent and then taken back.", invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    for group in (letters_app, attempts_app, settlements_app, owed_app):
        app.add_typer(group)
    app.command("freeze")(freeze)
    app.command("unfreeze")(unfreeze)
    app.command("refund")(refund)
    app.command("actions")(actions)


@letters_app.callback()
def letters_at_all(context: typer.Context, state: LetterState = None, data_dir: DataDir = None) -> None:
    """List letters, newest first, or `show`, `retry`, `park` or `ignore` one."""
    if context.invoked_subcommand is None:
        letters_list(state=state, data_dir=data_dir)


@letters_app.command("list")
def letters_list(
    state: LetterState = None, limit: Limit = LISTED, before: Before = None, data_dir: DataDir = None
) -> None:
    """List letters, newest first."""
    console().print(in_house(data_dir, lambda house: letters.listed(house, state=state, limit=limit, before=before)))


@letters_app.command("show")
def letters_show(letter: str, data_dir: DataDir = None) -> None:
    """Print one letter as JSON, without secrets."""
    _print(in_house(data_dir, lambda house: letters.shown(house, letter)))


@letters_app.command("retry")
def letters_retry(letter: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Let a parked or ignored letter be tried again at once."""
    in_house(data_dir, lambda house: letters.retried(house, letter, reason=reason))
    console().print(f"{letter} waits for the worker again.")


@letters_app.command("park")
def letters_park(letter: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Put a waiting letter aside, until it is retried."""
    in_house(data_dir, lambda house: letters.parked(house, letter, reason=reason))
    console().print(f"{letter} is parked; `purser letters retry` lets it be tried again.")


@letters_app.command("ignore")
def letters_ignore(letter: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Be done with a parked letter that nothing is to be done about."""
    in_house(data_dir, lambda house: letters.ignored(house, letter, reason=reason))
    console().print(f"{letter} is ignored from now on.")


@letters_app.command("forget")
def letters_forget(
    older_than: Annotated[int, typer.Option(min=30, max=36_500, help="Days since they arrived.")],
    data_dir: DataDir = None,
) -> None:
    """Take persons out of old letters that are done or ignored. It cannot be undone; ids and amounts stay."""
    done = in_house(data_dir, lambda house: letters.forgotten(house, days=older_than), as_owner=True)
    console().print(f"Took the persons out of {done} letters.")


@attempts_app.callback()
def attempts_at_all(
    context: typer.Context,
    state: AttemptState = None,
    organization: Organization = None,
    stuck: Stuck = False,  # noqa: FBT002
    data_dir: DataDir = None,
) -> None:
    """List attempts, newest first, or `show` one."""
    if context.invoked_subcommand is None:
        attempts_list(state=state, organization=organization, stuck=stuck, data_dir=data_dir)


@attempts_app.command("list")
def attempts_list(
    *,
    state: AttemptState = None,
    organization: Organization = None,
    stuck: Stuck = False,
    limit: Limit = LISTED,
    before: Before = None,
    data_dir: DataDir = None,
) -> None:
    """List attempts, newest first."""
    found = in_house(
        data_dir,
        lambda house: payments.attempts_table(
            house, state=state, organization=organization, stuck=stuck, limit=limit, before=before
        ),
    )
    console().print(found)


@attempts_app.command("show")
def attempts_show(attempt: str, data_dir: DataDir = None) -> None:
    """Print one attempt as JSON, with its requests, its payment, and what was taken back."""
    _print(in_house(data_dir, lambda house: payments.attempt_shown(house, attempt)))


@settlements_app.callback()
def settlements_at_all(context: typer.Context, state: SettlementState = None, data_dir: DataDir = None) -> None:
    """List payments of wallets, newest first, or `release` or `keep` one that is held."""
    if context.invoked_subcommand is None:
        settlements_list(state=state, data_dir=data_dir)


@settlements_app.command("list")
def settlements_list(
    *, state: SettlementState = None, limit: Limit = LISTED, before: Before = None, data_dir: DataDir = None
) -> None:
    """List payments of wallets, newest first."""
    console().print(
        in_house(data_dir, lambda house: settlements.listing(house, state=state, limit=limit, before=before))
    )


@settlements_app.command("release")
def settlements_release(attempt: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Grant what a held payment paid for."""
    in_house(data_dir, lambda house: settlements.decided(house, attempt, Decision.RELEASE, reason=reason))
    console().print(f"{attempt} will be granted as soon as the worker has asked the chain.")


@settlements_app.command("keep")
def settlements_keep(attempt: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Grant nothing for a held payment; its money is kept until `purser refund`."""
    in_house(data_dir, lambda house: settlements.decided(house, attempt, Decision.KEEP, reason=reason))
    console().print(f"{attempt} will be kept, ungranted, as soon as its block is final.")


@owed_app.callback()
def owed_at_all(context: typer.Context, data_dir: DataDir = None) -> None:
    """List who owes credits, or `write-off` what one payment left owed."""
    if context.invoked_subcommand is None:
        owed_list(data_dir=data_dir)


@owed_app.command("list")
def owed_list(
    limit: Limit = LISTED,
    after: Annotated[str | None, typer.Option(help="Only payments behind this one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List who owes how many credits, for which payment, since when."""
    console().print(in_house(data_dir, lambda house: payments.owed_table(house, limit=limit, after=after)))


@owed_app.command("write-off")
def owed_write_off(
    attempt: str,
    reason: Reason,
    credits_: Annotated[int | None, typer.Option("--credits", min=1, help="How many; all when left out.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Give up credits that are owed for an attempt's payment."""
    given_up = in_house(data_dir, lambda house: payments.written_off(house, attempt, credits_=credits_, reason=reason))
    console().print(f"{given_up} credits owed for {attempt} are written off.")


def _lots(number: int) -> str:
    return "1 lot of credits" if number == 1 else f"{number} lots of credits"


def freeze(organization: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Let an organization spend nothing, until `purser unfreeze`. Its payments still settle."""
    lots = in_house(data_dir, lambda house: payments.frozen(house, organization, reason=reason))
    console().print(f"{organization} is frozen: {_lots(lots)}, and whatever it is granted from now on.")


def unfreeze(organization: str, *, reason: Reason, warned: Warned = False, data_dir: DataDir = None) -> None:
    """Let an organization spend again. What is frozen because of a fraud warning stays so, without `--warned`."""
    lots = in_house(data_dir, lambda house: payments.freed(house, organization, reason=reason, warned=warned))
    console().print(f"{organization} may spend again; freed: {_lots(lots)}.")


def refund(
    attempt: str,
    *,
    reason: Reason,
    amount: Annotated[str | None, typer.Option(help="Dollars, as in 5.00; all that is left when left out.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    key: Annotated[str | None, typer.Option(help="An earlier try's key: the same refund, not another one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Say what refunding an attempt's payment would do, ask, and do it."""
    wanted = payments.cents(amount) if amount is not None else None
    out, used = console(), key or new_key("refund")
    if key is None or not in_house(data_dir, lambda house: _asked_before(house, used)):
        found = in_house(data_dir, lambda house: payments.previewed(house, attempt, amount_cents=wanted))
        wanted = found.amount_cents
        for line in payments.told(found):
            out.print(visible(line), soft_wrap=True, markup=False)
        if not yes:
            _ask()
        out.print(f"Should this be interrupted, type the same with --key {used}.")
    done = in_house(
        data_dir,
        lambda house: payments.refunded(house, attempt, amount_cents=wanted, reason=reason, key=used),
    )
    _say(done)


async def _asked_before(house: House, key: str) -> bool:
    async with snapshot(house.sessions) as session:
        return await refunding.asked_before(session, COMMAND_LINE, key) is not None


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CannotGoOn("Nothing was refunded: with nobody to ask, it takes --yes.", exit_code=2)
    if not typer.confirm("Refund it?"):
        raise CannotGoOn("Nothing was refunded.")


def _say(done: dict[str, Any]) -> None:
    name, to_sign = done["refund_id"], done["to_sign"]
    if done["state"] == "refused":
        raise CannotGoOn(f"{name} was refused: {visible(done['error'] or '')}")
    if to_sign is not None:
        console().print(f"{name} is prepared. {to_sign['what_to_do']}", soft_wrap=True)
        for field in ("network", "from", "to", "value", "data"):
            console().print(f"  {field:<8} {to_sign[field]}", soft_wrap=True, markup=False, highlight=False)
    elif done["state"] == "answered":
        console().print(f"{name} is under way as {done['provider_object_id']}; its credits go when that is confirmed.")
    else:
        console().print(f"{name} is stored, but Stripe has not confirmed it; the worker sends it until it is answered.")


def actions(
    organization: Organization = None, limit: Limit = LISTED, before: Before = None, data_dir: DataDir = None
) -> None:
    """List what operators did, by whom and why, newest first."""
    found = in_house(
        data_dir,
        lambda house: payments.actions_table(house, organization=organization, limit=limit, before=before),
    )
    console().print(found)


def _print(shown: dict[str, Any]) -> None:
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=True))
