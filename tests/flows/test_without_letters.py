"""The webhook endpoint is switched off entirely, and all the same every purchase arrives, once."""

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from api import worker
from api.http.views.hooks import told
from api.settings import Settings
from api.wiring import build
from billing import identity, packs, purchases, quotes, status
from billing.identity import Newcomer
from tests.service import CHECKOUT, DEPOSIT, STRIPE_KEY, sandbox_running
from webhooks import inbox, paging

CREDITS = 500
WITHIN_S = 60


@pytest.fixture
def silent():
    """A sandbox that tells nobody anything."""
    with sandbox_running() as sandbox:
        sandbox.control("PUT", "deliveries", mode="never")
        yield sandbox


@pytest.fixture
def own_database(new_databases):
    return new_databases(f"unlettered{uuid.uuid4().hex[:6]}")


@pytest.fixture
async def house(own_database, silent):
    """A house of its own, whose worker is impatient."""
    built = build(
        Settings(
            database_url=SecretStr(own_database.run_url),
            stripe_secret_key=SecretStr(STRIPE_KEY),
            stripe_api_base=silent.url,
        )
    )
    yield built
    await built.close()


@pytest.fixture
def impatient(monkeypatch):
    """`impatient(*names)`: these chores of the worker only, without their pauses."""
    monkeypatch.setattr(paging, "NOT_NEARER", timedelta())

    def only(*names):
        chores = tuple(replace(chore, every_s=0.2) for chore in worker.CHORES if chore.name in names)
        assert len(chores) == len(names)
        monkeypatch.setattr(worker, "CHORES", chores)

    return only


async def sign_up(house):
    newcomer = Newcomer(name="unlettered", runtime="pytest")
    signed_up = await identity.sign_up(house.sessions, newcomer, want_token=True, presented=None, now=house.clock())
    return await identity.authenticate(house.bearers.agents, signed_up.token or "", now=house.clock())


async def buy(house, actor, method):
    """A purchase that waits for its payer: the quote's id."""
    wanted = packs.Wanted(CREDITS, None, method)
    quote = await quotes.make(
        house.sessions, actor, wanted, idempotency_key=method, offer=house.place.offer, live_money=False,
        unavailable=None, now=house.clock(),
    )  # fmt: skip
    await purchases.buy(
        house.sessions, actor, quote_id=quote.id, idempotency_key=method, rail=house.rails[method], unavailable=None,
        place=house.place, clock=house.clock,
    )  # fmt: skip
    return quote.id


async def look(house, actor, quote_id):
    async with house.sessions() as session:
        return await status.of_quote(session, actor.organization_id, quote_id, attempt_id=None, now=house.clock())


async def pay(silent, found):
    if found.attempt.method == CHECKOUT:
        silent.pay(found.attempt.object_id)
    else:
        silent.control("POST", f"payment_intents/{found.attempt.object_id}/settle")


async def until_paid(house, actor, bought):
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = [await look(house, actor, quote_id) for quote_id in bought]
            if all(one.attempt.state == "succeeded" for one in found):
                return found
            await asyncio.sleep(0.1)


async def all_letters_late(house, silent):
    """Somebody mends the endpoint: every event is delivered after all."""
    async with httpx.AsyncClient(base_url=silent.url, auth=(STRIPE_KEY, "")) as stripe:
        events = (await stripe.get("/v1/events", params={"limit": 100})).json()["data"]
    for event in events:
        envelope = inbox.Envelope("stripe", event["id"], event["type"], json.dumps(event).encode())
        await inbox.store(house.sessions, envelope, now=house.clock())
    while await worker._letters(house):
        pass
    return len(events)


async def purchases_arrive(house, silent):
    """Buy on both rails, pay, wait; then let all letters come late: everything is there once."""
    actor = await sign_up(house)
    bought = [await buy(house, actor, method) for method in (CHECKOUT, DEPOSIT)]
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(house, stop, render=told))
    try:
        for quote_id in bought:
            await pay(silent, await look(house, actor, quote_id))
        await until_paid(house, actor, bought)
    finally:
        stop.set()
        await working
    assert await all_letters_late(house, silent) > 0
    found = [await look(house, actor, quote_id) for quote_id in bought]
    assert all(one.receipt is not None for one in found)
    assert found[0].balance.spendable == CREDITS * len(bought)


async def test_with_the_list_of_events_alone_every_purchase_arrives_once(house, silent, impatient):
    impatient("letters")
    eager = replace(house, settings=house.settings.model_copy(update={"events_every_s": 0.2}))
    await purchases_arrive(eager, silent)


async def test_with_looking_again_alone_every_purchase_arrives_once(house, silent, impatient):
    impatient("sweep")
    eager = {"events_every_s": 0, "look_again_after_s": 1}
    await purchases_arrive(replace(house, settings=house.settings.model_copy(update=eager)), silent)


async def test_the_list_of_events_is_not_read_when_it_is_switched_off(house, silent, impatient):
    off = replace(house, settings=house.settings.model_copy(update={"events_every_s": 0}))
    assert worker._events(off) == []
    assert [chore.name for chore in worker._events(house)] == ["events"]


async def test_with_the_list_of_events_alone_what_goes_back_arrives_once(house, silent, impatient):
    impatient("letters")
    eager = replace(house, settings=house.settings.model_copy(update={"events_every_s": 0.2}))
    actor, stop = await sign_up(house), asyncio.Event()
    quote_id = await buy(house, actor, CHECKOUT)
    working = asyncio.create_task(worker.run(eager, stop, render=told))
    try:
        paid = silent.pay((await look(house, actor, quote_id)).attempt.object_id)
        await until_paid(house, actor, [quote_id])
        silent.control("POST", "refunds", payment_intent=paid["payment_intent"], amount=100)
        dispute = silent.control("POST", "disputes", payment_intent=paid["payment_intent"], amount=400)
        await until_spendable(house, actor, quote_id, 0)
        silent.control("POST", f"disputes/{dispute['id']}/win")
        await until_spendable(house, actor, quote_id, 400)
    finally:
        stop.set()
        await working
    assert await all_letters_late(house, silent) > 0
    found = await look(house, actor, quote_id)
    assert (found.balance.spendable, found.balance.owed) == (400, 0)
    assert {row.kind: row.told for row in found.reversed.rows} == {"refund": "refunded", "dispute": "reinstated"}


async def until_spendable(house, actor, quote_id, credits_):
    async with asyncio.timeout(WITHIN_S):
        while True:
            if (await look(house, actor, quote_id)).balance.spendable == credits_:
                return
            await asyncio.sleep(0.1)
