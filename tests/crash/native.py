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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import structlog
from litestar import Litestar
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
from billing.packs import X402
from ledger import verification
from rails.evm.eip3009 import TRANSFER, address_word
from sandbox.chain.node import Node
from tests.crash.harness import in_child
from tests.crash.plan import Plan, WatchedNode, watch_http
from tests.evm.anvil import SLOTS_IN_AN_EPOCH, Anvil
from tests.evm.usdc import Token
from tests.x402.paying import REQUIRED, SIGNATURE, signed_payment

PACK, PRICE_ATOMIC = "taster-100", 1_000_000
FINALITY_BLOCKS = 2 * SLOTS_IN_AN_EPOCH + 1
LEASE_OVER = timedelta(seconds=40)
"""After this a payment that nobody looks after any more is taken by a worker; its signature is good for longer."""
FINALITY = timedelta(seconds=35)
"""After this one that is granted is looked at again, to see whether it is final."""
ROUND = timedelta(seconds=5)
PROBLEMS_MAX = 20
ROUNDS_MAX = 8
PREPARED_AT_ONCE = 40
"""Payments that are signed before they are presented; the last of them must still be good for a while then."""


@dataclass(frozen=True)
class Scene:
    """What every child of a case finds: a house without a connection, its application, and what the case is."""

    house: House
    app: Litestar
    name: str
    config: dict[str, Any]

    def client(self) -> httpx.AsyncClient:
        """A client of the application, without a network."""
        app: Any = self.app
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://crash", timeout=60)

    @property
    def token(self) -> Token:
        """The token, over a connection of its own."""
        chain = Anvil(url=self.config["chain"], pid=0, _node=Node(self.config["chain"]))
        return Token(chain=chain, **self.config["token"])


class Ahead:
    """The process clock, set ahead: what waits becomes due without anybody waiting."""

    def __init__(self) -> None:
        self.by = timedelta()

    def __call__(self) -> datetime:
        return now() + self.by


def house_for(config: dict[str, Any], case: dict[str, Any]) -> House:
    """A house without a connection, whose rail is offered as if its chain had been checked."""
    settings = Settings(database_url=SecretStr(config["run_url"]), **case["settings"])
    house = build(settings, clock=Ahead())
    native_of(house).standing.reason = None
    return house


def clock_of(house: House) -> Ahead:
    assert isinstance(house.clock, Ahead)
    return house.clock


def native_of(house: House) -> Native:
    assert house.native is not None
    return house.native


def watch(house: House, plan: Plan) -> None:
    """Count the house's statements, and its calls to the chain and the facilitator."""
    native = native_of(house)
    plan.watch(house.database)
    assert native.chain is not None
    native.chain._rpc = WatchedNode(native.chain._rpc, plan)  # type: ignore[assignment]
    if native.facilitator is not None:
        watch_http(native.facilitator._http, plan, "the facilitator's")


async def ask(scene: Scene, prepared: dict[str, Any]) -> httpx.Response:
    """The request of a run, paid or not."""
    async with scene.client() as client:
        return await client.post(prepared["path"], json=prepared["body"], headers=prepared["headers"])


async def prepare(scene: Scene, runs: int) -> list[dict[str, Any]]:
    """For each run a new wallet with money, and the payment that it signs: for a pack, or for a new agent's quote."""
    return [await _prepare(scene) for _ in range(runs)]


async def _prepare(scene: Scene) -> dict[str, Any]:
    payer = Account.create()
    scene.token.fund(payer.address, PRICE_ATOMIC)
    prepared: dict[str, Any] = {"path": f"/v1/x402/top-up/{PACK}", "body": None, "headers": {}}
    if scene.name == "quote":
        prepared = await quoted(scene)
    unpaid = await ask(scene, prepared)
    assert unpaid.status_code == 402, unpaid.text
    signed = signed_payment(unpaid.headers[REQUIRED], "0x" + bytes(payer.key).hex())
    return {**prepared, "headers": {**prepared["headers"], SIGNATURE: signed}, "payer": payer.address}


