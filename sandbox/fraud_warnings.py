"""Early fraud warnings (https://docs.stripe.com/disputes/measuring#early-fraud-warnings): the card's issuer suspects.

No money moves. The fields are those of stripe 16.1.0's `radar.EarlyFraudWarning`.
"""

from typing import Literal

from sandbox import errors, events, ids, paging
from sandbox.state import Call, Json, World

FraudType = Literal[
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
]


def warn(world: World, charge: Json, *, fraud_type: FraudType) -> Json:
    """A warning about a charge; `actionable` while the charge is neither disputed nor wholly refunded."""
    warning = {
        "id": ids.new("issfr"),
        "object": "radar.early_fraud_warning",
        "actionable": not charge["disputed"] and not charge["refunded"],
        "charge": charge["id"],
        "created": world.created(),
        "fraud_type": fraud_type,
        "livemode": charge["livemode"],
        "payment_intent": charge["payment_intent"],
    }
    world.store.put("radar.early_fraud_warning", warning["id"], warning)
    events.emit(world, "radar.early_fraud_warning.created", warning)
    return warning


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/radar/early_fraud_warnings/{id}`."""
    warning = world.store.get("radar.early_fraud_warning", call.identifier)
    if warning is None:
        raise errors.missing_resource("early fraud warning", call.identifier, "early_fraud_warning")
    return warning


def listed(world: World, call: Call) -> Json:
    """`GET /v1/radar/early_fraud_warnings`, by charge or payment intent."""
    wanted = call.params

    def fits(warning: Json) -> bool:
        by_charge = wanted.get("charge", warning["charge"]) == warning["charge"]
        by_intent = wanted.get("payment_intent", warning["payment_intent"]) == warning["payment_intent"]
        return bool(by_charge and by_intent)

    url = "/v1/radar/early_fraud_warnings"
    return paging.page(world, call, kind="radar.early_fraud_warning", url=url, fits=fits)
