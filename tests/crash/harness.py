"""Runs buy and fulfillment again and again, each time killed at another point, and looks at what is there afterwards.

A program of its own, single-threaded, so that it may fork: every run is a child that dies, every recovery a child that
does what the world would do next (the agent repeats its call, the provider its letters, the worker its work). Takes a
JSON object on standard input (`run_url`, `sandbox`, `method`; of all points those at `first`, `first + every`, …, and
the last whose name begins with each of `also`) and prints one on standard output. Before it forks it makes one journey
itself, so that no child compiles and imports anew.
"""

import asyncio
import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlmodel import col, select

from api.settings import Settings
from api.wiring import House, build, now
from billing import identity, packs, purchases, quotes, status
from billing.identity import Newcomer
from billing.tables import ActivityEvent, ExternalPayment, PaymentAttempt, Receipt
from ledger import statements
from ledger.ids import external
from ledger.tables import OperationRow
from ledger.verification import verify_book
from rails.rail import Action, CheckoutAction, DepositAction
from tests.billing.patience import be_patient
from tests.crash.plan import Plan, Watched
from webhooks import inbox, processing
from webhooks.tables import Letter

CREDITS = 500
LATER = timedelta(minutes=5)
SETTLED = {"payment_intent.succeeded", "charge.updated"}
"""Letters after which no more come: every run waits for them, so that every run has the same points."""
PATIENCE_S = 60.0
LOOKS_APART_S = 0.02


def house_for(config: dict[str, Any]) -> House:
    """A house without a connection: made once, used by every child after the fork."""
    settings = Settings(
        database_url=SecretStr(config["run_url"]),
        stripe_secret_key=SecretStr("sk_test_crash"),
        stripe_api_base=config["sandbox"],
    )
    return build(settings)


def watched(house: House, plan: Plan, *, later: timedelta) -> House:
    """The house with its statements and calls counted; `later` sets its clock ahead, behind claims and back-offs."""
    plan.watch(house.database)
    rails: dict[str, Any] = {name: Watched(rail, plan) for name, rail in house.rails.items()}
    return replace(house, rails=rails, clock=lambda: now() + later)


async def warm(house: House, method: str, other: House) -> None:
    """One whole journey on the house's engine, with the doors of another house: a connection must not be inherited."""
    walking = replace(other, database=house.database, sessions=house.sessions)
    prepared = await prepare(walking, method)
    await journey(walking, prepared, 0)
    await look(walking, prepared, 0)
    await walking.close()
    await other.database.dispose()


async def prepare(house: House, method: str) -> dict[str, Any]:
    """One agent with a quote for the run that nothing kills."""
    newcomer = Newcomer(name="crash", runtime="test")
    signed_up = await identity.sign_up(house.sessions, newcomer, want_token=True, presented=None, now=now())
    return await quoted(house, {"method": method, "token": signed_up.token, "quotes": {}}, [0])


async def quoted(house: House, prepared: dict[str, Any], runs: Iterable[int]) -> dict[str, Any]:
    """The same with one more quote for each run."""
    actor = await identity.authenticate(house.bearers.agents, prepared["token"], now=now())
    wanted = packs.Wanted(CREDITS, None, prepared["method"])
    made = {
        str(run): await quotes.make(
            house.sessions, actor, wanted, idempotency_key=f"q{run}", offer=house.place.offer, live_money=False,
            unavailable=None, now=now(),
        )
        for run in runs
    }  # fmt: skip
    return prepared | {"quotes": prepared["quotes"] | {run: str(quote.id) for run, quote in made.items()}}


async def journey(house: House, prepared: dict[str, Any], run: int) -> None:
    """Buy, pay, receive the letters, process them. Doing it again after any interruption is what the world does."""
    actor = await identity.authenticate(house.bearers.agents, prepared["token"], now=now())
    quote_id = UUID(prepared["quotes"][str(run)])
    attempt_id = await purchases.buy(
        house.sessions, actor, quote_id=quote_id, idempotency_key=f"buy{run}",
        rail=house.rails[prepared["method"]], unavailable=None, place=house.place, clock=house.clock,
    )  # fmt: skip
    async with house.sessions() as session:
        found = await status.of_quote(session, actor.organization_id, quote_id, attempt_id=attempt_id, now=now())
    async with sandbox_of(house) as sandbox:
        await pay(sandbox, found.action)
        events = await letters(sandbox, attempt_id)
    for event in events:
        envelope = inbox.Envelope("stripe", event["id"], event["type"], json.dumps(event).encode())
        await inbox.store(house.sessions, envelope, now=house.clock())
    # One after the other: at once, which of them comes first decides how many points there are.
    for letter in await inbox.claim(house.sessions, now=house.clock()):
        await processing.process(house.sessions, letter, readers=house.readers, livemode=False, clock=house.clock)


def sandbox_of(house: House) -> httpx.AsyncClient:
    """The sandbox that the house talks to."""
    base = house.settings.stripe_api_base or ""
    return httpx.AsyncClient(base_url=base, auth=("sk_test_crash", ""), timeout=PATIENCE_S, verify=False)  # noqa: S501 - http


