"""Who asks: organizations, agents and their tokens.

An e-mail address is public and never a key to somebody's funds: signing up again with a known contact takes over an
agent only when its current token is presented, or when there is nothing yet that could be taken.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.fresh import new_id, new_secret
from billing.refusals import Refusal, Refused
from billing.tables import Agent, AgentToken, CreditQuote, Organization
from ledger import ids, posting
from ledger.operations import LANE, opening
from ledger.tables import Book

TOKEN_PREFIX: Final = "isk_r_"  # noqa: S105 - a prefix is no secret
AGENTS_MAX: Final = 100
_NO_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Actor:
    """The agent that asks, and the token it asked with."""

    organization_id: UUID
    agent_id: UUID
    token_id: UUID
    agent_name: str
    runtime: str
    token_created_at: datetime


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What an agent says of itself when it signs up or is invited. `contact` is lower case and e-mail shaped."""

    name: str
    runtime: str
    contact: str | None = None
    discovery_source: str | None = None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """An agent with its new token, which is shown once and never stored. `rotated`: the agent existed before."""

    agent: Agent
    token: str | None
    rotated: bool
    contact_known: bool

    def __repr__(self) -> str:
        return f"SignedUp(agent={self.agent.id}, rotated={self.rotated})"


async def authenticate(session: AsyncSession, token: str) -> Actor:
    """The actor behind a bearer token. Raises `Refused(AUTH_REQUIRED)` for anything but an active token."""
    row = await _token_row(session, token)
    stored = row[0].secret_hash if row else _NO_HASH
    matches = hmac.compare_digest(_secret_hash(token[len(TOKEN_PREFIX) + ids.LENGTH :]), stored)
    if row is None or not matches or row[0].revoked_at is not None or row[1].revoked_at is not None:
        raise Refused(Refusal.AUTH_REQUIRED)
    found, agent = row
    return Actor(agent.organization_id, agent.id, found.id, agent.name, agent.runtime, found.created_at)


async def _token_row(session: AsyncSession, token: str) -> tuple[AgentToken, Agent] | None:
    head = token[: len(TOKEN_PREFIX) + ids.LENGTH]
    try:
        token_id = ids.parse(TOKEN_PREFIX.rstrip("_"), head)
    except ids.MalformedId:
        return None
    query = (
        select(AgentToken, Agent)
        .join(Agent, col(Agent.id) == col(AgentToken.agent_id))
        .where(col(AgentToken.id) == token_id)
    )
    row = (await session.exec(query)).first()
    return (row[0], row[1]) if row else None


def _secret_hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _add_token(session: AsyncSession, *, organization_id: UUID, agent_id: UUID, now: datetime) -> str:
    token_id, secret = new_id(now), new_secret()
    session.add(
        AgentToken(
            organization_id=organization_id,
            id=token_id,
            agent_id=agent_id,
            secret_hash=_secret_hash(secret),
            created_at=now,
        )
    )
    return ids.external(TOKEN_PREFIX.rstrip("_"), token_id) + secret


async def lock_organization(session: AsyncSession, actor: Actor) -> None:
    """Lock the actor's organization and make sure, under the lock, that its token still holds.

    Whoever took the agent over by signing up again did so under the same lock, so an old token never acts after that.
    """
    await _lock(session, actor.organization_id)
    token = await session.get(AgentToken, (actor.organization_id, actor.token_id), populate_existing=True)
    if token is None or token.revoked_at is not None:
        raise Refused(Refusal.AUTH_REQUIRED)


async def _lock(session: AsyncSession, organization_id: UUID) -> None:
    query = select(Organization).where(col(Organization.id) == organization_id).with_for_update(key_share=True)
    (await session.exec(query)).one()


async def sign_up(
    sessions: Sessions, newcomer: Newcomer, *, want_token: bool, presented: Actor | None, now: datetime
) -> SignedUp:
    """Make an organization with one agent, or rotate the token of an agent that may be taken over.

    Without `want_token` no token is made at all: a token that nobody saw would only be a token to lose.
    """
    async with sessions() as session, session.begin():
        known = await _agents_of(session, newcomer.contact)
        agent = await _takeover(session, known, presented)
        if agent is not None:
            await _revoke_tokens(session, agent.organization_id, agent.id, now)
            agent.name, agent.runtime = newcomer.name, newcomer.runtime
            token = _token_if(session, agent, want_token, now)
            return SignedUp(agent, token, rotated=True, contact_known=True)
        organization_id = new_id(now)
        session.add(Organization(id=organization_id, created_at=now))
        await session.flush()
        agent = await _add_agent(session, organization_id, newcomer, now)
        token = _token_if(session, agent, want_token, now)
        await posting.post(session, [opening(id=new_id(now), organization_id=organization_id, event_at=now)])
        return SignedUp(agent, token, rotated=False, contact_known=bool(known))


def _token_if(session: AsyncSession, agent: Agent, want_token: bool, now: datetime) -> str | None:  # noqa: FBT001
    if not want_token:
        return None
    return _add_token(session, organization_id=agent.organization_id, agent_id=agent.id, now=now)


