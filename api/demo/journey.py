"""The steps of the demo, in order, and what each of them must find."""

from __future__ import annotations

import time
from typing import Final

import httpx

from api.demo import payers, wallet_alone, working
from api.demo.agent import Agent, Json, expect
from api.demo.fresh_service import Service
from api.demo.telling import Failed, Teller, short

STEPS: Final = 16 + working.STEPS
"""Without the rail that needs a chain."""
PACK: Final = "starter-500"
CHECKOUT: Final = "stripe_checkout"
DEPOSIT: Final = "stripe_x402.exact.usdc"
_BUY_PATHS: Final = {CHECKOUT: "stripe-checkout-sessions", DEPOSIT: "stripe-x402-deposits"}
TIMEOUT_S: Final = 30.0
SETTLED_WITHIN_S: Final = 20.0
QUIET_S: Final = 1.0
"""Long enough for a letter that came twice to have been processed twice."""
_POLL_S: Final = 0.1


def steps(*, with_chain: bool) -> int:
    """How many steps there are."""
    return STEPS + (wallet_alone.STEPS if with_chain else 0)


def walk(service: Service, teller: Teller, *, without_chain: str | None) -> None:
    """The whole walk. Raises `Failed` at the first step that does not find what it should.

    `without_chain`: why there is no chain, and its rail is not walked; none where there is one.
    """
    with teller.step("The service starts, from an empty folder") as step:
        service.wait()
        step.say("service", service.url)
        step.say("pretend Stripe", service.sandbox_url)
    with httpx.Client(base_url=service.url, timeout=TIMEOUT_S, trust_env=False) as http:
        agent = Agent(http)
        organization = _sign_up(agent, teller)
        _look_around(agent, teller)
        _buy_by_card(agent, teller)
        _buy_by_wallet(agent, service, teller)
        _webhooks_again(agent, service, teller)
        working.walk(agent, teller)
        if without_chain is None:
            wallet_alone.walk(http, service, teller)
        else:
            teller.not_run(f"{wallet_alone.METHOD}, where a wallet pays by itself", without_chain)
    _books(service, organization, teller)


def _sign_up(agent: Agent, teller: Teller) -> str:
    with teller.step("An agent signs up") as step:
        answer = agent.http.post(
            "/v1/agent-signups", json={"agent_name": "demo-agent", "runtime": "purser-demo", "return_token": True}
        ).json()
        if not answer["ok"]:
            raise Failed(f"refused: {answer['error']['message']}")
        token, organization = answer["data"]["token"], answer["actor"]["organization_id"]
        agent.http.headers["authorization"] = f"Bearer {token}"
        step.say("token, shown once", short(token))
        step.say("organization", organization)
    return str(organization)


def _look_around(agent: Agent, teller: Teller) -> None:
    with teller.step("It asks what it has") as step:
        step.say("credits", expect(agent.credits(), 0, "credits"))
    with teller.step("… how it can pay") as step:
        for method in agent.get("/v1/payment-methods")["methods"]:
            needs = "a human with a browser" if method["requires_browser"] else "a wallet, no human"
            step.say(method["method_id"], needs if method["available"] else method["unavailable_reason"])
            expect(method["available"], True, f"{method['method_id']} available")
    with teller.step("… and what there is to buy") as step:
        for pack in agent.get("/v1/credit-packs")["packs"]:
            step.say(pack["pack_id"], f"{pack['credits']} credits for ${pack['amount_usd']}")


def _quote_and_buy(agent: Agent, teller: Teller, method: str, buyer: str) -> Json:
    with teller.step(f"Quote: the price, to be paid by {buyer}") as step:
        terms = {"pack_id": PACK, "payment_method": method, "idempotency_key": f"demo-quote-{method}"}
        quote = agent.post("/v1/credit-quotes", terms)
        step.say("quote", quote["quote_id"])
        step.say("price", f"{quote['credits']} credits for {quote['price_amount_cents']} cents")
    with teller.step("Buy: a payment attempt; no balance has moved") as step:
        before = agent.credits()
        body = {"quote_id": quote["quote_id"], "idempotency_key": f"purchase:{quote['quote_id']}"}
        bought = agent.post(f"/v1/credit-purchases/{_BUY_PATHS[method]}", body)
        expect(bought["state"], "action_required", "state")
        expect(agent.credits(), before, "credits")
        step.say("attempt", f"{bought['payment_attempt_id']}, {bought['state']}")
    return bought


def _buy_by_card(agent: Agent, teller: Teller) -> None:
    bought = _quote_and_buy(agent, teller, CHECKOUT, "a card")
    with teller.step("A human opens the link and pays") as step:
        hosted, after = payers.pay_on_page(bought["checkout_handoff_url"])
        step.say("link to hand on", bought["checkout_handoff_url"])
        step.say("hosted page", hosted)
        step.say("back at", after)
    _granted(agent, teller, bought["payment_attempt_id"], total=500)


def _buy_by_wallet(agent: Agent, service: Service, teller: Teller) -> None:
    bought = _quote_and_buy(agent, teller, DEPOSIT, "a wallet")
    with teller.step("The agent's wallet sends the exact amount") as step:
        instructions = bought["stripe_x402"]["payable_instructions"]
        sent = payers.send_usdc(service.sandbox_url, instructions)
        step.say("to", f"{short(instructions['deposit_address'])} on {instructions['network']}")
        step.say("amount", f"{instructions['token_amount']} {instructions['token_currency'].upper()}")
        step.say("transaction", short(sent))
    _granted(agent, teller, bought["payment_attempt_id"], total=1000)


def _granted(agent: Agent, teller: Teller, attempt_id: str, *, total: int) -> None:
    with teller.step("Webhook → verified → credits granted") as step:
        deadline = time.monotonic() + SETTLED_WITHIN_S
        status = agent.get("/v1/credit-purchases/status", payment_attempt_id=attempt_id)
        while status["state"] != "succeeded":
            if time.monotonic() > deadline:
                raise Failed(f"the attempt is still {status['state']} after {SETTLED_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)
            status = agent.get("/v1/credit-purchases/status", payment_attempt_id=attempt_id)
        step.say("status", status["state"])
        step.say("receipt", status["receipt"]["receipt_id"])
        step.say("credits now", expect(agent.credits(), total, "credits"))


def _webhooks_again(agent: Agent, service: Service, teller: Teller) -> None:
    with teller.step("The same webhooks once more: nothing changes") as step:
        for kind, status in payers.deliver_again(service.sandbox_url):
            step.say(kind, f"answered {expect(status, 200, 'answer')}")
        time.sleep(QUIET_S)
        step.say("credits still", expect(agent.credits(), 1000, "credits"))


def _books(service: Service, organization: str, teller: Teller) -> None:
    for title, command in (
        ("The books of the first agent balance", ("books", organization)),
        ("Rebuilt from the journal, nothing differs", ("verify",)),
    ):
        with teller.step(title) as step:
            step.say("$", f"purser {' '.join(command)}")
            step.show(service.run(*command))
