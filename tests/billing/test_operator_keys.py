"""Operator keys against the clock and the database: what lives, what ends, and what nobody can read back."""

import asyncio
import hashlib
import hmac
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from litestar import Litestar, get
from litestar.connection import ASGIConnection

from api.http.authentication import agents_only, principal
from billing import identity, operator_keys
from billing.identity import Actor, Newcomer
from billing.operator_keys import GRACE, GRACE_MAX, KEY_PREFIX, TOKEN_PREFIX, NewKey, Operator
from billing.refusals import Refusal, Refused
from billing.scopes import Scope, canonical, known
from ledger import ids

MOMENT = timedelta(microseconds=1)
HEAD = len(TOKEN_PREFIX) + ids.LENGTH


async def make(house, *scopes, name="checkout", now=None):
    return await operator_keys.create(
        house.sessions, name=name, scopes=scopes or [Scope.SPEND], now=now or house.clock()
    )


async def operator_of(house, token, now=None):
    return await operator_keys.authenticate(house.bearers.operators, token, now=now or house.clock())


async def assert_dead(house, token, now=None):
    with pytest.raises(Refused) as refused:
        await operator_of(house, token, now)
    assert refused.value.refusal is Refusal.AUTH_REQUIRED


async def assert_refused(doing, refusal):
    with pytest.raises(Refused) as refused:
        await doing
    assert refused.value.refusal is refusal
    return refused.value.message


async def test_a_token_authenticates_its_holder_with_its_scopes(quiet_house):
    made = await make(quiet_house, Scope.READ, Scope.SPEND, Scope.READ, name="  the shop ")
    assert (made.name, made.scopes, made.old_secrets_until) == ("the shop", ("spend", "read"), None)
    operator = await operator_of(quiet_house, made.token)
    assert operator == Operator(made.key_id, "the shop", frozenset({Scope.SPEND, Scope.READ}))


async def test_a_rotated_key_keeps_its_id_and_its_scopes(quiet_house):
    made = await make(quiet_house, Scope.GRANT)
    rotated = await operator_keys.rotate(quiet_house.sessions, made.key_id, grace=GRACE, now=quiet_house.clock())
    assert rotated.token != made.token
    before, after = [await operator_of(quiet_house, key.token) for key in (made, rotated)]
    assert before == after == Operator(made.key_id, "checkout", frozenset({Scope.GRANT}))


