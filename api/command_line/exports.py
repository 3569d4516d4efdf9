"""The command `export`, as it is typed: one month under a watermark, as files in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from api import account_map
from api.command_line.attached import DataDir, in_house
from api.command_line.books import parse_organization
from api.command_line.console import console
from api.reasons import CannotGoOn
from api.wiring import House
from billing.operator_actions import COMMAND_LINE
from finance.exporting import files, marks, writing
from finance.exporting.files import File
from finance.exporting.manifest import OtherExport, Written
from finance.exporting.marks import Marked
from finance.exporting.reading import reading
from finance.periods import Period

REASON: Final = "purser export"


def add_to(app: typer.Typer) -> None:
    """Make the command known to `purser`."""
    app.command("export")(export)


def export(
    period: Annotated[str, typer.Argument(help="A month, as 2026-10 (UTC).")],
    *,
    to: Annotated[Path | None, typer.Option(help="Folder to write into; a new one of the export by default.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this file, as journal.csv; may be given often.")] = None,
    organization: Annotated[
        str | None, typer.Option(help="Write the credit statement of this organization too.")
    ] = None,
    watermark: Annotated[
        str | None, typer.Option(help="The same again: close_… or export_…; else the seal, or a new mark.")
    ] = None,
    format_map: Annotated[
        str | None, typer.Option(help="Only this accounting journal: xero, quickbooks, or the file of a map.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Into a folder that has another export too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Write a month's books into files, with a manifest: journal, trial balance, roll-forward, beancount and more."""
    month = _month(period)
    whose = None if organization is None else parse_organization(organization)
    maps = None if format_map is None else account_map.one_map(format_map)

    async def written(house: House) -> tuple[Marked, Path, list[Written]]:
        wanted = _wanted(files.files(maps or account_map.all_maps(house.account_map), organization_id=whose), only)
        marked = await _marked(house, month, watermark)
        folder = to or house.settings.data_dir / "exports" / f"{month.name}-{marked.name}"
        with _progress_told(len(wanted)) as progress:
            try:
                async with reading(house.sessions, marked) as of:
                    done = await writing.into_folder(of, wanted.values(), folder, progress, force=force)
            except OtherExport as other:
                raise CannotGoOn(f"{folder} has {other}: name another folder, or --force.", exit_code=2) from None
            except ArithmeticError as broken:
                raise CannotGoOn(f"The export does not balance, and no manifest is written: {broken}.") from None
        return marked, folder, done

    marked, folder, done = in_house(data_dir, written)
    out = console()
    for one in done:
        out.print(f"  {one.name}  {one.counted.rows:,} rows, {one.size:,} bytes", soft_wrap=True)
    out.print(f"{month.name} under {marked.name} ({marked.kind}) is in {escape(str(folder))}", soft_wrap=True)


def _month(name: str) -> Period:
    try:
        return Period.parse(name)
    except ValueError as error:
        raise CannotGoOn(f"{str(error)[:1].upper()}{str(error)[1:]}.", exit_code=2) from None


def _wanted(known: Mapping[str, File], only: list[str] | None) -> dict[str, File]:
    for name in only or ():
        if name not in known:
            raise CannotGoOn(f"There is no file {name}; there are {', '.join(known)}.", exit_code=2)
    return {name: file for name, file in known.items() if not only or name in only}


async def _marked(house: House, month: Period, watermark: str | None) -> Marked:
    if watermark is None:
        return await marks.make(house.sessions, month, by=COMMAND_LINE, reason=REASON, now=house.clock())
    found = await marks.again(house.sessions, watermark, by=COMMAND_LINE, now=house.clock())
    if found.period != month:
        raise CannotGoOn(f"{watermark} is of {found.period.name}, not of {month.name}.", exit_code=2)
    return found


@contextmanager
def _progress_told(count: int) -> Iterator[Callable[[str, int], None]]:
    """Says on standard error how far it is: as a bar on a terminal, else a line when a file is begun."""
    out, begun = console(complaints=True), list[str]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as drawn:
        task = drawn.add_task("reading the journal", total=count)

        def told(name: str, rows: int) -> None:
            if name not in begun:
                begun.append(name)
                if not out.is_terminal:
                    out.print(f"writing {name}")
            drawn.update(task, description=f"{name} {rows:,} rows", completed=len(begun) - 1)

        yield told
        drawn.update(task, description="done", completed=count)
