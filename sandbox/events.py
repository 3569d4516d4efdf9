"""Events: what happened, as snapshots (https://docs.stripe.com/api/events/object).

`data.object` is the object as it was then, in the pinned version; `request` names the API request that caused it.
The delivery of each event is planned in the same breath (`deliveries.py`).
"""

from sandbox import deliveries, errors, ids, paging
from sandbox.config import API_VERSION
from sandbox.fixtures import start_from
from sandbox.state import NOBODY, Call, Cause, Json, World


def emit(world: World, event_type: str, about: Json, cause: Cause = NOBODY, *, previous: Json | None = None) -> Json:
    """Make the event and plan its letters. `previous` holds the changed fields' old values, on `*.updated` events."""
    data: Json = {"object": about}
    if previous is not None:
        data["previous_attributes"] = previous
    event = start_from(
        "event",
        id=ids.new("evt"),
        api_version=API_VERSION,
        created=world.created(),
        data=data,
        livemode=bool(about.get("livemode", False)),
        type=event_type,
        request={"id": cause.request_id, "idempotency_key": cause.idempotency_key},
    )
    targets = deliveries.targets_of(world, event_type)
    event["pending_webhooks"] = len(targets)
    world.store.put("event", event["id"], event)
    world.store.put("event_delivery", event["id"], {"id": event["id"], "pending": targets})
    deliveries.plan(world, event["id"], targets)
    return event


def listed(world: World, call: Call) -> Json:
    """`GET /v1/events` (https://docs.stripe.com/api/events/list): by type, time and whether every letter arrived."""
    wanted = call.params

    def fits(event: Json) -> bool:
        if "type" in wanted and not _matches(event["type"], wanted["type"]):
            return False
        if "types" in wanted and event["type"] not in wanted["types"]:
            return False
        return "delivery_success" not in wanted or wanted["delivery_success"] == (not _pending(world, event["id"]))

    found = paging.page(world, call, kind="event", url="/v1/events", fits=fits)
    return {**found, "data": [_as_now(world, event) for event in found["data"]]}


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/events/{id}`."""
    event = world.store.get("event", call.identifier)
    if event is None:
        raise errors.missing_resource("event", call.identifier)
    return _as_now(world, event)


def _as_now(world: World, event: Json) -> Json:
    """The letter's bytes never change; what the API shows counts the letters that are still out."""
    return {**event, "pending_webhooks": len(_pending(world, event["id"]))}


def _pending(world: World, event_id: str) -> list[str]:
    found = world.store.get("event_delivery", event_id)
    return list(found["pending"]) if found else []


def _matches(event_type: str, wanted: str) -> bool:
    """`charge.*` style wildcards are allowed by Stripe's list call."""
    return event_type.startswith(wanted[:-1]) if wanted.endswith("*") else event_type == wanted
