"""Webhooks that we send: what stands in them, and endpoints and deliveries as operators see them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from api.http.views.happenings import event_view
from api.http.views.plain import at, at_or_none
from billing.outbound_tables import DeliveryState, WebhookDelivery, WebhookEndpoint
from billing.subscriptions import delivering, endpoints
from billing.subscriptions.trying import TEST_TYPE
from billing.tables import ActivityEvent
from ledger.ids import external

SHOWN_ONCE: Final = "the secret is shown this once: keep it now; one that is lost is replaced by rotating it"


def told(event: ActivityEvent) -> str:
    """The body of a message about an event: what the agent sees of it, and whose it is."""
    whose = {"organization_id": external("org", event.organization_id)}
    return _message(event.type, event.occurred_at, event_view(event) | whose)


def test_message(endpoint_name: str, now: datetime) -> str:
    """The body of a test message. It is about nobody."""
    return _message(TEST_TYPE, now, {"endpoint_id": endpoint_name, "summary": "A test; nothing happened."})


def _message(type_: str, happened_at: datetime, data: Mapping[str, Any]) -> str:
    return json.dumps({"type": type_, "timestamp": at(happened_at), "data": data}, ensure_ascii=False)


def endpoint(found: WebhookEndpoint) -> dict[str, Any]:
    """An endpoint without its secrets."""
    return {
        "endpoint_id": endpoints.public_id(found.id),
        "url": found.url,
        "types": found.types,
        "description": found.description,
        "enabled": found.disabled_reason is None,
        "disabled_reason": found.disabled_reason,
        "failing_since": at_or_none(found.failing_since),
        "old_secret_until": at_or_none(found.old_until),
        "created_at": at(found.created_at),
        "updated_at": at(found.updated_at),
    }


def delivery(found: WebhookDelivery) -> dict[str, Any]:
    """A delivery without its body. `delivery_id` is the `webhook-id` that the receiver gets."""
    whose, event = found.organization_id, found.event_id
    return {
        "delivery_id": delivering.public_id(found.id),
        "endpoint_id": endpoints.public_id(found.endpoint_id),
        "organization_id": external("org", whose) if whose is not None else None,
        "event_id": external("evt", event) if event is not None else None,
        "type": found.type,
        "state": found.state,
        "tries": found.tries,
        "next_try_at": at(found.next_try_at) if found.state == DeliveryState.PENDING else None,
        "last_status": found.last_status,
        "last_error": found.last_error,
        "created_at": at(found.created_at),
        "updated_at": at(found.updated_at),
    }


def whole_delivery(found: WebhookDelivery) -> dict[str, Any]:
    """A delivery with its body, as text: the bytes that are signed."""
    return delivery(found) | {"body": found.body}
