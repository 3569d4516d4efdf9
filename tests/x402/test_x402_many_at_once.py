"""Signed payments that are presented by many at once, at two server processes on one database."""

import asyncio

import httpx
import pytest

from api.native import CHECK_SOON_S
from tests.patience import AGAIN_MAX, in_vain
from tests.service import Caller, data_of, new_agent, new_key, until
from tests.x402.chains import key_of
from tests.x402.paying import REQUIRED, SIGNATURE, signed_payment

PACK, CREDITS = "/v1/x402/top-up/taster-100", 100
PURCHASE = "/v1/credit-purchases/x402"
DOLLAR = 1_000_000
TIMEOUT_S = 90
PUBLIC = {"state", "payment_attempt_id", "status_url", "retry_after_seconds"}
SETTLED_WITHIN_S = 90
NOT_OFFERED = "x402.exact.usdc is not available: "
CHECKED_WITHIN_S = CHECK_SOON_S + 1


@pytest.fixture
def shop(service_on_chain):
    with service_on_chain.client() as client:
        yield client


@pytest.fixture
def required(shop):
    """The header that says what to sign for the pack."""
    return shop.post(PACK).headers[REQUIRED]


@pytest.fixture
def at_once(two_on_chain):
    """`at_once(requests)`: all sent at the same moment, in turn to the one process and the other; their answers.

    Who waited in vain sends again, as `taken` says.
    """

    async def send(requests):
        limits = httpx.Limits(max_connections=len(requests), max_keepalive_connections=len(requests))
        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:
            sending = [
                taken(client, two_on_chain[n % 2].url + path, headers=headers, json=body)
                for n, (path, headers, body) in enumerate(requests)
            ]
            return await asyncio.gather(*sending)

    return lambda requests: asyncio.run(send(requests))


async def taken(client, url, **request):
    """The answer to who sends again after a wait for the database or the node in vain, at most `AGAIN_MAX` times.

    The service may also say at once that its node did not answer when it was last checked: that is no matter of this
    request, and soon checked again.
    """
    answer = await client.post(url, **request)
    for _ in range(AGAIN_MAX):
        late, unchecked = in_vain(answer.status_code, answer.elapsed.total_seconds()), NOT_OFFERED in answer.text
        if answer.status_code != 503 or not (late or unchecked):
            break
        assert answer.json()["error"]["code"] in {"SERVICE_UNAVAILABLE", "PAYMENT_METHOD_UNAVAILABLE"}, answer.text
        await asyncio.sleep(CHECKED_WITHIN_S if unchecked else 0)
        answer = await client.post(url, **request)
    return answer


def top_up(payment, **headers):
    return PACK, {SIGNATURE: payment, **headers}, None


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def bad(answers):
    """What is neither a payment's answer nor its waiting."""
    return [answer.text for answer in answers if answer.status_code not in {200, 202}]


def tokens_in(answers):
    return [token for answer in answers if (token := (answer.json()["data"] or {}).get("token"))]


def count(service, table, payers, column="payer"):
    """How many rows there are of these wallets."""
    addresses = [payer.address.lower() for payer in payers]
    return service.database.rows(f"SELECT count(*) FROM {table} WHERE lower({column}) = ANY($1)", addresses)[0][0]


def payments(service, payers):
    """What the settlements of these wallets came to: how many are in each state, and how many payments there are."""
    addresses = [payer.address.lower() for payer in payers]
    states = service.database.rows(
        "SELECT state, count(*) FROM billing.settlements WHERE lower(payer) = ANY($1) GROUP BY state", addresses
    )
    granted = service.database.rows(
        "SELECT count(*) FROM billing.external_payments WHERE split_part(external_id, ':', 3) = ANY($1)", addresses
    )
    return dict(tuple(row) for row in states), granted[0][0]


def settle_all(service, payers, number):
    """Wait until so many payments of these wallets are granted."""
    until(lambda: payments(service, payers) == ({"settled": number}, number), within_s=SETTLED_WITHIN_S)


def transfers(onchain, payer):
    return onchain.token.balance(payer.address)


def test_one_payment_fifty_times_at_once_is_granted_and_carried_out_once(
    shop, service_on_chain, onchain, required, at_once
):
    payer, before = onchain.payer(), onchain.received
    payment = signed_payment(required, key_of(payer))
    answers = at_once([top_up(payment)] * 50)
    assert {answer.status_code for answer in answers} <= {200, 202}, bad(answers)
    [token] = tokens_in(answers)
    others = [answer.json()["data"] for answer in answers if token not in answer.text]
    assert len(others) == 49
    assert all({"state", "payment_attempt_id"} <= set(told) <= PUBLIC for told in others)
    assert len({answer.json()["data"]["payment_attempt_id"] for answer in answers}) == 1
    settle_all(service_on_chain, [payer], 1)
    assert onchain.received - before == DOLLAR
    assert Caller(shop, token).get("/v1/quota")["limits"]["payment_backed_remaining_credits"] == CREDITS


