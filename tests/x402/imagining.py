"""Settlements on an imagined chain: real rows, real books and real turns, in a world that goes wrong when told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, cast
from uuid import UUID

from eth_utils.address import to_checksum_address
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, select

from api.settings import Settings
from api.wiring import async_url
from billing import identity, proofs, purchases, quotes
from billing.database import Sessions, engine, sessions
from billing.identity import Actor, Newcomer
from billing.packs import STANDARD_PACKS, X402, Wanted
from billing.settlement_states import SettlementState as S
from billing.settling import advancing, claiming, records
from billing.settling.advancing import Desk
from billing.settling.claiming import Claimed, Payable, Request
from billing.settling.delegating import FacilitatorSubmitter
from billing.settling.own import GasLimits, OwnSubmitter
from billing.settling.records import Key
from billing.settling.screening import Screened, Verdict
from billing.settling.submitting import Submitter
from billing.settling_tables import Decision, GasTransaction, GasWallet, Settlement
from billing.tables import AgentToken, ExternalPayment, PaymentAttempt, Purpose
from ledger import statements
from ledger.money import usd
from ledger.verification import verify_book
from rails.evm import eip3009
from rails.evm.chain import Chain
from rails.evm.eip3009 import Authorization
from rails.evm.gas import GasWallet as GasKey
from rails.rail import OutcomeUnknown, RailUnavailable
from rails.x402 import messages, rail
from rails.x402.facilitator import Facilitator
from rails.x402.terms import SignedPayment
from tests.service import Database
from tests.x402.imagined import FINALIZED_BEHIND, NETWORK, Dying, ImaginedChain, ImaginedFacilitator, Killed

PACK = next(pack for pack in STANDARD_PACKS if pack.pack_id == "taster-100")
TREASURY = to_checksum_address("0x" + "11" * 20)
WINDOW_S = 300
BLOCK_S = 2
BEGINNING = timedelta(hours=20)
"""How long before now a history begins: what it books must not lie ahead of the database's clock."""
PLACE = purchases.Place("http://imagined", Settings().offer())
ENDS_MAX = 12
LOOKED_AT_WITHIN = timedelta(seconds=WINDOW_S) + timedelta(minutes=2)
"""The longest that any settlement which is not final rests: until the window of one that was never sent has closed."""

Way = Literal["own", "facilitator"]


class ScreenedBy(dict[str, Verdict]):
    """Verdicts by payer; everybody else may pay."""

    async def screen(self, *, network: str, payer: str) -> Screened:
        del network
        return Screened(self.get(payer, Verdict.ALLOW), "as the test says")


