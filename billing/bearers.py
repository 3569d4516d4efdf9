"""Whose a bearer token is, read from the database for every request; those that arrive together, in one statement.

Nothing is kept: a request is answered from a read that began after it arrived, so a token that was revoked before is
refused, always. Sessions are too slow for this: authentication would cost more than what it guards.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from billing.refusals import Refusal, Refused
from ledger import ids
from ledger.failures import of_the_link

IDS_MAX: Final = 256
"""Tokens that one statement looks up."""

WAITING_MAX: Final = 4_096
"""Requests that may wait for one of the next statements."""

ANSWER_TIMEOUT_S: Final = 5.0

AGENT_TOKENS: Final = """
    SELECT t.id AS token_id, t.secret_hash, t.created_at, t.revoked_at AS ends_at, a.organization_id, a.id AS agent_id,
           a.name, a.runtime, a.revoked_at,
           EXISTS (SELECT FROM billing.owners AS o
                   WHERE o.organization_id = a.organization_id AND o.ended_at IS NULL) AS claimed
    FROM billing.agent_tokens AS t
    JOIN billing.agents AS a ON a.organization_id = t.organization_id AND a.id = t.agent_id
    WHERE t.id = ANY ($1::uuid[])"""

OPERATOR_SECRETS: Final = """
    SELECT s.id AS token_id, s.secret_hash, s.revoked_at AS ends_at, k.id AS key_id, k.name, k.scopes, k.revoked_at
    FROM billing.operator_secrets AS s JOIN billing.operator_keys AS k ON k.id = s.key_id
    WHERE s.id = ANY ($1::uuid[])"""

Connect = Callable[[], Awaitable[Any]]
Lookup = Callable[[UUID], Awaitable[Any | None]]
"""The row of a token by its id, with the columns of the statements above; none when there is no such token."""

_NO_HASH: Final = bytes(32)


def secret_hash(secret: str) -> bytes:
    """How a secret is kept. It has 256 random bits, so one round is enough."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def verified(lookup: Lookup, token: str, *, prefix: str, now: datetime) -> Any:
    """The row behind a bearer token `<prefix><26 letters of its id><secret>`.

    Raises `Refused(AUTH_REQUIRED)` for anything but a token that lives at `now` and whose bearer was not revoked. The
    comparison is made in every case, so that its time does not tell which ids exist.
    """
    head = len(prefix) + ids.LENGTH
    try:
        row = await lookup(ids.parse(prefix.rstrip("_"), token[:head]))
    except ids.MalformedId:
        row = None
    matches = hmac.compare_digest(secret_hash(token[head:]), row["secret_hash"] if row else _NO_HASH)
    if (
        row is None
        or not matches
        or row["revoked_at"] is not None
        or not (row["ends_at"] is None or row["ends_at"] > now)
    ):
        raise Refused(Refusal.AUTH_REQUIRED)
    return row


@dataclass
class Lookups:
    """One statement, asked for many ids at once over a connection of its own. Called with an id, it is a `Lookup`."""

    connect: Connect = field(repr=False)
    statement: str = field(repr=False)
    _waiting: list[tuple[UUID, asyncio.Future[Any]]] = field(default_factory=list, init=False, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    _connection: Any = field(default=None, init=False, repr=False)

    async def __call__(self, token_id: UUID) -> Any | None:
        """The row of `token_id`. Raises what the driver raises when the database is away; `Refused(OVERLOADED)`."""
        if len(self._waiting) >= WAITING_MAX:
            raise Refused(Refusal.OVERLOADED)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((token_id, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await answer

    async def _drain(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:IDS_MAX], self._waiting[IDS_MAX:]
            try:
                found = {row["token_id"]: row for row in await self._read([token_id for token_id, _ in asked])}
            except Exception as error:  # noqa: BLE001 - each request learns it
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for token_id, answer in asked:
                    if not answer.done():
                        answer.set_result(found.get(token_id))

    async def _read(self, ids: list[UUID]) -> Any:
        """Over the connection there is, or else over a new one: it may have been lost while nobody asked."""
        if self._connection is not None:
            try:
                return await self._connection.fetch(self.statement, ids, timeout=ANSWER_TIMEOUT_S)
            except Exception as error:
                self._hang_up()
                if not of_the_link(error):
                    raise
        self._connection = await self.connect()
        try:
            return await self._connection.fetch(self.statement, ids, timeout=ANSWER_TIMEOUT_S)
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        with suppress(Exception):
            connection.terminate()

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._hang_up()


class Bearers:
    """Looking up both kinds of bearers."""

    def __init__(self, connect: Connect) -> None:
        self.agents = Lookups(connect, AGENT_TOKENS)
        self.operators = Lookups(connect, OPERATOR_SECRETS)

    def close(self) -> None:
        """Give the connections back."""
        self.agents.close()
        self.operators.close()
