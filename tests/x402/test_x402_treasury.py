"""A refund on chain is prepared for the treasury, and recognized among everything else that the treasury sends."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from eth_account import Account

from billing.settling import records
from ledger import ids
from rails.evm import calls
from rails.evm.chain import Chain
from rails.evm.networks import BASE, BASE_SEPOLIA
from rails.money import Incomprehensible, RefundOrder, RefundSeen
from rails.rail import ProviderRefused, ProviderRequest, RailUnavailable, Reference
from rails.x402 import treasury as module
from rails.x402.treasury import PAYMENT_KIND, TreasuryRefunds, is_on_chain
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.usdc import Token

CENTS, ATOMIC = 500, 5_000_000
TO_FINAL = 2 * SLOTS_IN_AN_EPOCH
NOTHING = {"organization_id": "org_x", "attempt_id": "payatt_x"}
_numbers = count(1)


def key_asked_at(moment: datetime) -> str:
    """A provider key as billing makes it, of a refund that was asked for at `moment`."""
    request_id = ids.uuid7(moment, next(_numbers).to_bytes(10, "big"))
    attempt = ids.external("payatt", ids.uuid7(moment, bytes(10)))
    return f"refund:{attempt}:{ids.external('refund', request_id)}"


@dataclass
class Desk:
    """A treasury that signs here, as nobody does outside of tests, and payers who are refunded."""

    token: Token
    treasury: str
    refunds: TreasuryRefunds

    def order(self, payer: str, *, cents: int = CENTS, asked_at: datetime | None = None, **more: Any) -> RefundOrder:
        payment_id = f"{BASE_SEPOLIA.caip2}:{payer.lower()}:0x{secrets.token_hex(32)}"
        key = key_asked_at(asked_at or datetime.fromtimestamp(self.token.chain.now, UTC))
        return RefundOrder(**{**NOTHING, "provider_key": key, "payment_id": payment_id, "amount": cents, **more})

    def prepared(self, payer: str, **changes: Any) -> ProviderRequest:
        return self.refunds.prepare_refund(self.order(payer, **changes))

    def sign_and_send(self, request: ProviderRequest, *, data: str | None = None) -> str:
        """What a person does with what was prepared; the transaction's hash."""
        told = json.loads(request.parameters)
        transaction = {field: told[field] for field in ("from", "to", "data")} | {"value": hex(int(told["value"]))}
        if data is not None:
            transaction["data"] = data
        name: str = self.token.chain.rpc("eth_sendTransaction", transaction)
        assert self.token.chain.receipt(name)["status"] == "0x1"
        return name

    def make_final(self) -> None:
        self.token.chain.mine(TO_FINAL)

    async def read(self, request: ProviderRequest) -> RefundSeen:
        refund_id = await self.refunds.start_refund(request)
        [fact] = await self.refunds.read(Reference("refund", refund_id))
        assert isinstance(fact, RefundSeen)
        return fact


@pytest.fixture
async def chain(token) -> AsyncIterator[Chain]:
    opened = Chain(BASE_SEPOLIA, token.chain.url)
    yield opened
    await opened.aclose()


@pytest.fixture
def desk(token, chain, anvil) -> Desk:
    treasury = anvil.unlocked[5]
    token.fund(treasury, 100 * ATOMIC)
    return Desk(token, treasury, new_refunds(chain, treasury))


@pytest.fixture
def payer_address() -> str:
    address: str = Account.create().address
    return address


def new_refunds(chain: Chain, treasury: str) -> TreasuryRefunds:
    return TreasuryRefunds(chain, treasury=treasury, livemode=False, clock=lambda: datetime.now(UTC))


