"""How can be paid, what is sold, and what is left."""

from __future__ import annotations

from typing import Any, Final

from litestar import get

from api.http.authentication import agents_only
from api.http.commands import Commands
from api.http.context import AnyRequest, actor_of, house_of
from api.http.envelope import Envelope, answer
from api.http.routes.describe import described
from api.http.views import catalog, quota
from api.wiring import House
from billing.database import snapshot
from billing.foresight import foresight
from billing.packs import METHODS


def reasons(house: House) -> dict[str, str | None]:
    """For each method why it is not offered now; none when it is."""
    return {method_id: house.unavailable(method_id) for method_id in METHODS}


@get("/v1/payment-methods", opt=described("credits methods"))
async def payment_methods(request: AnyRequest) -> Envelope:
    """Every method, also those that are unavailable, with the reason."""
    house = house_of(request)
    commands = Commands(house.settings.url)
    found = catalog.methods(
        house.place.offer,
        reasons(house),
        commands,
        live_money=house.live_money,
        native_terms=house.native.terms if house.native is not None else None,
    )
    return answer(request, found)


@get("/v1/credit-packs", opt=described("credits packs list"))
async def credit_packs(request: AnyRequest) -> Envelope:
    """What is sold."""
    return answer(request, catalog.packs(house_of(request).place.offer))


@get("/v1/quota", guards=[agents_only], opt=described("usage quota"))
async def show_quota(request: AnyRequest) -> Envelope:
    """What the agent's organization can spend."""
    return answer(request, await quota_data(request))


async def quota_data(request: AnyRequest) -> dict[str, Any]:
    """The same for quota and for a status without a reference."""
    house, actor = house_of(request), actor_of(request)
    async with snapshot(house.sessions) as session:
        ahead = await foresight(session, actor, jobs_per_day=house.settings.jobs_per_day, now=house.clock())
    default = house.outside.prices.current().find("default")
    return quota.quota(
        ahead,
        house.place.offer,
        reasons(house),
        Commands(house.settings.url),
        live_money=house.live_money,
        job_credits=default.price.credits_for(1) if default is not None else None,
    )


ROUTES: Final[list[Any]] = [payment_methods, credit_packs, show_quota]
