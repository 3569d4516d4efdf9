"""Who asks: organizations, agents and their tokens.

An e-mail address is public and never a key to somebody's funds: signing up again with a known contact takes over an
agent only when its current token is presented, or when there is nothing yet that could be taken.

Rotating gives the older tokens a grace instead of ending them. Tokens are stored as hashes and shown once, so when the
answer to a rotation is lost, nobody ever learns the new token: had the old one ended with the commit, the agent and
its credits would be out of everybody's reach. Within the grace the old token works and can rotate again. Revoking has
nothing to lose and is immediate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, or_, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.bearers import Lookup, secret_hash, verified
from billing.database import Sessions
from billing.founding import require_sign_in
from billing.fresh import new_id, new_secret
from billing.limits import require_unlimited
from billing.refusals import Refusal, Refused
from billing.tables import Agent, AgentToken, Organization
from billing.untouched import nothing_to_take
from ledger import ids, posting
from ledger.operations import opening

TOKEN_PREFIX: Final = "isk_r_"  # noqa: S105 - a prefix is no secret
AGENTS_MAX: Final = 100
GRACE: Final = timedelta(minutes=5)
GRACE_MAX: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Actor:
    """The agent that asks, and the token it asked with. `claimed`: a human owned its organization as it asked."""

    organization_id: UUID
    agent_id: UUID
    token_id: UUID
    agent_name: str
    runtime: str
    token_created_at: datetime
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class Buyer:
    """For whom something is bought: an agent, whether or not it is the one that asks."""

    organization_id: UUID
    agent_id: UUID


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What an agent says of itself when it signs up or is invited. `contact` is lower case and e-mail shaped."""

    name: str
    runtime: str
    contact: str | None = None
    discovery_source: str | None = None


