"""A command at work on the database of the settings, or of the service that is embedded in the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from api import logs
from api.command_line import tables
from api.reasons import CannotGoOn, read_settings, unreachable
from api.running import embedding
from api.settings import Settings
from api.wiring import House, build
from billing.refusals import Refusal, Refused

T = TypeVar("T")
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the embedded database.")]


def in_house(data_dir: Path | None, act: Callable[[House], Awaitable[T]], *, as_owner: bool = False) -> T:
    """Do something with a house. A refusal becomes a sentence. Raises `CannotGoOn`.

    `as_owner` is for what the service itself may not do: then the house is on the database's role that migrates.
    """
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)
    tables.print_times_in(settings.time_zone)

    async def acted(found: Settings) -> T:
        if as_owner:
            found = _as_owner(found)
        house = build(found, answer_timeout_s=None)  # a verification may take long
        try:
            return await act(house)
        except Refused as refused:
            wrong_option = refused.refusal is Refusal.INVALID_ARGUMENTS
            raise CannotGoOn(
                f"{refused.message[:1].upper()}{refused.message[1:]}.", exit_code=2 if wrong_option else 1
            ) from None
        except (SQLAlchemyError, OSError) as error:
            raise unreachable("PURSER_DATABASE_URL", error) from error
        finally:
            await house.close()

    with embedding.attached(settings) as found:
        return asyncio.run(acted(found))


def _as_owner(settings: Settings) -> Settings:
    if settings.migrate_url is None:
        raise CannotGoOn("This changes what the service may not change; set PURSER_MIGRATE_URL for it.")
    return settings.model_copy(update={"database_url": settings.migrate_url})
