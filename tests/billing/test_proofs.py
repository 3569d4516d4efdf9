"""What billing says was paid is what the journal says was granted; whoever changes one of the two is found."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from api.command_line import books
from billing import job_proofs, proofs, reversal_proofs, settlement_proofs
from billing.fresh import new_id
from billing.proofs import CHECKS
from ledger.operations import PLATFORM
from rails.rail import DepositAction, PaymentSettled, Reference
from tests.service import CHECKOUT, DEPOSIT

SEEN_WITHIN = 1_200


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: what is broken here stays broken."""
    return new_databases("proofs")


@pytest.fixture
async def owner(quiet_database):
    """The owner, whom no trigger and no foreign key stops."""
    connection = await asyncpg.connect(quiet_database.owner_url)
    await connection.execute("SET session_replication_role = replica")
    yield connection
    await connection.close()


async def settlement(buyer, reference):
    for _ in range(SEEN_WITHIN):
        for fact in await buyer.house.rails[buyer.method].read(reference):
            if isinstance(fact, PaymentSettled):
                return fact
        await asyncio.sleep(0.05)
    raise AssertionError(f"{reference} was not paid")


async def purchase(buyer, sandbox, key, method=CHECKOUT):
    """A quote, bought and really paid at the pretend provider."""
    buyer.method = method
    quote = await buyer.quote(key)
    await buyer.buy(quote, key)
    action = (await buyer.status(quote)).action
    if isinstance(action, DepositAction):
        sandbox.send_usdc(instructions(action))
        reference = Reference("payment_intent", action.payment_intent_id)
    else:
        assert action is not None
        sandbox.pay(action.session_id)
        reference = Reference("checkout_session", action.session_id)
    await buyer.apply(await settlement(buyer, reference))
    assert (await buyer.status(quote)).attempt.state == "succeeded"


def instructions(action):
    return {
        "network": action.network,
        "token_currency": action.token_currency,
        "deposit_address": action.deposit_address,
        "token_amount_atomic": str(action.token_amount_atomic),
    }


async def found(buyer, organization_id="own", *, limit=100):
    which = buyer.actor.organization_id if organization_id == "own" else organization_id
    async with buyer.house.sessions() as session:
        return await proofs.problems(session, which, limit=limit)


async def test_after_real_purchases_on_both_rails_all_proofs_agree(buyer, quiet_sandbox):
    await purchase(buyer, quiet_sandbox, "card")
    await purchase(buyer, quiet_sandbox, "usdc", DEPOSIT)
    await buyer.buy(await buyer.quote("open"), "open")
    assert await found(buyer) == []
    everywhere = await found(buyer, None)
    assert buyer.actor.organization_id not in {one.organization_id for one in everywhere}


RECEIPT = "UPDATE billing.receipts SET {} WHERE organization_id = $1"
PAYMENT = "UPDATE billing.external_payments SET {} WHERE organization_id = $1"
OPERATION = "UPDATE ledger.operations SET {} WHERE organization_id = $1 AND kind = 'grant'"
ATTEMPT = "UPDATE billing.payment_attempts SET {} WHERE organization_id = $1"
WITHOUT_BASIS = (
    "UPDATE ledger.lot_openings SET basis_amount = NULL, basis_currency = NULL, cause = 'promotional'"
    " WHERE organization_id = $1"
)
TAMPERING = [
    (PAYMENT.format("external_id = external_id || 'x'"), {"payment is granted", "grant is paid"}),
    (PAYMENT.format("kind = 'charge'"), {"payment is granted", "grant is paid"}),
    (PAYMENT.format("operation_id = gen_random_uuid()"),
     {"payment is granted", "grant is paid", "payment and receipt agree"}),
    (PAYMENT.format("attempt_id = gen_random_uuid()"), {"payment and receipt agree"}),
    ("DELETE FROM billing.external_payments WHERE organization_id = $1",
     {"grant is paid", "payment and receipt agree"}),
    (OPERATION.format("key = key || 'x'"), {"payment is granted", "grant is paid"}),
    (OPERATION.format("scope = gen_random_uuid()"), {"payment is granted", "grant is paid"}),
    ("DELETE FROM ledger.operations WHERE organization_id = $1 AND kind = 'grant'",
     {"payment is granted", "grant is paid", "receipt is posted"}),
    (RECEIPT.format("operation_id = gen_random_uuid()"), {"receipt is posted", "payment and receipt agree"}),
    (RECEIPT.format("credits = credits + 1"), {"receipt is posted"}),
    (RECEIPT.format("tax_cents = tax_cents + 1"), {"receipt is posted"}),
    (RECEIPT.format("total_cents = total_cents - 1"), {"receipt is posted", "payment and receipt agree"}),
    (PAYMENT.format("amount_cents = amount_cents + 1"), {"payment is granted", "payment and receipt agree"}),
    (PAYMENT.format("purpose = 'unallocated'"),
     {"payment is unallocated", "grant is paid", "payment and receipt agree"}),
    (RECEIPT.format("currency = 'EUR'"), {"receipt is posted"}),
    ("DELETE FROM ledger.lot_openings WHERE organization_id = $1", {"receipt is posted"}),
    (WITHOUT_BASIS, {"receipt is posted"}),
    ("DELETE FROM billing.receipts WHERE organization_id = $1", {"payment and receipt agree", "success is receipted"}),
    ("UPDATE billing.credit_quotes SET settled_at = NULL WHERE organization_id = $1", {"success is receipted"}),
    ("DELETE FROM billing.credit_quotes WHERE organization_id = $1", {"success is receipted"}),
    (ATTEMPT.format("state = 'expired'"), {"receipt is of a success"}),
    ("DELETE FROM billing.payment_attempts WHERE organization_id = $1", {"receipt is of a success"}),
    (RECEIPT.format("quote_id = gen_random_uuid()"), {"receipt is of a success"}),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "checks"), TAMPERING)
