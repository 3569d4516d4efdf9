"""A refund of a payment on chain: prepared for the treasury, taken back at once, out of the books when it was seen."""

from __future__ import annotations

import json
import operator
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from api import refunds as sending
from api.command_line import operators, payments
from api.http.views import operator as views
from api.settings import Settings
from api.wiring import House, build
from billing import cancellations, looking, proofs, watching
from billing.attempts import RequestState
from billing.database import snapshot
from billing.operating import refunds
from billing.operator_actions import COMMAND_LINE
from billing.packs import X402
from billing.refusals import Refusal, Refused
from billing.reversal_tables import RefundRequest, WatchedObject
from billing.reversals import refunding
from billing.settlement_states import SettlementState
from billing.settling_tables import Settlement
from billing.tables import ProviderRequestRow
from ledger import statements
from ledger.ids import external
from ledger.operations import PLATFORM
from rails.evm.networks import BASE_SEPOLIA
from rails.money import BalanceTransaction, MoneyFact, RefundSeen
from rails.rail import Reference
from rails.x402.treasury import PAYMENT_KIND
from tests.billing.conftest import Buyer
from tests.billing.reversing import Paid
from tests.service import STRIPE_KEY, Database, Sandbox

NETWORK = "eip155:84532"
PAYER = "0x" + "ab" * 20
TREASURY = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
NOWHERE = "http://127.0.0.1:1"
ROUNDS_MAX = 100
"""So many watched objects are looked at in each, and those that other tests have left are too."""


@pytest.fixture(scope="module")
def quiet_database(new_databases: Any) -> Database:
    """A database of this module's own: the platform's book holds nothing else, and what is broken here stays broken."""
    made: Database = new_databases("refunding_on_chain")
    return made


@pytest.fixture
async def quiet_house(quiet_database: Database, quiet_sandbox: Sandbox) -> AsyncIterator[House]:
    """A house with both rails, whose chain nobody can reach: nothing here asks it."""
    built = build(
        Settings(
            database_url=SecretStr(quiet_database.run_url),
            stripe_secret_key=SecretStr(STRIPE_KEY),
            stripe_api_base=quiet_sandbox.url,
            public_url=NOWHERE,
            x402_network=NETWORK,
            x402_treasury=TREASURY,
            x402_rpc_url=SecretStr(NOWHERE),
            x402_gas_key=SecretStr("0x" + "11" * 32),
        )
    )
    yield built
    await built.close()


@dataclass
class OnChain(Paid):
    """A payment on chain, and what the chain would say of its refunds."""

    def common(self) -> dict[str, Any]:
        return {**super().common(), "payment_kind": PAYMENT_KIND}

    def seen(self, request: RefundRequest, *, sent: bool = True) -> RefundSeen:
        """The refund as it's read: prepared and not sent, or in a finalized block."""
        name = request.refund_id or ""
        left = BalanceTransaction(
            transaction_id=f"{NETWORK}:0x{request.id.hex}:0", category="refund", amount=-request.amount_cents, fee=0,
            net=-request.amount_cents, currency="usdc", source_id=name, occurred_at=datetime.now(UTC),
        )  # fmt: skip
        return RefundSeen(
            **self.common(), refund_id=name, amount=request.amount_cents, currency="usd",
            status="succeeded" if sent else "pending", request_key=request.provider_key,
            details={"network": NETWORK, "transaction_hash": f"0x{request.id.hex}"} if sent else {},
            transactions=(left,) if sent else (),
        )  # fmt: skip

    async def books(self, organization_id: UUID | None = None) -> dict[str, int]:
        """What stands in each money account that is not empty: cents of USD, millionths of USDC."""
        async with self.buyer.house.sessions() as session:
            whose = organization_id or self.buyer.actor.organization_id
            rows = await statements.trial_balance(session, whose)
        return {row.code: row.balance for row in rows if row.currency in {"USD", "USDC"} and row.balance}

    async def problems(self) -> list[str]:
        """The checks that do not agree, of the organization's book and the platform's."""
        async with snapshot(self.buyer.house.sessions) as session:
            own = await proofs.problems(session, self.buyer.actor.organization_id, limit=100)
            return [one.check for one in (*own, *await proofs.problems(session, PLATFORM, limit=100))]


async def paid_on_chain(buyer: Buyer, *, quote_id: UUID | None = None) -> OnChain:
    """500 credits bought with a wallet and granted, without a chain."""
    wallet = replace(buyer, method=X402.method_id)
    return await settle(wallet, await wallet.buy(quote_id or await wallet.quote()))


