"""How a payment is presented: named, twice, in an older version, too large; and requests that pay nothing."""

import asyncio
import secrets
from datetime import timedelta

import pytest

from rails.x402.messages import HEADER_CHARS_MAX
from tests.service import data_of, error_of
from tests.x402.buying import TOP_UP, buyer_at, buyer_of, paying
from tests.x402.paying import REQUIRED, RESPONSE, SIGNATURE, decoded, encoded
from tests.x402.rpc_proxy import refused
from tests.x402.till import DOLLAR, WAIT_S

PAYMENT_IDENTIFIER = "payment-identifier"


@pytest.fixture
def payer(shared_chain):
    return shared_chain.payer()


@pytest.fixture
async def patient(open_till):
    """A till that waits for the chain."""
    return await open_till(x402_wait_s=WAIT_S)


def named(identifier):
    return {PAYMENT_IDENTIFIER: {"info": {"required": False, "id": identifier}}}


def balance(payer):
    return payer.token.balance(payer.address)


# A payment's name


async def test_a_named_payment_that_is_presented_again_has_its_recorded_outcome(patient, payer):
    payment = patient.sign(payer, extensions=named("order-" + secrets.token_hex(8)))
    first, again = await patient.ask(payment), await patient.ask(payment)
    told = data_of(again)
    assert told == {"state": "succeeded", "payment_attempt_id": data_of(first)["payment_attempt_id"]}
    assert again.headers[RESPONSE] == first.headers[RESPONSE]
    assert await buyer_of(patient, data_of(first)).paid_credits() == 100


async def test_a_payment_is_known_by_itself_whatever_it_is_named_later(patient, payer):
    payment = patient.sign(payer, extensions=named("order-" + secrets.token_hex(8)))
    attempt_id = data_of(await patient.ask(payment))["payment_attempt_id"]
    others: list[dict[str, object]] = [named("order-" + secrets.token_hex(8)), {}]
    for extensions in others:
        again = await patient.ask(encoded({**decoded(payment), "extensions": extensions}))
        assert data_of(again)["payment_attempt_id"] == attempt_id
    assert balance(payer) == 99 * DOLLAR


async def test_a_name_is_not_given_to_another_payment_of_the_wallet(patient, payer):
    name = named("order-" + secrets.token_hex(8))
    bought = data_of(await patient.ask(patient.sign(payer, extensions=name)))
    before = patient.counts()
    answer = await patient.ask(patient.sign(payer, extensions=name))
    assert "nothing was taken" in error_of(answer, 409, "PAYMENT_IDENTIFIER_CONFLICT")["recovery"]["advice"]
    assert REQUIRED not in answer.headers
    assert (patient.counts(), balance(payer)) == (before, 99 * DOLLAR)
    buyer = buyer_of(patient, bought)
    error_of(await buyer.top_up(patient.sign(payer, extensions=name)), 409, "PAYMENT_IDENTIFIER_CONFLICT")


async def test_of_two_payments_of_one_name_at_once_one_is_taken(patient, payer):
    name = named("order-" + secrets.token_hex(8))
    payments = [patient.sign(payer, extensions=name) for _ in range(4)]
    answers = await asyncio.gather(*(patient.ask(payment) for payment in payments))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert balance(payer) == 99 * DOLLAR


async def test_two_wallets_may_use_one_name(patient, payer, shared_chain):
    name = named("order-" + secrets.token_hex(8))
    for each in (payer, shared_chain.payer()):
        data_of(await patient.ask(patient.sign(each, extensions=name)))


@pytest.mark.parametrize("junk", ["short", "x" * 129, "with spaces in it", "umlaut-ä-umlaut-ä", 7, ["a" * 20], {}])
async def test_a_name_that_is_none_is_refused(till, payer, junk):
    before = till.counts()
    error = error_of(await till.ask(till.sign(payer, extensions=named(junk))), 400, "INVALID_ARGUMENTS")
    assert PAYMENT_IDENTIFIER in error["message"]
    assert till.counts() == before


async def test_naming_is_offered_and_not_asked_for(till):
    declared = decoded((await till.ask()).headers[REQUIRED])["extensions"][PAYMENT_IDENTIFIER]
    assert declared["info"] == {"required": False}


# Payments that are not presented as they should be


