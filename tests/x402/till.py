"""A service in this process, on a real chain and without a worker: every turn is made when the test says so.

Its clock and the chain's can be moved. What all tests of a module leave behind must verify: all books, all proofs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlmodel import col, select

from api.http.app import app_for
from api.native import Native
from api.settings import Settings
from api.wiring import House, async_url, build
from billing import proofs
from billing.database import engine, sessions, snapshot
from billing.settlement_states import SettlementState as S
from billing.settling import advancing, claiming, nonces, records
from billing.settling.records import Key
from billing.settling_tables import GasTransaction, GasWallet, Settlement
from billing.tables import PaymentAttempt
from ledger import statements
from ledger.operations import PLATFORM
from ledger.verification import verify_book
from rails.x402 import messages
from tests.documents.judging import judged_later
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.usdc import Authorization, Payer
from tests.service import Database
from tests.x402.chains import OnChain, key_of
from tests.x402.paying import SIGNATURE, signed_payment

PACK = "taster-100"
DOLLAR = 1_000_000
LEASE = timedelta(seconds=30)
URL = "http://till.test"
TURNS_MAX = 12
WAIT_S = 60
"""For a till that waits for the chain: as long as it may be told to."""
MINED_WITHIN_S = 60.0
TABLES = (
    "billing.organizations", "billing.agents", "billing.agent_tokens", "billing.payer_wallets", "billing.credit_quotes",
    "billing.payment_attempts", "billing.provider_requests", "billing.settlements", "billing.gas_transactions",
    "billing.external_payments", "ledger.operations",
)  # fmt: skip


@dataclass
class Clock:
    """The service's clock: the machine's, and so much ahead."""

    ahead: timedelta = field(default=timedelta(0))

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Till:
    """What a test does with the service, and what it reads there."""

    onchain: OnChain
    database: Database
    house: House
    clock: Clock

    @property
    def native(self) -> Native:
        assert self.house.native is not None
        return self.house.native

    @cached_property
    def client(self) -> httpx.AsyncClient:
        """HTTP to the same application, without a socket. Only what no worker and no lane is needed for."""
        app: Any = app_for(self.house)
        hooks = {"response": [judged_later]}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL, timeout=30, event_hooks=hooks)

    # What a payer does

    def required(self, pack_id: str = PACK) -> str:
        """The header that says what to sign for a pack."""
        requirement = self.native.requirement(self.house.place.offer.pack(pack_id))
        url = f"{self.house.settings.url}/v1/x402/top-up/{pack_id}"
        return messages.encoded(
            messages.payment_required(requirement, url=url, description="credits", error=None, extensions={})
        )

    def sign(self, payer: Payer, pack_id: str = PACK, **changes: Any) -> str:
        """The header that pays for a pack, by the service's clock; `changes` as in `signed_payment`."""
        at = {"now": int(self.clock().timestamp()), "payer": payer.address, **changes}
        return signed_payment(self.required(pack_id), key_of(payer), **at)

    async def ask(self, payment: str | None = None, pack_id: str = PACK) -> httpx.Response:
        """The top-up, asked for over HTTP, with a payment or without."""
        headers = {SIGNATURE: payment} if payment is not None else {}
        return await self.client.post(f"/v1/x402/top-up/{pack_id}", headers=headers)

    async def claim(self, payment: str, pack_id: str = PACK) -> Key:
        """The payment verified and claimed as the route does it, and no turn made."""
        pack = self.house.place.offer.pack(pack_id)
        requirement = self.native.requirement(pack)
        payable = await self.native.verified(messages.parse_payment(payment), requirement, now=self.clock())
        claimed = await claiming.claim_top_up(
            self.house.sessions, None, pack, payable, request=self.native.request, place=self.house.place,
            live_money=False, lease=LEASE, now=self.clock(),
        )  # fmt: skip
        return claimed.key

    async def claimed_by(self, payer: Payer, pack_id: str = PACK, **changes: Any) -> Key:
        """A new payment of a payer's, claimed."""
        return await self.claim(self.sign(payer, pack_id, **changes), pack_id)

    # What the worker does

    async def turn(self, key: Key, times: int = 1) -> str:
        """So many turns, each when the chain has carried out what it was given; the state after them."""
        await self.mined()
        for _ in range(times):
            await advancing.turn(self.native.desk, key)
            await self.mined()
        return (await self.row(key)).state

    async def mined(self) -> None:
        """Where every transaction gets a block at once, that is: soon after the node has taken it."""
        rpc, deadline = self.onchain.chain.rpc, time.monotonic() + MINED_WITHIN_S
        while int(rpc("txpool_status")["pending"], 16) and rpc("anvil_getAutomine"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    async def settled(self, key: Key) -> Settlement:
        """Turns until the payment is granted."""
        for _ in range(TURNS_MAX):
            if await self.turn(key) == S.SETTLED:
                return await self.row(key)
        raise AssertionError(f"{await self.row(key)} after {TURNS_MAX} turns: {(await self.row(key)).reason}")

    async def bought_by(self, payer: Payer, pack_id: str = PACK) -> Key:
        """A payment that was claimed, carried out and granted."""
        key = await self.claimed_by(payer, pack_id)
        await self.settled(key)
        return key

    async def tend(self) -> None:
        await self.mined()
        await self.native.desk.submitter.tend(now=self.clock())
        await self.mined()

    def pass_time(self, seconds: float) -> None:
        """Both clocks are so much later; the chain has a block of then."""
        self.clock.ahead += timedelta(seconds=seconds)
        behind = int(self.clock().timestamp()) - self.onchain.chain.now  # rewinding leaves the chain's clock behind
        self.onchain.chain.increase_time(max(int(seconds), behind))

    def finalize(self) -> None:
        """All blocks that there are become final."""
        self.onchain.chain.mine(2 * SLOTS_IN_AN_EPOCH + 1)

    # What is there then

    async def row(self, key: Key) -> Settlement:
        return await records.read(self.house.sessions, key)

    async def attempt(self, key: Key) -> PaymentAttempt:
        async with self.house.sessions() as session:
            row = await session.get_one(Settlement, (key.organization_id, key.settlement_id))
            return await session.get_one(PaymentAttempt, (row.organization_id, row.attempt_id))

    async def signed(self, key: Key) -> list[GasTransaction]:
        """All transactions that were signed for a payment, oldest first, with those that were withdrawn."""
        query = select(GasTransaction).where(col(GasTransaction.settlement_id) == key.settlement_id)
        async with self.house.sessions() as session:
            return list((await session.exec(query.order_by(col(GasTransaction.created_at)))).all())

    async def spent_on_gas(self) -> int:
        """Wei that the rows say that all transactions of the gas wallet have cost."""
        wallet = await self.wallet()
        query = select(GasTransaction.cost_wei).where(col(GasTransaction.wallet) == wallet.address)
        async with self.house.sessions() as session:
            return sum(cost or 0 for cost in (await session.exec(query)).all())

    async def wallet(self) -> GasWallet:
        assert self.native.gas is not None
        async with self.house.sessions() as session, session.begin():
            return await nonces.locked(session, self.native.network.caip2, self.native.gas.address, now=self.clock())

    def counts(self) -> dict[str, int]:
        """How many rows there are of all that a payment could leave behind."""
        counted = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in TABLES)
        return dict(self.database.rows(counted))

    async def books(self, organization_id: UUID) -> dict[str, int]:
        """What stands in each account that is not empty."""
        async with self.house.sessions() as session:
            return {
                row.code: row.balance for row in await statements.trial_balance(session, organization_id) if row.balance
            }

    async def spendable(self, key: Key) -> int:
        async with self.house.sessions() as session:
            return (await statements.balance(session, key.organization_id, self.clock())).spendable

    async def platform(self) -> dict[str, int]:
        return await self.books(PLATFORM)

    async def assert_verifies(self) -> None:
        """Everything, as it is in the middle of a test."""
        await assert_verifies(self.database)


