"""Operator keys: how the product that sits next to the ledger is known. Made, rotated and revoked by hand.

A key has a named holder and scopes, and belongs to no organization. Its token is `pok_`, the 26 letters of a secret's
id and the secret; only a hash of the secret is stored, so the token is shown once. Rotating gives the key another
secret and keeps its id: the id is the idempotency scope of what was posted with the key, and a request that is repeated
over a rotation must find its first answer. The older secrets live on for a grace, in which the product takes up the new
token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.bearers import Lookup, secret_hash, verified
from billing.database import Sessions
from billing.fresh import new_id, new_secret
from billing.operator_tables import NAME_LENGTH_MAX, OperatorKey, OperatorSecret
from billing.refusals import Refusal, Refused
from billing.scopes import Scope, canonical, known
from ledger import ids

TOKEN_PREFIX: Final = "pok_"  # noqa: S105 - a prefix is no secret
KEY_PREFIX: Final = "opkey"
GRACE: Final = timedelta(minutes=5)
GRACE_MAX: Final = timedelta(hours=1)
_HEAD_LENGTH: Final = len(TOKEN_PREFIX) + ids.LENGTH


@dataclass(frozen=True, slots=True)
class Operator:
    """The operator that asks. `key_id` outlives rotations: it is the idempotency scope of what the operator posts."""

    key_id: UUID
    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the key reaches that far; `admin` reaches everywhere."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its new token, which is shown once and never stored.

    `old_secrets_until` is when the last of its older tokens stops working; none for a key that had none.
    """

    key_id: UUID
    name: str
    scopes: tuple[str, ...]
    token: str = field(repr=False)
    old_secrets_until: datetime | None = None


async def create(sessions: Sessions, *, name: str, scopes: Iterable[Scope], now: datetime) -> NewKey:
    """A key for the holder `name`. Raises `Refused(INVALID_ARGUMENTS)` without a holder or without a scope.

    The holder is 1 to `NAME_LENGTH_MAX` printable characters, blanks around it not counted.
    """
    holder, wanted = name.strip(), canonical(scopes)
    if not 1 <= len(holder) <= NAME_LENGTH_MAX or not holder.isprintable():
        raise Refused(
            Refusal.INVALID_ARGUMENTS, f"a key names its holder in 1 to {NAME_LENGTH_MAX} printable characters"
        )
    if not wanted:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"a key has at least one scope of {', '.join(Scope)}")
    async with sessions() as session, session.begin():
        key = OperatorKey(id=new_id(now), name=holder, scopes=wanted, created_at=now)
        session.add(key)
        await session.flush()
        return NewKey(key.id, holder, tuple(wanted), _add_secret(session, key.id, now))


async def keys(session: AsyncSession, *, after: UUID | None, limit: int) -> list[OperatorKey]:
    """Keys, oldest first, revoked ones included, from behind `after`. Nothing of their secrets is read."""
    query = select(OperatorKey)
    if after is not None:
        query = query.where(col(OperatorKey.id) > after)
    return list((await session.exec(query.order_by(col(OperatorKey.id)).limit(limit))).all())


async def rotate(sessions: Sessions, key_id: UUID, *, grace: timedelta, now: datetime) -> NewKey:
    """A new token for the same key; its older ones end after `grace`, 0 to `GRACE_MAX`, or earlier if so decided.

    Whoever rotates because a token has leaked wants no grace. Raises `Refused`: INVALID_ARGUMENTS for another grace,
    NOT_FOUND when there is no such key or it was revoked.
    """
    if not timedelta(0) <= grace <= GRACE_MAX:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"the grace is 0 to {GRACE_MAX.total_seconds():.0f} seconds")
    async with sessions() as session, session.begin():
        key = await _locked(session, key_id)
        if key.revoked_at is not None:
            raise Refused(Refusal.NOT_FOUND, "this operator key was revoked; create another one")
        await _end_secrets(session, key_id, at=now + grace)
        key.rotated_at = now
        token = _add_secret(session, key_id, now)
        return NewKey(key_id, key.name, tuple(key.scopes), token, old_secrets_until=now + grace)


async def revoke(sessions: Sessions, key_id: UUID, *, now: datetime) -> OperatorKey:
    """End a key and all its secrets, effective with the commit: keys are never cached. Repeating it changes nothing.

    Raises `Refused(NOT_FOUND)`.
    """
    async with sessions() as session, session.begin():
        key = await _locked(session, key_id)
        if key.revoked_at is None:
            key.revoked_at = now
            await _end_secrets(session, key_id, at=now)
        return key


async def authenticate(lookup: Lookup, token: str, *, now: datetime) -> Operator:
    """The operator behind a bearer token. Raises `Refused(AUTH_REQUIRED)` for anything but one that lives at `now`."""
    row = await verified(lookup, token, prefix=TOKEN_PREFIX, now=now)
    return Operator(row["key_id"], row["name"], known(row["scopes"]))


def _add_secret(session: AsyncSession, key_id: UUID, now: datetime) -> str:
    secret_id, secret = new_id(now), new_secret()
    session.add(OperatorSecret(key_id=key_id, id=secret_id, secret_hash=secret_hash(secret), created_at=now))
    return ids.external(TOKEN_PREFIX.rstrip("_"), secret_id) + secret


async def _locked(session: AsyncSession, key_id: UUID) -> OperatorKey:
    """The key, locked: rotating and revoking wait for each other, so a revoked key never gets a secret."""
    query = select(OperatorKey).where(col(OperatorKey.id) == key_id).with_for_update(key_share=True)
    key = (await session.exec(query)).first()
    if key is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such operator key")
    return key


async def _end_secrets(session: AsyncSession, key_id: UUID, *, at: datetime) -> None:
    """End the key's secrets at `at`, those with an earlier end excepted. The key is locked."""
    ends = col(OperatorSecret.revoked_at)
    secrets = update(OperatorSecret).where(col(OperatorSecret.key_id) == key_id, or_(ends.is_(None), ends > at))
    await session.exec(secrets.values(revoked_at=at))
