"""CSV files that others give: rows with the place of every cell, and amounts and times read from text. Pure.

Amounts are decimal, in whole units with two digits at most, and become cents by their digits alone. Whatever cannot be
read refuses the whole file, and the reason says where it stands.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from ledger.money import AMOUNT_MAX

BYTES_MAX: Final = 64 * 2**20
"""Largest file that is taken over."""
LINES_MAX: Final = 500_000
CELL_LENGTH_MAX: Final = 1000
YEARS: Final = range(2000, 2200)
"""A day of another year is a mistake, with which a statement would begin or end where it does not."""

_AMOUNT: Final = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


class StatementRefused(Exception):
    """What others say cannot be taken over, so that nothing of it was. The message says where and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, by the names of its header. `number` is the line of the file that it begins on, from 1."""

    file: str
    number: int
    cells: Mapping[str, str]

    def text(self, *names: str) -> str:
        """The first of these columns that the file has, without blanks around; empty where it has none of them."""
        return next((self.cells[name] for name in names if name in self.cells), "")

    def refused(self, column: str, why: str) -> StatementRefused:
        """The refusal of a cell of this line."""
        return StatementRefused(f"{self.file}, line {self.number}, column {column}: {why}")

    def cents(self, column: str) -> int:
        """A decimal amount as cents, as `-12.30` → -1230. Raises `StatementRefused`."""
        found = _AMOUNT.fullmatch(self.text(column))
        if found is None:
            raise self.refused(column, "is not an amount such as -12.30")
        cents = int(found[2]) * 100 + int((found[3] or "").ljust(2, "0"))
        if cents > AMOUNT_MAX:
            raise self.refused(column, f"is beyond {AMOUNT_MAX} cents")
        return -cents if found[1] else cents

    def day(self, *columns: str) -> date:
        """A day as `2026-10-31`. Raises `StatementRefused`."""
        text = self.text(*columns)
        try:
            if _DAY.fullmatch(text) and int(text[:4]) in YEARS:
                return date.fromisoformat(text)
        except ValueError:
            pass
        raise self.refused(columns[0], "is not a day such as 2026-10-31")

    def moment(self, column: str) -> datetime:
        """A time in UTC as `2026-10-31 08:00:00`. Raises `StatementRefused`."""
        text = self.text(column)
        try:
            if _MOMENT.fullmatch(text) and int(text[:4]) in YEARS:
                return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            pass
        raise self.refused(column, "is not a time in UTC such as 2026-10-31 08:00:00")

    def currency(self) -> str:
        """The column `currency`, in lower case. Raises `StatementRefused` for any but US dollars."""
        found = self.text("currency").lower()
        if found != "usd":
            raise self.refused("currency", f"is {found[:10] or 'empty'}, and these books are kept in usd")
        return found


def rows(content: bytes, file: str, *, columns: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """The lines of a CSV file with a header, which has at least one name of each of `columns`.

    Column names are compared in lower case. Raises `StatementRefused`.
    """
    if len(content) > BYTES_MAX:
        raise StatementRefused(f"{file} has more than {BYTES_MAX} bytes")
    try:
        yield from _rows(content.decode("utf-8-sig"), file, columns)
    except UnicodeDecodeError:
        raise StatementRefused(f"{file} is not text in UTF-8") from None
    except csv.Error as error:
        raise StatementRefused(f"{file} is not a CSV file: {error}") from None


def _rows(text: str, file: str, columns: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip().lower() for name in next(reader, [])]
    for names in columns:
        if not set(names) & set(header):
            raise StatementRefused(f"{file}, line 1: has no column {' or '.join(names)}")
    if len(set(header)) != len(header):
        raise StatementRefused(f"{file}, line 1: has a column twice")
    behind = reader.line_num
    for cells in reader:
        number, behind = behind + 1, reader.line_num  # a quoted cell may go over several lines
        if not cells:
            continue
        if number > LINES_MAX:
            raise StatementRefused(f"{file} has more than {LINES_MAX} lines")
        if len(cells) != len(header):
            raise StatementRefused(f"{file}, line {number}: has {len(cells)} columns, its header {len(header)}")
        row = Row(file, number, {name: cell.strip() for name, cell in zip(header, cells, strict=True)})
        for name, cell in row.cells.items():
            if len(cell) > CELL_LENGTH_MAX or "\0" in cell:
                raise row.refused(name, f"is longer than {CELL_LENGTH_MAX} characters, or is no text")
        yield row
