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
from billing.packs import METHODS
from ledger import statements


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
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        balance = await statements.balance(session, actor_of(request).organization_id, house.clock())
    commands = Commands(house.settings.url)
    return quota.quota(balance, house.place.offer, reasons(house), commands, live_money=house.live_money)


ROUTES: Final[list[Any]] = [payment_methods, credit_packs, show_quota]