def settlement(organization_id: UUID, attempt_id: UUID) -> Settlement:
    """The row of what was signed, as it is once the payment was granted."""
    now = datetime.now(UTC)
    return Settlement(
        organization_id=organization_id, id=attempt_id, attempt_id=attempt_id, network=NETWORK,
        asset=BASE_SEPOLIA.token_address, payer=PAYER, nonce=attempt_id.bytes * 2, digest=bytes(32), signature=b"",
        pay_to=TREASURY, amount_atomic=5_000_000, valid_after=0, valid_before=2**40, submitter="own",
        state=SettlementState.SETTLED, from_block=0, transaction_hash=f"0x{attempt_id.hex * 2}", log_index=1,
        block_number=1, block_hash="0x" + "22" * 32, paid_at=now, final=True, next_try_at=now, created_at=now,
        updated_at=now,
    )  # fmt: skip


async def settle(wallet: Buyer, attempt_id: UUID) -> OnChain:
    """The attempt's payment is on the chain and final."""
    async with wallet.house.sessions() as session:
        row = await session.get_one(ProviderRequestRow, (wallet.actor.organization_id, attempt_id, 1))
    payment_id = f"{NETWORK}:{PAYER}:0x{attempt_id.hex * 2}"
    fact = await wallet.settled(
        attempt_id, method_id=X402.method_id, provider_key=row.provider_key, payment_kind=PAYMENT_KIND,
        payment_id=payment_id, details={"network": NETWORK},
    )  # fmt: skip
    async with wallet.house.sessions() as session, session.begin():
        session.add(settlement(wallet.actor.organization_id, attempt_id))
    judged = await wallet.apply(fact)
    assert judged.verdict == "applied", judged
    return OnChain(wallet, attempt_id, payment_id, 500, 0)


@pytest.fixture
async def payment(buyer: Buyer) -> OnChain:
    return await paid_on_chain(buyer)


async def ask(payment: OnChain, amount: int | None = None) -> RefundRequest:
    """Ask for a refund and prepare it, as the routes and the command line do."""
    house = payment.buyer.house
    request = await refunding.ask(
        house.sessions, attempt_id=payment.attempt_id, amount_cents=amount, reason="asked for", by=COMMAND_LINE,
        idempotency_key=f"{payment.attempt_id} {amount}", now=house.clock(),
    )  # fmt: skip
    await sending.carry_out(house, request)
    return await stored(payment, request)


async def stored(payment: OnChain, request: RefundRequest) -> RefundRequest:
    async with payment.buyer.house.sessions() as session:
        return await session.get_one(RefundRequest, (request.organization_id, request.id))


async def shown(payment: OnChain, request: RefundRequest) -> dict[str, Any]:
    """The refund as an operator sees it."""
    async with snapshot(payment.buyer.house.sessions) as session:
        found = await refunds.one(session, request.id)
    return views.asked_refund(found, sending.to_sign(payment.buyer.house, found))


async def test_a_refund_goes_through_the_books_when_it_is_asked_for_and_again_when_it_has_left(payment: OnChain):
    received = {"deferred_revenue": 500, "usdc_clearing": 5_000_000, "conversion": 500, "conversion_usdc": 5_000_000}
    assert await payment.books() == received

    request = await ask(payment, 200)
    assert (request.state, request.error) == (RequestState.ANSWERED, None)
    await payment.apply(payment.seen(request, sent=False))
    promised = await payment.books()
    assert (promised["refunds_payable"], promised["deferred_revenue"]) == (200, 300)
    assert promised["usdc_clearing"] == 5_000_000
    assert (await payment.balance()).spendable == 300

    await payment.apply(payment.seen(request))
    after = await payment.books()
    assert "refunds_payable" not in after
    assert (after["usdc_clearing"], after["conversion"], after["conversion_usdc"]) == (3_000_000, 300, 3_000_000)
    assert "stripe_clearing" not in after
    assert await payment.problems() == []

    rest = await ask(payment)
    await payment.apply(payment.seen(rest))
    assert await payment.books() == {}
    assert (await payment.balance()).spendable == 0
    assert await payment.problems() == []


async def test_a_refund_that_is_read_twice_or_late_is_booked_once(payment: OnChain):
    request = await ask(payment)
    for sent in (True, True, False):
        await payment.apply(payment.seen(request, sent=sent))
    assert await payment.books() == {}
    [reversal] = await payment.reversals()
    assert (reversal.status, reversal.details["network"]) == ("succeeded", NETWORK)


