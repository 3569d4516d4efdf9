"""The treasury on chain against the books: what is read, what fits, what a person books."""

from dataclasses import replace

import asyncpg
import pytest

from api.wiring import async_url
from billing.database import sessions, snapshot
from billing.operator_actions import COMMAND_LINE, Act, listed
from billing.refusals import Refusal, Refused
from finance.statement_tables import Finding
from finance.treasury import booked, booking, reading
from ledger import statements
from ledger.ids import external
from ledger.operations import PLATFORM
from rails.evm.chain import Chain
from rails.evm.networks import BASE_SEPOLIA
from rails.rail import RailUnavailable
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.evm.conftest import anvil, token
from tests.evm.nodes import Node
from tests.evm.usdc import call_data
from tests.finance.treasuries import (
    DOLLAR,
    NETWORK,
    OTHER,
    TREASURY,
    ChainOfTests,
    Moved,
    Treasury,
    hash_of,
    paid,
    sent,
    time_of,
)
from tests.warm import engine_of

__all__ = ["anvil", "token"]

NOW = time_of(10**6)


@pytest.fixture(scope="module")
def treasury_database(new_databases):
    """A database in which all USDC that is booked is of these tests."""
    return new_databases("treasury")


@pytest.fixture
async def treasury(treasury_database):
    on = engine_of(async_url(treasury_database.run_url), "treasury")
    owner = await asyncpg.connect(treasury_database.owner_url)
    made = Treasury(sessions(on), owner)
    await made.empty()
    yield made
    await owner.close()
    await on.dispose()


async def read(treasury, chain, *, of=TREASURY, **more):
    async with Node(chain) as node:
        return await reading.read(treasury.books, node.chain, treasury=of, now=NOW, **more)


async def position(treasury):
    async with snapshot(treasury.books) as session:
        [found] = await booked.positions(session)
    return found


def told(compared):
    return [(one.subject, one.finding, one.amount) for one in compared.found]


async def test_every_transfer_up_to_the_final_block_is_kept_once(treasury):
    chain = ChainOfTests([
        paid(10, 7 * DOLLAR), paid(600, 5 * DOLLAR), sent(700, 2 * DOLLAR), paid(1_001), paid(800, 0),
        Moved(900, TREASURY, TREASURY, DOLLAR), paid(650, to=OTHER),
    ])  # fmt: skip
    first = await read(treasury, chain, from_block=20)
    assert (first.new_transfers, first.blocks_left, first.reading.block_number) == (2, 0, 1_000)
    assert first.reading.block_hash == hash_of(1_000)
    found = await position(treasury)
    assert (found.opening, found.came_in, found.went_out, found.balance) == (
        7 * DOLLAR, 5 * DOLLAR, 2 * DOLLAR, 10 * DOLLAR,
    )  # fmt: skip
    assert (found.unexplained, found.read_to) == (0, time_of(1_000))
    assert (await read(treasury, chain)).new_transfers == 0
    chain.final = 1_100
    assert (await read(treasury, chain)).new_transfers == 1


async def test_the_first_reading_opens_before_the_first_payment_or_else_now(treasury):
    chain = ChainOfTests([paid(5), paid(500)])
    await read(treasury, chain, of=OTHER)
    assert (await position(treasury)).opened_at == time_of(1_000)
    await treasury.booked(chain.moved[1])
    assert (await read(treasury, chain)).new_transfers == 1
    async with snapshot(treasury.books) as session:
        of_payments = next(one for one in await booked.positions(session) if one.treasury == TREASURY)
    assert (of_payments.opened_at, of_payments.opening) == (time_of(499), DOLLAR)


async def test_a_node_that_fails_leaves_only_what_is_whole_and_the_next_reading_goes_on(treasury):
    chain = ChainOfTests([paid(600), paid(10_300)], final=11_000, fails_from=10_500)
    with pytest.raises(RailUnavailable, match="eth_getLogs"):
        await read(treasury, chain, from_block=0)
    found = await position(treasury)
    assert (found.block_number, found.came_in, found.unexplained) == (10_000, DOLLAR, 0)
    chain.fails_from = None
    assert (await read(treasury, chain)).new_transfers == 1
    assert (await position(treasury)).balance == 2 * DOLLAR