async def test_a_payment_of_version_one_is_told_which_version_is_spoken(till, payer):
    payment = till.sign(payer)
    older = encoded({**decoded(payment), "x402Version": 1})
    for headers in ({"X-PAYMENT": payment}, {"X-PAYMENT": "anything"}, paying(older)):
        error = error_of(await till.client.post(TOP_UP, headers=headers), 400, "INVALID_ARGUMENTS")
        assert "version 2 is spoken here" in error["message"]
        assert SIGNATURE in error["message"]


async def test_two_payments_in_one_request_are_none(till, payer):
    before = till.counts()
    for twice in ([till.sign(payer), till.sign(payer)], [till.sign(payer)] * 2):
        answer = await till.client.post(TOP_UP, headers=[(SIGNATURE, payment) for payment in twice])
        assert "more than once" in error_of(answer, 400, "INVALID_ARGUMENTS")["message"]
    assert till.counts() == before


async def test_a_header_that_is_too_large_is_not_read(till):
    error = error_of(await till.ask("A" * (HEADER_CHARS_MAX + 4)), 400, "INVALID_ARGUMENTS")
    assert str(HEADER_CHARS_MAX) in error["message"]


async def test_a_payment_with_a_token_that_does_not_hold_is_not_taken(patient, payer):
    """It would land in the wallet's own organization instead of the one that its sender thinks of."""
    agent, payment = await buyer_at(patient), patient.sign(payer)
    await patient.client.post("/v1/tokens/revoke", headers=agent.headers)
    before = patient.counts()
    error_of(await agent.top_up(payment), 401, "AUTH_REQUIRED")
    assert (patient.counts(), balance(payer)) == (before, 100 * DOLLAR)
    assert data_of(await patient.ask(payment))["token"], "without it, it is"


# Requests that pay nothing


async def test_a_pack_that_is_not_sold_is_not_found_and_those_that_are_are_named(till):
    answer = await till.client.post("/v1/x402/top-up/golden-9000")
    message = error_of(answer, 404, "NOT_FOUND")["message"]
    packs = data_of(await till.client.get("/v1/credit-packs"))["packs"]
    assert [pack["pack_id"] for pack in packs if pack["pack_id"] not in message] == []
    assert len(packs) > 1


async def test_requests_that_pay_nothing_store_nothing(till, payer):
    before = till.counts()
    for _ in range(3):
        error_of(await till.ask(), 402, "PAYMENT_REQUIRED")
    for wrong in ({"signed": {"value": 1}}, {"signature": b"\1" * 65}, {"signed": {"validBefore": 1}}):
        error_of(await till.ask(till.sign(payer, **wrong)), 402, "PAYMENT_REQUIRED")
    assert till.counts() == before


async def test_who_has_no_token_may_ask_so_often_in_a_minute(open_till):
    till = await open_till(payments_per_minute=3)
    unknown = "/v1/x402/payments/payatt_" + "0" * 26
    assert [(await till.client.get(unknown)).status_code, (await till.ask()).status_code] == [404, 402]
    assert (await till.ask("junk")).status_code == 400
    for answer in (await till.ask(), await till.ask("junk"), await till.client.get(unknown)):
        error_of(answer, 429, "RATE_LIMITED")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert REQUIRED not in answer.headers
    till.clock.ahead += timedelta(seconds=61)
    assert (await till.ask()).status_code == 402


# A payment that fails


async def test_a_new_wallet_whose_first_payment_fails_has_its_account_all_the_same(open_till, bad_node, payer):
    """The account was made by the claim, and its token is shown once: in that answer, whatever it says."""
    till = await open_till(x402_rpc_url=bad_node.url, x402_wait_s=WAIT_S)
    with bad_node.faulty("eth_estimateGas", refused(3, "execution reverted: Pausable: paused")):
        payment = till.sign(payer)
        answer = await till.ask(payment)
    recovery = error_of(answer, 402, "PAYMENT_FAILED")["recovery"]
    assert decoded(answer.headers[RESPONSE])["success"] is False
    again = await till.ask(payment)
    assert "token" not in error_of(again, 402, "PAYMENT_FAILED")["recovery"]
    assert recovery["organization_id"] not in again.text
    data_of(await till.ask(till.sign(payer)))
    assert await buyer_of(till, recovery).paid_credits() == 100
    assert recovery["token"] not in (await till.client.get(f"/pay/{recovery['payment_attempt_id']}")).text