async def pay(sandbox: httpx.AsyncClient, action: Action | None) -> None:
    """The payer acts, once: on the hosted page, or with a wallet."""
    if isinstance(action, CheckoutAction):
        if (await sandbox.get(f"/v1/checkout/sessions/{action.session_id}")).json()["status"] == "open":
            (await sandbox.post(f"/sandbox/sessions/{action.session_id}/pay")).raise_for_status()
    elif isinstance(action, DepositAction):
        sent = (await sandbox.get("/sandbox/wallet/transfers")).text
        if action.deposit_address.lower() not in sent.lower():
            transfer = {
                "network": "base",
                "token_currency": "usdc",
                "to": action.deposit_address,
                "amount_atomic": str(action.token_amount_atomic),
            }
            (await sandbox.post("/sandbox/wallet/transfers", json=transfer)).raise_for_status()


async def letters(sandbox: httpx.AsyncClient, attempt_id: UUID) -> list[dict[str, Any]]:
    """What the provider would deliver about the attempt, once the money is there and its fee is known."""
    wanted = external("payatt", attempt_id)
    for _ in range(round(PATIENCE_S / LOOKS_APART_S)):
        answer = await sandbox.get("/v1/events", params={"limit": 20})
        events = [event for event in answer.json()["data"] if wanted in json.dumps(event)]
        if {event["type"] for event in events} >= SETTLED:
            return events[::-1]
        await asyncio.sleep(LOOKS_APART_S)
    raise TimeoutError(f"the sandbox never settled {wanted}")


async def look(house: House, prepared: dict[str, Any], run: int) -> dict[str, Any]:
    """How often everything is there that must be there once."""
    async with house.sessions() as session:
        of_quote = col(PaymentAttempt.quote_id) == UUID(prepared["quotes"][str(run)])
        attempt = (await session.exec(select(PaymentAttempt).where(of_quote))).one()
        name = external("payatt", attempt.id)
        receipts = (await session.exec(select(Receipt).where(col(Receipt.attempt_id) == attempt.id))).all()
        payments = await session.exec(select(ExternalPayment).where(col(ExternalPayment.attempt_id) == attempt.id))
        told = col(ActivityEvent.links)["payment_attempt_id"].astext == name
        events = await session.exec(select(ActivityEvent.type).where(told))
        posted = col(OperationRow.id).in_([receipt.operation_id for receipt in receipts])
        operations = await session.exec(select(OperationRow).where(posted))
        unfinished = col(Letter.state).not_in(["done", "ignored"])
        return {
            "state": attempt.state,
            "payments": len(payments.all()),
            "receipts": len(receipts),
            "events": dict(Counter(str(kind) for kind in events.all())),
            "grants": len(operations.all()),
            "waiting": list((await session.exec(select(Letter.state).where(unfinished))).all()),
            "objects": await objects_of(house, prepared["method"], name),
        }


async def objects_of(house: House, method: str, attempt: str) -> int:
    """How many sessions or intents the provider has made for the attempt."""
    path = "/v1/checkout/sessions" if method == "stripe_checkout" else "/v1/payment_intents"
    async with sandbox_of(house) as sandbox:
        newest = (await sandbox.get(path, params={"limit": 20})).json()["data"]
    return sum(one["metadata"].get("purser_attempt") == attempt for one in newest)


async def verify(house: House, prepared: dict[str, Any]) -> list[str]:
    """What does not fit in the agent's book, after everything."""
    actor = await identity.authenticate(house.bearers.agents, prepared["token"], now=now())
    async with house.sessions() as session:
        problems = [str(problem) for problem in await verify_book(session, actor.organization_id)]
        spendable = (await statements.balance(session, actor.organization_id, now())).spendable
    return [*problems, f"balance {spendable}"]


def in_child(coroutine: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[int, Any]:
    """Run it in a forked child; its wait status, and what it returned if it lived."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                answer.write_text(json.dumps(asyncio.run(coroutine())), encoding="utf-8")
                code = 0
            except BaseException:  # noqa: BLE001 - whatever killed the child is told
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, wait_status = os.waitpid(child, 0)
        return wait_status, json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else None


def points_of(names: list[str], *, first: int, every: int, also: list[str]) -> list[int]:
    """Each `every`-th point, and for each of `also` the last whose name begins so. Counted from 1."""
    named = (max(at for at, name in enumerate(names, 1) if name.startswith(wanted)) for wanted in also)
    return sorted({*range(first, len(names) + 1, every), *named})


def main() -> None:
    """Count the points, then die at each of those that were asked for."""
    config = json.load(sys.stdin)
    be_patient(setattr)
    house = house_for(config)
    asyncio.run(warm(house, config["method"], house_for(config)))
    _, prepared = in_child(lambda: prepare(house, config["method"]))

    async def count() -> list[str]:
        plan = Plan(None)
        await journey(watched(house, plan, later=timedelta()), prepared, 0)
        return plan.names

    async def recover(run: int) -> dict[str, Any]:
        later = watched(house, Plan(None), later=LATER)
        await journey(later, prepared, run)
        return await look(later, prepared, run)

    _, names = in_child(count)
    _, found = in_child(lambda: look(house, prepared, 0))
    results = [found | {"killed": False, "at": "never", "point": 0}]
    chosen = points_of(names, first=config["first"], every=config["every"], also=config["also"])
    _, prepared = in_child(lambda: quoted(house, prepared, chosen))
    for point in chosen:
        die = partial(lambda p: journey(watched(house, Plan(p), later=timedelta()), prepared, p), point)
        wait_status, _ = in_child(die)
        _, found = in_child(partial(recover, point))
        results.append((found or {}) | {"killed": os.WIFSIGNALED(wait_status), "at": names[point - 1], "point": point})
    _, verified = in_child(lambda: verify(house, prepared))
    json.dump({"points": names, "results": results, "verified": verified}, sys.stdout)


if __name__ == "__main__":
    main()