async def test_an_old_secret_works_in_its_grace_and_not_after(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    rotated = await operator_keys.rotate(quiet_house.sessions, made.key_id, grace=GRACE, now=now)
    assert rotated.old_secrets_until == now + GRACE
    assert await operator_of(quiet_house, made.token, now + GRACE - MOMENT)
    await assert_dead(quiet_house, made.token, now + GRACE)
    assert await operator_of(quiet_house, rotated.token, now + GRACE)


async def test_without_a_grace_the_old_secret_ends_with_the_rotation(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    rotated = await operator_keys.rotate(quiet_house.sessions, made.key_id, grace=timedelta(0), now=now)
    await assert_dead(quiet_house, made.token, now)
    assert await operator_of(quiet_house, rotated.token, now)


async def test_rotating_again_never_lengthens_an_earlier_grace(quiet_house):
    first, now = await make(quiet_house), quiet_house.clock()
    second = await operator_keys.rotate(quiet_house.sessions, first.key_id, grace=GRACE, now=now)
    await operator_keys.rotate(quiet_house.sessions, first.key_id, grace=GRACE_MAX, now=now + MOMENT)
    await assert_dead(quiet_house, first.token, now + GRACE)
    assert await operator_of(quiet_house, second.token, now + GRACE_MAX)
    await assert_dead(quiet_house, second.token, now + MOMENT + GRACE_MAX)


async def test_rotating_without_a_grace_ends_what_was_in_its_grace(quiet_house):
    """A token leaked after all, while its key was being rotated."""
    first, now = await make(quiet_house), quiet_house.clock()
    second = await operator_keys.rotate(quiet_house.sessions, first.key_id, grace=GRACE, now=now)
    third = await operator_keys.rotate(quiet_house.sessions, first.key_id, grace=timedelta(0), now=now)
    for ended in (first, second):
        await assert_dead(quiet_house, ended.token, now)
    assert await operator_of(quiet_house, third.token, now)


async def test_a_revoked_key_ends_at_once_with_every_secret_of_it(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    rotated = await operator_keys.rotate(quiet_house.sessions, made.key_id, grace=GRACE, now=now)
    await operator_keys.revoke(quiet_house.sessions, made.key_id, now=now)
    for ended in (made, rotated):
        await assert_dead(quiet_house, ended.token, now)


async def test_a_revoked_key_is_dead_for_a_request_that_read_the_clock_before(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    await operator_keys.revoke(quiet_house.sessions, made.key_id, now=now + GRACE)
    await assert_dead(quiet_house, made.token, now)


async def test_revoking_again_changes_nothing_and_a_revoked_key_is_not_rotated(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    first = await operator_keys.revoke(quiet_house.sessions, made.key_id, now=now)
    again = await operator_keys.revoke(quiet_house.sessions, made.key_id, now=now + GRACE)
    assert first.revoked_at == again.revoked_at == now
    rotating = operator_keys.rotate(quiet_house.sessions, made.key_id, grace=GRACE, now=now)
    assert "was revoked" in await assert_refused(rotating, Refusal.NOT_FOUND)


async def test_rotating_and_revoking_at_once_leaves_no_secret_alive(quiet_house):
    for _ in range(5):
        made, now = await make(quiet_house), quiet_house.clock()
        outcomes = await asyncio.gather(
            operator_keys.rotate(quiet_house.sessions, made.key_id, grace=GRACE, now=now),
            operator_keys.revoke(quiet_house.sessions, made.key_id, now=now),
            return_exceptions=True,
        )
        assert not isinstance(outcomes[1], BaseException)
        tokens = [made.token, *(one.token for one in outcomes if isinstance(one, NewKey))]
        for token in tokens:
            await assert_dead(quiet_house, token, now)


async def test_only_a_hash_of_the_secret_is_in_the_database(quiet_house, quiet_database):
    made = await make(quiet_house)
    secret = made.token[HEAD:]
    assert len(secret) == 43
    stored = quiet_database.rows("SELECT secret_hash FROM billing.operator_secrets WHERE key_id = $1", made.key_id)
    assert [row[0] for row in stored] == [hashlib.sha256(secret.encode()).digest()]
    everything = quiet_database.rows(
        "SELECT k::text || s::text FROM billing.operator_keys k, billing.operator_secrets s"
    )
    assert everything
    assert not any(secret in row[0] or secret.encode().hex() in row[0] for row in everything)


async def test_an_unknown_a_malformed_and_a_wrong_token_are_compared_like_a_right_one(quiet_house, monkeypatch):
    made, compared = await make(quiet_house), []

    def recording(given, stored):
        compared.append((len(given), len(stored)))
        return compare_digest(given, stored)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", recording)
    head, secret = made.token[:HEAD], made.token[HEAD:]
    wrong = [head + secret[::-1], TOKEN_PREFIX + "7" * ids.LENGTH + secret, "pok_nonsense", TOKEN_PREFIX, "", head]
    for token in wrong:
        await assert_dead(quiet_house, token)
    assert await operator_of(quiet_house, made.token)
    assert compared == [(32, 32)] * (len(wrong) + 1)


async def test_a_secret_opens_no_other_key(quiet_house):
    one, other = await make(quiet_house), await make(quiet_house)
    await assert_dead(quiet_house, one.token[:HEAD] + other.token[HEAD:])


async def test_keys_are_listed_by_pages_and_show_no_secret(quiet_house):
    now = quiet_house.clock()  # keys of one millisecond have no order
    made = [
        await make(quiet_house, name=f"holder {number}", now=now + timedelta(milliseconds=number))
        for number in range(3)
    ]
    await operator_keys.revoke(quiet_house.sessions, made[1].key_id, now=quiet_house.clock())
    async with quiet_house.sessions() as session:
        page = await operator_keys.keys(session, after=made[0].key_id, limit=2)
        [first] = await operator_keys.keys(session, after=None, limit=1)
    assert [key.name for key in page] == ["holder 1", "holder 2"]
    assert [key.revoked_at is None for key in page] == [False, True]
    assert first.id <= made[0].key_id
    assert {"secret", "hash", "token"} & set(page[0].model_dump()) == set()
    assert not any(key.token[HEAD:] in repr(page) for key in made)


def test_a_new_keys_repr_has_no_token():
    made = NewKey(UUID(int=7), "checkout", ("spend",), "pok_hidden-word")
    assert "checkout" in repr(made)
    assert "hidden-word" not in f"{made!r} {made}"


@pytest.mark.parametrize("held", list(Scope))
def test_a_scope_reaches_itself_only_and_admin_reaches_all(held):
    operator = Operator(UUID(int=7), "checkout", frozenset({held}))
    assert {scope for scope in Scope if operator.may(scope)} == (set(Scope) if held is Scope.ADMIN else {held})


def test_scopes_are_stored_in_one_order_and_an_unknown_one_gives_no_right():
    assert canonical([Scope.ADMIN, Scope.READ, Scope.READ, Scope.SPEND]) == ["spend", "read", "admin"]
    assert known(["read", "of a newer version"]) == {Scope.READ}


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "\x1b[2J"])
async def test_a_key_without_a_usable_holder_is_refused(quiet_house, name):
    await assert_refused(make(quiet_house, name=name), Refusal.INVALID_ARGUMENTS)


async def test_a_key_without_a_scope_and_a_grace_out_of_bounds_are_refused(quiet_house):
    now = quiet_house.clock()
    scopeless = operator_keys.create(quiet_house.sessions, name="checkout", scopes=[], now=now)
    await assert_refused(scopeless, Refusal.INVALID_ARGUMENTS)
    made = await make(quiet_house)
    for grace in (-MOMENT, GRACE_MAX + MOMENT):
        rotating = operator_keys.rotate(quiet_house.sessions, made.key_id, grace=grace, now=now)
        await assert_refused(rotating, Refusal.INVALID_ARGUMENTS)
    assert await operator_of(quiet_house, made.token, now + GRACE_MAX), "a refused rotation ended nothing"


async def test_a_key_that_is_not_there_is_neither_rotated_nor_revoked(quiet_house):
    now, nobody = quiet_house.clock(), UUID(int=7)
    await assert_refused(operator_keys.rotate(quiet_house.sessions, nobody, grace=GRACE, now=now), Refusal.NOT_FOUND)
    await assert_refused(operator_keys.revoke(quiet_house.sessions, nobody, now=now), Refusal.NOT_FOUND)


@pytest.mark.parametrize(
    "forbidden",
    [
        "UPDATE billing.operator_keys SET scopes = '{admin}'",
        "UPDATE billing.operator_keys SET name = 'somebody else'",
        "UPDATE billing.operator_secrets SET secret_hash = ''",
        "DELETE FROM billing.operator_keys",
        "DELETE FROM billing.operator_secrets",
    ],
)
async def test_the_run_role_cannot_widen_rename_or_forget_a_key(quiet_database, forbidden):
    connection = await asyncpg.connect(quiet_database.run_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    finally:
        await connection.close()


@get("/", sync_to_thread=False)
def nothing() -> None:
    """A route for an application that is asked by hand."""


def connection_with(house, *tokens):
    """A connection with these bearer tokens, as the guards of a route see it."""
    app = Litestar([nothing])
    app.state.house = house
    headers = [(b"authorization", f"Bearer {token}".encode()) for token in tokens]
    scope: Any = {"type": "http", "litestar_app": app, "headers": headers, "state": {}}
    return ASGIConnection(scope)


async def test_the_principal_is_an_operator_or_an_agent_by_its_token(quiet_house):
    made, now = await make(quiet_house), quiet_house.clock()
    agent = await identity.sign_up(
        quiet_house.sessions, Newcomer("agent", "pytest"), want_token=True, presented=None, now=now
    )
    operator = await principal(connection_with(quiet_house, made.token))
    actor = await principal(connection_with(quiet_house, agent.token))
    assert isinstance(operator, Operator)
    assert isinstance(actor, Actor)
    assert (operator.key_id, actor.agent_id) == (made.key_id, agent.agent.id)


async def test_no_principal_stands_behind_no_token_a_bad_one_or_two(quiet_house):
    made = await make(quiet_house)
    external = ids.external(KEY_PREFIX, made.key_id)
    for tokens in ([], ["pok_nonsense"], ["isk_r_nonsense"], [external], [made.token] * 2, [made.token + "A" * 256]):
        await assert_refused(principal(connection_with(quiet_house, *tokens)), Refusal.AUTH_REQUIRED)


async def test_a_route_of_agents_refuses_an_operators_token(quiet_house):
    made = await make(quiet_house, Scope.ADMIN)
    await assert_refused(agents_only(connection_with(quiet_house, made.token), nothing), Refusal.AUTH_REQUIRED)