async def test_what_is_prepared_is_a_plain_transfer_with_a_tag_that_every_wallet_can_send(desk, payer_address):
    order = desk.order(payer_address)
    request = desk.refunds.prepare_refund(order)
    assert request == desk.refunds.prepare_refund(order)
    told = json.loads(request.parameters)
    assert (told["network"], told["chain_id"]) == ("eip155:84532", 84532)
    assert (told["from"], told["to"], told["value"]) == (desk.treasury, desk.token.address, "0")
    assert (told["recipient"], told["amount_atomic"]) == (payer_address.lower(), "5000000")
    plain = calls.transfer(payer_address, ATOMIC)
    assert told["data"].startswith("0x" + plain.hex())
    assert len(told["data"]) == 2 + 2 * (len(plain) + 16)
    desk.sign_and_send(request)
    assert desk.token.balance(payer_address) == ATOMIC


async def test_the_same_request_is_the_same_refund_however_often_it_is_started(desk, payer_address):
    request = desk.prepared(payer_address)
    refund_id = await desk.refunds.start_refund(request)
    assert await desk.refunds.start_refund(request) == refund_id
    assert await desk.refunds.find_refund("", request) == refund_id
    assert is_on_chain(Reference("refund", refund_id))
    assert not is_on_chain(Reference("refund", "re_1"))
    assert not is_on_chain(Reference("dispute", refund_id))
    assert PAYMENT_KIND == records.PAYMENT_KIND


async def test_a_refund_is_pending_until_its_block_is_final_and_then_says_what_left(desk, rewound, payer_address):
    request = desk.prepared(payer_address)
    before = await desk.read(request)
    assert (before.status, before.amount, before.currency, before.transactions) == ("pending", CENTS, "usd", [])
    transaction = desk.sign_and_send(request)
    desk.token.chain.mine(TO_FINAL - 1)
    assert (await desk.read(request)).status == "pending"
    desk.token.chain.mine()
    seen = await desk.read(request)
    assert (seen.status, seen.request_key, seen.payment_kind) == ("succeeded", request.provider_key, PAYMENT_KIND)
    assert seen.details == {"network": "eip155:84532", "transaction_hash": transaction}
    [line] = seen.transactions
    assert line.transaction_id.startswith(f"eip155:84532:{transaction}:")
    assert (line.category, line.amount, line.fee, line.net, line.currency) == ("refund", -CENTS, 0, -CENTS, "usdc")
    assert line.source_id == seen.refund_id == before.refund_id
    again = await desk.read(request)
    assert (again.transactions, again.details) == (seen.transactions, seen.details)


async def test_equal_refunds_to_one_payer_are_told_apart(desk, rewound, payer_address):
    first, second = desk.prepared(payer_address), desk.prepared(payer_address)
    transaction = desk.sign_and_send(second)
    desk.make_final()
    assert (await desk.read(first)).status == "pending"
    assert (await desk.read(second)).details["transaction_hash"] == transaction


@pytest.mark.parametrize("change", ["no tag", "another amount", "another payer", "another tag", "reverted"])
async def test_what_is_not_exactly_the_refund_is_not_taken_for_it(desk, rewound, payer_address, change):
    request = desk.prepared(payer_address)
    data = json.loads(request.parameters)["data"]
    tag = data[2 + 2 * 68 :]
    other = {
        "no tag": "0x" + calls.transfer(payer_address, ATOMIC).hex(),
        "another amount": "0x" + calls.transfer(payer_address, ATOMIC - 1).hex() + tag,
        "another payer": "0x" + calls.transfer(Account.create().address, ATOMIC).hex() + tag,
        "another tag": data[:-2] + f"{int(data[-2:], 16) ^ 1:02x}",
    }
    if change == "reverted":
        poor = desk.token.chain.unlocked[6]
        sent = {"from": poor, "to": desk.token.address, "data": data, "gas": hex(100_000)}
        assert desk.token.chain.receipt(desk.token.chain.rpc("eth_sendTransaction", sent))["status"] == "0x0"
    else:
        desk.sign_and_send(request, data=other[change])
    desk.make_final()
    assert (await desk.read(request)).status == "pending"


