"""What became of a fact, and the letter that brought it: the words that all who apply facts share. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlmodel.ext.asyncio.session import AsyncSession


class Verdict(enum.StrEnum):
    """What became of a fact. `parked`: a person must look; `not_yet`: it may become applicable, try again later."""

    APPLIED = "applied"
    NOTHING_NEW = "nothing_new"
    NOT_YET = "not_yet"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with its reason, in words for an operator."""

    verdict: Verdict
    reason: str | None = None


class LetterLock(Protocol):
    """The letter that brought the facts: locked first, and marked done before the books are touched."""

    async def lock(self, session: AsyncSession) -> bool:
        """Lock the letter. False when it is no longer waiting."""

    async def done(self, session: AsyncSession, now: datetime) -> None:
        """Mark it done in this transaction."""
