"""What the tests of the books share: operations to post, and the owner's view."""

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billing.database import Sessions
from ledger import ids, posting
from ledger.money import usd
from ledger.operations import SYSTEM_SCOPE, Kind, LotCause, LotOpening, Operation, Transfer, opening
from ledger.outcomes import Posted
from ledger.verification import Mismatch, verify_book

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def new_id() -> UUID:
    return ids.uuid7(datetime.now(UTC), secrets.token_bytes(10))


def grant(organization_id: UUID, key: str, credits_: int, **changes: Any) -> Operation:
    """A paid grant of `credits_`, one cent each."""
    values: dict[str, Any] = {
        "organization_id": organization_id,
        "kind": Kind.GRANT,
        "scope": SYSTEM_SCOPE,
        "key": key,
        "event_at": AT,
        "cause": "test",
        "transfers": (Transfer("stripe_clearing", "deferred_revenue", usd(credits_)),),
        "lot": LotOpening(LotCause.PAID, credits_, usd(credits_), None),
    }
    return Operation(**{**values, **changes})


AGENT = UUID(int=7)


def spend(organization_id: UUID, key: str, credits_: int, **changes: Any) -> Operation:
    """A spend of `credits_` by an agent."""
    return Operation(organization_id, **{"kind": Kind.SPEND, "scope": AGENT, "key": key, "cause": "test",
                                         "credits": credits_, **changes})  # fmt: skip


async def post(books: Sessions, *operations: Operation) -> list[Posted]:
    async with books() as session, session.begin():
        return await posting.post(session, operations)


async def new_book(books: Sessions) -> UUID:
    organization_id = new_id()
    await post(books, opening(organization_id=organization_id, event_at=AT))
    return organization_id


async def problems(books: Sessions, organization_id: UUID) -> list[Mismatch]:
    async with books() as session:
        return await verify_book(session, organization_id)


@dataclass
class Owner:
    """The owner of the database, who may do what the service may not."""

    connection: Any

    @asynccontextmanager
    async def clock_at(self, expression: str):
        """Let `ledger.clock()` answer `expression`."""
        body = "CREATE OR REPLACE FUNCTION ledger.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
        await self.connection.execute(f"{body} $$ SELECT {expression} $$")
        try:
            yield
        finally:
            await self.connection.execute(f"{body} $$ SELECT clock_timestamp() $$")
