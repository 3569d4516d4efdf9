"""What was taken back, kept and paid out stands in the books; whoever changes one side of it is found."""

from dataclasses import replace

import asyncpg
import pytest

from billing import proofs, reversal_proofs
from tests.billing.reversing import Paid, paid
from tests.billing.test_refunding import ask


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: what is broken here stays broken."""
    return new_databases("reversal_proofs")


@pytest.fixture
async def owner(quiet_database):
    """The owner, whom no trigger and no foreign key stops."""
    connection = await asyncpg.connect(quiet_database.owner_url)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


@pytest.fixture
async def payment(buyer) -> Paid:
    """A payment with everything that can be: a fee, a refund, a lost dispute, something owed."""
    payment = await paid(buyer, tax=40)
    await payment.spend(450)
    await payment.apply(payment.charge(45))
    refund = payment.refund("a", 108)
    request = await ask(payment, 108)
    await payment.apply(replace(refund, request_key=request.provider_key))
    await payment.apply(payment.dispute("b", 200, "lost"))
    return payment


async def found(payment):
    async with payment.buyer.house.sessions() as session:
        everything = await proofs.problems(session, payment.buyer.actor.organization_id, limit=100)
    return {one.check for one in everything}


LINE = "UPDATE billing.balance_transactions SET {} WHERE organization_id = $1 AND category = 'refund'"
STANDING = "UPDATE billing.reversal_standings SET {} WHERE organization_id = $1"
REVERSAL = "UPDATE billing.payment_reversals SET {} WHERE organization_id = $1 AND kind = 'dispute'"
LOT, SHARE = "credits taken back are in the lot", "credits taken back are the share of the money"
BOOKS = "reversal is in the books"
MONEY = "money taken back is that of the reversals"
TAMPERING = [
    (LINE.format("net_cents = net_cents + 1"), {"line is posted"}),
    (LINE.format("id = id || 'x'"), {"line is posted"}),
    (LINE.format("operation_id = NULL"), {"line is posted", "posted line is kept"}),
    ("DELETE FROM billing.balance_transactions WHERE organization_id = $1 AND category = 'refund'",
     {"posted line is kept"}),
    ("UPDATE billing.balance_transactions SET fee_cents = 46 WHERE organization_id = $1 AND category = 'charge'",
     {"line is posted"}),
    (STANDING.format("credits_reversed = credits_reversed + 1"), {LOT, SHARE}),
    (STANDING.format("credits_written_off = 1"), {LOT, BOOKS}),
    (STANDING.format("credits_reversed = credits_reversed + 9, credits_written_off = 9"), {SHARE, BOOKS}),
    (STANDING.format("written_off_cents = 9"), {BOOKS}),
    (STANDING.format("refunded_cents = 0"), {MONEY, BOOKS}),
    (STANDING.format("lost_cents = 199"), {MONEY, BOOKS}),
    (STANDING.format("frozen = true"), {"freeze has its reason"}),
    ("DELETE FROM billing.reversal_standings WHERE organization_id = $1", {"lot taken back has a standing", MONEY}),
    (REVERSAL.format("live_cents = 100"), {MONEY, SHARE}),
    (REVERSAL.format("lost = false"), {MONEY}),
    ("UPDATE ledger.lots SET reversed = reversed - 1, taken = taken - 1 WHERE organization_id = $1", {LOT}),
    ("UPDATE ledger.lots SET frozen = true WHERE organization_id = $1", {"freeze has its reason"}),
    ("UPDATE billing.refund_requests SET amount_cents = 107 WHERE organization_id = $1", {"refund was asked for"}),
    ("DELETE FROM billing.operator_actions WHERE organization_id = $1", {"refund was asked for"}),
]  # fmt: skip


async def test_after_a_fee_a_refund_and_a_lost_dispute_all_proofs_agree(payment):
    assert await found(payment) == set()


@pytest.mark.parametrize(("statement", "checks"), TAMPERING)
async def test_what_was_changed_of_a_reversal_is_found(payment, owner, statement, checks):
    assert await owner.execute(statement, payment.buyer.actor.organization_id) in {"UPDATE 1", "DELETE 1"}
    assert await found(payment) == checks


def test_every_check_of_reversals_is_tampered_with():
    assert set().union(*(checks for _, checks in TAMPERING)) == {check.name for check in reversal_proofs.CHECKS}
