"""The isolation matrix of spends, holds, and metrics."""

from billing.refusals import Refusal
from billing.scopes import Scope
from tests.flows.matrix import UNKNOWN, Case, Keyed, Request, Shared
from tests.service import Agent

ONE = {"credits": 1, "idempotency_key": "{key}"}
HOLD = {**ONE, "expires_in_seconds": 600}


def _hold(owner: Agent) -> str:
    return str(owner.do("/v1/holds", credits=1, expires_in_seconds=60)["hold_id"])


def _spend(owner: Agent) -> str:
    return str(owner.do("/v1/spends", credits=1)["operation_id"])


def _ending(doing: str, body: dict[str, object]) -> list[Case]:
    request = Request(f"/v1/holds/{{}}/{doing}", {"idempotency_key": "{key}", **body})
    only = Refusal.NOT_THE_MAKER
    return [Shared(Scope.SPEND, request, _hold, f"hold_{UNKNOWN}", sibling=only, operator=only)]


MATRIX: dict[str, list[Case]] = {
    "GET /metrics": [Keyed(Scope.READ)],
    "POST /v1/spends": [Shared(Scope.SPEND, Request("/v1/spends", ONE))],
    "POST /v1/spends/batch": [Shared(Scope.SPEND, Request("/v1/spends/batch", {"items": [ONE]}), by_item=True)],
    "POST /v1/refunds-of-spends": [
        Shared(Scope.GRANT, Request("/v1/refunds-of-spends", {**ONE, "operation_id": "{}"}), _spend, f"op_{UNKNOWN}"),
    ],
    "POST /v1/holds": [Shared(Scope.SPEND, Request("/v1/holds", HOLD))],
    "GET /v1/holds": [Shared(Scope.READ, Request("/v1/holds"))],
    "GET /v1/holds/{hold_id}": [Shared(Scope.READ, Request("/v1/holds/{}"), _hold, f"hold_{UNKNOWN}")],
    "POST /v1/holds/{hold_id}/capture": _ending("capture", {"credits": 1}),
    "POST /v1/holds/{hold_id}/void": _ending("void", {}),
    "POST /v1/holds/{hold_id}/extend": _ending("extend", {"expires_in_seconds": 900}),
}
