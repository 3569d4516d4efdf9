"""What the Stripe rails need to know of Stripe's objects: our metadata, unix times, expansion, text. Pure.

Our metadata stands on every object we make and is copied by Stripe from a payment intent to its charges, so that any
object of a later message says which attempt it belongs to. Source: https://docs.stripe.com/api/metadata (50 keys, 40
characters a key, 500 a value).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypedDict

from ledger.money import Currency
from rails.money import RefundOrder
from rails.rail import Order, Reference

ATTEMPT: Final = "purser_attempt"
QUOTE: Final = "purser_quote"
ORGANIZATION: Final = "purser_organization"
METHOD: Final = "purser_method"
KEY: Final = "purser_key"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which of our attempts an object was made for, and under which provider key."""

    attempt_id: str
    provider_key: str


class Common(TypedDict):
    """The fields that every fact has."""

    method_id: str
    attempt_id: str
    provider_key: str
    object_id: str
    livemode: bool
    occurred_at: datetime


def metadata(order: Order, *, method_id: str, provider_key: str) -> dict[str, str]:
    """What we write on an object made for `order`."""
    return {
        ATTEMPT: order.attempt_id,
        QUOTE: order.quote_id,
        ORGANIZATION: order.organization_id,
        METHOD: method_id,
        KEY: provider_key,
    }


def origin(thing: object, *, method_id: str) -> Origin | None:
    """Whose object `thing` is; None when it is not of our making by `method_id` (other integrations share accounts)."""
    values = thing.get("metadata") if isinstance(thing, Mapping) else None
    if not isinstance(values, Mapping) or values.get(METHOD) != method_id:
        return None
    attempt_id, provider_key = values.get(ATTEMPT), values.get(KEY)
    if not isinstance(attempt_id, str) or not isinstance(provider_key, str):
        return None
    return Origin(attempt_id, provider_key)


def made_under(thing: object, provider_key: str, *, method_id: str) -> bool:
    """Whether `thing` was made by the method's request with that provider key."""
    found = origin(thing, method_id=method_id)
    return found is not None and found.provider_key == provider_key


def is_ours(thing: object) -> bool:
    """Whether `thing` carries our metadata, by whichever method it was made."""
    values = thing.get("metadata") if isinstance(thing, Mapping) else None
    return isinstance(values, Mapping) and isinstance(values.get(METHOD), str)


def event_object(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object inside a decoded snapshot event; empty when there is none. Raises nothing."""
    data = event.get("data")
    thing = data.get("object") if isinstance(data, Mapping) else None
    return thing if isinstance(thing, Mapping) else {}


def nested(thing: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any] | None:
    """The object at `path` inside `thing`; None when it is absent or was not expanded (then it is only an id)."""
    for name in path:
        value = thing.get(name) if thing is not None else None
        thing = value if isinstance(value, Mapping) else None
    return thing


def at(unix_seconds: int) -> datetime:
    """Stripe's time as ours, in UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC)


def texts(values: Mapping[str, Any] | None, *names: str) -> dict[str, str]:
    """Those of `names` that `values` tells, as text."""
    return {name: str(values[name]) for name in names if values is not None and values.get(name)}


def usd_cents(order: Order) -> int:
    """The price in cents. Raises `ValueError` for another currency: both rails ask for dollars only."""
    if order.price.currency is not Currency.USD:
        raise ValueError(f"Stripe is asked for USD, not {order.price.currency}")
    return order.price.amount


def encoded(parameters: Mapping[str, Any]) -> str:
    """`parameters` as the JSON text that is stored: their order kept, the same bytes for the same values."""
    return json.dumps(parameters, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def refund_parameters(order: RefundOrder) -> str:
    """The parameters of a refund as the JSON text that is stored. Source: https://docs.stripe.com/api/refunds/create.

    Stripe copies no metadata to a refund, and `KEY` is how one whose answer was lost is found again.
    """
    return encoded(
        {
            "payment_intent": order.payment_id,
            "amount": order.amount,
            "reason": "requested_by_customer",
            "metadata": {ATTEMPT: order.attempt_id, ORGANIZATION: order.organization_id, KEY: order.provider_key},
        }
    )


def references(event: Mapping[str, Any], kind_by_event: Mapping[str, str], *, method_id: str) -> tuple[Reference, ...]:
    """The object that `event` is about, if it is of the method's making; a charge stands for its payment intent."""
    kind = kind_by_event.get(str(event.get("type")))
    thing = event_object(event)
    if kind is None or origin(thing, method_id=method_id) is None:
        return ()
    external_id = thing.get("payment_intent" if thing.get("object") == "charge" else "id")
    return (Reference(kind, external_id),) if isinstance(external_id, str) else ()