async def test_the_same_transfer_from_somebody_else_is_not_our_refund(desk, rewound, payer_address):
    request = desk.prepared(payer_address)
    other = desk.token.chain.unlocked[6]
    desk.token.fund(other, ATOMIC)
    desk.token.send(json.loads(request.parameters)["data"], sender=other)
    desk.make_final()
    assert (await desk.read(request)).status == "pending"


def sends_all(token: str, calls_: int) -> str:
    """A contract that passes its input on to the token, in calls of 84 bytes each: as a multi-send does."""
    one = "6054 60{:02x} 6000 37  6000 6000 6054 6000 6000 73" + token[2:] + " 5a f1 50"
    return "0x" + "".join(one.format(84 * n) for n in range(calls_)).replace(" ", "") + "00"


async def contract_desk(token: Token, chain: Chain, calls_: int) -> Desk:
    treasury = Account.create().address
    token.chain.rpc("anvil_setCode", treasury, sends_all(token.address, calls_))
    token.fund(treasury, 100 * ATOMIC)
    return Desk(token, treasury, new_refunds(chain, treasury))


def pass_on(desk: Desk, *data: str) -> str:
    """Have the treasury's contract make these calls, in one transaction of somebody who may tell it to."""
    together = "0x" + "".join(one[2:] for one in data)
    sent = {"from": desk.token.owner, "to": desk.treasury, "data": together, "gas": hex(500_000)}
    name: str = desk.token.chain.rpc("eth_sendTransaction", sent)
    assert desk.token.chain.receipt(name)["status"] == "0x1"
    return name


def data_of(request: ProviderRequest) -> str:
    data: str = json.loads(request.parameters)["data"]
    return data


async def test_two_equal_refunds_in_one_transaction_of_a_contract_are_two(token, chain, rewound, payer_address):
    desk = await contract_desk(token, chain, 2)
    first, second = desk.prepared(payer_address), desk.prepared(payer_address)
    transaction = pass_on(desk, data_of(first), data_of(second))
    desk.make_final()
    one, other = await desk.read(first), await desk.read(second)
    assert one.details["transaction_hash"] == other.details["transaction_hash"] == transaction
    [line], [of_other] = one.transactions, other.transactions
    assert line.transaction_id != of_other.transaction_id


async def test_of_two_equal_calls_of_which_one_failed_nobody_guesses(token, chain, rewound, payer_address):
    desk = await contract_desk(token, chain, 2)
    first, second = desk.prepared(payer_address), desk.prepared(payer_address)
    token.chain.rpc("anvil_setCode", desk.treasury, sends_all(token.address, 1))  # the second call is never made
    pass_on(desk, data_of(first), data_of(second))
    desk.make_final()
    for request in (first, second):
        with pytest.raises(Incomprehensible, match="calls for 2 equal transfers and made 1"):
            await desk.read(request)


async def test_what_the_treasury_sends_twice_has_left_it_twice(desk, rewound, payer_address):
    request = desk.prepared(payer_address)
    hashes = [desk.sign_and_send(request) for _ in range(2)]
    desk.make_final()
    lines = (await desk.read(request)).transactions
    assert [line.transaction_id.split(":")[2] for line in lines] == hashes
    assert sum(line.net for line in lines) == -2 * CENTS


async def test_a_refund_that_was_asked_for_long_ago_is_found_window_by_window(
    desk, chain, rewound, payer_address, monkeypatch
):
    request = desk.prepared(payer_address)
    desk.token.chain.mine(60)
    transaction = desk.sign_and_send(request)
    desk.make_final()
    monkeypatch.setattr(module, "WINDOW_BLOCKS", 7)
    monkeypatch.setattr(module, "WINDOWS_MAX", 3)
    monkeypatch.setattr(module, "CLOCKS_APART", timedelta())
    looks, seen = 0, None
    while seen is None and looks < 50:
        looks += 1
        with suppress(RailUnavailable):  # not all windows were read; the next look goes on
            seen = await desk.read(request)
    assert looks > 2
    assert seen is not None
    assert seen.details["transaction_hash"] == transaction
    monkeypatch.undo()
    assert (await new_read(chain, desk, request)).details == seen.details


