"""`purser reconcile`: take over what others say, compare it with what stands here, and print what does not fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from sqlmodel.ext.asyncio.session import AsyncSession

from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.tables import instant, table
from api.command_line.treasury import read_chain
from api.http.views import exceptions as views
from api.reasons import CannotGoOn
from api.wiring import House
from billing.operator_actions import COMMAND_LINE
from finance.reconciling import keeping, running
from finance.reconciling.files import BYTES_MAX, StatementRefused
from finance.reconciling.found import Compared
from finance.reconciling.keeping import Taken
from finance.reconciling.reading import TooMuchIsWrong
from finance.statement_tables import ReconciliationRun
from finance.treasury import comparing as treasury
from finance.treasury.booked import TooMany
from rails.money import Incomprehensible
from rails.rail import ProviderRefused, RailUnavailable

EXCEPTIONS_SHOWN: Final = 100

FromStripe = Annotated[
    bool | None, typer.Option("--from-stripe/--no-stripe", help="Whether Stripe is asked; it is, where there is a key.")
]
FromChain = Annotated[
    bool | None, typer.Option("--chain/--no-chain", help="Whether the chain is read; it is, where a node is named.")
]
StripeReports = Annotated[
    list[Path] | None, typer.Option("--stripe-report", help="An itemized report of Stripe, as CSV; may be given often.")
]
BankFiles = Annotated[
    list[Path] | None, typer.Option("--bank", help="A statement of the bank, as CSV; may be given often.")
]


def add_to(app: typer.Typer) -> None:
    """Make the command known to `purser`."""
    app.command("reconcile")(reconcile)


def reconcile(
    *,
    from_stripe: FromStripe = None,
    from_chain: FromChain = None,
    stripe_report: StripeReports = None,
    bank: BankFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Compare Stripe's lines, payouts, the bank and the chain with the books, and list what does not fit."""
    files = [(keeping.STRIPE_ITEMIZED, one) for one in stripe_report or ()]
    files += [(keeping.BANK, one) for one in bank or ()]
    read = [(kind, path.name, _content(path)) for kind, path in files]

    async def act(house: House) -> ReconciliationRun:
        if from_chain or (from_chain is None and house.native is not None and house.native.chain is not None):
            await _read_chain(house, quiet=as_json)
        return await _reconciled(house, read, from_stripe=from_stripe, quiet=as_json)

    run = in_house(data_dir, act)
    if as_json:
        typer.echo(json.dumps(views.whole_run(run), indent=2, ensure_ascii=True))
    else:
        _tell(run)


def _content(path: Path) -> bytes:
    if path.stat().st_size > BYTES_MAX:
        raise CannotGoOn(f"{path} has more than {BYTES_MAX} bytes.")
    return path.read_bytes()


async def _read_chain(house: House, *, quiet: bool) -> None:
    try:
        done = await read_chain(house, None)
    except CannotGoOn as why:
        more = "Nothing was reconciled; with --no-chain the books are compared with what was read before."
        raise CannotGoOn(f"{why} {more}", exit_code=why.exit_code) from None
    if done.blocks_left and not quiet:
        console().print(f"{done.blocks_left} blocks of the chain are left: reconcile again to read on.")


async def _reconciled(
    house: House, files: Sequence[tuple[str, str, bytes]], *, from_stripe: bool | None, quiet: bool
) -> ReconciliationRun:
    reader = house.money if from_stripe is not False else None
    if from_stripe and reader is None:
        raise CannotGoOn("Stripe cannot be asked: PURSER_STRIPE_SECRET_KEY is not set.", exit_code=2)
    holder = COMMAND_LINE.holder

    async def of_chain(session: AsyncSession) -> Sequence[Compared]:
        return await treasury.compared(session, now=house.clock())

    try:
        for kind, name, content in files:
            taken = await keeping.take_over(house.sessions, kind, content, name=name, holder=holder, now=house.clock())
            if not quiet:
                console().print(f"{name}: {_said(taken)}", soft_wrap=True, markup=False)
        return await running.reconcile(
            house.sessions,
            reader=reader,
            others=(of_chain,),
            bank_days=house.settings.finance_bank_days,
            holder=holder,
            clock=house.clock,
        )
    except (StatementRefused, TooMuchIsWrong, TooMany, Incomprehensible) as error:
        raise CannotGoOn(f"Nothing was reconciled: {error}.") from None
    except (RailUnavailable, ProviderRefused) as error:
        raise CannotGoOn(f"Nothing was reconciled: Stripe did not answer ({error}).") from None


def _said(taken: Taken) -> str:
    if taken.again:
        return "was taken over before"
    lines = f"{taken.imported.lines} lines"
    return f"{lines}, and {taken.known} that were known already" if taken.known else lines


def _tell(run: ReconciliationRun) -> None:
    out, report = console(), run.report
    out.print(_sources(report))
    for account in report["clearing"]:
        out.print(_clearing(account), soft_wrap=True)
    for one in report["chain"]:
        at = instant(datetime.fromisoformat(one["block_at"]))
        out.print(f"{one['network']}: {one['treasury']} as of block {one['block_number']} ({at})", soft_wrap=True)
    out.print(exceptions_table(report["exceptions"], more=report["more_exceptions"]))


def _sources(report: dict[str, Any]) -> Table:
    counts = ("matched", "missing_here", "missing_there", "different")
    rows = [(source, *(str(found[one]) for one in counts)) for source, found in report["sources"].items()]
    return table(
        ("source", *(one.replace("_", " ") for one in counts)),
        rows,
        whole=("source",),
        limit=len(rows),
        go_on=str,
        nothing="nothing to compare",
    )


def _clearing(account: dict[str, Any]) -> str:
    def shown(name: str) -> str:
        return views.decimal(account[name], account["currency"])

    ages = ", ".join(f"{age['days']} days {views.decimal(age['cents'], 'usd')}" for age in account["ageing"])
    return (
        f"clearing: {shown('ours_cents')} here, {shown('theirs_cents')} at Stripe ({ages}); "
        f"unexplained {shown('unexplained_cents')}"
    )


def exceptions_table(found: Sequence[dict[str, Any]], *, more: int = 0) -> Table:
    """Exceptions as a run told them: at most `EXCEPTIONS_SHOWN`."""
    rows = [
        (
            one["exception_id"],
            one["source"],
            one["subject"],
            one["finding"],
            views.decimal(one["amount"], one["currency"]),
            str(one["age_days"]),
            one["state"],
        )
        for one in found
    ]
    drawn = table(
        ("exception", "source", "subject", "finding", "amount", "days", "state"),
        rows,
        whole=("exception",),
        limit=EXCEPTIONS_SHOWN,
        go_on=lambda n: f"purser exceptions list --before {rows[n][0]}",
        nothing="no exceptions",
    )
    if more and not drawn.caption:
        drawn.caption = f"more: {more}"
    return drawn
