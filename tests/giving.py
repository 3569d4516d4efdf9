"""What tests put into the books without buying it, as the service itself would post it; and operator keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
from pydantic import SecretStr

from api.settings import Settings
from api.wiring import House
from billing import operator_keys
from billing.scopes import Scope
from ledger import ids, posting
from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Caps, Kind, LotCause, LotOpening, Operation, Transfer
from ledger.outcomes import Posted
from tests.service import Agent, Database, Operator, new_key
from tests.warm import house_of

T = TypeVar("T")


def new_operator(client: httpx.Client, database: Database, *scopes: Scope) -> Operator:
    """An operator key with these scopes, for the service on `database`."""

    async def create(house: House) -> operator_keys.NewKey:
        return await operator_keys.create(house.sessions, name="of the tests", scopes=scopes, now=house.clock())

    made = in_house(database, create)
    return Operator(client, made.token, made.key_id)


def in_house(database: Database, do: Callable[[House], Coroutine[Any, Any, T]], *, as_owner: bool = False) -> T:
    """What `do` gives in a house of this process on `database`; not for tests that have a loop themselves."""
    url = database.owner_url if as_owner else database.run_url

    async def done() -> T:
        house = house_of(Settings(database_url=SecretStr(url)), "giving")
        try:
            return await do(house)
        finally:
            await house.close()

    return asyncio.run(done())


def post_operations(database: Database, *operations: Operation) -> list[Posted]:
    """Post as the service itself would."""

    async def post(house: House) -> list[Posted]:
        async with house.sessions() as session, session.begin():
            return await posting.post(session, operations)

    return in_house(database, post)


def organization_of(agent: Agent) -> UUID:
    return ids.parse("org", agent.organization_id)


def give(database: Database, agent: Agent, credits_: int, *, paid: bool = False, **lot: Any) -> UUID:
    """Credits for the agent's organization, without a purchase; the grant's id."""
    grant = grant_to(agent, credits_, paid=paid, **lot)
    post_operations(database, grant)
    return grant.id


def scatter(database: Database, agent: Agent, lots: int) -> None:
    """So many lots of one credit."""
    soon = datetime.now(UTC) + timedelta(days=1)
    expiring = [grant_to(agent, 1, expires_at=soon + timedelta(seconds=n)) for n in range(lots)]
    post_operations(database, *expiring)


def grant_to(
    agent: Agent, credits_: int, *, paid: bool = False, expires_at: datetime | None = None, priority: int = 100
) -> Operation:
    """A grant for the agent's organization."""
    cause, basis = (LotCause.PAID, usd(credits_)) if paid else (LotCause.PROMOTIONAL, None)
    return Operation(
        organization_of(agent),
        Kind.GRANT,
        SYSTEM_SCOPE,
        new_key(),
        "test",
        transfers=(Transfer("stripe_clearing", "deferred_revenue", usd(credits_)),) if paid else (),
        lot=LotOpening(cause, credits_, basis, expires_at, priority),
    )


def about_grant(agent: Agent, kind: Kind, grant_id: UUID, credits_: int = 0) -> Operation:
    """What a dispute does: freeze, unfreeze, claw back, reinstate."""
    organization_id = organization_of(agent)
    return Operation(organization_id, kind, SYSTEM_SCOPE, new_key(), "test", target=grant_id, credits=credits_)


def set_caps(database: Database, agent: Agent, caps: Caps) -> None:
    """Caps for the agent, as an operator would set them."""
    spender = ids.parse("agt", agent.agent_id)
    operation = Operation(
        organization_of(agent), Kind.SET_CAPS, SYSTEM_SCOPE, new_key(), "test", spender=spender, caps=caps
    )  # fmt: skip
    post_operations(database, operation)
