"""The isolation matrix of the routes under `/v1/operator`. Requests name things that are not there."""

from billing.refusals import Refusal
from billing.scopes import Scope
from tests.flows.matrix import UNKNOWN, Case, OfOperators, Request

ACT = {"idempotency_key": "{key}", "reason": "a test"}
ROOT = "/v1/operator"
HOOKS, ENDPOINT, DELIVERY = f"{ROOT}/webhook-endpoints", f"whep_{UNKNOWN}", f"msg_{UNKNOWN}"
EXCEPTION = f"exception_{UNKNOWN}"
LETTER, ATTEMPT, REFUND = f"letter_{UNKNOWN}", f"payatt_{UNKNOWN}", f"refund_{UNKNOWN}"


def _looks(path: str) -> list[Case]:
    return [OfOperators(Scope.OPERATE, Request(path), also=Scope.READ)]


def _looks_closely(path: str) -> list[Case]:
    """What is told of payers and operators needs the scope of those who act."""
    return [OfOperators(Scope.OPERATE, Request(path))]


def _acts(path: str, **body: object) -> list[Case]:
    return [OfOperators(Scope.OPERATE, Request(path, {**ACT, **body}))]


MATRIX: dict[str, list[Case]] = {
    f"GET {ROOT}/letters": _looks(f"{ROOT}/letters"),
    f"GET {ROOT}/letters/{{letter_id}}": _looks_closely(f"{ROOT}/letters/{LETTER}"),
    f"POST {ROOT}/letters/{{letter_id}}/retry": _acts(f"{ROOT}/letters/{LETTER}/retry"),
    f"POST {ROOT}/letters/{{letter_id}}/park": _acts(f"{ROOT}/letters/{LETTER}/park"),
    f"POST {ROOT}/letters/{{letter_id}}/ignore": _acts(f"{ROOT}/letters/{LETTER}/ignore"),
    f"GET {ROOT}/actions": _looks_closely(f"{ROOT}/actions"),
    f"GET {ROOT}/attempts": _looks(f"{ROOT}/attempts"),
    f"GET {ROOT}/attempts/{{attempt_id}}": _looks(f"{ROOT}/attempts/{ATTEMPT}"),
    f"GET {ROOT}/owed": _looks(f"{ROOT}/owed"),
    f"POST {ROOT}/owed/{{attempt_id}}/write-off": _acts(f"{ROOT}/owed/{ATTEMPT}/write-off"),
    f"POST {ROOT}/organizations/{{organization_id}}/freeze": _acts(f"{ROOT}/organizations/org_{UNKNOWN}/freeze"),
    f"POST {ROOT}/organizations/{{organization_id}}/unfreeze": _acts(f"{ROOT}/organizations/org_{UNKNOWN}/unfreeze"),
    f"GET {ROOT}/settlements": _looks(f"{ROOT}/settlements"),
    f"POST {ROOT}/settlements/{{attempt_id}}/release": _acts(f"{ROOT}/settlements/{ATTEMPT}/release"),
    f"POST {ROOT}/settlements/{{attempt_id}}/keep": _acts(f"{ROOT}/settlements/{ATTEMPT}/keep"),
    f"POST {ROOT}/refunds": _acts(f"{ROOT}/refunds", payment_attempt_id=ATTEMPT),
    f"GET {ROOT}/refunds": _looks(f"{ROOT}/refunds"),
    f"GET {ROOT}/refunds/{{refund_id}}": _looks(f"{ROOT}/refunds/{REFUND}"),
    f"GET {ROOT}/exceptions": _looks(f"{ROOT}/exceptions"),
    f"GET {ROOT}/exceptions/{{exception_id}}": _looks_closely(f"{ROOT}/exceptions/{EXCEPTION}"),
    f"POST {ROOT}/exceptions/{{exception_id}}/acknowledge": _acts(f"{ROOT}/exceptions/{EXCEPTION}/acknowledge"),
    f"POST {ROOT}/exceptions/{{exception_id}}/resolve": _acts(f"{ROOT}/exceptions/{EXCEPTION}/resolve"),
    f"POST {ROOT}/exceptions/{{exception_id}}/approve": _acts(
        f"{ROOT}/exceptions/{EXCEPTION}/approve", proposal_id=f"opact_{UNKNOWN}"
    ),
    f"GET {ROOT}/reconciliations": _looks(f"{ROOT}/reconciliations"),
    f"GET {ROOT}/reconciliations/latest": _looks_closely(f"{ROOT}/reconciliations/latest"),
    f"GET {ROOT}/closes": _looks(f"{ROOT}/closes"),
    f"GET {ROOT}/exports": _looks(f"{ROOT}/exports"),
    # A month that is none is refused, so that no books are marked for it.
    f"POST {ROOT}/exports": [
        OfOperators(
            Scope.OPERATE,
            Request(f"{ROOT}/exports", {**ACT, "period": "2026-13"}),
            refused=Refusal.INVALID_ARGUMENTS,
        )
    ],
    f"GET {ROOT}/exports/{{export_id}}/{{file}}": _looks_closely(f"{ROOT}/exports/export_{UNKNOWN}/journal.csv"),
    f"GET {HOOKS}": _looks(HOOKS),
    # Plain http is refused, so that nothing is made that would be told what the tests do.
    f"POST {HOOKS}": [
        OfOperators(
            Scope.OPERATE,
            Request(HOOKS, {**ACT, "url": "http://receiver.invalid/"}),
            refused=Refusal.INVALID_ARGUMENTS,
        )
    ],
    f"GET {HOOKS}/{{endpoint_id}}": _looks(f"{HOOKS}/{ENDPOINT}"),
    f"POST {HOOKS}/{{endpoint_id}}": _acts(f"{HOOKS}/{ENDPOINT}", description="x"),
    f"POST {HOOKS}/{{endpoint_id}}/rotate-secret": _acts(f"{HOOKS}/{ENDPOINT}/rotate-secret"),
    f"POST {HOOKS}/{{endpoint_id}}/enable": _acts(f"{HOOKS}/{ENDPOINT}/enable"),
    f"POST {HOOKS}/{{endpoint_id}}/disable": _acts(f"{HOOKS}/{ENDPOINT}/disable"),
    f"POST {HOOKS}/{{endpoint_id}}/test": _acts(f"{HOOKS}/{ENDPOINT}/test"),
    f"GET {ROOT}/webhook-deliveries": _looks(f"{ROOT}/webhook-deliveries"),
    f"GET {ROOT}/webhook-deliveries/{{delivery_id}}": _looks_closely(f"{ROOT}/webhook-deliveries/{DELIVERY}"),
    f"POST {ROOT}/webhook-deliveries/{{delivery_id}}/replay": _acts(f"{ROOT}/webhook-deliveries/{DELIVERY}/replay"),
}