@dataclass
class World:
    """A history: its own chain, gas wallet and organizations, on the database that all share."""

    books: Sessions
    plan: Dying
    way: Way
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - BEGINNING)
    keys: list[Key] = field(default_factory=list)
    verdicts: ScreenedBy = field(default_factory=ScreenedBy)

    def __post_init__(self) -> None:
        self.chain = ImaginedChain(self.plan, int(self.now.timestamp()))
        chain, self.gas = cast("Chain", self.chain), GasKey(secrets.token_hex(32))
        submitter: Submitter = OwnSubmitter(
            self.books, chain, self.gas, limits=GasLimits(wei_per_hour=10**18, max_fee_wei=10**12)
        )
        if self.way == "facilitator":
            facilitator = cast("Facilitator", ImaginedFacilitator(self.chain))
            submitter = FacilitatorSubmitter(self.books, facilitator, NETWORK, timeout_s=WINDOW_S, is_checked=True)
        self.rail = rail.X402(NETWORK, pay_to=TREASURY, timeout_s=WINDOW_S, livemode=False, clock=lambda: self.now)
        self.desk = Desk(
            sessions=self.books, network=NETWORK.caip2, chain=chain, submitter=submitter, screening=self.verdicts,
            livemode=False, clock=lambda: self.now,
        )  # fmt: skip

    # What is claimed

    def payable(self, payer: str | None = None) -> Payable:
        """A payment for the pack, of a new wallet unless told otherwise, signed a moment ago."""
        payer, nonce = payer or to_checksum_address("0x" + secrets.token_hex(20)), secrets.token_bytes(32)
        requirement = messages.requirement_for(
            NETWORK, pay_to=TREASURY, price=usd(PACK.price_cents), timeout_s=WINDOW_S
        )
        until = int(self.now.timestamp()) + WINDOW_S
        signed = Authorization(payer, TREASURY, requirement.amount_atomic, 0, until, nonce)
        self.chain.signed[nonce] = signed
        payment = SignedPayment(signed, (1).to_bytes(32) * 2 + b"\x1b", requirement.wire(), None)
        head_block = max(0, len(self.chain.blocks) - 1 - FINALIZED_BEHIND)  # as behind as no reorganization is deep
        return Payable(
            payment, requirement, eip3009.digest(signed, NETWORK), head_block=head_block, balance=None,
            submitter=self.desk.submitter.name,
        )  # fmt: skip

    async def claim_top_up(self) -> None:
        """A new wallet pays without an account."""
        self.keys.append((await self.top_up(self.payable())).key)

    async def top_up(self, payable: Payable) -> Claimed:
        """The claim of a payment without a quote. Raises `AlreadyClaimed`."""
        return await claiming.claim_top_up(
            self.books, None, PACK, payable, request=Request(self.rail.prepare, self.rail.start), place=PLACE,
            live_money=False, lease=timedelta(seconds=20), now=self.now,
        )  # fmt: skip

    async def claim_quote(self) -> None:
        """A new agent pays a quote."""
        newcomer = Newcomer(name="imagined", runtime="test")
        signed_up = await identity.sign_up(self.books, newcomer, want_token=True, presented=None, now=self.now)
        actor = await self._actor(signed_up.agent.organization_id)
        quote = await quotes.make(
            self.books, actor, Wanted(None, PACK.pack_id, X402.method_id), idempotency_key="quote", offer=PLACE.offer,
            live_money=False, unavailable=None, now=self.now,
        )  # fmt: skip
        await self._pay(actor, quote.id)

    async def pay_again(self, key: Key) -> None:
        """Where an attempt has failed, its agent tries again with another wallet."""
        async with self.books() as session:
            row = await session.get_one(Settlement, (key.organization_id, key.settlement_id))
            attempt = await session.get_one(PaymentAttempt, (row.organization_id, row.attempt_id))
        await self._pay(await self._actor(attempt.organization_id), attempt.quote_id)

    async def _pay(self, actor: Actor, quote_id: UUID) -> None:
        attempt_id = await purchases.buy(
            self.books, actor, quote_id=quote_id, idempotency_key=secrets.token_hex(8), rail=self.rail,
            unavailable=None, place=PLACE, clock=lambda: self.now,
        )  # fmt: skip
        claimed = await claiming.claim(
            self.books, actor, attempt_id, self.payable(), lease=timedelta(seconds=20), now=self.now
        )
        self.keys.append(claimed.key)

    async def _actor(self, organization_id: UUID) -> Actor:
        query = select(AgentToken).where(col(AgentToken.organization_id) == organization_id).limit(1)
        async with self.books() as session:
            token = (await session.exec(query)).one()
        return Actor(organization_id, token.agent_id, token.id, "imagined", "test", self.now)

    # What happens

    async def turn(self, key: Key) -> None:
        await advancing.turn(self.desk, key)

    async def tend(self) -> None:
        """As the worker does: what the node cannot do now is done the next time."""
        with suppress(RailUnavailable, OutcomeUnknown):
            await self.desk.submitter.tend(now=self.now)

    async def dying(self, doing: Coroutine[Any, Any, None], at: int | None, *, node_fails: bool) -> bool:
        """Do it, and let it end at a point: by death, or because the node fails then. Whether it was killed."""
        self.plan.arm(at, node_fails=node_fails)
        try:
            await doing
        except Killed:
            return True
        finally:
            self.plan.disarm()
        return False

    def pass_time(self, seconds: int) -> None:
        """The clock goes on; the chain's next block has that time."""
        self.now += timedelta(seconds=seconds)
        self.chain.now = int(self.now.timestamp())

    def mine(self, blocks: int) -> None:
        for _ in range(blocks):
            self.pass_time(BLOCK_S)
            self.chain.mine()

    async def decide(self, key: Key, decision: Decision) -> None:
        """What an operator says of a payment that is held."""
        async with self.books() as session, session.begin():
            row = await records.locked(session, key)
            if row.state == S.HELD:
                row.decision = row.decision or decision

    async def rows(self) -> list[Settlement]:
        return [await records.read(self.books, key) for key in self.keys]

    # How it ends

    async def end(self, *, decision: Decision) -> None:
        """Nothing goes wrong any more, operators decide, time passes: until nothing changes any more."""
        self.chain.sending = "taken"
        self.chain.broke.clear()
        for _ in range(ENDS_MAX):
            for key in self.keys:
                await self.decide(key, decision)
                await self.turn(key)
            await self.tend()
            self.pass_time(WINDOW_S // 2)
            self.mine(FINALIZED_BEHIND + 1)
            if all(row.final for row in await self.rows()) and not await self.is_gas_in_use():
                return
        raise AssertionError(f"not at rest: {[(row.state, row.final, row.reason) for row in await self.rows()]}")

    async def is_gas_in_use(self) -> bool:
        wallet = await self.wallet()
        return wallet is not None and wallet.settlement_id is not None

    async def wallet(self) -> GasWallet | None:
        async with self.books() as session:
            return await session.get(GasWallet, (NETWORK.caip2, self.gas.address))

    async def assert_nothing_is_denied(self) -> None:
        """At any time: what is said to be unpaid for good is not paid, and all that is open will be looked at soon."""
        for row in await self.rows():
            if row.state == S.FAILED and row.final:
                assert self.chain.done_with(row.nonce) != "pays"
            assert row.final or row.next_try_at <= self.now + LOOKED_AT_WITHIN

    async def assert_right(self) -> None:
        """At the end: what was granted and not taken back is what stands on the chain, once; all books agree."""
        for row in await self.rows():
            stands = self.chain.done_with(row.nonce) == "pays"
            assert row.state in ({S.SETTLED, S.KEPT} if stands else {S.FAILED}), (row.state, stands)
        for organization_id in {key.organization_id for key in self.keys}:
            await self._assert_granted(organization_id)
            async with self.books() as session:
                assert await proofs.problems(session, organization_id, limit=5) == []
                assert await verify_book(session, organization_id) == []
        wallet = await self.wallet()
        if wallet is not None:
            assert (wallet.settlement_id, wallet.next_nonce) == (None, self.chain.gas_nonces())
        await self._assert_no_gap()

    async def _assert_granted(self, organization_id: UUID) -> None:
        standing = {row.attempt_id for row in await self.rows() if self.chain.done_with(row.nonce) == "pays"}
        query = select(ExternalPayment).where(col(ExternalPayment.organization_id) == organization_id)
        async with self.books() as session:
            payments = (await session.exec(query)).all()
            spendable = (await statements.balance(session, organization_id, datetime.now(UTC))).spendable
        granted = [one.attempt_id for one in payments if one.purpose == Purpose.GRANTED]
        assert len(granted) == len(set(granted)) <= 1, "one quote is granted once"
        assert spendable == PACK.credits * len(standing.intersection(granted))

    async def _assert_no_gap(self) -> None:
        query = select(GasTransaction.nonce).where(col(GasTransaction.wallet) == self.gas.address)
        async with self.books() as session:
            used = set((await session.exec(query.where(col(GasTransaction.refused_at).is_(None)))).all())
        assert used == set(range(len(used)))


@asynccontextmanager
async def imagining(database: Database) -> AsyncIterator[Callable[[Way], World]]:
    """`begin(way)`: a history that has not happened yet; all of them share the database."""
    on: AsyncEngine = engine(async_url(database.run_url), connections_max=10)
    plan = Dying()
    plan.watch(on)
    try:
        yield partial(World, sessions(on), plan)
    finally:
        await on.dispose()
