"""Coming back by the wallet that paid: single-use nonces, and whose wallet is whose.

Theory of operation
-------------------
A settled payment can be read by everybody, so it proves nothing about who presents it. Who holds the paying key proves
it by signing a text that names us and a nonce of ours. Whoever calls here has checked the text and the signature; what
is decided here is that each nonce counts once, at whatever process it comes in.

Whoever calls asks first whether the nonce could be used at all (`require_usable`), because to check the signature may
cost a node work. The last word has the transaction of what the nonce is used for, which begins by using it up; it stays
used when that is refused: a signature that was seen once opens nothing again. Signing in then ends every token of the
wallet's agent, at once, and makes a new one. Of two that sign in at the same time, the second under the organization's
lock has the token that works; whose answer was lost signs in again.

A wallet is bound to one agent for ever: by the top-up that made the agent (`billing.settling.claiming`), or by that
agent's token and the wallet's signature together (`link`). Both insert the same row, and its key decides. The first
sign-in of a wallet that an organization was made for is remembered, because it ends the first token, which somebody
else may have (`billing.founding`).
Lock order: challenge → organization → wallet. Nobody takes a challenge's lock after another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.database import Sessions
from billing.founding import require_sign_in
from billing.fresh import new_nonce
from billing.identity import Actor, lock_organization, renew
from billing.refusals import Refusal, Refused
from billing.settling_tables import PayerWallet, SignInChallenge
from billing.tables import Agent

CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
EXPIRED_MAX: Final = 20
"""Expired challenges that are deleted whenever a new one is made: more than one, so that they cannot pile up."""

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce that may be signed in with once, from when to when."""

    nonce: str
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The agent of a wallet, with its new and only token, which is shown once and never stored."""

    agent: Agent = field(repr=False)
    token: str = field(repr=False)


async def challenge(sessions: Sessions, *, now: datetime) -> Challenge:
    """A new nonce, which is stored. Deletes at most `EXPIRED_MAX` that have expired."""
    made = Challenge(new_nonce(), now, now + CHALLENGE_LIFETIME)
    async with sessions() as session, session.begin():
        await _delete_expired(session, now)
        session.add(SignInChallenge(nonce=made.nonce, created_at=made.issued_at, expires_at=made.expires_at))
    return made


async def require_usable(sessions: Sessions, nonce: str, *, now: datetime) -> None:
    """Raise `Refused(SIGN_IN_REFUSED)` for a nonce that cannot be used; one that can is not used up by this."""
    usable = select(SignInChallenge.nonce).where(*_is_usable(nonce, now))
    async with sessions() as session:
        if (await session.exec(usable)).first() is None:
            raise _unusable()


async def sign_in(sessions: Sessions, *, network: str, address: str, nonce: str, now: datetime) -> SignedIn:
    """Give the agent of a wallet, which has signed `nonce`, a new token, and end all its others.

    `network` is CAIP-2, `address` in EIP-55 letters. Raises `Refused`: SIGN_IN_REFUSED when the nonce cannot be used;
    NOT_FOUND for a wallet that no agent has and AUTH_REQUIRED for a revoked one's, with the nonce used up.
    """

    async def renewed(session: AsyncSession) -> SignedIn:
        wallet = await session.get(PayerWallet, (network, address))
        if wallet is None:
            raise _no_agent()
        try:
            done = SignedIn(*await renew(session, wallet.organization_id, wallet.agent_id, now=now))
        except Refused:
            raise _revoked() from None
        await _remember(session, wallet, now)
        return done

    return await _once(sessions, nonce, renewed, now=now)


async def link(sessions: Sessions, actor: Actor, *, network: str, address: str, nonce: str, now: datetime) -> None:
    """Bind a wallet, which has signed `nonce`, to the actor's agent. No token changes; repeating it changes nothing.

    Raises `Refused`: SIGN_IN_REFUSED when the nonce cannot be used; AUTH_REQUIRED when the actor's token has ended
    since, WALLET_SIGN_IN_FIRST when its organization is a wallet's that has not signed in (`billing.founding`), and
    STATE_CONFLICT when the wallet is another agent's, with the nonce used up.
    """

    async def linked(session: AsyncSession) -> None:
        await lock_organization(session, actor, now=now)
        await require_sign_in(session, actor.organization_id)
        row = insert(PayerWallet).values(
            network=network,
            address=address,
            organization_id=actor.organization_id,
            agent_id=actor.agent_id,
            founded=False,
            created_at=now,
        )
        await session.exec(row.on_conflict_do_nothing())  # waits for a first top-up that is about to insert the same
        wallet = await session.get_one(PayerWallet, (network, address))
        if (wallet.organization_id, wallet.agent_id) != (actor.organization_id, actor.agent_id):
            raise _of_another()

    await _once(sessions, nonce, linked, now=now)


async def _once(
    sessions: Sessions, nonce: str, act: Callable[[AsyncSession], Awaitable[Done]], *, now: datetime
) -> Done:
    """`act`, which writes nothing when it refuses, in the transaction that uses up the nonce: that stays either way."""
    async with sessions() as session, session.begin():
        await _use_up(session, nonce, now)
        try:
            return await act(session)
        except Refused as refused:
            outcome = refused
    raise outcome


async def _use_up(session: AsyncSession, nonce: str, now: datetime) -> None:
    """Whoever comes second waits for the row and finds it used."""
    unused = update(SignInChallenge).where(*_is_usable(nonce, now))
    if (await session.exec(unused.values(used_at=now).returning(col(SignInChallenge.nonce)))).first() is None:
        raise _unusable()


def _is_usable(nonce: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(SignInChallenge.nonce) == nonce,
        col(SignInChallenge.used_at).is_(None),
        col(SignInChallenge.expires_at) > now,
    )


async def _remember(session: AsyncSession, wallet: PayerWallet, now: datetime) -> None:
    """Note the wallet's first sign-in, under its organization's lock; what is noted already stays."""
    first = update(PayerWallet).where(
        col(PayerWallet.network) == wallet.network,
        col(PayerWallet.address) == wallet.address,
        col(PayerWallet.signed_in_at).is_(None),
    )
    await session.exec(first.values(signed_in_at=now))


async def _delete_expired(session: AsyncSession, now: datetime) -> None:
    expired = (
        select(SignInChallenge.nonce)
        .where(col(SignInChallenge.expires_at) <= now)
        .order_by(col(SignInChallenge.expires_at))
        .limit(EXPIRED_MAX)
        .with_for_update(skip_locked=True)
        .cte("expired")  # as a mere subquery it might be run again for each row, and then there would be no bound
    )
    await session.exec(delete(SignInChallenge).where(col(SignInChallenge.nonce).in_(select(expired.c.nonce))))


def _unusable() -> Refused:
    return Refused(
        Refusal.SIGN_IN_REFUSED,
        "the nonce is none of this service's, was used before, or has expired",
        recovery={"reason": "invalid_siwx_nonce"},
    )


def _no_agent() -> Refused:
    return Refused(
        Refusal.NOT_FOUND,
        "no agent has this wallet: it has bought nothing here by itself, and none has linked it",
        recovery={
            "advice": "Top up from this wallet first, which makes its agent and token; or sign in with the wallet and "
            "send the token of the agent that paid with it along, which links the two."
        },
    )


def _revoked() -> Refused:
    return Refused(
        Refusal.AUTH_REQUIRED,
        "the agent of this wallet has been revoked",
        recovery={"advice": "Ask another agent of its organization for an invitation."},
    )


def _of_another() -> Refused:
    return Refused(
        Refusal.STATE_CONFLICT,
        "this wallet is another agent's already",
        recovery={"advice": "Sign in without the token to get one for the wallet's own agent, or link another wallet."},
    )
