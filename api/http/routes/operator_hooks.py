"""Operators and the webhooks that we send: endpoints, their secrets, and what was delivered to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_hooks as fields
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.fields_operator import ActAsked, PageAsked
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, described
from api.http.routes.operator_letters import ACTS, LOOKS, acting
from api.http.routes.people import cursor
from api.http.views import hooks as views
from api.http.views import operator as plain_views
from billing import operator_actions
from billing.database import snapshot
from billing.operator_actions import Act, Acting
from billing.refusals import Refusal, Refused
from billing.reversal_tables import OperatorAction
from billing.subscriptions import delivering, endpoints, listing, trying
from billing.subscriptions.endpoints import NewSecret

_ROOT: Final = "/v1/operator/webhook-endpoints"
_ONE: Final = f"{_ROOT}/{{endpoint_id:str}}"
_DELIVERIES: Final = "/v1/operator/webhook-deliveries"


@post(
    _ROOT,
    status_code=200,
    guards=[ACTS],
    opt=described(
        "operator webhook-endpoint create",
        body=fields.EndpointAsked,
        refuses=(Refusal.SPENDING_CONFLICT, Refusal.STATE_CONFLICT),
    ),
)
async def make_endpoint(request: AnyRequest) -> Envelope:
    """Tell a URL of the product what happens from now on; its signing secret is shown this once."""
    asked, house = await body_of(request, fields.EndpointAsked), house_of(request)
    by, made = acting(request, asked.idempotency_key), list[NewSecret]()

    async def make() -> None:
        found = await endpoints.make(
            house.sessions,
            url=asked.url,
            types=asked.types,
            description=asked.description,
            check=house.outside.door.check,
            by=by,
            reason=asked.reason,
            now=house.clock(),
        )
        made.append(found)

    recorded, replayed = await operator_actions.once(
        house.sessions, by, Act.MAKE_WEBHOOK_ENDPOINT, subject=asked.url, reason=asked.reason, act=make
    )
    if replayed and set(recorded.details["types"]) != set(asked.types):
        raise Refused(Refusal.SPENDING_CONFLICT)
    endpoint_id = endpoints.parsed(recorded.details["endpoint_id"])
    return await _shown(request, endpoint_id, recorded, replayed=replayed, secret=None if replayed else made[0].secret)


@get(_ROOT, guards=[LOOKS], opt=described("operator webhook-endpoints", query=PageAsked))
async def list_endpoints(request: AnyRequest) -> Envelope:
    """Endpoints, newest first, without their secrets."""
    asked = query_of(request, PageAsked)
    before = cursor(endpoints.PREFIX, asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.endpoint_page(session, before=before, limit=asked.limit + 1)
    shown = [views.endpoint(one) for one in found]
    return answer(request, plain_views.page("endpoints", shown, limit=asked.limit, key="endpoint_id"))


@get(_ONE, guards=[LOOKS], opt=described("operator webhook-endpoint"))
async def show_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """One endpoint, without its secrets."""
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.endpoint(session, endpoints.parsed(endpoint_id))
    return answer(request, {"endpoint": views.endpoint(found)})


@post(
    _ONE,
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-endpoint change", body=fields.EndpointChangeAsked, refuses=ACTING),
)
async def change_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """Give an endpoint another URL, other types or another description."""
    asked, house = await body_of(request, fields.EndpointChangeAsked), house_of(request)
    wanted = {"url": asked.url, "types": asked.types, "description": asked.description}

    async def change(found_id: UUID, by: Acting) -> object:
        return await endpoints.change(
            house.sessions,
            found_id,
            url=asked.url,
            types=asked.types,
            description=asked.description,
            check=house.outside.door.check,
            by=by,
            reason=asked.reason,
            now=house.clock(),
        )

    def as_before(recorded: OperatorAction) -> bool:
        after = recorded.details["after"]
        return all(
            value is None or (set(value) == set(after[name]) if name == "types" else value == after[name])
            for name, value in wanted.items()
        )

    return await _done(request, endpoint_id, asked, Act.CHANGE_WEBHOOK_ENDPOINT, change, as_before=as_before)


@post(
    f"{_ONE}/rotate-secret",
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-endpoint rotate-secret", body=fields.SecretRotationAsked, refuses=ACTING),
)
async def rotate_secret(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """A new signing secret, shown this once; the one before signs too for `grace_seconds`."""
    asked, house = await body_of(request, fields.SecretRotationAsked), house_of(request)
    grace = timedelta(seconds=asked.grace_seconds)

    async def rotate(found_id: UUID, by: Acting) -> NewSecret:
        return await endpoints.rotate(
            house.sessions, found_id, grace=grace, by=by, reason=asked.reason, now=house.clock()
        )

    return await _done(
        request,
        endpoint_id,
        asked,
        Act.ROTATE_WEBHOOK_SECRET,
        rotate,
        as_before=lambda recorded: bool(recorded.details["grace_seconds"] == asked.grace_seconds),
    )


@post(
    f"{_ONE}/enable",
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-endpoint enable", body=ActAsked, refuses=ACTING),
)
async def enable_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """Tell an endpoint again, from now on."""
    asked, house = await body_of(request, ActAsked), house_of(request)

    async def enable(found_id: UUID, by: Acting) -> object:
        return await endpoints.enable(house.sessions, found_id, by=by, reason=asked.reason, now=house.clock())

    return await _done(request, endpoint_id, asked, Act.ENABLE_WEBHOOK_ENDPOINT, enable)


@post(
    f"{_ONE}/disable",
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-endpoint disable", body=ActAsked, refuses=ACTING),
)
async def disable_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """Tell an endpoint nothing more; what waits for it fails."""
    asked, house = await body_of(request, ActAsked), house_of(request)

    async def disable(found_id: UUID, by: Acting) -> object:
        return await endpoints.disable(house.sessions, found_id, by=by, reason=asked.reason, now=house.clock())

    return await _done(request, endpoint_id, asked, Act.DISABLE_WEBHOOK_ENDPOINT, disable)


@post(
    f"{_ONE}/test",
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-endpoint test", body=ActAsked, refuses=ACTING),
)
async def test_endpoint(request: AnyRequest, endpoint_id: FromPath[str]) -> Envelope:
    """Send a test message now, once, and say what came of it. Waits for the receiver, for a bounded time."""
    asked, house = await body_of(request, ActAsked), house_of(request)
    found_id, by = endpoints.parsed(endpoint_id), acting(request, asked.idempotency_key)
    body = views.test_message(endpoint_id, house.clock())
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        Act.TEST_WEBHOOK_ENDPOINT,
        subject=endpoint_id,
        reason=asked.reason,
        act=lambda: trying.store_test(
            house.sessions, found_id, body=body, by=by, reason=asked.reason, now=house.clock()
        ),
    )
    delivery_id = listing.parsed(recorded.details["delivery_id"])
    if not replayed:
        await trying.send_test(house.sessions, house.outside.door, delivery_id, clock=house.clock)
    return await _told(request, delivery_id, recorded, replayed=replayed)


@get(
    _DELIVERIES,
    guards=[LOOKS],
    opt=described("operator webhook-deliveries", query=fields.DeliveriesAsked, refuses=(Refusal.NOT_FOUND,)),
)
async def list_deliveries(request: AnyRequest) -> Envelope:
    """Deliveries, newest first, without their bodies."""
    asked = query_of(request, fields.DeliveriesAsked)
    before = cursor(delivering.PREFIX, asked.cursor)
    of = endpoints.parsed(asked.endpoint_id) if asked.endpoint_id is not None else None
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.deliveries(
            session, endpoint_id=of, state=asked.state, before=before, limit=asked.limit + 1
        )
    shown = [views.delivery(one) for one in found]
    return answer(request, plain_views.page("deliveries", shown, limit=asked.limit, key="delivery_id"))


@get(f"{_DELIVERIES}/{{delivery_id:str}}", guards=[ACTS], opt=described("operator webhook-delivery"))
async def show_delivery(request: AnyRequest, delivery_id: FromPath[str]) -> Envelope:
    """One delivery with its body, which says what an agent did."""
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.delivery(session, listing.parsed(delivery_id))
    return answer(request, {"delivery": views.whole_delivery(found)})


@post(
    f"{_DELIVERIES}/{{delivery_id:str}}/replay",
    status_code=200,
    guards=[ACTS],
    opt=described("operator webhook-delivery replay", body=ActAsked, refuses=ACTING),
)
async def replay_delivery(request: AnyRequest, delivery_id: FromPath[str]) -> Envelope:
    """Send a delivery again, whatever became of it, under the same `webhook-id`."""
    asked, house = await body_of(request, ActAsked), house_of(request)
    found_id, by = listing.parsed(delivery_id), acting(request, asked.idempotency_key)
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        Act.REPLAY_WEBHOOK,
        subject=delivery_id,
        reason=asked.reason,
        act=lambda: trying.replay(house.sessions, found_id, by=by, reason=asked.reason, now=house.clock()),
    )
    return await _told(request, found_id, recorded, replayed=replayed)


async def _done(
    request: AnyRequest,
    endpoint_id: str,
    asked: ActAsked,
    act: Act,
    do: Callable[[UUID, Acting], Awaitable[object]],
    *,
    as_before: Callable[[OperatorAction], bool] = lambda _: True,
) -> Envelope:
    """Act once on an endpoint. `as_before`: whether what was recorded under the key is what is asked now."""
    found_id, by, made = endpoints.parsed(endpoint_id), acting(request, asked.idempotency_key), list[str]()

    async def act_on() -> None:
        done = await do(found_id, by)
        if isinstance(done, NewSecret):
            made.append(done.secret)

    recorded, replayed = await operator_actions.once(
        house_of(request).sessions, by, act, subject=endpoint_id, reason=asked.reason, act=act_on
    )
    if replayed and not as_before(recorded):
        raise Refused(Refusal.SPENDING_CONFLICT)
    return await _shown(
        request, found_id, recorded, replayed=replayed, secret=made[0] if made and not replayed else None
    )


async def _shown(
    request: AnyRequest, endpoint_id: UUID, recorded: OperatorAction, *, replayed: bool, secret: str | None
) -> Envelope:
    """What was recorded, and the endpoint as it is now; with its new secret, if that was just made."""
    async with snapshot(house_of(request).sessions) as session:
        found = views.endpoint(await listing.endpoint(session, endpoint_id))
    data = {"action": plain_views.action(recorded), "replayed": replayed, "endpoint": found}
    if secret is None:
        return answer(request, data)
    return answer(request, data | {"secret": secret}, warnings=[views.SHOWN_ONCE])


async def _told(request: AnyRequest, delivery_id: UUID, recorded: OperatorAction, *, replayed: bool) -> Envelope:
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.delivery(session, delivery_id)
    data = {"action": plain_views.action(recorded), "replayed": replayed, "delivery": views.delivery(found)}
    return answer(request, data)


ROUTES: Final[list[Any]] = [
    make_endpoint,
    list_endpoints,
    show_endpoint,
    change_endpoint,
    rotate_secret,
    enable_endpoint,
    disable_endpoint,
    test_endpoint,
    list_deliveries,
    show_delivery,
    replay_delivery,
]