async def test_what_was_changed_is_found(buyer, quiet_sandbox, owner, statement, checks):
    await purchase(buyer, quiet_sandbox, "q")
    assert await owner.execute(statement, buyer.actor.organization_id) in {"UPDATE 1", "DELETE 1"}
    own = await found(buyer)
    assert {one.check for one in own} == checks
    everywhere = await found(buyer, None, limit=1000)
    assert set(own) <= set(everywhere)


FREE = [
    (PAYMENT.format("kind = 'payment_intent'"), {"payment is granted", "grant is paid"}),
    (PAYMENT.format("amount_cents = 500"), {"payment is granted", "payment and receipt agree"}),
    ("DELETE FROM billing.external_payments WHERE organization_id = $1",
     {"grant is paid", "payment and receipt agree"}),
    (RECEIPT.format("credits = credits + 1"), {"receipt is posted"}),
    (RECEIPT.format("discount_cents = discount_cents - 1"), {"receipt is posted"}),
    (RECEIPT.format("tax_cents = 1"), {"receipt is posted"}),
    (RECEIPT.format("total_cents = 1"), {"receipt is posted", "payment and receipt agree"}),
    ("UPDATE ledger.lots SET cause = 'paid' WHERE organization_id = $1", {"receipt is posted"}),
    (OPERATION.format("key = key || 'x'"), {"payment is granted", "grant is paid"}),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "checks"), FREE)
async def test_what_was_changed_of_a_free_grant_is_found(buyer, quiet_sandbox, owner, statement, checks):
    quote = await buyer.quote("q")
    await buyer.buy(quote, "q")
    session_id = await buyer.session_id(quote)
    quiet_sandbox.pay(session_id, discount=500)
    await buyer.apply(await settlement(buyer, Reference("checkout_session", session_id)))
    assert await found(buyer) == []
    assert await owner.execute(statement, buyer.actor.organization_id) in {"UPDATE 1", "DELETE 1"}
    assert {one.check for one in await found(buyer)} == checks


