"""A wallet's payment goes back: asked for by an operator, signed by the treasury, recorded when the chain says so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from api import refunds
from api.settings import Settings
from api.wiring import build
from billing import looking, proofs
from billing.database import snapshot
from billing.proving import Problem
from billing.scopes import Scope
from ledger import ids
from tests.evm.anvil import SLOTS_IN_AN_EPOCH
from tests.giving import new_operator
from tests.service import Agent, Service, data_of, new_key, until
from tests.x402.chains import NETWORK, OnChain, key_of
from tests.x402.paying import pay_with_python

ROOT = "/v1/operator/refunds"
PRICE = 1_000_000


def sign_and_send(onchain: OnChain, to_sign: dict[str, Any]) -> str:
    """What a person does with the treasury's wallet; the transaction's hash."""
    onchain.chain.set_balance(onchain.treasury, 10**18)
    onchain.chain.rpc("anvil_impersonateAccount", to_sign["from"])
    sent = {field: to_sign[field] for field in ("from", "to", "data")} | {"value": hex(int(to_sign["value"]))}
    name: str = onchain.chain.rpc("eth_sendTransaction", sent)
    assert onchain.chain.receipt(name)["status"] == "0x1"
    return name


def nudge(service: Service, attempt: str) -> int:
    """The worker soon looks at this payment; how many turns it has had so far."""
    update = "UPDATE billing.settlements SET next_try_at = now() WHERE attempt_id = $1 RETURNING tries"
    [(tries,)] = service.database.rows(update, ids.parse("payatt", attempt))
    return int(tries)


def turns(service: Service, attempt: str) -> int:
    """How many turns this payment has had."""
    query = "SELECT tries FROM billing.settlements WHERE attempt_id = $1"
    [(tries,)] = service.database.rows(query, ids.parse("payatt", attempt))
    return int(tries)


def look(service: Service, onchain: OnChain, *, later: timedelta) -> list[Problem]:
    """Look at what is watched, as the worker does so much later; what does not agree in the books then."""
    settings = onchain.settings(x402_rpc_url=SecretStr(onchain.chain.url))
    return asyncio.run(_look(service.database.run_url, settings, later))


async def _look(database_url: str, settings: dict[str, Any], later: timedelta) -> list[Problem]:
    house = build(Settings(database_url=SecretStr(database_url), **settings))
    reader = refunds.reader(house)
    assert reader is not None
    _, told = await looking.look_at_watched(
        house.sessions, reader, livemode=house.livemode, clock=lambda: house.clock() + later
    )
    assert told == []
    async with snapshot(house.sessions) as session:
        problems = await proofs.problems(session, None, limit=10)
    await house.close()
    return problems


def test_a_payment_is_sent_back_by_the_treasury_and_leaves_the_books(service_on_chain, onchain):
    payer = onchain.payer()
    with service_on_chain.client() as http:
        shop = f"{service_on_chain.url}/v1/x402/top-up/taster-100"
        bought = data_of(pay_with_python(shop, key=key_of(payer)).answer)
        agent = Agent(http, bought["token"], bought["agent_id"], bought["organization_id"])
        operator = new_operator(http, service_on_chain.database, Scope.OPERATE)
        attempt, key = bought["payment_attempt_id"], new_key()
        asked = {"payment_attempt_id": attempt, "reason": "asked for"}
        assert data_of(operator.ask(ROOT, dry_run=True, **asked))["preview"]["credits_unspent"] == 100
        refund = data_of(operator.ask(ROOT, key, **asked))["refund"]
        assert refund["to_sign"] is None, "what a reorganization may take out is not sent back besides"
        onchain.chain.mine(2 * SLOTS_IN_AN_EPOCH)
        had = nudge(service_on_chain, attempt)
        until(lambda: turns(service_on_chain, attempt) > had)
        nudge(service_on_chain, attempt)  # that turn may have been under way already, and have seen the chain before
        to_sign = until(lambda: operator.get(f"{ROOT}/{refund['refund_id']}")["refund"]["to_sign"])
        assert (to_sign["network"], to_sign["from"], to_sign["to"]) == (
            NETWORK,
            onchain.treasury,
            onchain.token.address,
        )
        assert data_of(operator.ask(ROOT, key, **asked))["refund"]["to_sign"] == to_sign
        [listed] = operator.get(ROOT, payment_attempt_id=attempt)["refunds"]
        assert listed["to_sign"] == to_sign

        assert look(service_on_chain, onchain, later=timedelta(minutes=2)) == []
        until(lambda: agent.paid_credits() == 0)  # credits go when the refund is on its way
        before = onchain.token.balance(payer.address)
        transaction = sign_and_send(onchain, to_sign)
        assert onchain.token.balance(payer.address) == before + PRICE
        onchain.chain.mine(2 * SLOTS_IN_AN_EPOCH)
        assert look(service_on_chain, onchain, later=timedelta(hours=2)) == []

        seen = operator.get(f"{ROOT}/{refund['refund_id']}")["refund"]
        assert (seen["reversal"]["status"], seen["to_sign"]) == ("succeeded", None)
        assert seen["reversal"]["details"] == {"network": NETWORK, "transaction_hash": transaction}