async def test_an_operator_is_shown_what_to_sign_until_it_was_seen(payment: OnChain):
    request = await ask(payment)
    to_sign = (await shown(payment, request))["to_sign"]
    assert (to_sign["from"], to_sign["value"], to_sign["chain_id"]) == (TREASURY, "0", 84532)
    assert (to_sign["recipient"], to_sign["amount_atomic"]) == (PAYER, "5000000")
    assert "from the treasury" in to_sign["what_to_do"]
    await payment.apply(payment.seen(request, sent=False))
    assert (await shown(payment, request))["to_sign"] == to_sign
    await payment.apply(payment.seen(request))
    assert (await shown(payment, request))["to_sign"] is None


async def test_what_somebody_changed_in_the_table_is_not_given_to_be_signed(payment: OnChain, quiet_database: Database):
    request = await ask(payment)
    parameters = json.loads(request.parameters or "")
    changed = json.dumps({**parameters, "data": parameters["data"].replace("ab" * 20, "cd" * 20)})
    quiet_database.rows("UPDATE billing.refund_requests SET parameters = $2 WHERE id = $1", request.id, changed)
    assert (await shown(payment, request))["to_sign"] is None


async def test_a_refund_that_could_not_be_prepared_for_a_day_is_prepared_all_the_same(payment: OnChain):
    house = payment.buyer.house
    request = await refunding.ask(
        house.sessions, attempt_id=payment.attempt_id, amount_cents=None, reason="r", by=COMMAND_LINE,
        idempotency_key=f"late {payment.attempt_id}", now=house.clock(),
    )  # fmt: skip
    later = replace(house, clock=lambda: house.clock() + timedelta(days=30))
    assert request.id in {one.id for one in await refunding.due(house.sessions, on_chain=True, now=house.clock())}
    assert request.id not in {one.id for one in await refunding.due(house.sessions, on_chain=False, now=house.clock())}
    await sending.send_due(replace(house, native=None))
    assert (await stored(payment, request)).state == RequestState.STORED
    await sending.send_due(later)
    prepared = await stored(payment, request)
    assert prepared.state == RequestState.ANSWERED
    assert (await shown(payment, prepared))["to_sign"] is not None


async def test_who_has_no_chain_cannot_refund_what_was_paid_on_one(payment: OnChain):
    house = payment.buyer.house
    with pytest.raises(Refused) as refused:
        sending.refunder(replace(house, native=None), PAYMENT_KIND)
    assert refused.value.refusal is Refusal.PAYMENT_METHOD_UNAVAILABLE
    assert sending.refunder(house, PAYMENT_KIND) is sending.treasury(house)
    assert sending.refunder(house, "payment_intent") is house.money


@dataclass
class Reader:
    """Stands for the provider: says which objects it was asked about."""

    asked: list[str] = field(default_factory=list)

    def references(self, _event: Any, /) -> tuple[Reference, ...]:
        return ()

    async def read(self, reference: Reference, /) -> tuple[MoneyFact, ...]:
        self.asked.append(reference.external_id)
        return ()


async def test_a_refund_that_is_not_signed_is_looked_for_on_chain_and_never_given_up(payment: OnChain):
    house, request = payment.buyer.house, await ask(payment)
    provider, chain = Reader(), Reader()
    everywhere = sending._Everywhere(provider, chain)
    for days in (1, 30, 200, 400):
        later = partial(operator.add, house.clock(), timedelta(days=days))
        chain.asked.clear()
        for _ in range(ROUNDS_MAX):
            if not (await looking.look_at_watched(house.sessions, everywhere, livemode=False, clock=later))[0]:
                break
        else:
            raise AssertionError("what was looked at is due again at once")
        assert [name for name in chain.asked if name == request.refund_id] == [request.refund_id]
    assert request.refund_id not in provider.asked
    await payment.apply(payment.seen(request))
    async with house.sessions() as session:
        watched = await session.get_one(WatchedObject, ("refund", request.refund_id))
    assert watched.done_at is not None
    assert watched.next_look_at - house.clock() < timedelta(days=400) + watching.PAUSE_LATE


