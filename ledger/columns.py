"""How tables are spelled in SQLModel: types, nulls and defaults the same way, and rows that show their id only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, DateTime, Uuid, text
from sqlmodel import Field, SQLModel


class Discreet(SQLModel):
    """A row that shows its id and nothing else in `repr` and `str`: what else it holds is secret or somebody's own.

    Logs and tracebacks show rows without being asked to.
    """

    def __repr_args__(self) -> Sequence[tuple[str | None, Any]]:
        # Not by the attribute: that may ask the database, which whoever shows a row does not expect.
        return [("id", self.__dict__.get("id"))]


def column(type_: Any, *, null: bool = False, default: str | None = None, key: bool = False) -> Any:
    """A column of SQL type `type_`. `default` is an SQL expression; `key` makes it part of the primary key."""
    server_default = text(default) if default is not None else None
    if key:
        return Field(sa_column=Column(type_, primary_key=True, autoincrement=False, server_default=server_default))
    return Field(sa_column=Column(type_, nullable=null, server_default=server_default))


def organization_key() -> Any:
    """The organization as the first part of a primary key."""
    return column(Uuid, key=True)


def time(*, null: bool = False) -> Any:
    """A point in time, kept in UTC to the microsecond."""
    return column(DateTime(timezone=True), null=null)


def one_of(name: str, values: Iterable[str]) -> str:
    """The condition that column `name` holds one of `values`, for a CHECK or a partial index."""
    return f"{name} IN ({', '.join(repr(str(value)) for value in values)})"