@dataclass(frozen=True, slots=True)
class SignedUp:
    """An agent with its new token, which is shown once and never stored. `rotated`: the agent existed before.

    `old_tokens_until` is when the token that it had before stops working; none when it had none, or keeps it.
    """

    agent: Agent
    token: str | None
    rotated: bool
    contact_known: bool
    old_tokens_until: datetime | None = None

    def __repr__(self) -> str:
        return f"SignedUp(agent={self.agent.id}, rotated={self.rotated})"


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new token, which is shown once and never stored, and when the one that asked for it stops working."""

    token: str = field(repr=False)
    old_tokens_until: datetime


async def authenticate(lookup: Lookup, token: str, *, now: datetime) -> Actor:
    """The actor behind a bearer token. Raises `Refused(AUTH_REQUIRED)` for anything but a token that lives at `now`."""
    row = await verified(lookup, token, prefix=TOKEN_PREFIX, now=now)
    return Actor(
        row["organization_id"],
        row["agent_id"],
        row["token_id"],
        row["name"],
        row["runtime"],
        row["created_at"],
        row["claimed"],
    )


def _lives(token: AgentToken, now: datetime) -> bool:
    return token.revoked_at is None or token.revoked_at > now


def _add_token(session: AsyncSession, *, organization_id: UUID, agent_id: UUID, now: datetime) -> str:
    token_id, secret = new_id(now), new_secret()
    session.add(
        AgentToken(
            organization_id=organization_id,
            id=token_id,
            agent_id=agent_id,
            secret_hash=secret_hash(secret),
            created_at=now,
        )
    )
    return ids.external(TOKEN_PREFIX.rstrip("_"), token_id) + secret


async def lock_organization(session: AsyncSession, actor: Actor, *, now: datetime) -> datetime:
    """Lock the actor's organization and make sure, under the lock, that its token still lives.

    Whoever ended the token did so under the same lock, so it never acts after that. The answer is what time it is under
    the lock, for judging other tokens: see `lock`. Raises `Refused(AUTH_REQUIRED)`.
    """
    moment = await lock(session, actor.organization_id, now)
    token = await session.get(AgentToken, (actor.organization_id, actor.token_id), populate_existing=True)
    if token is None or not _lives(token, moment):
        raise Refused(Refusal.AUTH_REQUIRED)
    return moment


async def lock(session: AsyncSession, organization_id: UUID, now: datetime) -> datetime:
    """Lock the organization. Gives `now`, or the time of the last ending of tokens when that is later.

    `now` was read before the wait for the lock (and by the clock of this process): a token that was revoked in the
    meantime would seem to live on.
    """
    query = select(Organization.touched_at).where(col(Organization.id) == organization_id)
    touched_at = (await session.exec(query.with_for_update(key_share=True))).one()
    return max(now, touched_at) if touched_at is not None else now


async def sign_up(
    sessions: Sessions, newcomer: Newcomer, *, want_token: bool, presented: Actor | None, now: datetime
) -> SignedUp:
    """Make an organization with one agent, or rotate the token of an agent that may be taken over.

    With a token presented, that is its agent or none: no other agent was shown to be the newcomer's. Without
    `want_token` no token is made at all, as a token that nobody saw would only be a token to lose; the presented one
    then stays as it is. Raises `Refused(AUTH_REQUIRED)` when the presented token has ended since.
    """
    async with sessions() as session, session.begin():
        newest = await _newest(session, newcomer.contact)
        if presented is not None:
            agent = await _presented_agent(session, presented, newcomer.contact, now)
        else:
            agent = await _takeover(session, newest, now)
        if agent is not None:
            until = await _end_older(session, agent, presented, want_token=want_token, now=now)
            agent.name, agent.runtime = newcomer.name, newcomer.runtime
            token = _token_if(session, agent, want_token, now)
            return SignedUp(agent, token, rotated=True, contact_known=True, old_tokens_until=until)
        agent = await _found(session, newcomer, now)
        token = _token_if(session, agent, want_token, now)
        await posting.post(session, [opening(organization_id=agent.organization_id, event_at=now)])
        return SignedUp(agent, token, rotated=False, contact_known=newest is not None)


async def found(session: AsyncSession, newcomer: Newcomer, *, now: datetime) -> tuple[Agent, str]:
    """A new organization with one agent, and its token. Its book is opened by the caller, last in the transaction."""
    agent = await _found(session, newcomer, now)
    return agent, _add_token(session, organization_id=agent.organization_id, agent_id=agent.id, now=now)


async def _found(session: AsyncSession, newcomer: Newcomer, now: datetime) -> Agent:
    organization_id = new_id(now)
    session.add(Organization(id=organization_id, created_at=now))
    await session.flush()
    return await _add_agent(session, organization_id, newcomer, now)


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


async def _newest(session: AsyncSession, contact: str | None) -> Agent | None:
    if contact is None:
        return None
    query = (
        select(Agent)
        .where(col(Agent.contact) == contact, col(Agent.revoked_at).is_(None))
        .order_by(col(Agent.created_at).desc(), col(Agent.id).desc())
        .limit(1)
    )
    return (await session.exec(query)).first()


async def _presented_agent(session: AsyncSession, actor: Actor, contact: str | None, now: datetime) -> Agent | None:
    """The actor's agent if it has this contact, its organization locked; none when a new one must be made."""
    agent = await session.get(Agent, (actor.organization_id, actor.agent_id))
    if agent is None or contact is None or agent.contact != contact:
        return None
    await lock_organization(session, actor, now=now)
    return agent


async def _takeover(session: AsyncSession, newest: Agent | None, now: datetime) -> Agent | None:
    """`newest` if anybody may take it over, its organization locked; none when a new one must be made."""
    if newest is None:
        return None
    await lock(session, newest.organization_id, now)
    agent = await session.get(Agent, (newest.organization_id, newest.id), populate_existing=True)
    if agent is None or agent.revoked_at is not None:
        return None
    return agent if await nothing_to_take(session, agent.organization_id) else None


async def _end_older(
    session: AsyncSession, agent: Agent, presented: Actor | None, *, want_token: bool, now: datetime
) -> datetime | None:
    """End the tokens that the agent had before signing up again; until when they work, none when they stay."""
    if presented is None:
        await _end_tokens(session, agent.organization_id, agent.id, at=now, now=now)
        return now
    return await _end_with_grace(session, presented, grace=GRACE, now=now) if want_token else None


async def _end_tokens(
    session: AsyncSession, organization_id: UUID, agent_id: UUID, *, at: datetime, now: datetime
) -> None:
    """End the agent's tokens at `at`, those with an earlier end excepted. The organization is locked; see `lock`."""
    ends = col(AgentToken.revoked_at)
    tokens = update(AgentToken).where(
        col(AgentToken.organization_id) == organization_id,
        col(AgentToken.agent_id) == agent_id,
        or_(ends.is_(None), ends > at),
    )
    await session.exec(tokens.values(revoked_at=at))
    touched_at = func.greatest(col(Organization.touched_at), now)
    await session.exec(
        update(Organization).where(col(Organization.id) == organization_id).values(touched_at=touched_at)
    )


