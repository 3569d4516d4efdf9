"""`POST /v1/credit-quotes`."""

from __future__ import annotations

from typing import Any, Final

from litestar import post

from api.http import fields
from api.http.authentication import agents_only
from api.http.commands import Commands
from api.http.context import AnyRequest, Asked, actor_of, house_of, sets_asked
from api.http.envelope import Envelope, answer
from api.http.rate_limits import measured
from api.http.reading import body_of
from api.http.routes.describe import described
from api.http.views import quotes as views
from billing import quotes
from billing.database import snapshot
from billing.packs import Wanted
from billing.refusals import Refusal
from ledger import statements


@post(
    "/v1/credit-quotes",
    status_code=200,
    guards=[agents_only, measured],
    opt=described(
        "credits quote",
        body=fields.QuoteAsked,
        refuses=(Refusal.CREDIT_QUOTE_CONFLICT, Refusal.PAYMENT_METHOD_UNAVAILABLE),
    ),
)
async def quote(request: AnyRequest) -> Envelope:
    """Price and terms under a key: the same key and terms give the same quote. Moves no balance."""
    asked = await body_of(request, fields.QuoteAsked)
    house, actor = house_of(request), actor_of(request)
    wanted = Wanted(asked.credits, asked.pack_id, asked.payment_method)
    sets_asked(request, Asked(wanted=wanted))
    made = await quotes.make(
        house.sessions,
        actor,
        wanted,
        idempotency_key=asked.idempotency_key,
        offer=house.place.offer,
        live_money=house.is_live_money(wanted.payment_method),
        unavailable=house.unavailable(wanted.payment_method),
        now=house.clock(),
    )
    async with snapshot(house.sessions) as session:
        balance = await statements.balance(session, actor.organization_id, house.clock())
    seen = views.quote_view(made, house.place.offer, Commands(house.settings.url), owed=balance.owed, now=house.clock())
    return answer(request, seen)


ROUTES: Final[list[Any]] = [quote]
