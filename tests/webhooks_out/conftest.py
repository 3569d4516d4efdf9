"""What the tests of outgoing webhooks share: a database of their own, a clock that moves, and what happens in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import SecretStr

from api.http.views.hooks import told
from api.settings import Settings
from api.wiring import House
from billing import activity, identity
from billing.activity import EventType
from billing.fresh import new_id
from billing.identity import Newcomer
from billing.operator_actions import COMMAND_LINE
from billing.outbound_tables import WebhookEndpoint
from billing.subscriptions import endpoints, spends, spreading
from billing.subscriptions.delivering import Courier
from billing.tables import ActivityEvent
from ledger import ids, posting
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation
from outbound.door import Door
from tests.billing.patience import be_patient
from tests.outbound.conftest import receiver
from tests.service import Database, new_key
from tests.warm import house_of

__all__ = ["receiver"]

PATIENCE_S = 60
"""For what has to come, on a machine that stalls: no test waits until this is over."""
TABLES = ("webhook_deliveries", "untold_events", "told_books", "webhook_endpoints")


@dataclass
class Clock:
    """A clock that goes on only when it is told to."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at

    def move(self, by: timedelta) -> None:
        self.at += by


class Looking:
    """The database as its owner sees it, on one connection, for tests that look often."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection = self._done(asyncpg.connect(url))
        self.organization_id: UUID | None = None

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._done(self._connection.fetch(query, *parameters))]

    def close(self) -> None:
        self._done(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _done(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


@dataclass
class World:
    """An organization with credits, and what a worker does for it."""

    house: House
    look: Looking
    clock: Clock
    door: Door
    organization_id: UUID
    render: spreading.Render = told
    couriers: list[Courier] = field(default_factory=list)

    async def endpoint(self, url: str, *types: EventType) -> endpoints.NewSecret:
        """An endpoint that wants these types, or all."""
        return await endpoints.make(
            self.house.sessions, url=url, types=types, description="", check=self.door.check,
            by=COMMAND_LINE, reason="a test", now=self.clock(),
        )  # fmt: skip

    async def happens(self, type_: EventType = EventType.FEEDBACK_CREATED, *, times: int = 1) -> list[UUID]:
        """Events, each in a transaction of its own."""
        return [await self._happens(type_) for _ in range(times)]

    async def _happens(self, type_: EventType) -> UUID:
        async with self.house.sessions() as session, session.begin():
            activity.tell(session, event := self.event(type_))
        return event.id

    def event(self, type_: EventType = EventType.FEEDBACK_CREATED) -> ActivityEvent:
        return ActivityEvent(
            organization_id=self.organization_id, id=new_id(self.clock()), type=type_, occurred_at=self.clock(),
            summary="Something happened, says 🐈.", operation="feedback.create", subject_type="feedback",
            subject_id="sig_1", status="succeeded", links={"feedback_id": "sig_1"},
        )  # fmt: skip

    async def post(self, *operations: Operation) -> None:
        async with self.house.sessions() as session, session.begin():
            await posting.post(session, operations)

    def spend(self, credits_: int = 1, **more: Any) -> Operation:
        return Operation(self.organization_id, Kind.SPEND, SYSTEM_SCOPE, new_key(), "spend", credits=credits_, **more)

    async def spread(self) -> int:
        return await spreading.spread(self.house.sessions, self.render, now=self.clock())

    async def spread_spends(self) -> None:
        """A whole round through the books."""
        turn = await spends.spread(self.house.sessions, self.render, after=spends.BEGINNING, now=self.clock())
        while turn.more or turn.after != spends.BEGINNING:
            turn = await spends.spread(self.house.sessions, self.render, after=turn.after, now=self.clock())

    def courier(self, door: Door | None = None) -> Courier:
        self.couriers.append(Courier(self.house.sessions, door or self.door, clock=self.clock))
        return self.couriers[-1]

    async def deliver(self, door: Door | None = None) -> None:
        """Send all that is due, and wait for it."""
        courier = self.courier(door)
        await courier.turn()
        await courier.settle()
        await courier.turn()

    def endpoint_now(self, endpoint: WebhookEndpoint) -> dict[str, Any]:
        return self.look.rows("SELECT * FROM billing.webhook_endpoints WHERE id = $1", endpoint.id)[0]

    def deliveries(self, *states: str) -> list[dict[str, Any]]:
        """Deliveries in the order in which they were made, those in these states or all."""
        found = self.look.rows("SELECT * FROM billing.webhook_deliveries ORDER BY created_at, id")
        return [row for row in found if not states or row["state"] in states]

    def told(self) -> list[tuple[UUID, UUID]]:
        """Which endpoint was told of which event, in order, as often as it was."""
        return sorted((row["endpoint_id"], row["event_id"]) for row in self.deliveries())

    def untold(self) -> int:
        return len(self.look.rows("SELECT * FROM billing.untold_events"))


def bodies(calls: Sequence[Any]) -> list[Any]:
    return [json.loads(call.body) for call in calls]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is hurried."""
    be_patient(monkeypatch.setattr)


@pytest.fixture(scope="session")
def hook_database(new_databases: Any) -> Database:
    """A database that no worker looks into."""
    made: Database = new_databases("webhooks_out")
    return made


@pytest.fixture(scope="session")
def look(hook_database: Database) -> Iterator[Looking]:
    looking = Looking(hook_database.owner_url)
    yield looking
    looking.close()


@pytest.fixture
async def world(hook_database: Database, look: Looking) -> AsyncIterator[World]:
    for table in TABLES:
        look.rows(f"DELETE FROM billing.{table}")
    settings = Settings(database_url=SecretStr(hook_database.run_url), outbound_private=True, outbound_timeout_s=30)
    house = house_of(settings, "webhooks_out")
    organization_id = look.organization_id or await new_organization(house)
    look.organization_id = organization_id
    found = World(house, look, Clock(datetime.now(UTC)), house.outside.door, organization_id)
    yield found
    for courier in found.couriers:
        await courier.close(within_s=0)
    await house.close()


async def new_organization(house: House) -> UUID:
    """One with credits enough for all tests; each of them looks at what happens from its beginning on."""
    newcomer = Newcomer(name="told of", runtime="pytest")
    done = await identity.sign_up(house.sessions, newcomer, want_token=False, presented=None, now=house.clock())
    lot = LotOpening(LotCause.PROMOTIONAL, 100_000, None, None, 100)
    grant = Operation(done.agent.organization_id, Kind.GRANT, SYSTEM_SCOPE, new_key(), "test", lot=lot)
    async with house.sessions() as session, session.begin():
        await posting.post(session, [grant])
    return done.agent.organization_id


def name_of(event_id: UUID) -> str:
    return ids.external("evt", event_id)
