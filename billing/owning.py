"""What a human may do who owns an organization: look, and give an agent a new token. Who it is, a session says.

A session begins when somebody opens a link that was sent to the owner's contact (`billing.claims`), and lives in the
cookie of one browser. As with tokens, its id is public and its secret is kept as a hash. It ends by itself, by its
owner, or with the ownership.

An owner sees payments and agents, limits what agents spend (`billing.caps`) and recovers a lost token. Nothing else;
what an operator limits, an owner may only tighten.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.bearers import secret_hash
from billing.claim_states import owner_of
from billing.contact_tables import Owner, OwnerSession
from billing.database import Sessions
from billing.fresh import new_id, new_secret
from billing.identity import lock, renew
from billing.job_tables import JobDay
from billing.refusals import Refusal, Refused
from billing.tables import Agent, AgentToken, Receipt
from ledger import ids, statements
from ledger.ids import external
from ledger.operations import LANE
from ledger.statements import Balance
from ledger.tables import SpenderRow

SESSION_PREFIX: Final = "osess"
OWNER_PREFIX: Final = "owner"
SESSION_LIFETIME: Final = timedelta(hours=12)
ORGANIZATIONS_MAX: Final = 50
"""Organizations of one contact that are shown to it."""
AGENTS_SHOWN_MAX: Final = 100
SECRET_LENGTH_MAX: Final = 128
DAYS_OF_JOBS: Final = timedelta(days=30)
_NO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Owned:
    """A session that lives: whose organization, and which contact has opened its link."""

    organization_id: UUID
    owner_id: UUID
    session_id: UUID
    expires_at: datetime
    contact: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ward:
    """An agent of the organization, its caps (none: it never had any), and the id of its token, if it has one."""

    agent: Agent = field(repr=False)
    caps: SpenderRow | None
    token_id: UUID | None


@dataclass(frozen=True, slots=True)
class Estate:
    """What an owner sees. `jobs` were ordered in the last `DAYS_OF_JOBS`; `consumed` are all credits ever spent.

    `receipts` are the newest ones first. `others`: organizations that the same contact owns.
    """

    wards: Sequence[Ward]
    balance: Balance
    consumed: int
    jobs: int
    receipts: Sequence[Receipt]
    others: Sequence[Owner] = field(repr=False)


def split(prefix: str, text: str) -> tuple[UUID, str] | None:
    """The id and the secret of `<prefix>_<26 letters><secret>`; none for what can be none."""
    head = len(prefix) + 1 + ids.LENGTH
    if len(text) > head + SECRET_LENGTH_MAX:
        return None
    try:
        return ids.parse(prefix, text[:head]), text[head:]
    except ids.MalformedId:
        return None


def matches(secret: str, stored: bytes | None) -> bool:
    """Whether it is the secret that is stored as a hash, compared in constant time, also where nothing is stored."""
    same = hmac.compare_digest(secret_hash(secret), stored if stored is not None else _NO_HASH)
    return same and stored is not None


def form_token(cookie: str) -> str:
    """What a form of this session carries along, and nobody can know who does not have its cookie."""
    return hmac.new(cookie.encode("utf-8", "replace"), b"forms of an owner", hashlib.sha256).hexdigest()


def begin(session: AsyncSession, owner: Owner, *, now: datetime, expires_at: datetime | None = None) -> str:
    """A new session of the owner, which lasts until `expires_at`, or for `SESSION_LIFETIME`.

    What its cookie holds, which is told once and never stored.
    """
    session_id, secret = new_id(now), new_secret()
    session.add(
        OwnerSession(
            organization_id=owner.organization_id,
            id=session_id,
            owner_id=owner.id,
            secret_hash=secret_hash(secret),
            created_at=now,
            expires_at=expires_at if expires_at is not None else now + SESSION_LIFETIME,
        )
    )
    return external(SESSION_PREFIX, session_id) + secret


async def of_cookie(session: AsyncSession, cookie: str, *, now: datetime) -> Owned:
    """Whose session a cookie holds. Raises `Refused(AUTH_REQUIRED)` for any that does not live at `now`."""
    parts = split(SESSION_PREFIX, cookie)
    owned_by = (col(Owner.organization_id) == col(OwnerSession.organization_id)) & (
        col(Owner.id) == col(OwnerSession.owner_id)
    )
    query = select(OwnerSession, Owner).join(Owner, owned_by)
    found = (await session.exec(query.where(col(OwnerSession.id) == parts[0]))).first() if parts is not None else None
    same = matches(parts[1] if parts is not None else "", found[0].secret_hash if found is not None else None)
    if found is None or not same:
        raise Refused(Refusal.AUTH_REQUIRED)
    row, owner = found
    if row.ended_at is not None or row.expires_at <= now or owner.ended_at is not None:
        raise Refused(Refusal.AUTH_REQUIRED)
    return Owned(row.organization_id, owner.id, row.id, row.expires_at, owner.contact)


async def end_session(sessions: Sessions, owned: Owned, *, now: datetime) -> None:
    """End this session. Repeating it changes nothing."""
    async with sessions() as session, session.begin():
        await _end(session, owned, now)


async def switch(sessions: Sessions, owned: Owned, to: UUID, *, now: datetime) -> str:
    """End this session and begin one with another organization that the same contact owns; what its cookie holds.

    It ends when the old one would have: who keeps going to and fro stays no longer than one session. Raises
    `Refused`: NOT_FOUND for any other organization, AUTH_REQUIRED for a session that has ended since.
    """
    async with sessions() as session, session.begin():
        owner = await owner_of(session, to)
        if owner is None or owner.contact != owned.contact:
            raise Refused(Refusal.NOT_FOUND, "there is no such organization")
        if not await _end(session, owned, now):
            raise Refused(Refusal.AUTH_REQUIRED)
        return begin(session, owner, now=now, expires_at=owned.expires_at)


async def new_token(
    sessions: Sessions, owned: Owned, agent_id: UUID, *, seen: UUID | None, now: datetime
) -> tuple[Agent, str]:
    """The agent with a new token, which is shown once and never stored; all its older ones end at once.

    `seen` is the id of the token that the owner's page knew of, none for an agent without: so a form that is sent twice
    does not end the token that its first time made. Raises `Refused`: AUTH_REQUIRED for a session that has ended since,
    STATE_CONFLICT for another token or a revoked agent, NOT_FOUND for an agent of others.
    """
    async with sessions() as session, session.begin():
        moment = await lock(session, owned.organization_id, now)
        row = await session.get(OwnerSession, (owned.organization_id, owned.session_id), populate_existing=True)
        owner = await owner_of(session, owned.organization_id)
        if row is None or row.ended_at is not None or owner is None or owner.id != owned.owner_id:
            raise Refused(Refusal.AUTH_REQUIRED)
        agent = await session.get(Agent, (owned.organization_id, agent_id))
        if agent is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such agent")
        newest = await _newest_tokens(session, owned.organization_id)
        if agent.revoked_at is not None or newest.get(agent_id) != seen:
            raise Refused(Refusal.STATE_CONFLICT, "this agent has a newer token already, or was revoked")
        return await renew(session, owned.organization_id, agent_id, now=moment)


async def estate(session: AsyncSession, owned: Owned, *, before: UUID | None, limit: int, now: datetime) -> Estate:
    """What the owner sees, in a snapshot; `limit` receipts from behind `before`."""
    organization_id = owned.organization_id
    book = await statements.book_of(session, organization_id)
    return Estate(
        await _wards(session, organization_id),
        await statements.balance(session, organization_id, now),
        book.consumed if book is not None else 0,
        await _jobs(session, organization_id, now),
        await receipts(session, organization_id, before=before, limit=limit),
        await _others(session, owned),
    )


async def receipts(
    session: AsyncSession, organization_id: UUID, *, before: UUID | None, limit: int
) -> Sequence[Receipt]:
    """The organization's receipts, newest first, from behind `before`."""
    query = select(Receipt).where(col(Receipt.organization_id) == organization_id)
    if before is not None:
        query = query.where(col(Receipt.id) < before)
    return (await session.exec(query.order_by(col(Receipt.id).desc()).limit(limit))).all()