@asynccontextmanager
async def till_open(onchain: OnChain, database: Database, **settings: Any) -> AsyncIterator[Till]:
    """A till with a gas wallet of its own unless told otherwise; None takes a setting away."""
    clock = Clock()
    own = {"x402_gas_key": key_of(onchain.new_gas_wallet()), "x402_wait_s": 0, "x402_rpc_timeout_s": WAIT_S, **settings}
    told = onchain.settings(**own)
    told |= {name: SecretStr(told[name]) for name in ("x402_gas_key", "x402_rpc_url") if name in told}
    house = build(
        Settings(
            database_url=SecretStr(database.run_url), public_url=URL, worker=False, signups_per_minute=1_000_000,
            **told,
        ),
        clock=clock,
    )  # fmt: skip
    till = Till(onchain, database, house, clock)
    try:
        if till.native.chain is not None:
            await till.native.check()
        yield till
    finally:
        if "client" in till.__dict__:
            await till.client.aclose()
        await house.close()


async def assert_verifies(database: Database) -> None:
    """All books and all proofs, of everybody."""
    connections = engine(async_url(database.run_url))
    try:
        async with snapshot(sessions(connections)) as session:
            assert await proofs.problems(session, None, limit=10) == []
            for (organization_id,) in database.rows("SELECT DISTINCT organization_id FROM ledger.operations"):
                assert await verify_book(session, UUID(str(organization_id))) == []
    finally:
        await connections.dispose()


def as_signed(till: Till, row: Settlement) -> Authorization:
    """A settlement's authorization as the tests' token takes it, for whoever wants to carry it out."""
    return Authorization(
        row.payer, row.pay_to, row.amount_atomic, row.valid_after, row.valid_before, row.nonce, row.signature
    )


async def at_once(*doing: Any) -> list[Any]:
    """All of them at the same time; what each gave or raised."""
    return list(await asyncio.gather(*doing, return_exceptions=True))
