"""A human comes to own an organization: by a link that is sent to a contact, which one of its agents has named.

Theory of operation
-------------------
That somebody names an e-mail address proves nothing of who asks; only who reads what is sent there can open the link.
So an agent can give away its own organization and nobody else's, and the same link is the way back for an owner who
asks for one with nothing but the address (`sign_in`).

A link holds a public id and 256 random bits, of which a hash is stored; it is used once, by a POST. Looking at it
changes nothing, because mail scanners look too. It is sent after the commit: an answer of the sender that was lost
leaves a link behind that works, and one that could not be sent counts among the tries and not among the links.

What strangers ask for takes no link from an owner: links to what a contact owns are counted apart (`_few_to`).

Asking for another contact ends the links of the first; the first who opens one owns the organization. All of this is
decided under the organization's lock, as signing up again is (`billing.identity`). Lock order: organization → contact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing import owning
from billing.bearers import secret_hash
from billing.claim_states import owner_of
from billing.contact_tables import ClaimRequest, Owner, OwnerSession
from billing.database import Sessions
from billing.founding import require_sign_in
from billing.fresh import new_id, new_secret
from billing.identity import Actor, lock, lock_organization
from billing.limits import require_unlimited
from billing.operator_actions import Act, Acting, record
from billing.owning import OWNER_PREFIX
from billing.refusals import Refusal, Refused
from billing.tables import Organization
from ledger.ids import external
from outbound.door import NotSent
from outbound.sender import Sender

PREFIX: Final = "claim"
LINK_EVERY: Final = timedelta(minutes=1)
"""Between two links of one organization."""
LINKS_WITHIN: Final = timedelta(hours=1)
LINKS_PER_CONTACT: Final = 5
"""To one contact within `LINKS_WITHIN`: so many because agents ask, and as many because somebody signs in."""
TRIES_PER_CONTACT: Final = 20
"""The same, and those that could not be sent: perhaps they were."""


@dataclass(frozen=True, slots=True)
class Post:
    """How links go out: by whom, where they lead, and how long they can be used."""

    sender: Sender = field(repr=False)
    public_url: str
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Requested:
    """A contact that was named. `attached`: it is another one than before, if there was any.

    `sent`: a link was sent now; it was not when the last one is younger than `LINK_EVERY`.
    """

    attached: bool
    claimed: bool
    sent: bool
    next_link_at: datetime


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link leads to. `claimed`: to an organization that its reader owns already."""

    organization_id: UUID
    contact: str = field(repr=False)
    claimed: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Letter:
    """A link that is stored and not yet sent."""

    organization_id: UUID
    id: UUID
    contact: str = field(repr=False)
    secret: str = field(repr=False)


async def request(
    sessions: Sessions, actor: Actor, contact: str, *, post: Post, clock: Callable[[], datetime]
) -> Requested:
    """Let the reader of `contact` (lower case, e-mail shaped) own the actor's organization: send a link there.

    Raises `Refused`: AUTH_REQUIRED, WALLET_SIGN_IN_FIRST (`billing.founding`), SPENDER_LIMITED (`billing.limits`),
    CLAIM_CONFLICT when another contact owns it, RATE_LIMITED, and SERVICE_UNAVAILABLE when the link could not be sent;
    then asking again sends at once.
    """
    now = clock()
    async with sessions() as session, session.begin():
        await lock_organization(session, actor, now=now)
        await require_sign_in(session, actor.organization_id)
        await require_unlimited(session, actor.organization_id, actor.agent_id)
        owner = await owner_of(session, actor.organization_id)
        if owner is not None and owner.contact != contact:
            raise Refused(Refusal.CLAIM_CONFLICT)
        last = await _last(session, actor.organization_id)
        same = last is not None and last.contact == contact
        next_at = last.created_at + LINK_EVERY if last is not None and last.failed_at is None else now
        if same and next_at > now:
            return Requested(attached=False, claimed=owner is not None, sent=False, next_link_at=next_at)
        if next_at > now:
            raise _too_soon(next_at - now)
        await _few_to(session, contact, owned=owner, by_agents=True, now=now)
        if not same:
            await _end_links(session, actor.organization_id, now)
        letter = _add(session, actor.organization_id, contact, agent_id=actor.agent_id, post=post, now=now)
    await _send(sessions, letter, post, clock)
    return Requested(attached=not same, claimed=owner is not None, sent=True, next_link_at=now + LINK_EVERY)


