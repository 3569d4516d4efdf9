"""`purser exceptions`: the lines that do not fit, and what is decided of them.

The command line by itself resolves small ones only. Whoever proposes a large one, and whoever approves it, has an
operator key of his own, whose token is read from a file or from standard input and never from an argument, which others
on the machine could see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.table import Table

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.letters import LISTED_MAX
from api.command_line.operators import LISTED, Before, Reason
from api.command_line.tables import moment, parse, table
from api.http.views import exceptions as views
from api.reasons import CannotGoOn
from api.wiring import House
from billing import operator_keys
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE, Acting
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from finance.reconciling import listing, resolving
from finance.statement_tables import ExceptionState, ReconciliationException

TOKEN_LENGTH_MAX: Final = 1000

exceptions_app = typer.Typer(
    name="exceptions", help="Lines of Stripe, the bank or the chain that do not fit.", invoke_without_command=True
)
State = Annotated[str | None, typer.Option(help="Only those in this state; those that still stand when left out.")]
Account = Annotated[str | None, typer.Option(help="The account that is told what was missing.")]
Against = Annotated[str | None, typer.Option(help="The other account; reconciliation_differences when left out.")]
ProposersToken = Annotated[
    Path | None, typer.Option("--token-file", help="File with your operator token; a large adjustment needs one.")
]
Proposal = Annotated[str, typer.Option(help="What is approved: the proposal_id that `show` prints, opact_….")]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the operator token of whoever approves; standard input when left out.")
]


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.add_typer(exceptions_app)


@exceptions_app.callback()
def exceptions_at_all(context: typer.Context, state: State = None, data_dir: DataDir = None) -> None:
    """List exceptions, newest first, or `show`, `acknowledge`, `resolve` or `approve` one."""
    if context.invoked_subcommand is None:
        exceptions_list(state=state, data_dir=data_dir)


@exceptions_app.command("list")
def exceptions_list(
    state: State = None,
    limit: Annotated[int, typer.Option(min=1, max=LISTED_MAX)] = LISTED,
    before: Before = None,
    data_dir: DataDir = None,
) -> None:
    """List exceptions, newest first."""
    console().print(in_house(data_dir, lambda house: _listed(house, state=state, limit=limit, before=before)))


@exceptions_app.command("show")
def exceptions_show(exception: str, data_dir: DataDir = None) -> None:
    """Print one exception as JSON, with what each side says."""
    typer.echo(json.dumps(in_house(data_dir, lambda house: _shown(house, exception)), indent=2, ensure_ascii=True))


@exceptions_app.command("acknowledge")
def exceptions_acknowledge(exception: str, reason: Reason, data_dir: DataDir = None) -> None:
    """Say why an exception stands; nothing is posted."""
    in_house(
        data_dir,
        lambda house: resolving.acknowledge(
            house.sessions, _id(exception), reason=reason, by=COMMAND_LINE, now=house.clock()
        ),
    )
    console().print(f"{exception} is acknowledged.")


@exceptions_app.command("resolve")
def exceptions_resolve(
    exception: str,
    *,
    reason: Reason,
    account: Account = None,
    against: Against = None,
    token_file: ProposersToken = None,
    data_dir: DataDir = None,
) -> None:
    """Settle an exception by an adjustment; a large one is proposed, for another key holder to approve."""
    token = _token(token_file) if token_file is not None else None

    async def act(house: House) -> ReconciliationException:
        return await resolving.resolve(
            house.sessions,
            _id(exception),
            account=account,
            against=against,
            alone_up_to_cents=house.settings.finance_second_approval_cents,
            reason=reason,
            by=await _holder(house, token) if token is not None else COMMAND_LINE,
            now=house.clock(),
        )

    _say(exception, in_house(data_dir, act))


@exceptions_app.command("approve")
def exceptions_approve(
    exception: str, *, proposal: Proposal, reason: Reason, token_file: TokenFile = None, data_dir: DataDir = None
) -> None:
    """Approve what another key holder proposed, with an operator key of one's own."""
    token = _token(token_file)

    async def act(house: House) -> ReconciliationException:
        by = await _holder(house, token)
        return await resolving.approve(
            house.sessions, _id(exception), proposal_id=proposal, reason=reason, by=by, now=house.clock()
        )

    _say(exception, in_house(data_dir, act))


def _id(exception: str) -> UUID:
    return parse(listing.PREFIX, exception, "an exception")


def _token(file: Path | None) -> str:
    if file is not None:
        with file.open(encoding="utf-8") as opened:
            return opened.read(TOKEN_LENGTH_MAX).strip()
    if sys.stdin.isatty():
        return str(typer.prompt("Operator token", hide_input=True)).strip()
    return sys.stdin.read(TOKEN_LENGTH_MAX).strip()


async def _holder(house: House, token: str) -> Acting:
    """Who acts with this token. Raises `Refused`."""
    operator = await operator_keys.authenticate(house.bearers.operators, token, now=house.clock())
    if not operator.may(Scope.OPERATE):
        raise Refused(Refusal.SCOPE_MISSING, f"this key has not the scope {Scope.OPERATE}")
    return Acting(operator.key_id, operator.name)


def _say(exception: str, found: ReconciliationException) -> None:
    kept: dict[str, Any] = found.adjustment or {}
    if found.state == ExceptionState.PROPOSED:
        console().print(
            f"{exception} is proposed as {kept['proposal_id']}; another key holder must approve it.", soft_wrap=True
        )
    else:
        kept = kept.get("proposal") or {}
        moved = views.decimal(kept["amount"], kept["currency"]) if kept else "nothing"
        console().print(f"{exception} is resolved; {moved} was posted.")


async def _listed(house: House, *, state: str | None, limit: int, before: str | None) -> Table:
    if state is not None and state not in list(ExceptionState):
        raise CannotGoOn(f"--state is one of {', '.join(ExceptionState)}.", exit_code=2)
    behind = _id(before) if before is not None else None
    async with snapshot(house.sessions) as session:
        found = await listing.listed(session, state=state, before=behind, limit=limit + 1)
    now = house.clock()
    names = [listing.public_id(one.id) for one in found]
    return table(
        ("exception", "when", "days", "source", "subject", "finding", "amount", "state"),
        [
            (name, moment(one.occurred_at), str(listing.age_days(one, now)), one.source, one.subject, one.finding,
             views.decimal(one.amount, one.currency), one.state)
            for name, one in zip(names, found, strict=True)
        ],
        whole=("exception",),
        limit=limit,
        go_on=lambda n: f"purser exceptions list --before {names[n]}",
        nothing="no exceptions",
    )  # fmt: skip


async def _shown(house: House, exception: str) -> dict[str, Any]:
    async with snapshot(house.sessions) as session:
        return views.whole_exception(await listing.one(session, _id(exception)), house.clock())