OF_PLATFORM = "WHERE organization_id = $2 AND id IN (SELECT operation_id FROM kept WHERE organization_id = $1)"
SECOND = PAYMENT + " AND purpose = 'unallocated'"
TWICE_PAID = [
    (SECOND.format("amount_cents = amount_cents + 1"), {"payment is unallocated"}, set()),
    (SECOND.format("external_id = external_id || 'x'"), {"payment is unallocated"}, {"unallocated is paid"}),
    (SECOND.format("operation_id = gen_random_uuid()"), {"payment is unallocated"}, {"unallocated is paid"}),
    (SECOND.format("purpose = 'granted'"), {"payment is granted", "payment and receipt agree"},
     {"unallocated is paid"}),
    ("DELETE FROM billing.external_payments WHERE organization_id = $1 AND purpose = 'unallocated'", set(),
     {"unallocated is paid"}),
    (f"DELETE FROM ledger.operations {OF_PLATFORM}", {"payment is unallocated"}, set()),
    (f"UPDATE ledger.operations SET key = key || 'x' {OF_PLATFORM}", {"payment is unallocated"},
     {"unallocated is paid"}),
    (f"UPDATE ledger.operations SET scope = gen_random_uuid() {OF_PLATFORM}", {"payment is unallocated"}, set()),
    (f"UPDATE ledger.operations SET lines[4] = lines[4] + 1 {OF_PLATFORM}", {"payment is unallocated"}, set()),
    (f"UPDATE ledger.operations SET lines[2] = lines[2] - 1 {OF_PLATFORM}", {"payment is unallocated"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "own_checks", "platform_checks"), TWICE_PAID)
async def test_what_was_changed_of_a_second_payment_is_found(
    buyer, quiet_sandbox, owner, statement, own_checks, platform_checks
):
    quote = await buyer.quote("q")
    attempt = await buyer.buy(quote, "q")
    for number in (1, 2):
        await buyer.apply(await buyer.settled(attempt, payment_id=f"pi_{number}_{quote}"))
    assert await found(buyer) == []
    before = await found(buyer, PLATFORM)
    own = buyer.actor.organization_id
    await owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM billing.external_payments WHERE organization_id = $1"
                        " AND purpose = 'unallocated'", own)  # fmt: skip
    arguments = (own, PLATFORM) if "$2" in statement else (own,)
    assert await owner.execute(statement, *arguments) in {"UPDATE 1", "DELETE 1"}
    assert {one.check for one in await found(buyer)} == own_checks
    assert {one.check for one in await found(buyer, PLATFORM) if one not in before} == platform_checks


def test_every_check_is_tampered_with():
    tampered = [checks for _, checks in TAMPERING] + [checks for _, _, checks in TWICE_PAID]
    # tests/billing/test_reversal_proofs.py, tests/x402/test_x402_proofs.py
    elsewhere = {check.name for check in (*reversal_proofs.CHECKS, *settlement_proofs.CHECKS, *job_proofs.CHECKS)}
    assert set().union(*tampered) == {check.name for check in CHECKS} - elsewhere


async def test_a_payment_that_was_given_to_another_organization_is_found_at_both(buyer, quiet_sandbox, owner):
    await purchase(buyer, quiet_sandbox, "q")
    other = new_id(buyer.house.clock())
    await owner.execute(PAYMENT.format("organization_id = $2"), buyer.actor.organization_id, other)
    assert {one.check for one in await found(buyer)} == {"grant is paid", "payment and receipt agree"}
    [granted, receipted] = await found(buyer, other)
    assert (granted.check, granted.organization_id) == ("payment is granted", other)
    assert "payment_intent pi_" in granted.detail
    assert receipted.check == "payment and receipt agree"


async def test_a_second_receipt_of_an_attempt_is_found_where_its_constraint_was_taken_away(buyer, quiet_sandbox, owner):
    await purchase(buyer, quiet_sandbox, "q")
    change = owner.transaction()
    await change.start()
    await owner.execute("ALTER TABLE billing.receipts DROP CONSTRAINT one_receipt_per_attempt")
    await owner.execute("CREATE TEMP TABLE second AS SELECT * FROM billing.receipts WHERE organization_id = $1",
                        buyer.actor.organization_id)  # fmt: skip
    await owner.execute("UPDATE second SET id = gen_random_uuid()")
    await owner.execute("INSERT INTO billing.receipts SELECT * FROM second")
    await change.commit()
    assert {one.check for one in await found(buyer)} == {"success is receipted"}
    await owner.execute("DELETE FROM billing.receipts WHERE id IN (SELECT id FROM second)")
    await owner.execute(
        "ALTER TABLE billing.receipts ADD CONSTRAINT one_receipt_per_attempt UNIQUE (organization_id, attempt_id)"
    )
    assert await found(buyer) == []


async def test_no_more_problems_are_named_than_were_asked_for(buyer, quiet_sandbox, owner):
    await purchase(buyer, quiet_sandbox, "q1")
    await purchase(buyer, quiet_sandbox, "q2")
    await owner.execute("DELETE FROM billing.receipts WHERE organization_id = $1", buyer.actor.organization_id)
    assert [len(await found(buyer, limit=limit)) for limit in (1, 3, 100)] == [1, 3, 4]


async def test_verifying_all_books_looks_at_the_proofs_too(buyer, quiet_sandbox, owner):
    await purchase(buyer, quiet_sandbox, "q")
    own: UUID = buyer.actor.organization_id
    assert (await books.verify(buyer.house, own)).problems == []
    await owner.execute("DELETE FROM billing.receipts WHERE organization_id = $1", own)
    one = await books.verify(buyer.house, own)
    assert (one.count, one.mismatches, len(one.problems)) == (1, [], 2)
    everything = await books.verify(buyer.house, None)
    assert set(one.problems) <= set(everything.problems)
