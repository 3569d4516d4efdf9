"""The steps of the native x402 rail: a program with a wallet and no account pays a 402, spends, and is not robbed.

The protocol is spoken by hand, so that each of its messages can be seen: docs/x402.md has them in order, and
docs/x402-clients.md the same with clients that do it all in one call.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Final

import httpx

from api.demo import payers
from api.demo.agent import Agent, Json, expect
from api.demo.fresh_service import Service
from api.demo.telling import Failed, Teller, short
from api.running import local_chain
from api.running.local_chain import LocalChain

STEPS: Final = 5
METHOD: Final = "x402.exact.usdc"
PACK: Final = "taster-100"
CREDITS: Final = 100
SPENT: Final = 30
TOP_UP: Final = f"/v1/x402/top-up/{PACK}"


def walk(http: httpx.Client, service: Service, teller: Teller) -> None:
    """The walk. Raises `Failed` at the first step that does not find what it should."""
    chain = local_chain.found(service.data_dir)
    if chain is None:
        raise Failed("the local chain has ended")
    with httpx.Client(base_url=service.url, timeout=http.timeout, trust_env=False) as stranger:
        required = _ask(stranger, teller, chain)
        payment, bought = _pay(stranger, teller, chain, required)
        _spend(stranger, teller, str(bought["token"]))
        _replay(service, teller, payment, bought)
    with teller.step("Its books: USDC on the chain, credits owed") as step:
        command = ("books", str(bought["organization_id"]))
        step.say("$", f"purser {' '.join(command)}")
        step.show(service.run(*command))


def _ask(stranger: httpx.Client, teller: Teller, chain: LocalChain) -> str:
    with teller.step("A wallet and no account asks for a pack: 402") as step:
        answer = stranger.post(TOP_UP)
        expect(answer.status_code, 402, "HTTP status")
        required = answer.headers["payment-required"]
        terms = decoded(required)["accepts"][0]
        expect(terms["asset"], chain.token, "the token that is asked for")
        step.say("POST", TOP_UP)
        step.say("asked for", f"{terms['amount']} atomic units of USDC on {terms['network']}")
        step.say("to", short(terms["payTo"]))
    return str(required)


def _pay(stranger: httpx.Client, teller: Teller, chain: LocalChain, required: str) -> tuple[str, Json]:
    with teller.step("It signs that and asks again: settled, granted") as step:
        payment = payers.signed(required, chain.wallet_key)
        answer = stranger.post(TOP_UP, headers={"payment-signature": payment})
        expect(answer.status_code, 200, f"HTTP status ({answer.text[:300]})")
        settled, bought = decoded(answer.headers["payment-response"]), answer.json()["data"]
        step.say("wallet", f"{short(chain.wallet)}, which has no ether: the service pays the gas")
        step.say("transaction", settled["transaction"])
        step.say("state", expect(bought["state"], "succeeded", "state"))
        step.say("receipt", bought["receipt"]["receipt_id"])
        step.say("token, shown once", short(bought["token"]))
    return payment, bought


def _spend(stranger: httpx.Client, teller: Teller, token: str) -> None:
    with teller.step("It spends with the token that it got") as step:
        stranger.headers["authorization"] = f"Bearer {token}"
        agent = Agent(stranger)
        step.say("credits", expect(agent.credits(), CREDITS, "credits"))
        agent.post("/v1/spends", {"credits": SPENT, "idempotency_key": "demo-job"})
        step.say("spent", SPENT)
        step.say("credits now", expect(agent.credits(), CREDITS - SPENT, "credits"))


def _replay(service: Service, teller: Teller, payment: str, bought: Json) -> None:
    """The payment stands on the chain for everybody to read, so that showing it proves nothing."""
    with teller.step("Somebody else reads that payment and sends it too") as step:
        answer = httpx.post(f"{service.url}{TOP_UP}", headers={"payment-signature": payment}, trust_env=False)
        told = Agent.data(answer)
        expect(sorted(told), ["payment_attempt_id", "state"], "all that is told")
        for private in (bought["token"], bought["organization_id"], bought["receipt"]["receipt_id"]):
            if str(private) in answer.text:
                raise Failed(f"the answer to a replay tells {private}")
        step.say("told", f"{told['payment_attempt_id']}, {told['state']}; no token, no organization, no balance")


def decoded(header: str) -> Json:
    """What a header of x402 says."""
    said: Json = json.loads(b64decode(header))
    return said