async def second_payment(buyer: Buyer, *, sends_back: bool) -> OnChain:
    """A payment of an attempt that had been given up when another one paid the quote."""
    place = buyer.house.place
    house = replace(buyer.house, place=replace(place, offer=replace(place.offer, refund_second_payments=sends_back)))
    wallet = Buyer(house, buyer.actor, X402.method_id)
    quote_id = await wallet.quote("twice")
    late = await wallet.buy(quote_id, "late")
    await cancellations.cancel(house.sessions, wallet.actor, late, rails=house.rails, livemode=False, clock=house.clock)
    await paid_on_chain(wallet, quote_id=quote_id)
    return await settle(wallet, late)


async def test_a_second_payment_that_is_sent_back_is_prepared_for_the_treasury(buyer: Buyer):
    payment = await second_payment(buyer, sends_back=True)
    mine, before = await payment.books(), await payment.books(PLATFORM)
    assert before["unallocated_deposits"] == 500
    assert before["usdc_clearing"] == 5_000_000
    await sending.send_due(payment.buyer.house)
    async with payment.buyer.house.sessions() as session:
        query = select(RefundRequest).where(col(RefundRequest.payment_id) == payment.payment_id)
        request = (await session.exec(query)).one()
    assert (await shown(payment, request))["to_sign"]["amount_atomic"] == "5000000"
    await payment.apply(payment.seen(request))
    assert await payment.books(PLATFORM) == {}
    assert await payment.books() == mine
    assert await payment.problems() == []


async def test_what_was_kept_without_a_grant_is_sent_back_when_an_operator_says_so(buyer: Buyer):
    payment = await second_payment(buyer, sends_back=False)
    async with payment.buyer.house.sessions() as session:
        seen = await refunding.preview(session, payment.attempt_id, amount_cents=None, now=buyer.house.clock())
    assert (seen.payment_kind, seen.payment_id) == (PAYMENT_KIND, payment.payment_id)
    assert (seen.refundable_cents, seen.amount_cents, seen.credits, seen.credits_owed) == (500, 500, 0, 0)
    await payment.apply(payment.seen(await ask(payment)))
    assert await payment.books(PLATFORM) == {}
    assert (await payment.balance()).spendable == 500
    assert await payment.problems() == []
    with pytest.raises(Refused) as refused:
        await ask(payment, 1)
    assert refused.value.refusal is Refusal.AMOUNT_EXCEEDS_REST


async def test_the_command_says_what_to_sign(payment: OnChain, capsys: pytest.CaptureFixture[str]):
    name, house = external("payatt", payment.attempt_id), payment.buyer.house
    lines = payments.told(await payments.previewed(house, name, amount_cents=None))
    assert lines[-1] == "It was paid on chain: you will get a transaction that the treasury has to sign and send."
    done = await payments.refunded(house, name, amount_cents=None, reason="asked for", key=f"key {name}")
    operators._say(done)
    said = capsys.readouterr().out
    for told in ("from", "to", "data", "what_to_do"):
        assert done["to_sign"][told] in said
    again = await payments.refunded(house, name, amount_cents=None, reason="asked for", key=f"key {name}")
    assert (again["refund_id"], again["to_sign"]) == (done["refund_id"], done["to_sign"])


AMOUNT = "UPDATE ledger.operations SET lines[{}] = lines[{}] + 1 WHERE organization_id = $1 AND key = $2"


@pytest.mark.parametrize("amount", [10, 16], ids=["dollars", "USDC"])
async def test_a_grant_whose_dollars_or_usdc_were_changed_is_found(payment: OnChain, quiet_database: Database, amount):
    """In a line of six numbers the fourth is the amount; the first line are the credits."""
    assert await payment.problems() == []
    key = f"grant:{PAYMENT_KIND}:{payment.payment_id}"
    await as_owner(quiet_database, AMOUNT.format(amount, amount), payment.buyer.actor.organization_id, key)
    assert "payment is granted" in await payment.problems()


@pytest.mark.parametrize("amount", [4, 10], ids=["dollars", "USDC"])
async def test_a_kept_payment_whose_dollars_or_usdc_were_changed_is_found(
    buyer: Buyer, quiet_database: Database, amount
):
    payment = await second_payment(buyer, sends_back=False)
    assert await payment.problems() == []
    key = f"unallocated:{PAYMENT_KIND}:{payment.payment_id}"
    await as_owner(quiet_database, AMOUNT.format(amount, amount), PLATFORM, key)
    assert await payment.problems() == ["payment is unallocated"]


async def as_owner(database: Database, statement: str, *arguments: object) -> None:
    """Change a row as the owner can, whom no trigger stops."""
    connection = await asyncpg.connect(database.owner_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        assert await connection.execute(statement, *arguments) == "UPDATE 1"
    finally:
        await connection.close()