async def test_a_node_without_final_blocks_or_on_another_chain_is_refused(treasury):
    chain = ChainOfTests(final=None)
    with pytest.raises(RailUnavailable, match="names no finalized block"):
        await read(treasury, chain)
    chain.final = 100
    await read(treasury, chain)
    chain.fork, chain.final = 1, 200
    with pytest.raises(RailUnavailable, match=r"block 100 .* is not the one"):
        await read(treasury, chain)


async def test_what_a_node_held_back_shows_in_the_balance_and_is_read_again(treasury):
    chain = ChainOfTests([replace(paid(600), hidden=True)])
    await read(treasury, chain, from_block=0)
    _, sums = await treasury.compared()
    assert told(sums) == [(f"{NETWORK}:{TREASURY}", Finding.DIFFERENT, DOLLAR)]
    chain.moved = [replace(chain.moved[0], hidden=False)]
    assert (await read(treasury, chain)).new_transfers == 0
    assert (await read(treasury, chain, from_block=500)).new_transfers == 1
    lines, sums = await treasury.compared()
    assert told(sums) == []
    assert told(lines) == [(chain.moved[0].place, Finding.MISSING_HERE, DOLLAR)]


async def test_payments_and_refunds_that_stand_on_the_chain_match(treasury):
    chain = ChainOfTests([paid(600, 5 * DOLLAR), paid(601), sent(700)])
    one, other = [await treasury.booked(at) for at in chain.moved[:2]]
    await treasury.refunded(chain.moved[2], one)
    await treasury.reorganized(other, 100, back=True)
    await read(treasury, chain)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(lines), told(sums)) == (3, [], [])


async def test_each_line_that_does_not_fit_is_named_with_its_amount(treasury):
    strange, less, held, out = paid(600, 5 * DOLLAR), paid(601, 2 * DOLLAR), paid(602), sent(603, 3 * DOLLAR)
    nowhere, vanished = paid(604, 4 * DOLLAR), paid(605)
    await treasury.booked(less, cents=300)
    attempt = await treasury.held(held)
    missing = await treasury.booked(nowhere)
    gone = await treasury.booked(vanished, state="vanished")
    await treasury.reorganized(gone, 100, back=False)
    refund = sent(606, 2 * DOLLAR)
    await treasury.refunded(refund, missing)
    await read(treasury, ChainOfTests([strange, less, held, out]), from_block=500)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(sums)) == (0, [])
    assert told(lines) == [
        (strange.place, Finding.MISSING_HERE, 5 * DOLLAR),
        (less.place, Finding.DIFFERENT, -DOLLAR),
        (held.place, Finding.MISSING_HERE, DOLLAR),
        (out.place, Finding.MISSING_HERE, -3 * DOLLAR),
        (missing, Finding.MISSING_THERE, -4 * DOLLAR),
        (refund.place, Finding.MISSING_THERE, 2 * DOLLAR),
    ]
    assert lines.found[2].here == {"attempt": external("payatt", attempt), "settlement_is": "held"}
    assert (lines.found[0].here, lines.found[4].there) == ({}, {})
    assert {one.currency for one in lines.found} == {"usdc"}


async def test_what_was_booked_after_the_pinned_block_or_before_the_opening_waits(treasury):
    before, after = paid(100), paid(2_000)
    await treasury.booked(before)
    payment = await treasury.booked(after)
    await treasury.refunded(sent(2_001), payment)
    await read(treasury, ChainOfTests([before]), from_block=500)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(lines), told(sums)) == (0, [], [])


async def test_a_treasury_that_was_never_read_is_one_finding(treasury):
    for block in (600, 601):
        await treasury.booked(paid(block), treasury=OTHER)
    lines, sums = await treasury.compared()
    assert told(lines) == []
    assert told(sums) == [(f"{NETWORK}:{OTHER}", Finding.MISSING_THERE, -2 * DOLLAR)]
    assert sums.found[0].here == {"bookings": 2, "amount": 2 * DOLLAR}


async def test_a_refund_whose_place_cannot_be_read_is_not_passed_over(treasury):
    await treasury.line("odd", -100, category="refund", source="re_1", block=600)
    lines, sums = await treasury.compared()
    assert (told(lines), told(sums)) == ([], [("odd:", Finding.MISSING_THERE, DOLLAR)])


