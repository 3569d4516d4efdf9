"""Webhook endpoints (https://docs.stripe.com/api/webhook_endpoints): the signing secret is shown once, at creation."""

from sandbox import errors, ids, paging
from sandbox.fixtures import start_from
from sandbox.state import Call, Json, World

ENDPOINTS_MAX = 16
"""https://docs.stripe.com/webhooks: up to 16 endpoints an account."""


def create(world: World, call: Call) -> Json:
    """`POST /v1/webhook_endpoints`."""
    params = call.params
    if params.get("connect"):
        raise errors.not_played("connect")
    if world.store.counts().get("webhook_endpoint", 0) >= ENDPOINTS_MAX:
        raise errors.wrong_state(f"You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints.")
    _check(params)
    endpoint = start_from(
        "webhook_endpoint",
        id=ids.new("we"),
        api_version=params.get("api_version"),
        created=world.created(),
        description=params.get("description"),
        enabled_events=params["enabled_events"],
        metadata=params.get("metadata", {}),
        url=params["url"],
    )
    secret = ids.new("whsec", 32)
    world.store.put("webhook_endpoint", endpoint["id"], endpoint)
    world.store.put("endpoint_secret", endpoint["id"], {"id": endpoint["id"], "secret": secret})
    return {**endpoint, "secret": secret}


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/webhook_endpoints/{id}`."""
    endpoint = world.store.get("webhook_endpoint", call.identifier)
    if endpoint is None:
        raise errors.missing_resource("webhook endpoint", call.identifier, "webhook_endpoint")
    return endpoint


def listed(world: World, call: Call) -> Json:
    """`GET /v1/webhook_endpoints`."""
    return paging.page(world, call, kind="webhook_endpoint", url="/v1/webhook_endpoints")


def update(world: World, call: Call) -> Json:
    """`POST /v1/webhook_endpoints/{id}`; `disabled` stops deliveries to it."""
    endpoint, params = retrieved(world, call), dict(call.params)
    _check(params)
    params.pop("expand", None)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params.pop("disabled") else "enabled"
    endpoint["metadata"] |= params.pop("metadata", {})
    endpoint |= params
    world.store.put("webhook_endpoint", endpoint["id"], endpoint)
    return endpoint


def delete(world: World, call: Call) -> Json:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    endpoint = retrieved(world, call)
    world.store.delete("webhook_endpoint", endpoint["id"])
    world.store.delete("endpoint_secret", endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def _check(params: Json) -> None:
    if "url" in params and not params["url"].startswith(("http://", "https://")):
        raise errors.invalid("url", "Invalid URL: An explicit scheme (such as https) must be provided.", "url_invalid")
    if "enabled_events" in params and not params["enabled_events"]:
        raise errors.invalid("enabled_events", "You must provide at least one event.", "parameter_invalid_empty")
