"""Signing in from a wallet: each nonce once, each sign-in ends all tokens, and one wallet has one agent."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from billing import identity, packs, wallets
from billing.identity import Actor, Newcomer
from billing.refusals import Refusal, Refused
from billing.settling import claiming
from billing.settling_tables import PayerWallet
from billing.tables import Agent
from ledger.money import usd
from rails.evm.eip3009 import Authorization
from rails.evm.networks import BASE
from rails.x402 import messages
from rails.x402.rail import X402
from rails.x402.terms import SignedPayment
from tests.billing.test_identity import actor_of, assert_dead, join, until_somebody_waits

MOMENT = timedelta(microseconds=1)
A_SECOND = timedelta(seconds=1)
PAYEE = "0x" + "11" * 20


def new_address():
    return to_checksum_address("0x" + secrets.token_hex(20))


async def nonce_of(house):
    return (await wallets.challenge(house.sessions, now=house.clock())).nonce


async def sign_in(house, address, nonce=None, *, now=None):
    nonce, now = nonce or await nonce_of(house), now or house.clock()
    return await wallets.sign_in(house.sessions, network=BASE.caip2, address=address, nonce=nonce, now=now)


async def link(house, actor, address, nonce=None):
    nonce = nonce or await nonce_of(house)
    await wallets.link(house.sessions, actor, network=BASE.caip2, address=address, nonce=nonce, now=house.clock())


async def refused(doing: Awaitable[Any], refusal: Refusal) -> Refused:
    with pytest.raises(Refused) as caught:
        await doing
    assert caught.value.refusal is refusal
    return caught.value


async def of_wallet(house):
    """An agent with its token, and the wallet that is linked to it."""
    done, actor = await join(house)
    address = new_address()
    await link(house, actor, address)
    return done, actor, address


async def wallet_of(house, address) -> PayerWallet | None:
    async with house.sessions() as session:
        found: PayerWallet | None = await session.get(PayerWallet, (BASE.caip2, address))
    return found


async def top_up(house, address, *, actor: Actor | None = None) -> claiming.Claimed:
    """A first payment of a wallet without an account is claimed, as after its verification."""
    rail = X402(BASE, pay_to=PAYEE, timeout_s=300, livemode=True, clock=house.clock)
    pack = packs.STANDARD_PACKS[0]
    requirement = messages.requirement_for(BASE, pay_to=PAYEE, price=usd(pack.price_cents), timeout_s=300)
    later = int(house.clock().timestamp()) + 300
    signed = Authorization(address, PAYEE, requirement.amount_atomic, 0, later, secrets.token_bytes(32))
    payment = SignedPayment(signed, b"\1" * 65, requirement.wire(), None)
    payable = claiming.Payable(payment, requirement, secrets.token_bytes(32), 1, None, "own")
    return await claiming.claim_top_up(
        house.sessions, actor, pack, payable, request=claiming.Request(rail.prepare, rail.start), place=house.place,
        live_money=False, lease=timedelta(seconds=30), now=house.clock(),
    )  # fmt: skip


async def test_a_challenge_is_random_letters_and_digits_for_five_minutes(quiet_house, quiet_database):
    now = quiet_house.clock()
    made = [await wallets.challenge(quiet_house.sessions, now=now) for _ in range(3)]
    assert len({each.nonce for each in made}) == 3
    for each in made:
        # 128 bits are 32 hexadecimal digits; EIP-4361 takes at least 8 letters and digits.
        assert re.fullmatch(r"[0-9a-f]{32,}", each.nonce)
        assert (each.issued_at, each.expires_at) == (now, now + timedelta(minutes=5))
        query = "SELECT created_at, expires_at, used_at FROM billing.sign_in_challenges WHERE nonce = $1"
        (row,) = quiet_database.rows(query, each.nonce)
        assert tuple(row) == (now, now + timedelta(minutes=5), None)


async def test_a_new_challenge_deletes_a_bounded_number_that_have_expired_and_no_other(quiet_house, quiet_database):
    quiet_database.rows("DELETE FROM billing.sign_in_challenges")
    live, used = await nonce_of(quiet_house), await nonce_of(quiet_house)
    *_, address = await of_wallet(quiet_house)
    await sign_in(quiet_house, address, used)
    many = 2 * wallets.EXPIRED_MAX + 5
    expired = """
        INSERT INTO billing.sign_in_challenges (nonce, created_at, expires_at)
        SELECT 'expired' || n, now() - interval '1 day', now() - interval '1 hour'
        FROM generate_series(1, $1::int) AS n"""
    quiet_database.rows(expired, many)
    left = "SELECT count(*) AS n FROM billing.sign_in_challenges WHERE nonce LIKE 'expired%'"
    for expected in (many - wallets.EXPIRED_MAX, many - 2 * wallets.EXPIRED_MAX, 0, 0):
        await nonce_of(quiet_house)
        assert quiet_database.rows(left) == [(expected,)]
    kept = {nonce for (nonce,) in quiet_database.rows("SELECT nonce FROM billing.sign_in_challenges")}
    assert {live, used} <= kept


async def test_many_challenges_at_once_leave_none_that_has_expired(quiet_house, quiet_database):
    expired = """
        INSERT INTO billing.sign_in_challenges (nonce, created_at, expires_at)
        SELECT 'crowd' || n, now() - interval '1 day', now() - interval '1 hour' FROM generate_series(1, 100) AS n"""
    quiet_database.rows(expired)
    made = await asyncio.gather(*(nonce_of(quiet_house) for _ in range(20)))
    assert len(set(made)) == 20
    for _ in range(100 // wallets.EXPIRED_MAX):
        await nonce_of(quiet_house)
    assert not quiet_database.rows("SELECT FROM billing.sign_in_challenges WHERE nonce LIKE 'crowd%'")


async def test_twenty_sign_ins_at_once_with_one_nonce_make_one_token(quiet_house, quiet_database):
    _, actor, address = await of_wallet(quiet_house)
    nonce = await nonce_of(quiet_house)
    done = await asyncio.gather(*(sign_in(quiet_house, address, nonce) for _ in range(20)), return_exceptions=True)
    (won,) = [each for each in done if isinstance(each, wallets.SignedIn)]
    lost = [each for each in done if isinstance(each, Refused)]
    assert [each.refusal for each in lost] == [Refusal.SIGN_IN_REFUSED] * 19
    assert {each.recovery["reason"] for each in lost} == {"invalid_siwx_nonce"}
    assert (await actor_of(quiet_house, won.token, quiet_house.clock())).agent_id == actor.agent_id
    tokens = "SELECT FROM billing.agent_tokens WHERE agent_id = $1"
    assert len(quiet_database.rows(tokens, actor.agent_id)) == 2


async def test_signing_in_ends_every_token_of_the_agent_at_once_and_no_siblings(quiet_house):
    first, actor, address = await of_wallet(quiet_house)
    now = quiet_house.clock()
    sibling = await identity.invite(quiet_house.sessions, actor, Newcomer("sibling", "pytest"), now=now)
    rotated = await identity.rotate_token(quiet_house.sessions, actor, grace=timedelta(minutes=5), now=now)
    now = quiet_house.clock()
    done = await sign_in(quiet_house, address, now=now)
    for old in (first.token, rotated.token):
        await assert_dead(quiet_house, old, now)
    found = await actor_of(quiet_house, done.token, now)
    assert (found.organization_id, found.agent_id) == (actor.organization_id, actor.agent_id)
    assert done.agent.id == actor.agent_id
    assert await actor_of(quiet_house, sibling.token, now)
    assert done.token not in repr(done)


async def test_of_many_sign_ins_at_once_one_token_works_afterwards(quiet_house):
    *_, address = await of_wallet(quiet_house)
    done = await asyncio.gather(*(sign_in(quiet_house, address) for _ in range(8)))
    works = 0
    for each in done:
        try:
            await actor_of(quiet_house, each.token, quiet_house.clock() + A_SECOND)
        except Refused:
            continue
        works += 1
    assert (len(done), works) == (8, 1)


async def test_who_waited_with_the_old_token_for_a_sign_in_does_not_act(quiet_house):
    """It read the clock, and its token was looked up, before the wallet signed in."""
    _, actor, address = await of_wallet(quiet_house)
    now = quiet_house.clock()
    await sign_in(quiet_house, address, now=now + A_SECOND)
    await refused(identity.rotate_token(quiet_house.sessions, actor, grace=timedelta(), now=now), Refusal.AUTH_REQUIRED)


async def test_wallet_that_no_agent_has_is_told_to_top_up_and_its_nonce_is_gone(quiet_house):
    address, nonce = new_address(), await nonce_of(quiet_house)
    told = await refused(sign_in(quiet_house, address, nonce), Refusal.NOT_FOUND)
    assert "Top up from this wallet first" in told.recovery["advice"]
    await refused(sign_in(quiet_house, address, nonce), Refusal.SIGN_IN_REFUSED)


async def test_wallet_of_a_revoked_agent_gets_no_token_and_its_nonce_is_gone(quiet_house, quiet_database):
    _, actor, address = await of_wallet(quiet_house)
    now, nonce = quiet_house.clock(), await nonce_of(quiet_house)
    invited = await identity.invite(quiet_house.sessions, actor, Newcomer("sibling", "pytest"), now=now)
    sibling = await actor_of(quiet_house, invited.token, now)
    await identity.revoke_agent(quiet_house.sessions, sibling, actor.agent_id, now=now)
    told = await refused(sign_in(quiet_house, address, nonce), Refusal.AUTH_REQUIRED)
    assert "revoked" in told.message
    await refused(sign_in(quiet_house, address, nonce), Refusal.SIGN_IN_REFUSED)
    alive = "SELECT FROM billing.agent_tokens WHERE agent_id = $1 AND revoked_at IS NULL"
    assert not quiet_database.rows(alive, actor.agent_id)


async def test_agent_that_is_revoked_while_its_wallet_waits_gets_no_token(quiet_house, quiet_database):
    _, actor, address = await of_wallet(quiet_house)
    nonce = await nonce_of(quiet_house)
    async with quiet_house.sessions() as session, session.begin():
        await identity.lock_organization(session, actor, now=quiet_house.clock())
        waiting = asyncio.create_task(sign_in(quiet_house, address, nonce))
        await until_somebody_waits(quiet_database)
        agent = await session.get_one(Agent, (actor.organization_id, actor.agent_id))
        agent.revoked_at = quiet_house.clock()
    await refused(waiting, Refusal.AUTH_REQUIRED)


async def test_a_nonce_works_until_it_expires_and_not_then(quiet_house):
    *_, address = await of_wallet(quiet_house)
    first, second = [await wallets.challenge(quiet_house.sessions, now=quiet_house.clock()) for _ in range(2)]
    assert await sign_in(quiet_house, address, first.nonce, now=first.expires_at - MOMENT)
    await refused(sign_in(quiet_house, address, second.nonce, now=second.expires_at), Refusal.SIGN_IN_REFUSED)


async def test_whether_a_nonce_could_be_used_is_told_without_using_it_up(quiet_house):
    *_, address = await of_wallet(quiet_house)
    made = await wallets.challenge(quiet_house.sessions, now=quiet_house.clock())

    def asks(nonce, now):
        return wallets.require_usable(quiet_house.sessions, nonce, now=now)

    for _ in range(2):
        await asks(made.nonce, made.expires_at - MOMENT)
    await refused(asks(made.nonce, made.expires_at), Refusal.SIGN_IN_REFUSED)
    told = await refused(asks(secrets.token_hex(20), made.issued_at), Refusal.SIGN_IN_REFUSED)
    assert told.recovery["reason"] == "invalid_siwx_nonce"
    await sign_in(quiet_house, address, made.nonce)
    await refused(asks(made.nonce, made.issued_at), Refusal.SIGN_IN_REFUSED)


async def test_a_nonce_of_nobody_opens_nothing(quiet_house):
    first, _, address = await of_wallet(quiet_house)
    await refused(sign_in(quiet_house, address, secrets.token_hex(20)), Refusal.SIGN_IN_REFUSED)
    assert await actor_of(quiet_house, first.token, quiet_house.clock())


async def test_linking_changes_no_token_and_lets_the_agent_come_back(quiet_house):
    first, actor, address = await of_wallet(quiet_house)
    await link(quiet_house, actor, address)
    assert await actor_of(quiet_house, first.token, quiet_house.clock())
    done = await sign_in(quiet_house, address)
    assert done.agent.id == actor.agent_id


async def test_linked_wallet_is_known_on_its_own_network_and_by_its_own_address_only(quiet_house):
    *_, address = await of_wallet(quiet_house)
    now = quiet_house.clock()
    elsewhere = wallets.sign_in(
        quiet_house.sessions, network="eip155:84532", address=address, nonce=await nonce_of(quiet_house), now=now
    )
    await refused(elsewhere, Refusal.NOT_FOUND)
    await refused(sign_in(quiet_house, new_address()), Refusal.NOT_FOUND)


async def test_a_wallet_of_another_agent_is_not_linked_and_the_other_not_named(quiet_house):
    other, theirs, address = await of_wallet(quiet_house)
    _, mine = await join(quiet_house)
    nonce = await nonce_of(quiet_house)
    told = await refused(link(quiet_house, mine, address, nonce), Refusal.STATE_CONFLICT)
    said = f"{told.message} {told.recovery}"
    assert not [word for word in (other.agent.name, str(theirs.agent_id), str(theirs.organization_id)) if word in said]
    await refused(link(quiet_house, mine, address, nonce), Refusal.SIGN_IN_REFUSED)
    assert (await sign_in(quiet_house, address)).agent.id == theirs.agent_id


async def test_a_sibling_does_not_take_the_wallet_over(quiet_house):
    _, actor, address = await of_wallet(quiet_house)
    now = quiet_house.clock()
    invited = await identity.invite(quiet_house.sessions, actor, Newcomer("sibling", "pytest"), now=now)
    sibling = await actor_of(quiet_house, invited.token, now)
    await refused(link(quiet_house, sibling, address), Refusal.STATE_CONFLICT)


async def test_a_token_that_ended_meanwhile_links_nothing(quiet_house):
    _, actor = await join(quiet_house)
    address = new_address()
    await identity.revoke_token(quiet_house.sessions, actor, now=quiet_house.clock())
    await refused(link(quiet_house, actor, address), Refusal.AUTH_REQUIRED)
    assert await wallet_of(quiet_house, address) is None


async def test_of_many_agents_that_link_one_wallet_at_once_one_has_it(quiet_house):
    address = new_address()
    actors = [(await join(quiet_house))[1] for _ in range(10)]
    done = await asyncio.gather(*(link(quiet_house, actor, address) for actor in actors), return_exceptions=True)
    winners = [actor for actor, outcome in zip(actors, done, strict=True) if outcome is None]
    assert [each.refusal for each in done if isinstance(each, Refused)] == [Refusal.STATE_CONFLICT] * 9
    assert [actor.agent_id for actor in winners] == [(await sign_in(quiet_house, address)).agent.id]


async def test_a_link_waits_for_a_first_top_up_under_way_and_then_takes_nothing_from_it(quiet_house, quiet_database):
    _, theirs = await join(quiet_house)
    _, mine = await join(quiet_house)
    address = new_address()
    row = PayerWallet(
        network=BASE.caip2, address=address, organization_id=theirs.organization_id, agent_id=theirs.agent_id,
        founded=True, created_at=quiet_house.clock(),
    )  # fmt: skip
    async with quiet_house.sessions() as session, session.begin():
        session.add(row)
        await session.flush()
        waiting = asyncio.create_task(link(quiet_house, mine, address))
        await until_somebody_waits(quiet_database)
        await refused(sign_in(quiet_house, address), Refusal.NOT_FOUND)
    await refused(waiting, Refusal.STATE_CONFLICT)
    assert (await sign_in(quiet_house, address)).agent.id == theirs.agent_id


async def test_a_first_top_up_and_a_link_at_once_agree_on_whose_the_wallet_is(quiet_house):
    seen = set()
    for turn in range(10):
        _, actor = await join(quiet_house)
        address = new_address()
        doing = [top_up(quiet_house, address), link(quiet_house, actor, address)]
        if turn % 2:
            doing.reverse()
        done = await asyncio.gather(*doing, return_exceptions=True)
        claimed, linking = done if not turn % 2 else reversed(done)
        assert isinstance(claimed, claiming.Claimed), claimed
        wallet = await wallet_of(quiet_house, address)
        assert wallet is not None
        assert wallet.organization_id == claimed.key.organization_id
        if linking is None:
            # The link came first: the payment lands with the agent, and nobody gets a token for it.
            assert (claimed.token, wallet.agent_id) == (None, actor.agent_id)
        else:
            assert isinstance(linking, Refused)
            assert linking.refusal is Refusal.STATE_CONFLICT
            assert (await actor_of(quiet_house, claimed.token, quiet_house.clock())).agent_id == wallet.agent_id
        assert (await sign_in(quiet_house, address)).agent.id == wallet.agent_id
        seen.add(linking is None)
    assert seen


async def test_a_wallet_that_topped_up_and_lost_the_answer_comes_back_by_signing_in(quiet_house):
    address = new_address()
    claimed = await top_up(quiet_house, address)
    done = await sign_in(quiet_house, address)
    assert done.agent.organization_id == claimed.key.organization_id
    await assert_dead(quiet_house, claimed.token, quiet_house.clock())
    again = await top_up(quiet_house, address)
    assert (again.key.organization_id, again.token) == (claimed.key.organization_id, None)
    assert await actor_of(quiet_house, done.token, quiet_house.clock())
