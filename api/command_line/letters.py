"""The inbox for an operator: list, show, retry, park and ignore letters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from rich.table import Table

from api.command_line.tables import moment, parse, table
from api.http.views import operator as views
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from webhooks import forgetting, letters
from webhooks.tables import LETTER_STATES

LISTED_MAX: Final = 200


async def listed(house: House, *, state: str | None, limit: int, before: str | None) -> Table:
    """The newest letters as a table. Raises `CannotGoOn` for an unknown state or id."""
    if state is not None and state not in LETTER_STATES:
        raise CannotGoOn(f"--state is one of {', '.join(LETTER_STATES)}.", exit_code=2)
    behind = None if before is None else _parse(before)
    async with snapshot(house.sessions) as session:
        found = await letters.listed(session, state=state, before=behind, limit=limit + 1)
    names = [letters.public_id(one.id) for one in found]
    return table(
        ("letter", "received", "state", "type", "tries", "reason"),
        [
            (name, moment(one.received_at), one.state, one.type, str(one.tries), one.reason or "")
            for name, one in zip(names, found, strict=True)
        ],
        whole=("letter",),
        limit=limit,
        go_on=lambda n: f"purser letters list --before {names[n]}",
        nothing="no letters",
    )


async def shown(house: House, letter_id: str) -> dict[str, Any]:
    """One letter with its body, secrets redacted. Raises `Refused(NOT_FOUND)` when there is none."""
    async with snapshot(house.sessions) as session:
        return views.whole_letter(await letters.one(session, _parse(letter_id)))


async def retried(house: House, letter_id: str, *, reason: str) -> None:
    """Let a parked or ignored letter be tried again. Raises `Refused`."""
    await letters.retry(house.sessions, _parse(letter_id), by=COMMAND_LINE, reason=reason, now=house.clock())


async def parked(house: House, letter_id: str, *, reason: str) -> None:
    """Put a waiting letter aside. Raises `Refused`."""
    await letters.park(house.sessions, _parse(letter_id), by=COMMAND_LINE, reason=reason, now=house.clock())


async def ignored(house: House, letter_id: str, *, reason: str) -> None:
    """Be done with a parked letter. Raises `Refused`."""
    await letters.ignore(house.sessions, _parse(letter_id), by=COMMAND_LINE, reason=reason, now=house.clock())


async def forgotten(house: House, *, days: int) -> int:
    """Take persons out of letters that are older than `days` and done with; out of how many."""
    return await forgetting.forget_older(house.sessions, before=house.clock() - timedelta(days=days))


def _parse(letter_id: str) -> UUID:
    return parse(letters.PREFIX, letter_id, "a letter")
