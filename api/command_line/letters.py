"""The inbox for an operator: list, show and retry letters."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from uuid import UUID

from rich.table import Table
from rich.text import Text

from api.command_line.console import visible
from api.reasons import CannotGoOn
from api.wiring import House
from billing.database import snapshot
from ledger import ids
from webhooks import inbox
from webhooks.tables import LETTER_STATES, Letter

PREFIX: Final = "letter"
LISTED_MAX: Final = 200
BODY_CHARACTERS_MAX: Final = 20_000
_SECRET_FIELD: Final = re.compile(r"secret|password|token$|signature|private|authorization|api_?key", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"((?:sk|rk|whsec|isk_r|pok)_[A-Za-z0-9_]{4})[A-Za-z0-9_]+|\b(?:\d[ -]?){13,19}\b|_secret_[A-Za-z0-9]+"
)
REDACTED: Final = "[redacted]"
WHOLE_ID: Final = len("letter_") + ids.LENGTH


async def listed(house: House, *, state: str | None, limit: int, before: str | None) -> Table:
    """The newest letters as a table. Raises `CannotGoOn` for an unknown state or id."""
    if state is not None and state not in LETTER_STATES:
        raise CannotGoOn(f"--state is one of {', '.join(LETTER_STATES)}.", exit_code=2)
    async with snapshot(house.sessions) as session:
        found = await inbox.listed(
            session, state=state, before=None if before is None else parse(before), limit=min(limit, LISTED_MAX)
        )
    table = Table(box=None, pad_edge=False)
    for heading in ("letter", "received", "state", "type", "tries", "reason"):
        # An id that is cut cannot be looked up.
        table.add_column(heading, no_wrap=heading == "letter", min_width=WHOLE_ID if heading == "letter" else None)
    for letter in found:
        table.add_row(
            ids.external(PREFIX, letter.id), f"{letter.received_at:%Y-%m-%d %H:%M:%S}", letter.state,
            Text(visible(letter.type)), str(letter.tries), Text(visible(letter.reason or "")),
        )  # fmt: skip
    table.caption = None if found else "no letters"
    return table


async def shown(house: House, letter_id: str) -> dict[str, Any]:
    """One letter with its body, secrets redacted. Raises `CannotGoOn` when there is none."""
    async with snapshot(house.sessions) as session:
        letter = await session.get(Letter, parse(letter_id))
    if letter is None:
        raise CannotGoOn(f"There is no letter {letter_id}.")
    facts = letter.model_dump(mode="json", exclude={"id", "body"})
    return {"letter": ids.external(PREFIX, letter.id), **facts, "body": body(letter.body)}


async def retried(house: House, letter_id: str) -> None:
    """Let a parked letter be tried again. Raises `CannotGoOn` when there is no such parked letter."""
    if not await inbox.retry(house.sessions, parse(letter_id), now=house.clock()):
        raise CannotGoOn(f"There is no parked letter {letter_id}; only parked ones can be retried.")


def parse(letter_id: str) -> UUID:
    """The id inside `letter_…`. Raises `CannotGoOn`."""
    try:
        return ids.parse(PREFIX, letter_id)
    except ids.MalformedId as error:
        raise CannotGoOn(f"{letter_id} is {error}.", exit_code=2) from None


def body(raw: bytes) -> Any:
    """A letter's body without secrets: decoded where it is JSON, else its beginning as text."""
    try:
        return redacted(json.loads(raw))
    except ValueError:
        return _without_secrets(raw.decode("utf-8", errors="replace")[:BODY_CHARACTERS_MAX])


def redacted(value: Any) -> Any:
    """The same JSON with secret fields and everything that looks like a key or a card number struck out."""
    if isinstance(value, dict):
        return {
            name: REDACTED if _SECRET_FIELD.search(name) and inside is not None else redacted(inside)
            for name, inside in value.items()
        }
    if isinstance(value, list):
        return [redacted(inside) for inside in value]
    return _without_secrets(value) if isinstance(value, str) else value


def _without_secrets(text: str) -> str:
    return _SECRET_VALUE.sub(lambda found: (found.group(1) or "") + REDACTED, text)
