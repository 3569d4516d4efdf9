"""Presents signed payments again and again, each time killed at another point, and looks at what is there afterwards.

A program of its own like `harness`, whose forks it uses: every run is a child that presents a payment to the real
application and then does the worker's chores, and dies on the way; every recovery a child that does what the world
would do next (the client sends the same payment again, a worker works on). Takes a JSON object on standard input
(`run_url`, `chain`, `token`, `gas`, `cases`: each with `name`, `settings`, and of all points those at `first`,
`first + every`, …) and prints one on standard output. No connection is open when it forks.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import structlog
from pydantic import SecretStr
from sqlmodel import text

from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account

from api import worker
from api.http.app import app_for
from api.native import Native
from api.settings import Settings
from api.wiring import House, build, now
from billing import proofs
from ledger import verification
from rails.evm.eip3009 import TRANSFER, address_word
from sandbox.chain.node import Node
from tests.crash.harness import in_child
from tests.crash.plan import Plan, WatchedNode, watch_http
from tests.evm.anvil import SLOTS_IN_AN_EPOCH, Anvil
from tests.evm.usdc import NAME, VERSION, Token
from tests.x402.paying import REQUIRED, SIGNATURE, signed_payment

PACK, PRICE_ATOMIC, CREDITS = "taster-100", 1_000_000, 100
FINALITY_BLOCKS = 2 * SLOTS_IN_AN_EPOCH + 1
LEASE_OVER = timedelta(seconds=40)
"""After this a payment that nobody looks after any more is taken by a worker; its signature is good for longer."""
LATER = timedelta(seconds=35)
ROUNDS_MAX = 8


class Ahead:
    """The process clock, set ahead: what waits becomes due without anybody waiting."""

    def __init__(self) -> None:
        self.by = timedelta()

    def __call__(self) -> datetime:
        return now() + self.by


def house_for(config: dict[str, Any], case: dict[str, Any], clock: Ahead) -> House:
    """A house without a connection, whose rail is offered as if its chain had been checked."""
    settings = Settings(database_url=SecretStr(config["run_url"]), **case["settings"])
    house = build(settings, clock=clock)
    native_of(house).standing.reason = None
    return house


def native_of(house: House) -> Native:
    assert house.native is not None
    return house.native


def watched(house: House, plan: Plan) -> House:
    """The house with its statements and its calls to the chain and the facilitator counted."""
    native = native_of(house)
    plan.watch(house.database)
    assert native.chain is not None
    native.chain._rpc = WatchedNode(native.chain._rpc, plan)  # type: ignore[assignment]
    if native.facilitator is not None:
        watch_http(native.facilitator._http, plan, "the facilitator's")
    return house


def token_of(config: dict[str, Any]) -> Token:
    """The token, over a connection of its own."""
    chain = Anvil(url=config["chain"], pid=0, _node=Node(config["chain"]))
    return Token(chain=chain, address=config["token"], name=NAME, version=VERSION, owner=chain.unlocked[0])


async def ask(house: House, prepared: dict[str, Any]) -> httpx.Response:
    """The request of a run, paid or not; through the application, without a network."""
    transport = httpx.ASGITransport(app=app_for(house))
    async with httpx.AsyncClient(transport=transport, base_url="http://crash", timeout=60) as client:
        return await client.post(prepared["path"], json=prepared["body"], headers=prepared["headers"])


async def prepare(house: House, config: dict[str, Any], name: str) -> dict[str, Any]:
    """A new wallet with money, and the payment that it signs: for a pack, or for a quote of a new agent."""
    payer = Account.create()
    token_of(config).fund(payer.address, PRICE_ATOMIC)
    prepared: dict[str, Any] = {"path": f"/v1/x402/top-up/{PACK}", "body": None, "headers": {}}
    if name == "quote":
        prepared = await quoted(house)
    unpaid = await ask(house, prepared)
    assert unpaid.status_code == 402, unpaid.text
    signed = signed_payment(unpaid.headers[REQUIRED], "0x" + bytes(payer.key).hex())
    return {**prepared, "headers": {**prepared["headers"], SIGNATURE: signed}, "payer": payer.address}


async def quoted(house: House) -> dict[str, Any]:
    """What a new agent sends to buy its first quote."""
    transport = httpx.ASGITransport(app=app_for(house))
    async with httpx.AsyncClient(transport=transport, base_url="http://crash", timeout=60) as client:
        wanted = {"agent_name": "crash", "runtime": "test", "return_token": True}
        token = (await client.post("/v1/agent-signups", json=wanted)).json()["data"]["token"]
        headers = {"authorization": f"Bearer {token}"}
        terms = {"pack_id": PACK, "payment_method": "x402.exact.usdc", "idempotency_key": "quote"}
        quote = (await client.post("/v1/credit-quotes", json=terms, headers=headers)).json()["data"]
    body = {"quote_id": quote["quote_id"], "idempotency_key": "buy"}
    return {"path": "/v1/credit-purchases/x402", "body": body, "headers": headers}


async def journey(house: House, prepared: dict[str, Any]) -> None:
    """The payment is presented and granted, its nonce given back; once it is final, it is closed and its gas booked."""
    assert (await ask(house, prepared)).status_code == 200
    await work(house)
    token_of(prepared["config"]).chain.mine(FINALITY_BLOCKS)
    house.clock.by += LEASE_OVER  # type: ignore[attr-defined]
    await work(house)


async def work(house: House) -> None:
    """What a worker does about payments on chain, once."""
    await worker._settlements(house)
    await worker._gas(house)


async def recover(house: House, prepared: dict[str, Any], *, client_first: bool) -> dict[str, Any]:
    """The client repeats its request, a worker works, and time goes on, until all is done; what the client was told."""
    house.clock.by = LEASE_OVER  # type: ignore[attr-defined]
    statuses, tokens = [], 0
    for _ in range(ROUNDS_MAX):
        if not client_first:
            await work(house)
        answer = await ask(house, prepared)
        statuses.append(answer.status_code)
        tokens += "token" in (answer.json()["data"] or {})
        await work(house)
        if answer.status_code == 200:
            break
        house.clock.by += timedelta(seconds=5)  # type: ignore[attr-defined]
    token_of(prepared["config"]).chain.mine(FINALITY_BLOCKS)
    house.clock.by += LATER  # type: ignore[attr-defined]
    await work(house)
    await work(house)
    return {"statuses": statuses, "tokens": tokens}


LOOK = """
    SELECT s.state, s.final, a.state, s.next_try_at IS NOT NULL,
           (SELECT count(*) FROM billing.settlements WHERE payer = :payer),
           (SELECT count(*) FROM billing.external_payments AS p WHERE p.attempt_id = s.attempt_id),
           (SELECT count(*) FROM billing.receipts AS r WHERE r.attempt_id = s.attempt_id),
           (SELECT count(*) FROM ledger.lot_openings AS l WHERE l.organization_id = s.organization_id),
           (SELECT sum(l.credits) FROM ledger.lot_openings AS l WHERE l.organization_id = s.organization_id),
           (SELECT count(*) FROM ledger.operations AS o
            WHERE o.organization_id = s.organization_id AND o.kind = 'grant')
    FROM billing.settlements AS s JOIN billing.payment_attempts AS a ON a.id = s.attempt_id
    WHERE s.payer = :payer"""
NAMES = ("state", "final", "attempt", "looked_at_again", "settlements", "payments", "receipts", "lots", "credits", "grants")


async def look(house: House, prepared: dict[str, Any]) -> dict[str, Any]:
    """How often everything is there that must be there once, in the database and on the chain."""
    config = prepared["config"]
    async with house.sessions() as session:
        found = (await session.execute(text(LOOK), {"payer": prepared["payer"]})).one()  # type: ignore[deprecated]
        wallet = (await session.execute(text("SELECT next_nonce, settlement_id FROM billing.gas_wallets"))).all()  # type: ignore[deprecated]
    token = token_of(config)
    topics = ["0x" + word.hex() for word in (TRANSFER, address_word(prepared["payer"]))]
    logs = token.chain.rpc("eth_getLogs", {"address": token.address, "topics": topics, "fromBlock": "0x0"})
    sent = int(token.chain.rpc("eth_getTransactionCount", config["gas"], "pending"), 16)
    return {
        **dict(zip(NAMES, (one if one is None or isinstance(one, str | bool) else int(one) for one in found), strict=True)),
        "transfers": len(logs),
        "left": token.balance(prepared["payer"]),
        "nonce_in_use": any(row.settlement_id is not None for row in wallet),
        "nonces": [row.next_nonce for row in wallet],
        "nonces_on_chain": sent,
    }  # fmt: skip


GAS = """
    SELECT coalesce(sum(CASE WHEN t.credit = 'gas_wallet' THEN t.amount ELSE 0 END)
                    - sum(CASE WHEN t.debit = 'gas_wallet' THEN t.amount ELSE 0 END), 0) * 1000000000
           + coalesce((SELECT sum(unbooked_wei) FROM billing.gas_wallets), 0)
    FROM ledger.transfers AS t WHERE 'gas_wallet' IN (t.debit, t.credit)"""


async def verify(house: House, config: dict[str, Any]) -> dict[str, Any]:
    """What does not fit in all books, after everything; and the gas wallet's wei, by the books and on the chain."""
    async with house.sessions() as session:
        problems = [str(problem) for problem in await proofs.problems(session, None, limit=20)]
        problems += [str(one) for one in (await verification.verify(session, None)).mismatches]
        booked = int((await session.execute(text(GAS))).scalar_one())  # type: ignore[deprecated]
    return {"problems": problems, "gas_booked": booked, "gas_left": token_of(config).chain.balance(config["gas"])}