async def _wards(session: AsyncSession, organization_id: UUID) -> list[Ward]:
    agents = select(Agent).where(col(Agent.organization_id) == organization_id, col(Agent.revoked_at).is_(None))
    rows = (await session.exec(agents.order_by(col(Agent.id)).limit(AGENTS_SHOWN_MAX))).all()
    capped = select(SpenderRow).where(
        col(SpenderRow.lane) == LANE,
        col(SpenderRow.organization_id) == organization_id,
        col(SpenderRow.spender).in_([agent.id for agent in rows]),
    )
    caps = {row.spender: row for row in (await session.exec(capped)).all()}
    tokens = await _newest_tokens(session, organization_id)
    return [Ward(agent, caps.get(agent.id), tokens.get(agent.id)) for agent in rows]


async def _newest_tokens(session: AsyncSession, organization_id: UUID) -> Mapping[UUID, UUID]:
    query = (
        select(AgentToken.agent_id, AgentToken.id)
        .where(col(AgentToken.organization_id) == organization_id, col(AgentToken.revoked_at).is_(None))
        .distinct(col(AgentToken.agent_id))
        .order_by(col(AgentToken.agent_id), col(AgentToken.id).desc())
    )
    return dict((await session.exec(query)).all())


async def _jobs(session: AsyncSession, organization_id: UUID, now: datetime) -> int:
    query = select(func.coalesce(func.sum(col(JobDay.jobs)), 0)).where(
        col(JobDay.organization_id) == organization_id, col(JobDay.day) > (now - DAYS_OF_JOBS).date()
    )
    return int((await session.exec(query)).one())


async def _others(session: AsyncSession, owned: Owned) -> Sequence[Owner]:
    query = select(Owner).where(
        col(Owner.contact) == owned.contact, col(Owner.ended_at).is_(None), col(Owner.id) != owned.owner_id
    )
    return (await session.exec(query.order_by(col(Owner.id)).limit(ORGANIZATIONS_MAX))).all()


async def _end(session: AsyncSession, owned: Owned, now: datetime) -> bool:
    """End the session, behind its row's lock; whether it lived until now."""
    row = update(OwnerSession).where(
        col(OwnerSession.organization_id) == owned.organization_id,
        col(OwnerSession.id) == owned.session_id,
        col(OwnerSession.ended_at).is_(None),
    )
    return bool((await session.exec(row.values(ended_at=now).returning(col(OwnerSession.id)))).first())