async def sign_in(sessions: Sessions, contact: str, *, post: Post, clock: Callable[[], datetime]) -> bool:
    """Send a link to `contact` if it owns something and was not sent too many; whether one was sent.

    Who asks must not learn that. Raises `Refused(SERVICE_UNAVAILABLE)` when the link could not be sent.
    """
    now = clock()
    async with sessions() as session, session.begin():
        query = select(Owner).where(col(Owner.contact) == contact, col(Owner.ended_at).is_(None))
        found = (await session.exec(query.order_by(col(Owner.id).desc()).limit(1))).first()
        if found is None:
            return False
        await lock(session, found.organization_id, now)
        owner = await owner_of(session, found.organization_id)
        if owner is None or owner.id != found.id:
            return False
        try:
            await _few_to(session, contact, owned=owner, by_agents=False, now=now)
        except Refused:
            return False
        letter = _add(session, owner.organization_id, contact, agent_id=None, post=post, now=now)
    await _send(sessions, letter, post, clock)
    return True


async def opened(session: AsyncSession, link: str, *, now: datetime) -> Opened:
    """What opening a link would do; `link` is what stands in it. Nothing changes.

    Raises `Refused`: NOT_FOUND for a link that is none, was used or has expired, CLAIM_CONFLICT when another contact
    owns the organization.
    """
    asked = await _usable(session, link, now)
    owner = await owner_of(session, asked.organization_id)
    _require_same(owner, asked)
    return Opened(asked.organization_id, asked.contact, owner is not None, asked.expires_at)


async def claim(sessions: Sessions, link: str, *, now: datetime) -> str:
    """Use a link: its contact owns the organization from now on, and a session begins. What the session's cookie holds.

    Raises `Refused` like `opened`, and has changed nothing then.
    """
    async with sessions() as session, session.begin():
        moment = await lock(session, (await _usable(session, link, now)).organization_id, now)
        asked = await _usable(session, link, moment)
        owner = await owner_of(session, asked.organization_id)
        _require_same(owner, asked)
        if owner is None:
            owner = Owner(organization_id=asked.organization_id, id=new_id(now), contact=asked.contact, claimed_at=now)
            session.add(owner)
            await session.flush()
        asked.used_at = now
        return owning.begin(session, owner, now=now)


async def end(sessions: Sessions, organization_id: UUID, *, reason: str, by: Acting, now: datetime) -> UUID:
    """End the ownership of an organization, its sessions and its links, for an operator; whose it was, by id.

    Raises `Refused(NOT_FOUND)` when nobody owns it.
    """
    async with sessions() as session, session.begin():
        known = select(Organization.id).where(col(Organization.id) == organization_id)
        if (await session.exec(known.with_for_update(key_share=True))).first() is None:
            raise Refused(Refusal.NOT_FOUND, "there is no such organization")
        owner = await owner_of(session, organization_id)
        if owner is None:
            raise Refused(Refusal.NOT_FOUND, "nobody owns this organization")
        owner.ended_at = now
        sittings = update(OwnerSession).where(
            col(OwnerSession.organization_id) == organization_id,
            col(OwnerSession.owner_id) == owner.id,
            col(OwnerSession.ended_at).is_(None),
        )
        await session.exec(sittings.values(ended_at=now))
        await _end_links(session, organization_id, now)
        await record(
            session,
            by,
            Act.END_OWNERSHIP,
            organization_id=organization_id,
            subject=external("org", organization_id),
            reason=reason,
            details={"owner_id": external(OWNER_PREFIX, owner.id)},
            now=now,
        )
        return owner.id


async def _last(session: AsyncSession, organization_id: UUID) -> ClaimRequest | None:
    """The newest link that an agent asked for."""
    query = select(ClaimRequest).where(
        col(ClaimRequest.organization_id) == organization_id, col(ClaimRequest.agent_id).is_not(None)
    )
    return (await session.exec(query.order_by(col(ClaimRequest.id).desc()).limit(1))).first()


