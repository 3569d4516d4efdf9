"""Months as operators close them: what is in the way, the close, opening again, and the roll-forward of the revenue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.command_line import books
from api.command_line.attached import DataDir, in_house
from api.command_line.console import console
from api.command_line.letters import LISTED_MAX
from api.command_line.operators import LISTED, Reason
from api.command_line.tables import moment, parse, table
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from billing.fresh import new_id
from billing.operator_actions import COMMAND_LINE
from finance import recognizing, roll_forward, watermarks
from finance.closing import obstacles, sealing
from finance.closing.obstacles import Obstacle
from finance.closing.sealing import Sealed
from finance.closing.walking import Progress
from finance.periods import Period
from finance.roll_forward import RollForward
from finance.tables import Close
from ledger.ids import external
from ledger.money import usd

_Month = Annotated[str, typer.Argument(help="A month, as 2026-10 (UTC).", metavar="PERIOD")]

_LETTERS = text("SELECT count(*) FROM webhooks.letters WHERE state IN ('pending', 'parked') AND received_at < :end")


def add_to(app: typer.Typer) -> None:
    """Make the commands known to `purser`."""
    app.command("close")(close)
    app.command("reopen")(reopen)
    app.command("closes")(closes)
    app.command("recognize")(recognize)
    app.command("roll-forward")(rolled)


def month_of(name: str) -> Period:
    """A month as it was typed. Raises `CannotGoOn`."""
    try:
        return Period.parse(name)
    except ValueError as error:
        raise CannotGoOn(f"{str(error)[:1].upper()}{str(error)[1:]}.", exit_code=2) from None


def close(
    period: _Month,
    reason: Annotated[str, typer.Option(help="Why now, for the record.")] = "the month is over",
    data_dir: DataDir = None,
) -> None:
    """Close a month: verify everything, recognize its revenue, close every book, and seal the list of them."""
    month, out = month_of(period), console()
    in_house(data_dir, lambda house: _over(house, month))
    with books.progress_told() as progress:
        verified = in_house(data_dir, lambda house: books.verify(house, None, progress=progress))
    if not books.tell(verified):
        raise CannotGoOn(f"{month.name} stays open: the books must be clean first.")
    in_the_way = in_house(data_dir, lambda house: _obstacles(house, month))
    for one in in_the_way:
        out.print(f"[bold red]{one.count}[/] {one.name}: {one.remedy}", soft_wrap=True)
    if in_the_way:
        raise CannotGoOn(f"{month.name} stays open: see to that first, then close it again.")
    with _walked() as walked:
        sealed = in_house(data_dir, lambda house: _close(house, month, reason, walked))
    number = f"{sealed.books} {'book' if sealed.books == 1 else 'books'}"
    out.print(
        f"{month.name} is closed: {number}, {external(sealing.PREFIX, sealed.close_id)}.\nseal {sealed.seal.hex()}",
        soft_wrap=True,
    )
    out.print(f"Write it out with: purser export {month.name}")


def reopen(period: _Month, reason: Reason, data_dir: DataDir = None) -> None:
    """Open the last closed month again. The close stays in the list, and every book says so."""
    month = month_of(period)
    with _walked() as walked:
        was = in_house(
            data_dir,
            lambda house: sealing.reopen(
                house.sessions, month, by=COMMAND_LINE, reason=reason, now=house.clock(), progress=walked
            ),
        )
    console().print(f"{month.name} is open again; {external(sealing.PREFIX, was)} no longer stands.")


def closes(
    limit: Annotated[int, typer.Option(min=1, max=LISTED_MAX)] = LISTED,
    before: Annotated[str | None, typer.Option(help="Only what is older than this one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List the closes of all months, newest first, those too that were opened again."""
    behind = parse(sealing.PREFIX, before, "a close") if before is not None else None

    async def found(house: House) -> list[Close]:
        async with snapshot(house.sessions) as session:
            return await sealing.closes(session, before=behind, limit=limit + 1)

    rows = in_house(data_dir, found)
    names = [external(sealing.PREFIX, one.id) for one in rows]
    console().print(
        table(
            ("close", "period", "state", "sealed", "books", "seal", "holder"),
            [
                (
                    name, one.period, one.state, moment(one.sealed_at), str(one.books),
                    one.seal.hex()[:16] if one.seal else "", one.holder,
                )
                for name, one in zip(names, rows, strict=True)
            ],
            whole=("close", "period"),
            limit=limit,
            go_on=lambda n: f"purser closes --before {names[n]}",
            nothing="no month was closed",
        )
    )  # fmt: skip


