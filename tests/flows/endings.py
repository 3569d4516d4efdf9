"""What the tests of endings share: what a payer's page says, what stands in the books, what became of the payments."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx

from billing import proofs
from billing.database import snapshot
from ledger import statements
from ledger.ids import parse
from ledger.operations import PLATFORM
from ledger.verification import verify_book
from tests.service import ANSWER_S, Agent, Sandbox, Service, until


def page_of(agent: Agent, bought: dict[str, Any], **query: str) -> httpx.Response:
    """What a person sees under the attempt's link."""
    return agent.client.get(f"/pay/{bought['payment_attempt_id']}", params=query)


def reread(agent: Agent, bought: dict[str, Any]) -> dict[str, Any]:
    """What the purchase is now."""
    return agent.status(payment_attempt_id=bought["payment_attempt_id"])


def wait_for(agent: Agent, bought: dict[str, Any], state: str) -> dict[str, Any]:
    return agent.wait_for_state(state, payment_attempt_id=bought["payment_attempt_id"])


def attempt_uuid(bought: dict[str, Any]) -> str:
    return str(parse("payatt", bought["payment_attempt_id"]))


def payments_of(service: Service, agent: Agent) -> list[tuple[str, str, int]]:
    """(kind, purpose, cents) of the organization's payments, in the order in which they were known."""
    rows = service.database.rows(
        "SELECT kind, purpose, amount_cents FROM billing.external_payments WHERE organization_id = $1::uuid"
        " ORDER BY created_at",
        str(parse("org", agent.organization_id)),
    )
    return [tuple(row) for row in rows]


async def books_of(house: Any, organization_id: UUID) -> dict[str, int]:
    """Balances of money and credits at one moment (fees are booked meanwhile), and nothing that does not verify."""
    async with snapshot(house.sessions) as session:
        broken = [
            await verify_book(session, organization_id),
            await proofs.problems(session, organization_id, limit=10),
        ]
        assert broken == [[], []], broken
        return {row.code: row.balance for row in await statements.trial_balance(session, organization_id)}


async def unallocated_for(house: Any, service: Service, agent: Agent) -> int:
    """Cents that the platform's book got for payments of the organization that granted nothing."""
    await books_of(house, PLATFORM)
    [row] = service.database.rows(
        "SELECT coalesce(sum(t.amount), 0)::bigint FROM billing.external_payments AS p"
        " JOIN ledger.operations AS o ON o.organization_id = $2::uuid AND o.id = p.operation_id"
        " JOIN ledger.transfers AS t"
        " ON t.lane = o.lane AND t.organization_id = o.organization_id AND t.seq = o.seq"
        " WHERE p.organization_id = $1::uuid AND t.debit = 'stripe_clearing' AND t.credit = 'unallocated_deposits'",
        str(parse("org", agent.organization_id)),
        str(PLATFORM),
    )
    return int(row[0])


def tell(service: Service, sandbox: Sandbox, event_type: str, thing: str) -> None:
    """Deliver the newest event about `thing` by hand, and wait until its letter is done."""
    event = until(lambda: sandbox.event_about(event_type, thing))
    body = json.dumps(event).encode()
    answer = httpx.post(f"{service.url}/webhooks/stripe", content=body, headers=service.signed(body), timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    query = "SELECT state, reason FROM webhooks.letters WHERE body = $1"
    [state, reason] = until(lambda: _answered(service.database.rows(query, body)))
    assert state == "done", reason


def _answered(rows: list[Any]) -> Any:
    return rows[0] if rows and rows[0][0] != "pending" else None


def alerts(service: Service, name: str, **fields: str) -> list[Any]:
    """The log lines `name` with these fields, once there are some: they are written after what they tell of."""

    def look() -> list[Any]:
        lines = [json.loads(line) for line in service.log().splitlines() if f'"{name}"' in line]
        return [line for line in lines if fields.items() <= line.items()]

    return until(look)