async def quoted(scene: Scene) -> dict[str, Any]:
    """What a new agent sends to buy its first quote."""
    async with scene.client() as client:
        wanted = {"agent_name": "crash", "runtime": "test", "return_token": True}
        token = (await client.post("/v1/agent-signups", json=wanted)).json()["data"]["token"]
        headers = {"authorization": f"Bearer {token}"}
        terms = {"pack_id": PACK, "payment_method": X402.method_id, "idempotency_key": "quote"}
        quote = (await client.post("/v1/credit-quotes", json=terms, headers=headers)).json()["data"]
    body = {"quote_id": quote["quote_id"], "idempotency_key": "buy"}
    return {"path": X402.purchase_endpoint, "body": body, "headers": headers}


async def journey(scene: Scene, prepared: dict[str, Any]) -> None:
    """The payment is presented and granted, its nonce given back; once it is final, it is closed and its gas booked."""
    assert (await ask(scene, prepared)).status_code == 200
    await work(scene.house)
    await become_final(scene)


async def become_final(scene: Scene) -> None:
    """Blocks are added until nothing can be reorganized any more, and a worker sees that."""
    scene.token.chain.mine(FINALITY_BLOCKS)
    clock_of(scene.house).by += FINALITY
    await work(scene.house)


async def work(house: House) -> None:
    """What a worker does about payments on chain, once."""
    await worker._settlements(house)
    await worker._gas(house)


async def recover(scene: Scene, prepared: dict[str, Any], *, client_first: bool) -> dict[str, Any]:
    """The client repeats its request, a worker works, and time goes on, until all is done; what the client was told."""
    clock_of(scene.house).by = LEASE_OVER
    statuses, tokens = [], 0
    for _ in range(ROUNDS_MAX):
        if not client_first:
            await work(scene.house)
        answer = await ask(scene, prepared)
        statuses.append(answer.status_code)
        tokens += "token" in (answer.json()["data"] or {})
        await work(scene.house)
        if answer.status_code == 200:
            break
        clock_of(scene.house).by += ROUND
    await become_final(scene)
    return {"statuses": statuses, "tokens": tokens, **await look(scene, prepared)}


LOOK = """
    SELECT s.state, s.final, a.state AS attempt,
           (SELECT count(*) FROM billing.settlements WHERE payer = :payer) AS settlements,
           (SELECT count(*) FROM billing.external_payments AS p WHERE p.attempt_id = s.attempt_id) AS payments,
           (SELECT count(*) FROM billing.receipts AS r WHERE r.attempt_id = s.attempt_id) AS receipts,
           (SELECT count(*) FROM ledger.lot_openings AS l WHERE l.organization_id = s.organization_id) AS lots,
           (SELECT sum(l.credits)::bigint FROM ledger.lot_openings AS l
            WHERE l.organization_id = s.organization_id) AS credits,
           (SELECT count(*) FROM ledger.operations AS o
            WHERE o.organization_id = s.organization_id AND o.kind = 'grant') AS grants
    FROM billing.settlements AS s JOIN billing.payment_attempts AS a ON a.id = s.attempt_id
    WHERE s.payer = :payer"""
WALLETS = "SELECT next_nonce, settlement_id IS NOT NULL AS in_use FROM billing.gas_wallets"


async def look(scene: Scene, prepared: dict[str, Any]) -> dict[str, Any]:
    """How often everything is there that must be there once, in the database and on the chain."""
    async with scene.house.sessions() as session:
        connection = await session.connection()
        found = (await connection.execute(text(LOOK), {"payer": prepared["payer"]})).mappings().one()
        wallets = (await connection.execute(text(WALLETS))).all()
    token = scene.token
    topics = ["0x" + word.hex() for word in (TRANSFER, address_word(prepared["payer"]))]
    logs = token.chain.rpc("eth_getLogs", {"address": token.address, "topics": topics, "fromBlock": "0x0"})
    return {
        **found,
        "transfers": len(logs),
        "left": token.balance(prepared["payer"]),
        "nonce_in_use": any(wallet.in_use for wallet in wallets),
        "nonces": [wallet.next_nonce for wallet in wallets],
        "nonces_on_chain": int(token.chain.rpc("eth_getTransactionCount", scene.config["gas"], "pending"), 16),
    }


