"""Paying a quote over x402: what is asked for is what was stored, and a quote is paid for once."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from ledger.ids import parse
from rails.evm import recursion

with recursion.limit_kept():
    from eth_account import Account

from tests.service import CHECKOUT, PURCHASES, STRIPE_KEY, data_of, error_of
from tests.x402.buying import PURCHASE, buyer_at, settlement_of, signed_for
from tests.x402.chains import key_of
from tests.x402.paying import REQUIRED, RESPONSE, decoded, requirement_in
from tests.x402.till import DOLLAR, WAIT_S

QUOTE_TTL = timedelta(hours=25)


@pytest.fixture
def payer(shared_chain):
    return shared_chain.payer()


@pytest.fixture
async def buyer(till):
    return await buyer_at(till)


@pytest.fixture
async def patient(open_till):
    """A buyer at a till that waits for the chain."""
    return await buyer_at(await open_till(x402_wait_s=WAIT_S))


def asked(answer):
    """The header that says what to sign, and the attempt it is for."""
    attempt_id = error_of(answer, 402, "PAYMENT_REQUIRED")["recovery"]["payment_attempt_id"]
    return answer.headers[REQUIRED], attempt_id


def nothing_taken(payer):
    return payer.token.balance(payer.address) == 100 * DOLLAR


async def test_an_unpaid_buy_stores_one_attempt_and_asks_for_the_same_bytes_for_ever(buyer):
    quote_id = await buyer.quote()
    required, attempt_id = asked(await buyer.buy(quote_id))
    before = buyer.till.counts()
    buyer.till.clock.ahead += timedelta(minutes=30)
    assert asked(await buyer.buy(quote_id)) == (required, attempt_id)
    assert buyer.till.counts() == before
    status = await buyer.status(quote_id=quote_id)
    assert (status["state"], status["payment_attempt"]["payment_attempt_id"]) == ("action_required", attempt_id)
    requirement = requirement_in(required)
    assert (requirement["amount"], requirement["payTo"]) == (str(DOLLAR), buyer.till.onchain.treasury)
    assert decoded(required)["resource"]["url"].endswith(PURCHASE)
    error_of(await buyer.buy(quote_id, key="another"), 409, "CREDIT_PURCHASE_IN_PROGRESS")


async def test_an_attempt_asks_for_what_was_stored_although_the_treasury_has_moved(patient, open_till, payer):
    """A quote that was bought before the move is paid to where it said, at any process."""
    quote_id = await patient.quote()
    required, attempt_id = asked(await patient.buy(quote_id))
    moved = patient.at(await open_till(x402_wait_s=WAIT_S, x402_treasury=Account.create().address))
    assert asked(await moved.buy(quote_id)) == (required, attempt_id)
    assert requirement_in(asked(await moved.buy(await moved.quote()))[0])["payTo"] != patient.till.onchain.treasury
    bought = data_of(await moved.buy(quote_id, signed_for(moved.till, required, payer)))
    assert (bought["state"], bought["receipt"]["credits"]) == ("succeeded", 100)
    assert patient.till.onchain.received == DOLLAR


@pytest.mark.long
async def test_what_the_client_says_it_accepted_changes_nothing_of_what_is_asked(buyer, payer):
    required, _ = asked(await buyer.buy(quote_id := await buyer.quote()))
    stranger = Account.create().address
    for changes in (
        {"accepted": {"amount": "1"}, "signed": {"value": 1}},
        {"accepted": {"payTo": stranger}, "signed": {"to": stranger}},
    ):
        again = asked(await buyer.buy(quote_id, signed_for(buyer.till, required, payer, **changes)))[0]
        assert requirement_in(again) == requirement_in(required)
    assert nothing_taken(payer)


async def test_a_canceled_purchase_takes_no_payment(buyer, payer):
    required, attempt_id = asked(await buyer.buy(quote_id := await buyer.quote()))
    payment = signed_for(buyer.till, required, payer)
    data_of(await buyer.cancel(attempt_id))
    error = error_of(await buyer.buy(quote_id, payment), 409, "STATE_CONFLICT")
    assert "nothing was taken" in error["message"]
    assert error["recovery"]["payment_attempt_id"] == attempt_id
    assert data_of(await buyer.buy(quote_id))["state"] == "canceled"
    assert nothing_taken(payer)
    assert (await buyer.buy(quote_id, key="afresh")).status_code == 402


@pytest.mark.long
async def test_what_is_about_to_be_canceled_is_not_asked_for_any_more(buyer, payer):
    required, attempt_id = asked(await buyer.buy(quote_id := await buyer.quote()))
    buyer.till.database.rows(
        "UPDATE billing.payment_attempts SET cancel_requested_at = now() WHERE id = $1::uuid",
        str(parse("payatt", attempt_id)),
    )
    for payment in (None, signed_for(buyer.till, required, payer)):
        answer = await buyer.buy(quote_id, payment)
        error_of(answer, 409, "STATE_CONFLICT")
        assert REQUIRED not in answer.headers
    assert nothing_taken(payer)


async def test_an_expired_quote_is_not_bought(buyer):
    quote_id = await buyer.quote()
    buyer.till.clock.ahead += QUOTE_TTL
    answer = await buyer.buy(quote_id)
    error_of(answer, 409, "CREDIT_QUOTE_EXPIRED")
    assert REQUIRED not in answer.headers


async def test_an_attempt_whose_time_is_over_takes_no_payment_and_asks_for_none(buyer, payer):
    """Before the worker has closed it."""
    required, _ = asked(await buyer.buy(quote_id := await buyer.quote()))
    buyer.till.clock.ahead += timedelta(days=30)
    for payment in (None, signed_for(buyer.till, required, payer)):
        answer = await buyer.buy(quote_id, payment)
        error_of(answer, 409, "STATE_CONFLICT")
        assert REQUIRED not in answer.headers


async def test_a_quote_for_another_method_is_not_paid_here_nor_this_one_there(open_till):
    buyer = await buyer_at(await open_till(stripe_secret_key=SecretStr(STRIPE_KEY)))
    error = error_of(await buyer.buy(await buyer.quote(CHECKOUT)), 409, "CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH")
    assert error["recovery"]["accepted_payment_method"] == CHECKOUT
    body = {"quote_id": await buyer.quote(), "idempotency_key": "there"}
    there = await buyer.till.client.post(PURCHASES[CHECKOUT], json=body, headers=buyer.headers)
    error_of(there, 409, "CREDIT_QUOTE_PAYMENT_METHOD_MISMATCH")


async def test_a_paid_quote_is_answered_with_its_receipt_and_never_asked_for_again(patient, payer):
    required, attempt_id = asked(await patient.buy(quote_id := await patient.quote(credits_=70)))
    payment = signed_for(patient.till, required, payer)
    first = await patient.buy(quote_id, payment)
    assert requirement_in(required)["amount"] == str(70 * DOLLAR // 100)
    for again in (await patient.buy(quote_id), await patient.buy(quote_id, payment)):
        assert data_of(again)["receipt"] == data_of(first)["receipt"]
        assert data_of(again)["payment_attempt_id"] == attempt_id
        assert decoded(again.headers[RESPONSE]) == decoded(first.headers[RESPONSE])
        assert decoded(again.headers[RESPONSE])["success"] is True
        assert REQUIRED not in again.headers
    error_of(await patient.buy(quote_id, key="afresh"), 409, "CREDIT_QUOTE_ALREADY_PAID")
    assert await patient.paid_credits() == 70


async def test_another_payment_for_a_paid_quote_stays_with_its_wallet(patient, payer, shared_chain):
    required, _ = asked(await patient.buy(quote_id := await patient.quote()))
    data_of(await patient.buy(quote_id, signed_for(patient.till, required, payer)))
    other = shared_chain.payer()
    payment = signed_for(patient.till, required, other)
    for key in (None, "afresh"):
        answer = await patient.buy(quote_id, payment, key=key)
        error_of(answer, 409, "CREDIT_QUOTE_ALREADY_PAID")
        assert REQUIRED not in answer.headers
    assert nothing_taken(other)
    assert (await patient.paid_credits(), shared_chain.received) == (100, DOLLAR)


async def test_another_payment_while_one_is_on_its_way_stays_with_its_wallet(buyer, payer, shared_chain):
    required, attempt_id = asked(await buyer.buy(quote_id := await buyer.quote()))
    other = shared_chain.payer()
    shared_chain.chain.set_automine(False)
    waiting = await buyer.buy(quote_id, signed_for(buyer.till, required, payer))
    assert waiting.status_code == 202
    answer = await buyer.buy(quote_id, signed_for(buyer.till, required, other))
    recovery = error_of(answer, 409, "CREDIT_PURCHASE_IN_PROGRESS")["recovery"]
    assert recovery["payment_attempt_id"] == attempt_id
    again = await buyer.buy(quote_id)
    assert (again.status_code, REQUIRED in again.headers) == (202, False)
    shared_chain.chain.mine()
    await buyer.till.settled(settlement_of(buyer.till, attempt_id))
    assert data_of(await buyer.buy(quote_id))["state"] == "succeeded"
    assert nothing_taken(other)


async def test_a_quote_of_another_organization_is_not_there(buyer):
    quote_id = await buyer.quote()
    asked(await buyer.buy(quote_id))
    stranger = await buyer_at(buyer.till)
    foreign, unknown = await stranger.buy(quote_id), await stranger.buy("quote_" + "0" * 26)
    assert error_of(foreign, 404, "NOT_FOUND") == error_of(unknown, 404, "NOT_FOUND")
    error_of(await stranger.buy("no id at all"), 404, "NOT_FOUND")


@pytest.mark.long
async def test_an_attempt_is_not_asked_for_where_it_could_not_be_carried_out(buyer, open_till, shared_chain, payer):
    """Another process of the service has no ether for gas."""
    required, _ = asked(await buyer.buy(quote_id := await buyer.quote()))
    dry = await open_till(x402_gas_key=key_of(shared_chain.new_gas_wallet(wei=0)))
    for payment in (None, signed_for(buyer.till, required, payer)):
        answer = await buyer.at(dry).buy(quote_id, payment)
        error_of(answer, 503, "PAYMENT_METHOD_UNAVAILABLE")
        assert REQUIRED not in answer.headers
    assert nothing_taken(payer)


@pytest.mark.long
async def test_an_attempt_of_a_chain_that_is_not_taken_any_more_is_not_asked_for(buyer):
    _, attempt_id = asked(await buyer.buy(quote_id := await buyer.quote()))
    buyer.till.database.rows(
        "UPDATE billing.provider_requests SET parameters = replace(parameters, 'eip155:84532', 'eip155:8453')"
        " WHERE attempt_id = $1::uuid",
        str(parse("payatt", attempt_id)),
    )
    error = error_of(await buyer.buy(quote_id), 503, "PAYMENT_METHOD_UNAVAILABLE")
    assert "another chain" in error["message"]
