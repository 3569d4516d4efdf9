"""Who presents a wallet's first payment has the first token, and keeps nothing of it once the wallet has signed in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from billing import identity
from billing.identity import Newcomer
from billing.refusals import Refusal, Refused
from tests.billing.test_identity import actor_of, assert_dead
from tests.billing.test_wallets import A_SECOND, link, new_address, refused, sign_in, top_up, wallet_of

FRIEND = Newcomer("friend", "pytest")


async def shop_of(house, address):
    """What a shop has that passed our terms on and presented the wallet's first payment: the actor of its token."""
    claimed = await top_up(house, address)
    return claimed.token, await actor_of(house, claimed.token, house.clock())


async def invite(house, actor):
    return await identity.invite(house.sessions, actor, FRIEND, now=house.clock())


async def revoke(house, actor, agent_id):
    return await identity.revoke_agent(house.sessions, actor, agent_id, now=house.clock())


def agents_of(database, actor):
    query = "SELECT id FROM billing.agents WHERE organization_id = $1 AND revoked_at IS NULL"
    return [row[0] for row in database.rows(query, actor.organization_id)]


async def test_a_shop_with_the_first_token_keeps_no_way_into_the_organization(quiet_house, quiet_database):
    victim, own = new_address(), new_address()
    token, shop = await shop_of(quiet_house, victim)
    told = await refused(invite(quiet_house, shop), Refusal.WALLET_SIGN_IN_FIRST)
    assert "POST /v1/x402/sign-in" in told.refusal.rule.advice
    await refused(link(quiet_house, shop, own), Refusal.WALLET_SIGN_IN_FIRST)
    await refused(revoke(quiet_house, shop, shop.agent_id), Refusal.WALLET_SIGN_IN_FIRST)
    assert await wallet_of(quiet_house, own) is None
    done = await sign_in(quiet_house, victim)
    await assert_dead(quiet_house, token, quiet_house.clock())
    assert agents_of(quiet_database, shop) == [done.agent.id] == [shop.agent_id]
    await refused(sign_in(quiet_house, own), Refusal.NOT_FOUND)
    for late in (invite(quiet_house, shop), link(quiet_house, shop, own), revoke(quiet_house, shop, shop.agent_id)):
        await refused(late, Refusal.AUTH_REQUIRED)


async def test_a_rotated_first_token_may_no_more_than_the_first(quiet_house):
    victim = new_address()
    _, shop = await shop_of(quiet_house, victim)
    now = quiet_house.clock()
    rotated = await identity.rotate_token(quiet_house.sessions, shop, grace=timedelta(), now=now)
    again = await actor_of(quiet_house, rotated.token, now)
    await refused(invite(quiet_house, again), Refusal.WALLET_SIGN_IN_FIRST)
    await sign_in(quiet_house, victim)
    await assert_dead(quiet_house, rotated.token, quiet_house.clock())


async def test_the_wallet_itself_is_not_linked_instead_of_signing_in(quiet_house):
    """Linking ends no token, so it says nothing about who has the first one."""
    victim = new_address()
    _, shop = await shop_of(quiet_house, victim)
    await refused(link(quiet_house, shop, victim), Refusal.WALLET_SIGN_IN_FIRST)
    await refused(invite(quiet_house, shop), Refusal.WALLET_SIGN_IN_FIRST)


async def test_after_the_sign_in_its_agent_invites_links_and_revokes(quiet_house, quiet_database):
    address, another = new_address(), new_address()
    await shop_of(quiet_house, address)
    done = await sign_in(quiet_house, address)
    actor = await actor_of(quiet_house, done.token, quiet_house.clock())
    invited = await invite(quiet_house, actor)
    friend = await actor_of(quiet_house, invited.token, quiet_house.clock())
    await link(quiet_house, friend, another)
    assert (await sign_in(quiet_house, another)).agent.id == friend.agent_id
    await revoke(quiet_house, actor, friend.agent_id)
    assert agents_of(quiet_database, actor) == [actor.agent_id]


async def test_when_the_wallet_first_signed_in_is_kept(quiet_house):
    address = new_address()
    await shop_of(quiet_house, address)
    made = await wallet_of(quiet_house, address)
    assert made is not None
    assert (made.founded, made.signed_in_at) == (True, None)
    first = quiet_house.clock()
    await sign_in(quiet_house, address, now=first)
    await sign_in(quiet_house, address, now=first + A_SECOND)
    wallet = await wallet_of(quiet_house, address)
    assert wallet is not None
    assert wallet.signed_in_at == first


async def test_a_wallet_that_is_linked_founded_nothing(quiet_house):
    now, address = quiet_house.clock(), new_address()
    done = await identity.sign_up(quiet_house.sessions, FRIEND, want_token=True, presented=None, now=now)
    actor = await actor_of(quiet_house, done.token, now)
    await link(quiet_house, actor, address)
    wallet = await wallet_of(quiet_house, address)
    assert wallet is not None
    assert wallet.founded is False
    assert (await invite(quiet_house, actor)).token


@pytest.mark.parametrize("turn", range(4))
async def test_who_invites_while_the_wallet_signs_in_invites_nobody(quiet_house, quiet_database, turn):
    victim = new_address()
    _, shop = await shop_of(quiet_house, victim)
    doing = [sign_in(quiet_house, victim), *(invite(quiet_house, shop) for _ in range(4))]
    done = await asyncio.gather(*(doing[turn:] + doing[:turn]), return_exceptions=True)
    lost = {each.refusal for each in done if isinstance(each, Refused)}
    assert lost <= {Refusal.WALLET_SIGN_IN_FIRST, Refusal.AUTH_REQUIRED}
    assert sum(isinstance(each, Refused) for each in done) == 4
    assert agents_of(quiet_database, shop) == [shop.agent_id]