async def _add_agent(session: AsyncSession, organization_id: UUID, newcomer: Newcomer, now: datetime) -> Agent:
    agent = Agent(
        organization_id=organization_id,
        id=new_id(now),
        name=newcomer.name,
        runtime=newcomer.runtime,
        contact=newcomer.contact,
        discovery_source=newcomer.discovery_source,
        created_at=now,
    )
    session.add(agent)
    await session.flush()
    return agent


async def _agents_of(session: AsyncSession, contact: str | None) -> list[Agent]:
    if contact is None:
        return []
    query = (
        select(Agent)
        .where(col(Agent.contact) == contact, col(Agent.revoked_at).is_(None))
        .order_by(col(Agent.created_at).desc(), col(Agent.id).desc())
        .limit(AGENTS_MAX)
    )
    return list((await session.exec(query)).all())


async def _takeover(session: AsyncSession, known: list[Agent], presented: Actor | None) -> Agent | None:
    """The agent that this sign-up may take over, its organization locked; none when a new one must be made."""
    for agent in known:
        if presented is not None and agent.id == presented.agent_id:
            await lock_organization(session, presented)
            return agent
    newest = known[0] if known else None
    if newest is None:
        return None
    await _lock(session, newest.organization_id)
    return newest if await _nothing_to_take(session, newest.organization_id) else None


async def _nothing_to_take(session: AsyncSession, organization_id: UUID) -> bool:
    """Never a quote (so never an attempt), a grant or a hold (the book holds only its opening), or a second agent."""
    quotes = select(func.count()).select_from(CreditQuote).where(col(CreditQuote.organization_id) == organization_id)
    agents = select(func.count()).select_from(Agent).where(col(Agent.organization_id) == organization_id)
    book = await session.get(Book, (LANE, organization_id), populate_existing=True)
    return (
        (await session.exec(quotes)).one() == 0
        and (await session.exec(agents)).one() == 1
        and book is not None
        and book.last_seq == 1
    )


async def _revoke_tokens(session: AsyncSession, organization_id: UUID, agent_id: UUID, now: datetime) -> None:
    statement = (
        update(AgentToken)
        .where(
            col(AgentToken.organization_id) == organization_id,
            col(AgentToken.agent_id) == agent_id,
            col(AgentToken.revoked_at).is_(None),
        )
        .values(revoked_at=now)
    )
    await session.exec(statement)


async def rotate_token(sessions: Sessions, actor: Actor, *, now: datetime) -> str:
    """A new token for the actor; all its older ones end with this transaction."""
    async with sessions() as session, session.begin():
        await lock_organization(session, actor)
        await _revoke_tokens(session, actor.organization_id, actor.agent_id, now)
        return _add_token(session, organization_id=actor.organization_id, agent_id=actor.agent_id, now=now)


async def revoke_token(sessions: Sessions, actor: Actor, *, now: datetime) -> None:
    """End every token of the actor, effective with the commit: tokens are never cached."""
    async with sessions() as session, session.begin():
        await lock_organization(session, actor)
        await _revoke_tokens(session, actor.organization_id, actor.agent_id, now)


async def invite(sessions: Sessions, actor: Actor, newcomer: Newcomer, *, now: datetime) -> SignedUp:
    """Another agent in the actor's organization, with a token of its own."""
    async with sessions() as session, session.begin():
        await lock_organization(session, actor)
        if len(await _active(session, actor.organization_id)) >= AGENTS_MAX:
            raise Refused(Refusal.AGENT_LIMIT_REACHED)
        agent = await _add_agent(session, actor.organization_id, newcomer, now)
        token = _add_token(session, organization_id=actor.organization_id, agent_id=agent.id, now=now)
        return SignedUp(agent, token, rotated=False, contact_known=False)


async def _active(session: AsyncSession, organization_id: UUID) -> list[UUID]:
    query = select(Agent.id).where(col(Agent.organization_id) == organization_id, col(Agent.revoked_at).is_(None))
    return list((await session.exec(query)).all())


async def agents(session: AsyncSession, actor: Actor, *, after: UUID | None, limit: int) -> list[Agent]:
    """The organization's agents, oldest first, revoked ones included, from behind `after`."""
    query = select(Agent).where(col(Agent.organization_id) == actor.organization_id)
    if after is not None:
        query = query.where(col(Agent.id) > after)
    return list((await session.exec(query.order_by(col(Agent.id)).limit(limit))).all())


async def revoke_agent(sessions: Sessions, actor: Actor, agent_id: UUID, *, now: datetime) -> Agent:
    """End an agent of the actor's organization and its tokens. Repeating it changes nothing."""
    async with sessions() as session, session.begin():
        await lock_organization(session, actor)
        agent = await session.get(Agent, (actor.organization_id, agent_id), populate_existing=True)
        if agent is None:
            raise Refused(Refusal.NOT_FOUND)
        if agent.revoked_at is None:
            if await _active(session, actor.organization_id) == [agent_id]:
                raise Refused(Refusal.LAST_AGENT)
            agent.revoked_at = now
            await _revoke_tokens(session, actor.organization_id, agent_id, now)
        return agent