async def test_a_payment_that_only_a_facilitator_told_of_is_found_by_its_transaction(treasury):
    at = paid(600)
    await treasury.booked(at, log_index=0, block_hash="")
    await read(treasury, ChainOfTests([at]), from_block=500)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(lines), told(sums)) == (1, [], [])


async def test_a_transfer_between_two_treasuries_of_ours_explains_itself(treasury):
    chain = ChainOfTests([paid(600), Moved(700, TREASURY, OTHER, DOLLAR)])
    await treasury.booked(chain.moved[0])
    for of in (TREASURY, OTHER):
        await read(treasury, chain, of=of, from_block=500)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(lines), told(sums)) == (3, [], [])


async def test_usdc_that_nobody_is_known_to_have_booked_shows_in_the_sum_over_all_books(treasury):
    await treasury.booked(paid(600))
    await treasury.owner.execute("DELETE FROM billing.external_payments")
    await read(treasury, ChainOfTests())
    _, sums = await treasury.compared()
    assert told(sums) == [("usdc_clearing", Finding.DIFFERENT, -DOLLAR)]


# What an operator books


def sale(of=None, **changes):
    terms = {
        "network": NETWORK, "reference": "trade-1", "usdc_atomic": DOLLAR, "received_cents": 99, "fee_cents": 0,
        "transaction_hash": of.transaction_hash if of else None, "sold_at": time_of(of.block if of else 700),
    }  # fmt: skip
    return booking.Sale(**{**terms, **changes})


async def sell(treasury, what):
    return await booking.sold_usdc(treasury.books, what, by=COMMAND_LINE, reason="monthly sale", now=NOW)


async def balances(treasury):
    async with treasury.books() as session:
        return {row.code: row.balance for row in await statements.trial_balance(session, PLATFORM)}


async def test_a_sale_is_booked_once_under_its_reference_and_recorded(treasury):
    done = await sell(treasury, sale())
    again = await sell(treasury, sale())
    assert (done.replayed, again.replayed, again.operation_id) == (False, True, done.operation_id)
    assert await balances(treasury) == {
        "bank": 99, "fx_gain_loss": -1, "conversion": -100, "conversion_usdc": -DOLLAR, "usdc_clearing": -DOLLAR,
    }  # fmt: skip
    async with snapshot(treasury.books) as session:
        [act] = await listed(session, limit=10)
    assert (act.action, act.reason, act.subject) == (Act.SOLD_USDC, "monthly sale", f"usdc_sold:{NETWORK}:trade-1")


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"usdc_atomic": 2 * DOLLAR}, "sold 1.000000 USDC, not 2.000000 USDC"),
        ({"received_cents": 98}, "received 0.99 USD, not 0.98 USD"),
        ({"received_cents": 98, "fee_cents": 1}, "received 0.99 USD, not 0.98 USD; fee 0.00 USD, not 0.01 USD"),
        ({"transaction_hash": hash_of(9)}, f"transaction none, not {hash_of(9)}"),
        ({"sold_at": time_of(700 - 43_200)}, "day 2026-09-21, not 2026-09-20"),
    ],
)
async def test_a_sale_that_is_told_otherwise_is_refused_with_what_differs(treasury, changes, differing):
    await sell(treasury, sale())
    before = await balances(treasury)
    with pytest.raises(Refused) as refused:
        await sell(treasury, sale(**changes))
    assert refused.value.refusal is Refusal.STATE_CONFLICT
    assert f"the sale trade-1 is booked already, and otherwise: {differing}. Say the " in refused.value.message
    assert (await sell(treasury, sale(sold_at=time_of(701)))).replayed, "another hour of the same day"
    assert (await sell(treasury, sale(sold_at=None))).replayed, "it is not said when"
    assert await balances(treasury) == before
    async with snapshot(treasury.books) as session:
        assert len(await listed(session, limit=10)) == 1


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"gwei": 1}, "bought 0.250000000 ETH, not 0.000000001 ETH"),
        ({"paid_cents": 0}, "paid 900.00 USD, not 0.00 USD"),
        ({"bought_at": time_of(10**5)}, "day 2026-09-21, not 2026-09-23"),
    ],
)
async def test_a_purchase_that_is_told_otherwise_is_refused_with_what_differs(treasury, changes, differing):
    async def buy(**more):
        terms = {"network": NETWORK, "reference": "otc/7", "gwei": 250_000_000, "paid_cents": 90_000}
        purchase = booking.Purchase(**{**terms, "bought_at": time_of(1), **more})
        return await booking.bought_ether(treasury.books, purchase, by=COMMAND_LINE, reason="gas", now=NOW)

    await buy()
    with pytest.raises(Refused, match=f"the purchase otc/7 is booked already, and otherwise: {differing}. Say the "):
        await buy(**changes)
    assert (await buy(bought_at=None)).replayed


