"""A command at work on the database of the settings, or of the service that is embedded in the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from api import logs
from api.reasons import CannotGoOn, read_settings, unreachable
from api.running import embedding
from api.settings import Settings
from api.wiring import House, build
from billing.refusals import Refusal, Refused

T = TypeVar("T")
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the embedded database.")]


def in_house(data_dir: Path | None, act: Callable[[House], Awaitable[T]]) -> T:
    """Do something with a house. A refusal becomes a sentence. Raises `CannotGoOn`."""
    settings = read_settings(data_dir=data_dir)
    logs.configure(settings)

    async def acted(found: Settings) -> T:
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
