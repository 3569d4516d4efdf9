"""What is public on the chain proves nothing about who asks: an observer with the full call data gets nothing.

The observer knows a payment's transaction and what every visitor is told. It signs up, makes quotes of its own and
presents the payment wherever one can be presented.
"""

import asyncio
import re

from ledger import ids
from tests.service import data_of, error_of
from tests.x402.buying import PURCHASE, TOP_UP, buyer_at, buyer_of, paying, settlement_of, signed_for
from tests.x402.chains import key_of
from tests.x402.observing import call_of, payment_in, waiting_call
from tests.x402.paying import REQUIRED, RESPONSE, decoded, encoded
from tests.x402.till import DOLLAR, WAIT_S

OTHER_PACK = "/v1/x402/top-up/starter-500"
TOLD = {"state", "payment_attempt_id", "status_url", "retry_after_seconds"}
TOLD_BESIDE_A_REFUSAL = {"advice", "docs_url", "payment_attempt_id"}
OF_THE_CHAIN = {"success", "payer", "transaction", "network", "amount"}


async def private_of(buyer, attempt_id):
    """Every name by which something of the buyer's could be called."""
    status = await buyer.status(payment_attempt_id=attempt_id)
    names = [buyer.organization_id, buyer.agent_id, status["quote_id"]]
    receipt = status["receipt"] or {}
    names += [receipt[name] for name in ("receipt_id", "credit_event_id") if receipt]
    return [buyer.token, *names, *(str(ids.parse(name.rpartition("_")[0], name)) for name in names)]


def written(wire, authorization, signature):
    """The same payment with another payload."""
    return encoded({**wire, "payload": {"authorization": authorization, "signature": signature}})


async def presented(till, observer, payment, chosen):
    """The answers to a payment wherever one can be presented, by how it was done; all but those of `chosen` refuse."""
    post = till.client.post
    body = {"quote_id": await observer.quote(), "idempotency_key": "theirs"}
    told = {
        "for the same pack": await post(TOP_UP, headers=paying(payment)),
        "for the same pack with a token": await observer.top_up(payment),
    }
    assert {answer.status_code for answer in told.values()} == {chosen}
    refused = {
        "for another pack": await post(OTHER_PACK, headers=paying(payment)),
        "for another pack with a token": await observer.top_up(payment, OTHER_PACK),
        "for an own quote": await observer.buy(await observer.quote(), payment),
    }
    for answer in refused.values():
        assert error_of(answer, 409, "PAYMENT_ALREADY_USED")["recovery"]["payment_attempt_id"]
    nobody = {"for a quote without a token": await post(PURCHASE, json=body, headers=paying(payment))}
    error_of(nobody["for a quote without a token"], 401, "AUTH_REQUIRED")
    return {**told, **refused}, nobody


async def assert_nothing_for_observers(till, payment, buyer, attempt_id, *, state, status_code):
    """Neither in a body nor in a header: the state and the attempt's id, and what the chain says itself."""
    observer = await buyer_at(till)
    private = await private_of(buyer, attempt_id)
    answers, refused = await presented(till, observer, payment, status_code)
    link = await till.client.get(f"/v1/x402/payments/{attempt_id}")
    assert data_of(link) == {"state": state, "payment_attempt_id": attempt_id}
    for how, answer in {**answers, **refused, "by the link": link}.items():
        said = answer.text + str(answer.headers.multi_items())
        assert [name for name in private if name in said] == [], how
        assert REQUIRED not in answer.headers, f"{how}: what is known is never asked for again"
    for how, answer in answers.items():
        envelope = answer.json()
        assert envelope["actor"] is None, how
        assert set(envelope["data"] or {}) <= TOLD, how
        assert set((envelope["error"] or {}).get("recovery", {})) <= TOLD_BESIDE_A_REFUSAL, how
        if envelope["ok"]:
            assert (envelope["data"]["state"], envelope["data"]["payment_attempt_id"]) == (state, attempt_id)
        if RESPONSE in answer.headers:
            assert set(decoded(answer.headers[RESPONSE])) == OF_THE_CHAIN
    assert await observer.paid_credits() == 0


async def test_an_observer_of_a_settled_payment_gets_nothing(open_till):
    till = await open_till(x402_wait_s=WAIT_S)
    required, payer = till.required(), till.onchain.payer()
    answer = await till.ask(till.sign(payer))
    bought, transaction = data_of(answer), decoded(answer.headers[RESPONSE])["transaction"]
    buyer, before = buyer_of(till, bought), till.counts()
    payment = payment_in(call_of(till.onchain.chain, transaction), required)
    attempt_id = bought["payment_attempt_id"]
    await assert_nothing_for_observers(till, payment, buyer, attempt_id, state="succeeded", status_code=200)
    assert await buyer.paid_credits() == 100
    page = await till.client.get(f"/pay/{attempt_id}")
    assert "Payment received" in page.text
    assert [name for name in await private_of(buyer, attempt_id) if name in page.text] == []
    assert [what for what in ("100 credits", "$1.00", "USDC", "<time") if what in page.text] == [], "nor what for"
    assert not re.search(r"0x[0-9a-f]{40}", page.text, re.IGNORECASE), "nor who paid"
    after = till.counts()
    for table in ("billing.settlements", "billing.payer_wallets", "billing.external_payments"):
        assert after[table] == before[table]
    assert till.onchain.received == DOLLAR


