"""`GET /v1/guide`: what to do next. Reads, and changes nothing."""

from __future__ import annotations

from typing import Any, Final

from litestar import get

from api.http.authentication import presented
from api.http.commands import Commands
from api.http.context import AnyRequest, house_of, sets_actor
from api.http.envelope import Envelope, answer
from api.http.fields_guide import CREATE, GuideAsked
from api.http.reading import query_of
from api.http.routes.catalog import reasons
from api.http.routes.describe import described
from api.http.views import guide as views
from api.http.views.guide_stages import KEYED, Known, Seen, TokenStatus, required_credits
from api.http.views.purchases import Scene
from api.wiring import House
from billing import status
from billing.database import snapshot
from billing.fresh import new_key
from billing.identity import Actor
from billing.jobs import reading
from billing.packs import METHODS
from billing.pricing import NoSuchModel, NotExecutable, Selection, choose
from billing.refusals import Refusal, Refused
from billing.standing import standing


@get("/v1/guide", opt=described("create --guide", query=GuideAsked))
async def show_guide(request: AnyRequest) -> Envelope:
    """One stage and one next step towards spending credits, for everybody.

    With a token it looks at the agent's balance, caps and purchases. A token that does not hold is a stage, no refusal.
    """
    asked = query_of(request, GuideAsked)
    house = house_of(request)
    actor, token_status = await _who(request)
    selection, obstacle = _chosen(house, asked)
    required = required_credits(asked, selection)
    seen = Seen(
        asked=asked,
        selection=selection,
        obstacle=obstacle,
        token_status=token_status,
        known=await _known(house, actor, asked, required=required) if actor is not None else None,
        reasons=reasons(house),
        live={method_id: house.is_live_money(method_id) for method_id in METHODS},
        jobs_per_day=house.settings.jobs_per_day,
        scene=Scene(house.place, Commands(house.settings.url), house.clock(), new_key("purchase")),
        keys={purpose: new_key(purpose) for purpose in KEYED},
    )
    return answer(request, views.guide(seen))


async def _who(request: AnyRequest) -> tuple[Actor | None, TokenStatus]:
    try:
        actor = await presented(request)
    except Refused as refused:
        if refused.refusal is not Refusal.AUTH_REQUIRED:
            raise
        return None, TokenStatus.INVALID
    if actor is None:
        return None, TokenStatus.MISSING
    sets_actor(request, actor)
    return actor, TokenStatus.ACTIVE


def _chosen(house: House, asked: GuideAsked) -> tuple[Selection | None, str | None]:
    """The model of a job, or else why there is none; neither for credits that are spent at once."""
    if not asked.is_create:
        return None, None
    try:
        return choose(house.outside.prices.current(), operation=CREATE, model=asked.model, provider=None), None
    except (NoSuchModel, NotExecutable) as error:
        return None, str(error)


async def _known(house: House, actor: Actor, asked: GuideAsked, *, required: int) -> Known:
    """The agent as it stands. What was begun is looked for only where credits are missing."""
    now, organization_id = house.clock(), actor.organization_id
    async with snapshot(house.sessions) as session:
        found = await standing(session, organization_id, actor.agent_id, required=required, now=now)
        jobs_today = 0
        if house.settings.jobs_per_day is not None:
            jobs_today = await reading.ordered_on(session, organization_id, now)
        if not found.missing:
            return Known(actor.agent_id, found, None, None, jobs_today)
        waiting = await status.waiting(session, organization_id, now=now)
        offered = {method_id for method_id in METHODS if house.unavailable(method_id) is None}
        if asked.payment_method is not None:
            offered &= {asked.payment_method}
        buyable = await status.buyable(
            session,
            organization_id,
            actor.agent_id,
            least=found.missing,
            methods=sorted(offered),
            lasting=house.place.offer.quote_ttl,
            now=now,
        )
        return Known(actor.agent_id, found, waiting, buyable, jobs_today)


ROUTES: Final[list[Any]] = [show_guide]
