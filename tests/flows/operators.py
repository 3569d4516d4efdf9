"""An operator at work: it names the organization of an agent in everything that it sends."""

from dataclasses import dataclass
from typing import Any

import httpx

from billing.scopes import Scope
from tests.giving import new_operator
from tests.service import Agent, Database, Operator, data_of, new_key


@dataclass(frozen=True)
class Desk:
    """Where an operator works. Without an agent it names no organization, unless it is told to."""

    operator: Operator

    def send(self, method: str, path: str, agent: Agent | None, body: Any = None, **query: Any) -> httpx.Response:
        named = {"organization_id": agent.organization_id} if agent is not None else {}
        if body is None:
            return self.operator.send(method, path, **{**named, **query})
        return self.operator.send(method, path, {**named, **body}, **query)

    def get(self, path: str, agent: Agent, **query: Any) -> dict[str, Any]:
        return data_of(self.send("GET", path, agent, **query))

    def give(self, agent: Agent, credits_: int, *, key: str | None = None, **more: Any) -> dict[str, Any]:
        body = {"cause": "promotional", "credits": credits_, "idempotency_key": key or new_key(), **more}
        return data_of(self.send("POST", "/v1/grants", agent, body))


def new_desk(client: httpx.Client, database: Database, *scopes: Scope) -> Desk:
    """The desk of a fresh operator whose key has the scopes."""
    return Desk(new_operator(client, database, *scopes))
