"""Create, list, rotate and revoke operator keys. A token is printed once, when it is made, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from api.command_line.console import console, visible
from api.reasons import CannotGoOn
from api.wiring import House
from billing import operator_keys
from billing.database import snapshot
from billing.operator_keys import KEY_PREFIX, NewKey
from billing.operator_tables import OperatorKey
from billing.refusals import Refusal, Refused
from billing.scopes import Scope
from ledger import ids

LISTED_MAX: Final = 200
WHOLE_ID: Final = len(KEY_PREFIX) + 1 + ids.LENGTH


async def created(house: House, *, name: str, scopes: Sequence[Scope]) -> NewKey:
    """A new key for the holder `name`. Raises `CannotGoOn` for a name that cannot be one."""
    with _sentences():
        return await operator_keys.create(house.sessions, name=name, scopes=scopes, now=house.clock())


async def rotated(house: House, key_id: str, *, grace_s: int) -> NewKey:
    """A new token for a key; the older ones work for `grace_s` more seconds. Raises `CannotGoOn`."""
    key, grace = parse(key_id), timedelta(seconds=grace_s)
    with _sentences(key_id):
        return await operator_keys.rotate(house.sessions, key, grace=grace, now=house.clock())


async def revoked(house: House, key_id: str) -> OperatorKey:
    """End a key at once. Raises `CannotGoOn` when there is none."""
    key = parse(key_id)
    with _sentences(key_id):
        return await operator_keys.revoke(house.sessions, key, now=house.clock())


async def listed(house: House, *, limit: int, after: str | None) -> Table:
    """Keys as a table, oldest first, without anything of their secrets. Raises `CannotGoOn` for a malformed id."""
    behind, wanted = None if after is None else parse(after), min(limit, LISTED_MAX)
    async with snapshot(house.sessions) as session:
        found = await operator_keys.keys(session, after=behind, limit=wanted + 1)
    table = Table(box=None, pad_edge=False, caption_justify="left")
    for heading in ("key", "holder", "scopes", "created", "rotated", "revoked"):
        # An id that is cut cannot be looked up.
        table.add_column(heading, no_wrap=heading == "key", min_width=WHOLE_ID if heading == "key" else None)
    for key in found[:wanted]:
        days = [f"{at:%Y-%m-%d}" if at else "" for at in (key.created_at, key.rotated_at, key.revoked_at)]
        table.add_row(key_name(key.id), Text(visible(key.name)), ", ".join(key.scopes), *days)
    if len(found) > wanted:
        table.caption = f"more: purser keys list --after {key_name(found[wanted - 1].id)}"
    elif not found:
        table.caption = "no keys"
    return table


def print_new(key: NewKey) -> None:
    """Print the token of a key, for the only time."""
    out = console()
    out.print(
        f"Operator key {key_name(key.key_id)} of {escape(visible(key.name))}, for {', '.join(key.scopes)}. Its token:",
        soft_wrap=True,
    )
    out.print(f"  [bold]{escape(key.token)}[/]", soft_wrap=True)
    out.print(
        "It is shown this once and stored nowhere: keep it now. A lost one is replaced with `purser keys rotate`."
    )
    if key.old_secrets_until is not None:
        out.print(f"Its older tokens end at {key.old_secrets_until:%Y-%m-%d %H:%M:%S} UTC.")


def key_name(key_id: UUID) -> str:
    """`opkey_…`, as it is shown and asked for."""
    return ids.external(KEY_PREFIX, key_id)


def parse(key_id: str) -> UUID:
    """The id inside `opkey_…`. Raises `CannotGoOn`, which never repeats what may be a token."""
    try:
        return ids.parse(KEY_PREFIX, key_id)
    except ids.MalformedId:
        said = "That is a token" if key_id.startswith(operator_keys.TOKEN_PREFIX) else "That is no operator key's id"
        raise CannotGoOn(f"{said}; `purser keys list` shows the ids ({KEY_PREFIX}_…).", exit_code=2) from None


@contextmanager
def _sentences(key_id: str | None = None) -> Iterator[None]:
    """Turn a refusal into a sentence for people."""
    try:
        yield
    except Refused as refused:
        named = f"{key_id}: " if key_id is not None else ""
        wrong_option = refused.refusal is Refusal.INVALID_ARGUMENTS
        raise CannotGoOn(f"{named}{refused.message}.", exit_code=2 if wrong_option else 1) from None
