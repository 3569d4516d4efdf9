"""Who does business in the month: organizations with an agent each, over HTTP, and two operators with a key each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import httpx

from api.demo import payers, wallet_alone
from api.demo.agent import Agent, Json, expect
from api.demo.finance.shifting import TIMEOUT_S
from api.demo.finance.world import World
from api.demo.telling import Failed
from api.wiring import House
from billing import operator_keys
from billing.scopes import Scope

CHECKOUT: Final = "stripe_checkout"
DEPOSIT: Final = "stripe_x402.exact.usdc"
SETTLED_WITHIN_S: Final = 20.0
_PATHS: Final = {CHECKOUT: "stripe-checkout-sessions", DEPOSIT: "stripe-x402-deposits"}
_POLL_S: Final = 0.05


@dataclass
class Customer:
    """An organization and its agent. `payments`: attempts by the word that the demo has for them."""

    name: str
    agent: Agent
    organization_id: str
    payments: dict[str, Json] = field(default_factory=dict)
    _keys: Iterator[int] = field(default_factory=count)

    def key(self) -> str:
        """An idempotency key that was not used yet."""
        return f"{self.name.lower()}-{next(self._keys)}"

    def spend(self, credits_: int) -> None:
        """Credits are used."""
        self.agent.post("/v1/spends", {"credits": credits_, "idempotency_key": self.key()})

    def hold_and_capture(self, held: int, captured: int) -> None:
        """Credits are reserved; the work costs less, and the rest is given back."""
        asked = {"credits": held, "expires_in_seconds": 3600, "idempotency_key": self.key()}
        hold = self.agent.post("/v1/holds", asked)
        paid = {"credits": captured, "final": True, "idempotency_key": self.key()}
        self.agent.post(f"/v1/holds/{hold['hold_id']}/capture", paid)


@dataclass
class Operator:
    """A key holder."""

    name: str
    agent: Agent
    _keys: Iterator[int] = field(default_factory=count)

    def do(self, path: str, *, reason: str, **body: Any) -> Json:
        """An act that is recorded with its reason."""
        key = f"{self.name.lower()}-{next(self._keys)}"
        return self.agent.post(f"/v1/{path}", {"reason": reason, "idempotency_key": key, **body})


@dataclass
class People:
    """Everybody who talks to the service. Two of them hold an operator key."""

    world: World
    ada: Operator
    grace: Operator
    customers: dict[str, Customer] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Customer:
        return self.customers[name]

    def buy(self, name: str, credits_: int, *, called: str, method: str = CHECKOUT, tax: int | None = None) -> Json:
        """A customer buys credits at a cent each, which are paid, settled and granted; the attempt.

        `tax`: cents that Stripe adds to the price.
        """
        customer = self.customers[name]
        terms = {"credits": credits_, "payment_method": method, "idempotency_key": customer.key()}
        quote = customer.agent.post("/v1/credit-quotes", terms)
        body = {"quote_id": quote["quote_id"], "idempotency_key": customer.key()}
        bought = customer.agent.post(f"/v1/credit-purchases/{_PATHS[method]}", body)
        if tax is not None:
            self.world.control("POST", f"sessions/{bought['checkout_session_id']}/pay", tax=tax)
        elif method == CHECKOUT:
            payers.pay_on_page(bought["checkout_handoff_url"])
        else:
            payers.send_usdc(self.world.clocks.sandbox_url, bought["stripe_x402"]["payable_instructions"])
        _succeeded(customer.agent, bought["payment_attempt_id"])
        self.world.quiet()
        customer.payments[called] = bought
        return bought

    def intent(self, name: str, called: str) -> str:
        """Stripe's name for what was paid by card."""
        session = self.customers[name].payments[called]["checkout_session_id"]
        return str(self.world.at_stripe(f"checkout/sessions/{session}")["payment_intent"])


def sign_up(people: People, http: httpx.Client, name: str) -> Customer:
    """An organization of that name, with an agent that has a token."""
    asked = {"agent_name": name.lower(), "runtime": "purser-demo-finance", "return_token": True}
    answer = http.post("/v1/agent-signups", json=asked).json()
    if not answer["ok"]:
        raise Failed(f"refused: {answer['error']['message']}")
    http.headers["authorization"] = f"Bearer {answer['data']['token']}"
    made = Customer(name, Agent(http), answer["actor"]["organization_id"])
    people.customers[name] = made
    return made


def wallet_pays(people: People, http: httpx.Client, name: str, pack: str) -> Json:
    """A wallet without an account pays a pack over x402, and is an organization then; what it bought."""
    world = people.world
    if world.chain is None:
        raise Failed("there is no chain")
    path = f"/v1/x402/top-up/{pack}"
    required = http.post(path).headers["payment-required"]
    paid = payers.signed(required, world.chain.wallet_key, now=int(world.now.timestamp()))
    answer = http.post(path, headers={"payment-signature": paid})
    expect(answer.status_code, 200, f"HTTP status ({answer.text[:300]})")
    bought: Json = answer.json()["data"]
    expect(bought["state"], "succeeded", "state")
    http.headers["authorization"] = f"Bearer {bought['token']}"
    people.customers[name] = Customer(name, Agent(http), bought["organization_id"])
    return wallet_alone.decoded(answer.headers["payment-response"])


@contextmanager
def new_people(world: World, *names: str) -> Iterator[tuple[People, dict[str, httpx.Client]]]:
    """Two key holders, and a connection for each of the names."""
    with ExitStack() as open_until_the_end:

        def connection() -> httpx.Client:
            made = httpx.Client(base_url=world.settings.url, timeout=TIMEOUT_S, trust_env=False)
            return open_until_the_end.enter_context(made)

        def operator(name: str) -> Operator:
            http = connection()
            http.headers["authorization"] = f"Bearer {_token(world, name)}"
            return Operator(name, Agent(http))

        people = People(world, operator("Ada"), operator("Grace"))
        yield people, {name: connection() for name in names}


def _token(world: World, name: str) -> str:
    async def created(house: House) -> str:
        scopes = [Scope.GRANT, Scope.READ, Scope.OPERATE]
        return (await operator_keys.create(house.sessions, name=name, scopes=scopes, now=house.clock())).token

    return world.service.do(created)


def _succeeded(agent: Agent, attempt_id: str) -> None:
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while (found := agent.get("/v1/credit-purchases/status", payment_attempt_id=attempt_id))["state"] != "succeeded":
        if time.monotonic() > deadline:
            raise Failed(f"the attempt is still {found['state']} after {SETTLED_WITHIN_S:.0f} s")
        time.sleep(_POLL_S)
