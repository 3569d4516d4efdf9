"""How an accounting package calls our accounts, and which columns its import has: a small YAML file. Pure.

    dates: day-month-year
    columns:
      - {heading: "*Date", value: date}
      - {heading: "*TaxRate", text: Tax Exempt}
    accounts:
      stripe_clearing: "610"

`dates` is one of `DATES`, `value` one of `VALUES`, `text` the same in every row. Every dollar account of the chart is
mapped, so that no month can end in a surprise. Every scalar is taken as the text that it is written as: `010` is not 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ledger.chart import CHART
from ledger.money import Currency

BYTES_MAX: Final = 64 * 1024
COLUMNS_MAX: Final = 50
TEXT_LENGTH_MAX: Final = 200
DATES: Final = ("year-month-day", "day-month-year", "month-day-year")
VALUES: Final = (
    "narration", "journal", "date", "description", "account", "signed", "debit", "credit", "currency",
)  # fmt: skip
_DOLLARS: Final = frozenset(account.code for account in CHART if account.currency is Currency.USD)


class Unusable(ValueError):
    """A file is no account map. The message begins with `file:line:column: `, both counted from 1."""


class _Fault(Exception):
    def __init__(self, node: Any, message: str) -> None:
        super().__init__(message)
        self.mark = getattr(node, "start_mark", node)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the import: its heading, and one of `VALUES`, or else the same `text` in every row."""

    heading: str
    value: str | None
    text: str


@dataclass(frozen=True, slots=True)
class AccountMap:
    """A map that can be used: `accounts` has every dollar account. `digest` is the sha256 of its file, in hex."""

    dates: str
    columns: tuple[Column, ...]
    accounts: Mapping[str, str]
    digest: str


def read(raw: bytes, *, name: str) -> AccountMap:
    """The map in a file. Raises `Unusable`."""
    try:
        return _map(_root(raw), hashlib.sha256(raw).hexdigest())
    except _Fault as fault:
        line, column = (fault.mark.line + 1, fault.mark.column + 1) if fault.mark is not None else (1, 1)
        raise Unusable(f"{name}:{line}:{column}: {fault}") from None


def _root(raw: bytes) -> Any:
    if len(raw) > BYTES_MAX:
        raise _Fault(None, f"the file is larger than {BYTES_MAX} bytes")
    try:
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise _Fault(None, "this is not UTF-8") from None
    except RecursionError:
        raise _Fault(None, "this is nested too deep") from None
    except yaml.MarkedYAMLError as error:
        raise _Fault(error.problem_mark, error.problem or "this is not YAML") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the last two for an escape of no character
        raise _Fault(None, "this is not YAML") from None
    if node is None:
        raise _Fault(None, "the file is empty")
    return node


def _map(root: Any, digest: str) -> AccountMap:
    fields = _fields(root, required=("dates", "columns", "accounts"))
    dates = _one_of(fields["dates"], DATES)
    if not isinstance(fields["columns"], yaml.SequenceNode):
        raise _Fault(fields["columns"], "columns is a list")
    columns = tuple(_column(item) for item in fields["columns"].value)
    if not 0 < len(columns) <= COLUMNS_MAX:
        raise _Fault(fields["columns"], f"there are 1 to {COLUMNS_MAX} columns")
    values = {column.value for column in columns}
    if not ({"account", "date"} <= values and ("signed" in values or {"debit", "credit"} <= values)):
        raise _Fault(
            fields["columns"], "there are columns for date and account, and for signed or for debit and credit"
        )
    return AccountMap(dates, columns, _accounts(fields["accounts"]), digest)


def _column(node: Any) -> Column:
    fields = _fields(node, required=("heading",), optional=("value", "text"))
    if ("value" in fields) == ("text" in fields):
        raise _Fault(node, "a column has a value or a text")
    value = _one_of(fields["value"], VALUES) if "value" in fields else None
    return Column(_text(fields["heading"]), value, "" if value else _text(fields["text"], empty=True))


def _accounts(node: Any) -> Mapping[str, str]:
    fields = _fields(node, required=(), optional=tuple(_DOLLARS))
    if missing := sorted(_DOLLARS - fields.keys()):
        raise _Fault(node, f"these accounts are not mapped: {', '.join(missing)}")
    return {code: _text(value) for code, value in fields.items()}


def _fields(node: Any, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _Fault(node, "here stand fields with their values")
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in {*required, *optional}:
            raise _Fault(key, f"there is no {getattr(key, 'value', 'such field')!s:.40} here")
        if key.value in found:
            raise _Fault(key, f"{key.value} stands here twice")
        found[key.value] = value
    for name in required:
        if name not in found:
            raise _Fault(node, f"{name} is missing")
    return found


def _text(node: Any, *, empty: bool = False) -> str:
    said = str(node.value) if isinstance(node, yaml.ScalarNode) else "\n"
    if not said.isprintable() or len(said) > TEXT_LENGTH_MAX or not (said or empty):
        raise _Fault(node, f"this is no text of 1 to {TEXT_LENGTH_MAX} printable characters")
    return said


def _one_of(node: Any, known: tuple[str, ...]) -> str:
    said = _text(node)
    if said not in known:
        raise _Fault(node, f"this is one of {', '.join(known)}")
    return said