@pytest.mark.long
def test_twenty_first_payments_of_a_wallet_at_once_make_one_organization_with_one_token(
    shop, service_on_chain, onchain, required, at_once
):
    payer, before = onchain.payer(), onchain.received
    signed = [signed_payment(required, key_of(payer)) for _ in range(20)]
    answers = at_once([top_up(payment) for payment in signed])
    assert {answer.status_code for answer in answers} <= {200, 202}, bad(answers)
    [token] = tokens_in(answers)
    settle_all(service_on_chain, [payer], 20)
    assert count(service_on_chain, "billing.payer_wallets", [payer], "address") == 1
    organizations = "SELECT count(DISTINCT organization_id) FROM billing.settlements WHERE lower(payer) = $1"
    assert service_on_chain.database.rows(organizations, payer.address.lower())[0][0] == 1
    assert onchain.received - before == 20 * DOLLAR
    assert Caller(shop, token).get("/v1/quota")["limits"]["payment_backed_remaining_credits"] == 20 * CREDITS


@pytest.mark.long
def test_ten_wallets_at_once_all_pay_through_the_one_gas_wallet_without_a_gap(
    service_on_chain, onchain, required, at_once
):
    payers, first = [onchain.payer() for _ in range(10)], nonces_sent(onchain)
    answers = at_once([top_up(signed_payment(required, key_of(payer))) for payer in payers])
    assert {answer.status_code for answer in answers} <= {200, 202}, bad(answers)
    assert len(set(tokens_in(answers))) == 10
    settle_all(service_on_chain, payers, 10)
    assert nonces_sent(onchain) == first + 10
    until(lambda: gas_wallet(service_on_chain, onchain) == (first + 10, None), within_s=SETTLED_WITHIN_S)
    used = "SELECT nonce FROM billing.gas_transactions WHERE lower(wallet) = lower($1) AND refused_at IS NULL"
    nonces = sorted(row[0] for row in service_on_chain.database.rows(used, onchain.gas.address))
    assert sorted(set(nonces)) == list(range(first + 10))
    assert {transfers(onchain, payer) for payer in payers} == {99 * DOLLAR}


def nonces_sent(onchain):
    return int(onchain.chain.rpc("eth_getTransactionCount", onchain.gas.address, "latest"), 16)


def gas_wallet(service, onchain):
    query = "SELECT next_nonce, settlement_id FROM billing.gas_wallets WHERE lower(address) = lower($1)"
    return tuple(service.database.rows(query, onchain.gas.address)[0])


def quoted(shop):
    """A new agent with a quote for the pack, what it sends to pay it, and what it is to sign."""
    agent = new_agent(shop)
    quote = agent.quote("x402.exact.usdc", pack_id="taster-100")
    body = {"quote_id": quote["quote_id"], "idempotency_key": new_key()}
    unpaid = agent.send("POST", PURCHASE, body)
    assert unpaid.status_code == 402
    return agent, body, unpaid.headers[REQUIRED]


@pytest.mark.parametrize("first", ["quote", "top-up"])
def test_one_payment_at_once_for_a_quote_and_for_a_top_up_buys_one_of_them(
    shop, service_on_chain, onchain, at_once, first
):
    payer, before = onchain.payer(), onchain.received
    agent, body, required = quoted(shop)
    payment = signed_payment(required, key_of(payer))
    for_quote = (PURCHASE, {**agent.headers, SIGNATURE: payment}, body)
    pair = [for_quote, top_up(payment)] if first == "quote" else [top_up(payment), for_quote]
    answers = at_once(pair * 5)
    by_path = {path: {answer.status_code for answer in answers if answer.request.url.path == path} for path, *_ in pair}
    lost = [path for path, statuses in by_path.items() if statuses == {409}]
    assert len(lost) == 1, by_path
    [won] = set(by_path) - set(lost)
    assert by_path[won] <= {200, 202}
    refused = [answer.json()["error"]["code"] for answer in answers if answer.status_code == 409]
    assert set(refused) == {"PAYMENT_ALREADY_USED"}
    settle_all(service_on_chain, [payer], 1)
    assert onchain.received - before == DOLLAR
    assert agent.paid_credits() == (CREDITS if won == PURCHASE else 0)
    assert len(tokens_in([answer for answer in answers if answer.status_code != 409])) == (won == PACK)


def test_two_payments_at_once_for_one_attempt_take_the_money_of_one_wallet(shop, service_on_chain, onchain, at_once):
    payers, before = [onchain.payer(), onchain.payer()], onchain.received
    agent, body, required = quoted(shop)
    signed = [signed_payment(required, key_of(payer)) for payer in payers]
    answers = at_once([(PURCHASE, {**agent.headers, SIGNATURE: payment}, body) for payment in signed])
    assert {answer.status_code for answer in answers} <= {200, 202, 409}
    assert any(answer.status_code == 200 for answer in answers)
    settle_all(service_on_chain, payers, 1)
    assert count(service_on_chain, "billing.settlements", payers) == 1
    assert sorted(onchain.token.balance(payer.address) for payer in payers) == [99 * DOLLAR, 100 * DOLLAR]
    assert onchain.received - before == DOLLAR
    assert agent.paid_credits() == CREDITS
    loser = payers[0] if onchain.token.balance(payers[0].address) == 100 * DOLLAR else payers[1]
    again = agent.send("POST", PURCHASE, body)
    assert data_of(again)["state"] == "succeeded"
    assert loser.address not in again.text