async def new_read(chain: Chain, desk: Desk, request: ProviderRequest) -> RefundSeen:
    """As a process reads it that was just started."""
    return await replace(desk, refunds=new_refunds(chain, desk.treasury)).read(request)


async def test_blocks_that_were_read_are_not_read_again(desk, rewound, payer_address):
    request = desk.prepared(payer_address)
    desk.make_final()
    await desk.read(request)
    refund_id = await desk.refunds.start_refund(request)
    [(known, start)] = desk.refunds._searched.items()
    assert known == refund_id
    assert start == int(desk.token.chain.block("finalized")["number"], 16) + 1


async def test_the_search_begins_an_hour_before_the_refund_was_asked_for(desk, rewound, payer_address):
    chain_time = desk.token.chain.now
    desk.token.chain.increase_time(10 * 3600)
    desk.make_final()
    later = datetime.fromtimestamp(chain_time, UTC) + timedelta(hours=2)
    request = desk.prepared(payer_address, asked_at=later)
    final = await desk.refunds._chain.block("finalized")
    assert final is not None
    first = await desk.refunds._first_block(later - module.CLOCKS_APART, final)
    assert await desk.refunds._first_block(datetime.fromtimestamp(final.timestamp + 1, UTC), final) == final.number + 1
    before, at = (desk.token.chain.block(number) for number in (first - 1, first))
    assert int(before["timestamp"], 16) < later.timestamp() - 3600 <= int(at["timestamp"], 16)
    transaction = desk.sign_and_send(request)
    desk.make_final()
    assert (await desk.read(request)).details["transaction_hash"] == transaction


async def test_a_payment_on_another_chain_is_not_refunded_here(desk, payer_address):
    elsewhere = f"{BASE.caip2}:{payer_address.lower()}:0x{'00' * 32}"
    for payment_id in (elsewhere, "pi_1", ""):
        with pytest.raises(ProviderRefused, match="on eip155:84532 only"):
            desk.refunds.prepare_refund(replace(desk.order(payer_address), payment_id=payment_id))
    refund_id = (await desk.refunds.start_refund(desk.prepared(payer_address))).replace("84532", "8453")
    with pytest.raises(RailUnavailable, match="another chain"):
        await desk.refunds.read(Reference("refund", refund_id))


async def test_what_is_no_refund_of_ours_is_about_no_payment(desk, payer_address):
    refund_id = await desk.refunds.start_refund(desk.prepared(payer_address))
    for reference in (
        Reference("dispute", refund_id), Reference("refund", "re_1"), Reference("refund", refund_id + "z"),
        Reference("refund", refund_id.replace(":500:", ":0:")),
    ):  # fmt: skip
        assert await desk.refunds.read(reference) == ()
    assert desk.refunds.references({"type": "refund.updated"}) == ()


async def test_a_node_that_is_away_has_not_said_that_nothing_was_sent(payer_address):
    chain = Chain(BASE_SEPOLIA, "http://127.0.0.1:1", timeout_s=1)
    refunds = new_refunds(chain, payer_address)
    key = key_asked_at(datetime.now(UTC))
    payment_id = f"{BASE_SEPOLIA.caip2}:{payer_address.lower()}:0x{'00' * 32}"
    order = RefundOrder(**NOTHING, provider_key=key, payment_id=payment_id, amount=CENTS)
    refund_id = await refunds.start_refund(refunds.prepare_refund(order))
    with pytest.raises(RailUnavailable):
        await refunds.read(Reference("refund", refund_id))
    await chain.aclose()
