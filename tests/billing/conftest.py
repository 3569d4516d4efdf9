import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from api.settings import Settings
from api.wiring import House
from billing import fulfillment, identity, packs, purchases, quotes, status
from billing.identity import Actor, Newcomer
from billing.judging import Judged
from billing.tables import ProviderRequestRow
from ledger import ids
from rails.rail import CheckoutAction, Fact, PaymentSettled, Reference
from tests.billing.patience import be_patient
from tests.service import CHECKOUT, HOST, STRIPE_KEY, Database, Sandbox, sandbox_running
from tests.warm import house_of


@dataclass
class Buyer:
    """An agent in this process, and what it does with billing, without HTTP in between."""

    house: House
    actor: Actor
    method: str = CHECKOUT

    async def quote(self, key: str = "q", *, credits_: int = 500) -> UUID:
        wanted = packs.Wanted(credits_, None, self.method)
        made = await quotes.make(
            self.house.sessions, self.actor, wanted, idempotency_key=key, offer=self.house.place.offer,
            live_money=False, unavailable=None, now=self.house.clock(),
        )  # fmt: skip
        return made.id

    async def buy(self, quote_id: UUID, key: str = "b") -> UUID:
        return await purchases.buy(
            self.house.sessions, self.actor, quote_id=quote_id, idempotency_key=key,
            rail=self.house.rails[self.method], unavailable=None, place=self.house.place, clock=self.house.clock,
        )  # fmt: skip

    async def status(self, quote_id: UUID, attempt_id: UUID | None = None) -> status.Status:
        async with self.house.sessions() as session:
            return await status.of_quote(
                session, self.actor.organization_id, quote_id, attempt_id=attempt_id, now=self.house.clock()
            )

    async def session_id(self, quote_id: UUID) -> str:
        action = (await self.status(quote_id)).action
        assert isinstance(action, CheckoutAction)
        return action.session_id

    async def facts(self, session_id: str) -> list[Fact]:
        return list(await self.house.rails[self.method].read(Reference("checkout_session", session_id)))

    async def settled(self, of: UUID, **changes: Any) -> PaymentSettled:
        """The fact that the attempt's first page was paid, about the page that is really there."""
        async with self.house.sessions() as session:
            row = await session.get_one(ProviderRequestRow, (self.actor.organization_id, of, 1))
        return settled(of, **{"object_id": row.external_id, **changes})

    async def apply(self, fact: Fact) -> Judged:
        return await fulfillment.apply(self.house.sessions, fact, livemode=False, now=self.house.clock())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is hurried."""
    be_patient(monkeypatch.setattr)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address of this machine that takes no connection, and that nobody else comes to listen at meanwhile."""
    with socket.socket() as kept:
        kept.bind((HOST, 0))
        yield f"http://{HOST}:{kept.getsockname()[1]}"


@pytest.fixture(scope="session")
def silent_sandbox() -> Iterator[Sandbox]:
    """A sandbox that sends no letters."""
    with sandbox_running() as sandbox:
        yield sandbox


@pytest.fixture
def quiet_sandbox(silent_sandbox: Sandbox) -> Sandbox:
    """The silent sandbox without the faults and calls of other tests."""
    silent_sandbox.control("DELETE", "faults")
    silent_sandbox.control("DELETE", "calls")
    return silent_sandbox


@pytest.fixture(scope="session")
def quiet_database(new_databases: Any) -> Database:
    """A database that no service's worker looks into."""
    made: Database = new_databases("quiet")
    return made


@pytest.fixture
async def quiet_house(quiet_database: Database, quiet_sandbox: Sandbox) -> AsyncIterator[House]:
    """A house whose provider sends no letters and which has no worker: nothing happens by itself."""
    built = house_of(
        Settings(
            database_url=SecretStr(quiet_database.run_url),
            stripe_secret_key=SecretStr(STRIPE_KEY),
            stripe_api_base=quiet_sandbox.url,
            public_url="http://127.0.0.1:1",
        ),
        "quiet house",
    )
    yield built
    await built.close()


@pytest.fixture
async def buyer(quiet_house: House) -> Buyer:
    newcomer = Newcomer(name="buyer", runtime="pytest")
    now = quiet_house.clock()
    signed_up = await identity.sign_up(quiet_house.sessions, newcomer, want_token=True, presented=None, now=now)
    return Buyer(quiet_house, await identity.authenticate(quiet_house.bearers.agents, signed_up.token or "", now=now))


def settled(of: UUID, *, number: int = 1, price: int = 500, **changes: Any) -> PaymentSettled:
    """What the checkout rail says when the attempt's session was paid."""
    name = ids.external("payatt", of)
    fact = PaymentSettled(
        method_id=CHECKOUT,
        attempt_id=name,
        provider_key=f"cs:{name}:{number}",
        object_id=f"cs_of_{of}_{number}",
        livemode=False,
        occurred_at=datetime.now(UTC),
        payment_kind="payment_intent",
        payment_id=f"pi_of_{of}",
        currency="usd",
        subtotal=price,
        discount=0,
        tax=0,
        total=price,
        details={"brand": "visa"},
    )
    return replace(fact, **changes)