async def _few_to(session: AsyncSession, contact: str, *, owned: Owner | None, by_agents: bool, now: datetime) -> None:
    """Those who send to one contact wait for each other. Raises `Refused(RATE_LIMITED)`.

    Links to an organization that the contact owns already (`owned`) are counted for that one alone, and all others
    together: an owner named its agents itself, while anybody may make agents that name it.
    """
    await session.exec(select(func.pg_advisory_xact_lock(func.hashtextextended(f"contact:{contact}", 0))))
    of_contact = select(Owner.organization_id).where(col(Owner.contact) == contact, col(Owner.ended_at).is_(None))
    whose, by_agent = col(ClaimRequest.organization_id), col(ClaimRequest.agent_id).is_not(None)
    query = select(ClaimRequest.created_at, ClaimRequest.failed_at).where(
        col(ClaimRequest.contact) == contact,
        col(ClaimRequest.created_at) > now - LINKS_WITHIN,
        whose == owned.organization_id if owned is not None else whose.not_in(of_contact),
        by_agent if by_agents else ~by_agent,
    )
    tries = (await session.exec(query.order_by(col(ClaimRequest.created_at).desc()).limit(TRIES_PER_CONTACT))).all()
    for times, most in (
        ([at for at, failed_at in tries if failed_at is None], LINKS_PER_CONTACT),
        ([at for at, _ in tries], TRIES_PER_CONTACT),
    ):
        if len(times) >= most:
            raise _too_soon(times[most - 1] + LINKS_WITHIN - now)


def _too_soon(wait: timedelta) -> Refused:
    seconds = max(1, -int(-wait.total_seconds() // 1))
    return Refused(
        Refusal.RATE_LIMITED, "a link was sent only now, or too many were", recovery={"retry_after_seconds": seconds}
    )


async def _end_links(session: AsyncSession, organization_id: UUID, now: datetime) -> None:
    links = update(ClaimRequest).where(
        col(ClaimRequest.organization_id) == organization_id, col(ClaimRequest.used_at).is_(None)
    )
    await session.exec(links.values(used_at=now))


def _add(
    session: AsyncSession, organization_id: UUID, contact: str, *, agent_id: UUID | None, post: Post, now: datetime
) -> _Letter:
    letter = _Letter(organization_id, new_id(now), contact, new_secret())
    session.add(
        ClaimRequest(
            organization_id=organization_id,
            id=letter.id,
            agent_id=agent_id,
            contact=contact,
            secret_hash=secret_hash(letter.secret),
            created_at=now,
            expires_at=now + post.lifetime,
        )
    )
    return letter


async def _send(sessions: Sessions, letter: _Letter, post: Post, clock: Callable[[], datetime]) -> None:
    link = f"{post.public_url}/claim/{external(PREFIX, letter.id)}{letter.secret}"
    whose = external("org", letter.organization_id)
    try:
        await post.sender.send(contact=letter.contact, link=link, organization_id=whose)
    except NotSent:
        async with sessions() as session, session.begin():
            row = await session.get_one(ClaimRequest, (letter.organization_id, letter.id))
            row.failed_at = clock()
        raise Refused(
            Refusal.SERVICE_UNAVAILABLE, "the link could not be sent now; ask again, which sends a new one"
        ) from None


async def _usable(session: AsyncSession, link: str, now: datetime) -> ClaimRequest:
    """The request behind a link, as it stands now. Raises `Refused(NOT_FOUND)`."""
    parts = owning.split(PREFIX, link)
    query = select(ClaimRequest).execution_options(populate_existing=True)
    row = (await session.exec(query.where(col(ClaimRequest.id) == parts[0]))).first() if parts is not None else None
    same = owning.matches(parts[1] if parts is not None else "", row.secret_hash if row is not None else None)
    if row is None or not same or row.used_at is not None or row.expires_at <= now:
        raise Refused(Refusal.NOT_FOUND, "this link cannot be used")
    return row


def _require_same(owner: Owner | None, asked: ClaimRequest) -> None:
    if owner is not None and owner.contact != asked.contact:
        raise Refused(Refusal.CLAIM_CONFLICT)