async def _end_with_grace(session: AsyncSession, actor: Actor, *, grace: timedelta, now: datetime) -> datetime:
    """End the agent's tokens after `grace`; until when the actor's own works, which may have had an earlier end."""
    await _end_tokens(session, actor.organization_id, actor.agent_id, at=now + grace, now=now)
    token = await session.get(AgentToken, (actor.organization_id, actor.token_id), populate_existing=True)
    return token.revoked_at if token is not None and token.revoked_at is not None else now + grace


async def rotate_token(sessions: Sessions, actor: Actor, *, grace: timedelta, now: datetime) -> Rotated:
    """A new token for the actor; all its older ones end after `grace`, 0 to `GRACE_MAX`, or earlier if so decided.

    The grace is for the agent that never gets this answer (why: see the module). Whoever rotates because a token has
    leaked wants none: within the grace the old token does everything, rotating included.
    """
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=now)
        until = await _end_with_grace(session, actor, grace=grace, now=now)
        token = _add_token(session, organization_id=actor.organization_id, agent_id=actor.agent_id, now=now)
        return Rotated(token, until)


async def renew(session: AsyncSession, organization_id: UUID, agent_id: UUID, *, now: datetime) -> tuple[Agent, str]:
    """The agent with a new token, for who proved by something else than a token to be it. All older ones end at once.

    There is no grace: whoever comes back like this may have lost its token to somebody. Locks the organization. Raises
    `Refused(AUTH_REQUIRED)` for an agent that was revoked, and has written nothing then.
    """
    await lock(session, organization_id, now)
    agent = await session.get(Agent, (organization_id, agent_id), populate_existing=True)
    if agent is None or agent.revoked_at is not None:
        raise Refused(Refusal.AUTH_REQUIRED, "the agent has been revoked")
    await _end_tokens(session, organization_id, agent_id, at=now, now=now)
    return agent, _add_token(session, organization_id=organization_id, agent_id=agent_id, now=now)


async def revoke_token(sessions: Sessions, actor: Actor, *, now: datetime) -> None:
    """End every token of the actor, those in their grace too, effective with the commit: tokens are never cached."""
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=now)
        await _end_tokens(session, actor.organization_id, actor.agent_id, at=now, now=now)


async def invite(sessions: Sessions, actor: Actor, newcomer: Newcomer, *, now: datetime) -> SignedUp:
    """Another agent in the actor's organization, with a token of its own.

    Raises `Refused`: AUTH_REQUIRED, WALLET_SIGN_IN_FIRST (`billing.founding`), SPENDER_LIMITED (`billing.limits`),
    AGENT_LIMIT_REACHED.
    """
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=now)
        await require_sign_in(session, actor.organization_id)
        await require_unlimited(session, actor.organization_id, actor.agent_id)
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
    """End an agent of the actor's organization and its tokens, at once. Repeating it changes nothing.

    Raises `Refused`: WALLET_SIGN_IN_FIRST (`billing.founding`), SPENDER_LIMITED for an agent that is limited and ends
    another than itself, NOT_FOUND, or LAST_AGENT when no other agent has a token that lives, because then nobody could
    reach the organization's credits.
    """
    async with sessions() as session, session.begin():
        moment = await lock_organization(session, actor, now=now)
        await require_sign_in(session, actor.organization_id)
        if agent_id != actor.agent_id:
            await require_unlimited(session, actor.organization_id, actor.agent_id)
        agent = await session.get(Agent, (actor.organization_id, agent_id), populate_existing=True)
        if agent is None:
            raise Refused(Refusal.NOT_FOUND)
        if agent.revoked_at is None:
            if not await _another_can_act(session, agent, moment):
                raise Refused(Refusal.LAST_AGENT)
            agent.revoked_at = now
            await _end_tokens(session, actor.organization_id, agent_id, at=now, now=now)
        return agent


async def _another_can_act(session: AsyncSession, agent: Agent, moment: datetime) -> bool:
    of_agent = (col(Agent.organization_id) == col(AgentToken.organization_id)) & (
        col(Agent.id) == col(AgentToken.agent_id)
    )
    query = (
        select(AgentToken.id)
        .join(Agent, of_agent)
        .where(
            col(AgentToken.organization_id) == agent.organization_id,
            col(AgentToken.agent_id) != agent.id,
            or_(col(AgentToken.revoked_at).is_(None), col(AgentToken.revoked_at) > moment),
            col(Agent.revoked_at).is_(None),
        )
        .limit(1)
    )
    return (await session.exec(query)).first() is not None