def recognize(
    through: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Yesterday when left out.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Recognize the revenue of all days that are over. `purser serve` does it every day; again changes nothing."""

    async def act(house: House) -> tuple[date, recognizing.Recognized]:
        last = await recognizing.last_day_over(house.sessions)
        day = last if through is None else through.date()
        if day > last:
            raise CannotGoOn(f"{day} is not over yet (UTC).", exit_code=2)
        return day, await recognizing.recognize_all(house.sessions, through=day)

    day, done = in_house(data_dir, act)
    console().print(f"Revenue is recognized through {day}: {done.books} books looked at, {done.days} days posted.")


def rolled(
    period: _Month,
    total: Annotated[bool, typer.Option("--total", help="The total only.")] = False,  # noqa: FBT002 - a switch
    data_dir: DataDir = None,
) -> None:
    """Show what became of credits that were sold: opening, sold, consumed, expired, refunded, closing."""
    month = month_of(period)
    rows = in_house(data_dir, lambda house: _roll_forward(house, month))
    shown = [row for row in rows if not total or row.organization_id is None]
    drawn = Table(title=f"Deferred revenue of {month.name}, in USD", title_justify="left", box=None, pad_edge=False)
    drawn.add_column("organization", no_wrap=True)
    for heading in ("opening", "sold", "consumed", "expired", "refunded", "disputed", "adjusted", "closing"):
        drawn.add_column(heading, justify="right")
    for row in shown:
        whose = "total" if row.organization_id is None else external("org", row.organization_id)
        cents = (row.opening, row.sold, -row.consumed, -row.expired, -row.refunded, -row.disputed, row.adjusted)
        drawn.add_row(whose, *(usd(one).decimal() for one in (*cents, row.closing)))
    console().print(drawn)


async def _over(house: House, month: Period) -> None:
    async with snapshot(house.sessions) as session:
        await sealing.require_over(session, month)


async def _obstacles(house: House, month: Period) -> list[Obstacle]:
    async with snapshot(house.sessions) as session:
        found = await obstacles.standing(session, month)
        return [*await _letters(session, month), *found]


async def _letters(session: AsyncSession, month: Period) -> list[Obstacle]:
    waiting = (await (await session.connection()).execute(_LETTERS, {"end": month.ends_at})).scalar_one()
    return [Obstacle("letters that are not done", waiting, "see `purser letters list`")] if waiting else []


async def _close(house: House, month: Period, reason: str, walked: Progress) -> Sealed:
    return await sealing.close(
        house.sessions, month, by=COMMAND_LINE, reason=reason, now=house.clock(), progress=walked
    )


async def _roll_forward(house: House, month: Period) -> list[RollForward]:
    async with house.sessions() as session, session.begin() as transaction:
        # A long journal takes longer to add up than a request may, and only this transaction waits for it.
        await (await session.connection()).execute(text("SET LOCAL statement_timeout = 0"))
        mark = await watermarks.take(session, new_id(house.clock()), now=house.clock())
        rows = [row async for row in roll_forward.rows(session, month, mark.id)]
        await transaction.rollback()
    return rows


@contextmanager
def _walked() -> Iterator[Callable[[int], None]]:
    """Says on standard error how many books are done."""
    out = console(complaints=True)
    if not out.is_terminal:
        yield lambda _: None
        return
    with out.status("recognizing revenue") as status:
        yield lambda done: status.update(f"{done:,} books")