@pytest.mark.parametrize(
    "changes",
    [
        {"usdc_atomic": 9_999},
        {"usdc_atomic": 0},
        {"received_cents": -1},
        {"fee_cents": -1},
        {"transaction_hash": "0xAB"},
        {"reference": "two words"},
        {"sold_at": time_of(10**7)},
    ],
)
async def test_a_sale_that_cannot_be_is_refused(treasury, changes):
    with pytest.raises(Refused) as refused:
        await sell(treasury, sale(**changes))
    assert refused.value.refusal is Refusal.INVALID_ARGUMENTS
    assert await balances(treasury) == {}


async def test_ether_is_an_expense_when_it_is_bought(treasury):
    purchase = booking.Purchase(NETWORK, "otc/7", 250_000_000, 90_000, time_of(1))
    for replayed in (False, True):
        done = await booking.bought_ether(treasury.books, purchase, by=COMMAND_LINE, reason="gas", now=NOW)
        assert done.replayed is replayed
    assert await balances(treasury) == {
        "gas_wallet": 250_000_000, "conversion_eth": 250_000_000, "fees": 90_000, "bank": -90_000,
    }  # fmt: skip


async def test_sales_explain_what_left_by_their_transaction_or_their_amount(treasury):
    named, unnamed, nearer = sent(600), sent(610, 2 * DOLLAR), sent(700, 2 * DOLLAR)
    chain = ChainOfTests([paid(550, 9 * DOLLAR), named, unnamed, nearer])
    await treasury.booked(chain.moved[0])
    await sell(treasury, sale(named))
    await sell(treasury, sale(reference="b", usdc_atomic=2 * DOLLAR))
    await read(treasury, chain)
    lines, sums = await treasury.compared()
    assert (lines.matched, told(sums)) == (3, [])
    assert told(lines) == [(unnamed.place, Finding.MISSING_HERE, -2 * DOLLAR)]


async def test_sales_that_the_chain_does_not_show_so_are_findings_once_it_was_read_past_them(treasury):
    out = sent(600, 3 * DOLLAR)
    await sell(treasury, sale(out))
    await sell(treasury, sale(reference="nowhere", transaction_hash=hash_of(9), usdc_atomic=5 * DOLLAR))
    await sell(treasury, sale(reference="later", sold_at=time_of(2_000)))
    await read(treasury, ChainOfTests([paid(10, 9 * DOLLAR), out]), from_block=100)
    lines, sums = await treasury.compared()
    assert told(sums) == []
    assert told(lines) == [
        (f"usdc_sold:{NETWORK}:nowhere", Finding.MISSING_THERE, 5 * DOLLAR),
        (f"usdc_sold:{NETWORK}:trade-1", Finding.DIFFERENT, -2 * DOLLAR),
    ]


async def test_a_treasury_on_a_real_evm_is_read(treasury, anvil, token):
    ours = anvil.unlocked[6]
    start = anvil.height
    token.fund(ours, 5 * DOLLAR)
    token.send(call_data("transfer(address,uint256)", anvil.unlocked[7], 2 * DOLLAR), sender=ours)
    anvil.mine(2 * SLOTS_IN_AN_EPOCH)
    chain = Chain(BASE_SEPOLIA, anvil.url)
    try:
        done = await reading.read(treasury.books, chain, treasury=ours, from_block=start, now=NOW)
    finally:
        await chain.aclose()
    found = await position(treasury)
    assert (done.new_transfers, found.came_in, found.went_out) == (2, 5 * DOLLAR, 2 * DOLLAR)
    assert (found.balance, found.unexplained) == (found.opening + 3 * DOLLAR, 0)
