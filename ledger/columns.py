"""How a column is spelled in a SQLModel table, so that every table says types, nulls and defaults the same way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, DateTime, Uuid, text
from sqlmodel import Field


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
