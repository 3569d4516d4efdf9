"""The table of the API: method and path → name of its parameters (`known_parameters.json`) and function.

https://docs.stripe.com/api lists them all; what is not here answers 404 as an unrecognized URL.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sandbox import (
    balance,
    charges,
    checkout,
    deposits,
    disputes,
    endpoints,
    events,
    fraud_warnings,
    payment_intents,
    payouts,
    refunds,
)
from sandbox.errors import Refusal
from sandbox.fixtures import start_from
from sandbox.state import Call, Json, World

Endpoint = Callable[[World, Call], Json]


@dataclass(frozen=True)
class Route:
    """One line of the table; `{id}` in the path is the id of the object."""

    method: str
    path: str
    name: str
    endpoint: Endpoint


def account(world: World, call: Call) -> Json:  # noqa: ARG001 - every route has the same signature
    """`GET /v1/account` (https://docs.stripe.com/api/accounts/retrieve): a US account that may charge and pay out."""
    return start_from("account", charges_enabled=True, payouts_enabled=True, details_submitted=True)


_OBJECTS = {
    "balance_transactions": (balance.listed, balance.retrieved),
    "charges": (charges.listed, charges.retrieved),
    "checkout.sessions": (checkout.listed, checkout.retrieved),
    "disputes": (disputes.listed, disputes.retrieved),
    "events": (events.listed, events.retrieved),
    "payment_intents": (payment_intents.listed, payment_intents.retrieved),
    "payouts": (payouts.listed, payouts.retrieved),
    "radar.early_fraud_warnings": (fraud_warnings.listed, fraud_warnings.retrieved),
    "refunds": (refunds.listed, refunds.retrieved),
    "webhook_endpoints": (endpoints.listed, endpoints.retrieved),
}
_SIMULATE = "/v1/test_helpers/payment_intents/{id}/simulate_crypto_deposit"

ROUTES = (
    *(
        Route("GET", f"/v1/{name.replace('.', '/')}{rest}", f"{name}.{verb}", function)
        for name, functions in _OBJECTS.items()
        for rest, verb, function in zip(("", "/{id}"), ("list", "retrieve"), functions, strict=True)
    ),
    Route("GET", "/v1/account", "account.retrieve", account),
    Route("GET", "/v1/balance", "balance.retrieve", balance.sums),
    Route("POST", "/v1/checkout/sessions", "checkout.sessions.create", checkout.create),
    Route("POST", "/v1/checkout/sessions/{id}/expire", "checkout.sessions.expire", checkout.expire),
    Route("GET", "/v1/checkout/sessions/{id}/line_items", "checkout.sessions.line_items", checkout.line_items),
    Route("POST", "/v1/disputes/{id}/close", "disputes.close", disputes.close),
    Route("POST", "/v1/payment_intents", "payment_intents.create", payment_intents.create),
    Route("POST", "/v1/payment_intents/{id}/cancel", "payment_intents.cancel", payment_intents.cancel),
    Route("POST", _SIMULATE, "payment_intents.simulate_crypto_deposit", deposits.simulate),
    Route("POST", "/v1/refunds", "refunds.create", refunds.create),
    Route("POST", "/v1/webhook_endpoints", "webhook_endpoints.create", endpoints.create),
    Route("POST", "/v1/webhook_endpoints/{id}", "webhook_endpoints.update", endpoints.update),
    Route("DELETE", "/v1/webhook_endpoints/{id}", "webhook_endpoints.delete", endpoints.delete),
)


def find(method: str, path: str) -> tuple[Route, str]:
    """The route and the id in its path; raises `Refusal` when there is none."""
    for route in ROUTES:
        pattern = re.escape(route.path).replace(r"\{id\}", "([A-Za-z0-9_]+)")
        found = re.fullmatch(pattern, path)
        if route.method == method and found is not None:
            return route, "".join(found.groups())
    raise Refusal(
        404,
        f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove the trailing slash. "
        "If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code.",
    )
