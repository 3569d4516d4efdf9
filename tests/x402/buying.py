"""An agent that buys quotes at a till, with a payment or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from billing.settling.records import Key
from ledger.ids import parse
from rails.x402.terms import METHOD_ID
from tests.evm.usdc import Payer
from tests.service import data_of, new_key
from tests.x402.chains import key_of
from tests.x402.paying import SIGNATURE, signed_payment
from tests.x402.till import PACK, Till

PURCHASE, TOP_UP = "/v1/credit-purchases/x402", f"/v1/x402/top-up/{PACK}"
STATUS = "/v1/credit-purchases/status"


def signed_for(till: Till, required: str, payer: Payer, **changes: Any) -> str:
    """The payment that a `PAYMENT-REQUIRED` header asks for, by the till's clock; `changes` as in `signed_payment`."""
    at = {"now": int(till.clock().timestamp()), "payer": payer.address, **changes}
    return signed_payment(required, key_of(payer), **at)


def paying(payment: str | None) -> dict[str, str]:
    """The header of a payment; none without one."""
    return {SIGNATURE: payment} if payment is not None else {}


@dataclass(frozen=True)
class Buyer:
    """An agent and the till that it buys at. Its answers are raw unless a method says what it gives."""

    till: Till
    token: str = field(repr=False)
    agent_id: str
    organization_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def at(self, till: Till) -> Buyer:
        """The same agent at another process of its service."""
        return Buyer(till, self.token, self.agent_id, self.organization_id)

    async def quote(self, method_id: str = METHOD_ID, *, credits_: int = 100) -> str:
        """The id of a new quote."""
        terms = {"credits": credits_, "payment_method": method_id, "idempotency_key": new_key()}
        return str(
            data_of(await self.till.client.post("/v1/credit-quotes", json=terms, headers=self.headers))["quote_id"]
        )

    async def buy(self, quote_id: str, payment: str | None = None, *, key: str | None = None) -> httpx.Response:
        """Buy a quote, under the one key of the quote unless another is given."""
        body = {"quote_id": quote_id, "idempotency_key": key or f"buy-{quote_id}"}
        return await self.till.client.post(PURCHASE, json=body, headers={**self.headers, **paying(payment)})

    async def top_up(self, payment: str | None = None, path: str = TOP_UP) -> httpx.Response:
        """Buy a pack without a quote, for the own organization."""
        return await self.till.client.post(path, headers={**self.headers, **paying(payment)})

    async def cancel(self, attempt_id: str) -> httpx.Response:
        return await self.till.client.post(f"/v1/credit-purchases/{attempt_id}/cancel", headers=self.headers)

    async def status(self, **reference: str) -> dict[str, Any]:
        """All that the agent is told of a purchase."""
        return data_of(await self.till.client.get(STATUS, params=reference, headers=self.headers))

    async def paid_credits(self) -> int:
        quota = data_of(await self.till.client.get("/v1/quota", headers=self.headers))
        return int(quota["limits"]["payment_backed_remaining_credits"])


async def buyer_at(till: Till) -> Buyer:
    """A new agent in an organization of its own."""
    body = {"agent_name": "tester", "runtime": "pytest", "return_token": True}
    return buyer_of(till, data_of(await till.client.post("/v1/agent-signups", json=body)))


def buyer_of(till: Till, told: Mapping[str, Any]) -> Buyer:
    """The agent whose token is in an answer."""
    return Buyer(till, told["token"], told["agent_id"], told["organization_id"])


def settlement_of(till: Till, attempt_id: str) -> Key:
    """The newest settlement of an attempt, by which its turns are made."""
    query = "SELECT organization_id, id FROM billing.settlements WHERE attempt_id = $1::uuid ORDER BY id DESC LIMIT 1"
    [(organization_id, settlement_id)] = till.database.rows(query, str(parse("payatt", attempt_id)))
    return Key(UUID(str(organization_id)), UUID(str(settlement_id)))