async def warm(config: dict[str, Any], case: dict[str, Any], house: House) -> None:
    """One whole journey on the house's engine, with the doors of another house: a connection must not be inherited."""
    other = house_for(config, case, Ahead())
    native = native_of(other)
    await other.database.dispose()
    native.desk.submitter._sessions = house.sessions  # type: ignore[attr-defined]
    native = replace(native, desk=replace(native.desk, sessions=house.sessions))
    walking = replace(other, database=house.database, sessions=house.sessions, native=native)
    prepared = await prepare(walking, config, case["name"])
    await journey(walking, {**prepared, "config": config})
    await look(walking, {**prepared, "config": config})
    await walking.close()


def run_case(config: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Count the points of a case, die at each of those that were asked for, and look at what became of it."""
    house = house_for(config, case, Ahead())
    asyncio.run(warm(config, case, house))

    def prepared() -> dict[str, Any]:
        _, made = in_child(lambda: prepare(house, config, case["name"]))
        return {**made, "config": config}

    async def count(of: dict[str, Any]) -> list[str]:
        plan = Plan(None)
        await journey(watched(house, plan), of)
        return plan.names

    async def recovered(of: dict[str, Any], *, client_first: bool) -> dict[str, Any]:
        told = await recover(house, of, client_first=client_first)
        return {**told, **await look(house, of)}

    alive = prepared()
    _, names = in_child(lambda: count(alive))
    _, found = in_child(lambda: look(house, alive))
    results = [found | {"killed": False, "at": "never", "point": 0, "statuses": [200], "tokens": 0}]
    for point in range(case["first"], len(names) + 1, case["every"]):
        dying = prepared()
        die = partial(lambda p, of: journey(watched(house, Plan(p)), of), point, dying)
        wait_status, _ = in_child(die)
        client_first = bool(point // 2 % 2)
        _, found = in_child(partial(recovered, dying, client_first=client_first))
        death = {"killed": os.WIFSIGNALED(wait_status), "at": names[point - 1], "point": point}
        results.append((found or {}) | death)
    return {"points": names, "results": results}


def main() -> None:
    """Run the cases one after the other, on one chain and one database, and verify the books at the end."""
    config = json.load(sys.stdin)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed is the report
    cases = {case["name"]: run_case(config, case) for case in config["cases"]}
    house = house_for(config, config["cases"][0], Ahead())
    _, verified = in_child(lambda: verify(house, config))
    json.dump({"cases": cases, "verified": verified}, sys.stdout)


if __name__ == "__main__":
    main()
