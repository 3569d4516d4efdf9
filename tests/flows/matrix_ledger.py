"""The isolation matrix of grants, caps, and reading the ledger."""

from billing.scopes import Scope
from tests.flows.matrix import UNKNOWN, Case, Public, Request, Shared
from tests.service import Agent

KEYED = {"idempotency_key": "{key}"}
NO_CAPS = dict.fromkeys(("per_spend", "per_hour", "per_day", "per_month", "total"))
CAPS = "/v1/agents/{}/caps"


def _invited(owner: Agent) -> str:
    return str(owner.post("/v1/agents", {"agent_name": "capped", "runtime": "pytest"})["agent_id"])


def _operation(owner: Agent) -> str:
    return str(owner.get("/v1/ledger/entries", limit=1)["entries"][0]["operation_id"])


def _receipt(owner: Agent) -> str:
    """Of a job: it is made at once, while a payment takes its time."""
    return str(owner.do("/v1/create", prompt="a fox", model="house.sketcher")["receipt"]["receipt_id"])


def _about_agent(scope: Scope, request: Request) -> list[Case]:
    return [Shared(scope, request, make=_invited, unknown=f"agt_{UNKNOWN}")]


MATRIX: dict[str, list[Case]] = {
    "POST /v1/grants": [
        Shared(Scope.GRANT, Request("/v1/grants", {"cause": "promotional", "credits": 1, **KEYED})),
    ],
    "PUT /v1/agents/{agent_id}/caps": _about_agent(Scope.OPERATE, Request(CAPS, {**NO_CAPS, **KEYED})),
    "GET /v1/agents/{agent_id}/caps": _about_agent(Scope.READ, Request(CAPS)),
    "POST /v1/agents/{agent_id}/pause": _about_agent(Scope.OPERATE, Request("/v1/agents/{}/pause", KEYED)),
    "POST /v1/agents/{agent_id}/resume": _about_agent(Scope.OPERATE, Request("/v1/agents/{}/resume", KEYED)),
    "GET /v1/ledger/accounts": [Shared(Scope.READ, Request("/v1/ledger/accounts"))],
    "GET /v1/ledger/entries": [Shared(Scope.READ, Request("/v1/ledger/entries"))],
    "GET /v1/ledger/balance": [Shared(Scope.READ, Request("/v1/ledger/balance"))],
    "GET /v1/receipts/{receipt_id}": [
        Shared(Scope.READ, Request("/v1/receipts/{}"), make=_receipt, unknown=f"receipt_{UNKNOWN}"),
    ],
    "GET /v1/receipt-keys": [Public()],
    "GET /v1/ledger/operations/{operation_id}": [
        Shared(Scope.READ, Request("/v1/ledger/operations/{}"), make=_operation, unknown=f"op_{UNKNOWN}"),
    ],
}