GAS = """
    SELECT coalesce(sum(CASE WHEN t.credit = 'gas_wallet' THEN t.amount ELSE -t.amount END), 0) * 1000000000
           + coalesce((SELECT sum(unbooked_wei) FROM billing.gas_wallets), 0)
    FROM ledger.transfers AS t WHERE 'gas_wallet' IN (t.debit, t.credit)"""


async def verify(scene: Scene) -> dict[str, Any]:
    """What does not fit in all books, after everything; and the gas wallet's wei, by the books and on the chain."""
    async with scene.house.sessions() as session:
        problems = [str(problem) for problem in await proofs.problems(session, None, limit=PROBLEMS_MAX)]
        problems += [str(one) for one in (await verification.verify(session, None)).mismatches]
        booked = int((await (await session.connection()).execute(text(GAS))).scalar_one())
    left = scene.token.chain.balance(scene.config["gas"])
    return {"problems": problems, "gas_booked": booked, "gas_left": left}


def warmed(config: dict[str, Any], case: dict[str, Any]) -> Scene:
    """The scene of a case, after one whole journey on its engine with the doors of another house.

    So no child compiles and imports anew, and none inherits a connection.
    """
    house, other = house_for(config, case), house_for(config, case)
    native, name = native_of(other), case["name"]
    native.desk.submitter._sessions = house.sessions  # type: ignore[attr-defined]
    native = replace(native, desk=replace(native.desk, sessions=house.sessions))
    walking = replace(other, database=house.database, sessions=house.sessions, native=native)

    async def walk() -> None:
        scene = Scene(walking, app_for(walking), name, config)
        prepared = (await prepare(scene, 1))[0]
        await journey(scene, prepared)
        await look(scene, prepared)
        await walking.close()
        await other.database.dispose()

    asyncio.run(walk())
    return Scene(house, app_for(house), name, config)


def run_case(config: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Count the points of a case, die at each of those that were asked for, and look at what became of it."""
    scene = warmed(config, case)

    async def count() -> dict[str, Any]:
        plan, prepared = Plan(None), (await prepare(scene, 1))[0]
        watch(scene.house, plan)
        await journey(scene, prepared)
        return {"names": list(plan.names), "found": await look(scene, prepared)}

    async def die(point: int, prepared: dict[str, Any]) -> None:
        watch(scene.house, Plan(point))
        await journey(scene, prepared)

    _, alive = in_child(count)
    names = alive["names"]
    results = [alive["found"] | {"killed": False, "at": "never", "point": 0, "statuses": [200], "tokens": 0}]
    signed: list[dict[str, Any]] = []
    for point in range(case["first"], len(names) + 1, case["every"]):
        if not signed:
            runs = min(PREPARED_AT_ONCE, len(range(point, len(names) + 1, case["every"])))
            _, signed = in_child(partial(prepare, scene, runs))
        prepared = signed.pop()
        wait_status, _ = in_child(partial(die, point, prepared))
        _, found = in_child(partial(recover, scene, prepared, client_first=bool(point // 2 % 2)))
        death = {"killed": os.WIFSIGNALED(wait_status), "at": names[point - 1], "point": point}
        results.append((found or {}) | death)
    return {"points": names, "results": results}


def main() -> None:
    """Run the cases one after the other, on one chain and one database, and verify the books at the end."""
    config = json.load(sys.stdin)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what is printed is the report
    cases = {case["name"]: run_case(config, case) for case in config["cases"]}
    house = house_for(config, config["cases"][0])
    _, verified = in_child(partial(verify, Scene(house, app_for(house), "", config)))
    json.dump({"cases": cases, "verified": verified}, sys.stdout)


if __name__ == "__main__":
    main()