async def test_an_observer_of_a_payment_on_its_way_gets_nothing(till):
    """The transaction waits to be put into a block: the observer reads it there and is first with it everywhere."""
    required, payer = till.required(), till.onchain.payer()
    till.onchain.chain.set_automine(False)
    answer = await till.ask(till.sign(payer))
    assert answer.status_code == 202
    buyer, attempt_id = buyer_of(till, answer.json()["data"]), answer.json()["data"]["payment_attempt_id"]
    payment = payment_in(waiting_call(till.onchain.chain, till.onchain.token.address), required)
    await assert_nothing_for_observers(till, payment, buyer, attempt_id, state="processing", status_code=202)
    page = await till.client.get(f"/pay/{attempt_id}")
    assert "Transfer seen" in page.text
    till.onchain.chain.mine()
    await till.settled(settlement_of(till, attempt_id))
    again = await buyer.top_up(payment)
    assert (again.status_code, data_of(again)["state"]) == (200, "succeeded")
    assert "token" not in data_of(again), "it was shown once"
    assert await buyer.paid_credits() == 100


async def test_an_observer_that_is_first_while_the_buyer_waits_gets_nothing_and_the_buyer_all(open_till, shared_chain):
    """At another process, before the buyer has got its answer: the claim was made before anything was sent."""
    gas_key = key_of(shared_chain.new_gas_wallet())
    till, other = await open_till(x402_wait_s=WAIT_S, x402_gas_key=gas_key), await open_till(x402_gas_key=gas_key)
    required, payer = till.required(), till.onchain.payer()
    till.onchain.chain.set_automine(False)
    buying = asyncio.create_task(till.ask(till.sign(payer)))
    call = await asyncio.to_thread(waiting_call, till.onchain.chain, till.onchain.token.address)
    first = await other.client.post(TOP_UP, headers=paying(payment_in(call, required)))
    assert not buying.done()
    assert (first.status_code, set(first.json()["data"])) == (202, TOLD)
    till.onchain.chain.mine()
    bought = data_of(await buying)
    assert (bought["state"], bought["payment_attempt_id"]) == ("succeeded", first.json()["data"]["payment_attempt_id"])
    assert await buyer_of(till, bought).paid_credits() == 100
    assert bought["token"] not in first.text


async def test_an_observer_that_carries_the_payment_out_first_pays_the_gas_and_gets_nothing(till):
    required, payer = till.required(), till.onchain.payer()
    till.onchain.chain.set_automine(False)
    answer = await till.ask(till.sign(payer))
    buyer, attempt_id = buyer_of(till, answer.json()["data"]), answer.json()["data"]["payment_attempt_id"]
    call = waiting_call(till.onchain.chain, till.onchain.token.address)
    theirs = {"from": till.onchain.chain.unlocked[3], "to": till.onchain.token.address, "data": call}
    fee = hex(500 * 10**9)
    hurried = till.onchain.chain.rpc(
        "eth_sendTransaction", {**theirs, "gas": hex(200_000), "maxFeePerGas": fee, "maxPriorityFeePerGas": fee}
    )
    till.onchain.chain.mine()
    assert till.onchain.chain.receipt(hurried)["status"] == "0x1", "theirs was first"
    await till.settled(settlement_of(till, attempt_id))
    again = await buyer.top_up(payment_in(call, required))
    assert decoded(again.headers[RESPONSE])["transaction"] == hurried
    payment = payment_in(call, required)
    await assert_nothing_for_observers(till, payment, buyer, attempt_id, state="succeeded", status_code=200)
    assert (await buyer.paid_credits(), till.onchain.received) == (100, DOLLAR)


async def test_an_observer_of_a_paid_quote_gets_nothing_and_its_organization_all(open_till):
    till = await open_till(x402_wait_s=WAIT_S)
    buyer, payer = await buyer_at(till), till.onchain.payer()
    quote_id = await buyer.quote(credits_=70)
    required = (await buyer.buy(quote_id)).headers[REQUIRED]
    answer = await buyer.buy(quote_id, signed_for(till, required, payer))
    transaction = decoded(answer.headers[RESPONSE])["transaction"]
    payment = payment_in(call_of(till.onchain.chain, transaction), required)
    private = await private_of(buyer, data_of(answer)["payment_attempt_id"])
    observer = await buyer_at(till)
    for stranger in (await till.client.post(TOP_UP, headers=paying(payment)), await observer.top_up(payment),
                     await observer.buy(await observer.quote(credits_=70), payment)):  # fmt: skip
        error_of(stranger, 409, "PAYMENT_ALREADY_USED")
        assert [name for name in private if name in stranger.text] == []
    error_of(await observer.buy(quote_id, payment), 404, "NOT_FOUND")
    assert data_of(await buyer.buy(quote_id, payment))["receipt"]["credits"] == 70


async def test_the_same_payment_written_otherwise_is_still_the_same(till):
    """With another signature's `v`, other letters and another window than was signed: one is known, one is refused."""
    payer = till.onchain.payer()
    till.onchain.chain.set_automine(False)
    payment = till.sign(payer)
    assert (await till.ask(payment)).status_code == 202
    wire = decoded(payment)
    terms, signature = wire["payload"]["authorization"], wire["payload"]["signature"]
    small = {name: terms[name].lower() for name in ("from", "to", "nonce")}
    parity = f"{int(signature[-2:], 16) - 27:02x}"
    again = await till.ask(written(wire, {**terms, **small}, signature[:-2] + parity))
    assert (again.status_code, set(again.json()["data"])) == (202, TOLD)
    stretched = written(wire, {**terms, "validBefore": str(int(terms["validBefore"]) + 1)}, signature)
    error_of(await till.ask(stretched), 409, "PAYMENT_ALREADY_USED")
