"""Buying a quote on either rail, cancelling, and what became of it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api.freshening import freshened
from api.http import fields
from api.http.authentication import agents_only
from api.http.commands import Commands
from api.http.context import AnyRequest, Asked, actor_of, asked_of, house_of, sets_asked
from api.http.envelope import Envelope, answer
from api.http.rate_limits import measured
from api.http.reading import body_of, query_of
from api.http.routes.catalog import quota_data
from api.http.routes.describe import BUYING, CANCELING, described
from api.http.views import purchases as views
from api.http.views.purchases import Scene
from api.wiring import House
from billing import cancellations, looking, purchases, status
from billing.database import snapshot
from billing.fresh import new_key
from billing.identity import Actor
from billing.packs import STRIPE_CHECKOUT, STRIPE_X402, Method
from billing.quotes import wanted_of
from billing.refusals import Refusal, Refused
from billing.status import Status
from billing.tables import CreditQuote
from ledger import ids


@post(
    STRIPE_CHECKOUT.purchase_endpoint,
    status_code=200,
    guards=[agents_only, measured],
    opt=described("credits buy", body=fields.BuyAsked, refuses=BUYING),
)
async def buy_by_checkout(request: AnyRequest) -> Envelope:
    """A hosted page for a human. Grants nothing."""
    return await _buy(request, STRIPE_CHECKOUT)


@post(
    STRIPE_X402.purchase_endpoint,
    status_code=200,
    guards=[agents_only, measured],
    opt=described("credits buy", body=fields.BuyAsked, refuses=BUYING),
)
async def buy_by_deposit(request: AnyRequest) -> Envelope:
    """An address to send USDC to. Grants nothing."""
    return await _buy(request, STRIPE_X402)


async def _buy(request: AnyRequest, method: Method) -> Envelope:
    asked = await body_of(request, fields.BuyAsked)
    house, actor = house_of(request), actor_of(request)
    quote_id = _id("quote", asked.quote_id, "there is no such quote")
    sets_asked(request, Asked(quote_id=asked.quote_id, method_id=method.method_id))
    try:
        attempt_id = await _buy_on(house, actor, method, quote_id, asked.idempotency_key)
    except Refused as refused:
        await _learn_wanted(request, refused, quote_id)
        raise
    found = await _status(house, actor.organization_id, quote_id, attempt_id)
    if found.attempt is None:
        raise LookupError(f"attempt {attempt_id} is gone")
    return answer(request, views.bought(found, found.attempt, _scene(house)))


async def _buy_on(house: House, actor: Actor, method: Method, quote_id: UUID, key: str) -> UUID:
    rail, reason = house.rails.get(method.method_id), house.unavailable(method.method_id)
    if rail is None:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{method.method_id} is not available: {reason}")
    return await purchases.buy(
        house.sessions,
        actor,
        quote_id=quote_id,
        idempotency_key=key,
        rail=rail,
        unavailable=reason,
        place=house.place,
        clock=house.clock,
    )


async def _learn_wanted(request: AnyRequest, refused: Refused, quote_id: UUID) -> None:
    """What the refused quote was for, so that the answer can suggest to ask for it again."""
    if refused.refusal not in {
        Refusal.CREDIT_QUOTE_EXPIRED,
        Refusal.PAYMENT_METHOD_UNAVAILABLE,
        Refusal.PAYMENT_PROVIDER_REFUSED,
    }:
        return
    async with snapshot(house_of(request).sessions) as session:
        quote = await session.get(CreditQuote, (actor_of(request).organization_id, quote_id))
    if quote is not None:
        asked = asked_of(request)
        sets_asked(request, Asked(wanted=wanted_of(quote), quote_id=asked.quote_id, method_id=asked.method_id))


@post(
    "/v1/credit-purchases/{payment_attempt_id:str}/cancel",
    status_code=200,
    guards=[agents_only, measured],
    opt=described("credits cancel", refuses=CANCELING),
)
async def cancel(request: AnyRequest, payment_attempt_id: FromPath[str]) -> Envelope:
    """End an attempt that nobody has paid. Repeating it changes nothing."""
    house, actor = house_of(request), actor_of(request)
    attempt_id = _id("payatt", payment_attempt_id, "there is no such payment attempt")
    sets_asked(request, Asked(attempt_id=payment_attempt_id))
    await cancellations.cancel(
        house.sessions, actor, attempt_id, rails=house.rails, livemode=house.livemode, clock=house.clock
    )
    return answer(request, await _found(house, actor.organization_id, "payment_attempt_id", payment_attempt_id))


@get(
    "/v1/credit-purchases/status",
    guards=[agents_only],
    opt=described("credits status", query=fields.StatusAsked, refuses=(Refusal.NOT_FOUND,)),
)
async def show_status(request: AnyRequest) -> Envelope:
    """A purchase by any one of its references; without one, the balance."""
    reference = query_of(request, fields.StatusAsked).reference
    if reference is None:
        return answer(request, await quota_data(request))
    house, organization_id = house_of(request), actor_of(request).organization_id
    found = await _by_reference(house, organization_id, *reference)
    if found.attempt and await freshened(house, found.attempt, found.quote, apart=looking.POLLED_APART):
        found = await _by_reference(house, organization_id, *reference)
    return answer(request, views.status(found, _scene(house)))


async def _found(house: House, organization_id: UUID, kind: str, reference: str) -> dict[str, Any]:
    return views.status(await _by_reference(house, organization_id, kind, reference), _scene(house))


async def _by_reference(house: House, organization_id: UUID, kind: str, reference: str) -> Status:
    async with snapshot(house.sessions) as session:
        return await status.by_reference(session, organization_id, kind=kind, reference=reference, now=house.clock())


async def _status(house: House, organization_id: UUID, quote_id: UUID, attempt_id: UUID) -> Status:
    async with snapshot(house.sessions) as session:
        return await status.of_quote(session, organization_id, quote_id, attempt_id=attempt_id, now=house.clock())


def _scene(house: House) -> Scene:
    return Scene(house.place, Commands(house.settings.url), house.clock(), new_key("purchase"))


def _id(prefix: str, text: str, message: str) -> UUID:
    try:
        return ids.parse(prefix, text)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, message) from None


ROUTES: Final[list[Any]] = [buy_by_checkout, buy_by_deposit, cancel, show_status]
