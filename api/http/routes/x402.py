"""Paying over x402: a quote, or a pack with no quote and no account.

Theory of operation
-------------------
An unpaid request is answered 402 with what to sign; the same request with the signature is settled first and then
answered. What the signature must be for is computed from what is stored (or from the pack), never from the request.
A payment that is known is never taken again and never asked for again: whatever its state is, that is the answer. Who
shows the organization's token, or has just made the claim, is told all; anybody else, who may have read the payment on
the chain, is told its state and its attempt's id.
Source: x402-specification-v2.md and specs/transports-v2/http.md (headers and statuses).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from litestar import Response, get, post
from litestar.params import FromPath

from api.http import fields, refusal_answers
from api.http.authentication import agents_only, presented
from api.http.commands import Commands
from api.http.context import AnyRequest, Asked, actor_of, house_of, sets_asked
from api.http.envelope import Answer, answer
from api.http.rate_limits import count_payment, measured
from api.http.reading import body_of
from api.http.routes.describe import BUYING, PRESENTING, described
from api.http.views import people
from api.http.views import x402 as views
from api.http.views.purchases import Scene
from api.native import Native
from api.wiring import House
from billing import purchases, status
from billing.attempts import AttemptState
from billing.database import snapshot
from billing.fresh import new_key
from billing.identity import Actor
from billing.packs import X402, NotForSale, Pack
from billing.refusals import Refusal, Refused
from billing.settlement_states import SettlementState as S
from billing.settling import advancing, claiming, records
from billing.settling.claiming import AlreadyClaimed, Claimed, Payable
from billing.settling.screening import Verdict
from billing.settling_tables import Settlement
from billing.tables import CreditQuote, PaymentAttempt, ProviderRequestRow
from ledger import ids
from ledger.ids import external
from rails.evm import eip3009
from rails.evm.networks import NETWORKS
from rails.rail import RailUnavailable
from rails.x402 import messages
from rails.x402.terms import NONCE_USED, Malformed, NotPayable, Requirement, SignedPayment

ELSEWHERE: Final = (
    "this authorization was carried out or cancelled on the chain, and this service knows nothing of it; ask its "
    "operator before signing another one"
)
NO_STORE: Final = {"cache-control": "no-store"}


@post(
    X402.purchase_endpoint,
    status_code=200,
    guards=[agents_only, measured],
    opt=described("credits buy", body=fields.BuyAsked, refuses=(*BUYING, *PRESENTING, Refusal.STATE_CONFLICT)),
)
async def buy(request: AnyRequest) -> Response[Any]:
    """Pay a quote from a wallet. Unpaid: 402 with what to sign, and nothing is owed."""
    asked = await body_of(request, fields.BuyAsked)
    house, actor = house_of(request), actor_of(request)
    native = _native(house)
    quote_id = _id("quote", asked.quote_id, "there is no such quote")
    sets_asked(request, Asked(quote_id=asked.quote_id, method_id=X402.method_id))
    attempt_id = await purchases.buy(
        house.sessions,
        actor,
        quote_id=quote_id,
        idempotency_key=asked.idempotency_key,
        rail=native.rail,
        unavailable=native.standing.reason,
        place=house.place,
        clock=house.clock,
    )
    attempt, quote, requirement = await _stored(house, actor, attempt_id)
    offer = _Offer(requirement, request, f"{house.settings.url}{X402.purchase_endpoint}", attempt_id)
    obstacle = claiming.obstacle(attempt, quote, now=house.clock())
    payment = _payment(request, offer, obstacle)
    if payment is not None:
        known = await _known(house, requirement, payment)
        if known is not None:
            return await _replayed(request, known, payment, actor, belongs=known.attempt_id == attempt_id)
    elif attempt.state != AttemptState.ACTION_REQUIRED:
        return await _told(request, actor.organization_id, attempt)
    if obstacle is not None:
        raise obstacle
    _require_available(native, requirement)
    if payment is None:
        raise Unpaid(offer)
    try:
        payable = await _payable(house, native, payment, offer)
        claimed = await claiming.claim(
            house.sessions, actor, attempt_id, payable, lease=native.lease, now=house.clock()
        )
    except AlreadyClaimed as already:
        known = already.settlement
        return await _replayed(request, known, payment, actor, belongs=known.attempt_id == attempt_id)
    return await _settled(request, native, claimed, actor)


@post(
    "/v1/x402/top-up/{pack_id:str}",
    status_code=200,
    opt=described("credits top-up", refuses=(*PRESENTING, Refusal.AUTH_REQUIRED, Refusal.INVALID_ARGUMENTS)),
)
async def top_up(request: AnyRequest, pack_id: FromPath[str]) -> Response[Any]:
    """Buy a pack from a wallet, with no quote and no account: a new wallet gets an organization, agent and token.

    With an agent's token, the payment lands in its organization. Unpaid: 402 with what to sign; nothing is stored.
    """
    house = house_of(request)
    native, pack = _native(house), _pack(house, pack_id)
    count_payment(request)
    actor = await presented(request)
    requirement = native.requirement(pack)
    offer = _Offer(requirement, request, f"{house.settings.url}/v1/x402/top-up/{pack.pack_id}", None)
    payment = _payment(request, offer)
    if payment is None:
        _require_available(native, requirement)
        raise Unpaid(offer)
    known = await _known(house, requirement, payment)
    if known is not None:
        return await _replayed(request, known, payment, actor, belongs=await _is_of_pack(house, known, pack))
    _require_available(native, requirement)
    try:
        payable = await _payable(house, native, payment, offer)
        claimed = await claiming.claim_top_up(
            house.sessions,
            actor,
            pack,
            payable,
            request=native.request,
            place=house.place,
            live_money=native.livemode,
            lease=native.lease,
            now=house.clock(),
        )
    except AlreadyClaimed as already:
        belongs = await _is_of_pack(house, already.settlement, pack)
        return await _replayed(request, already.settlement, payment, actor, belongs=belongs)
    return await _settled(request, native, claimed, actor)


@get("/v1/x402/payments/{payment_attempt_id:str}", opt=described("credits status", refuses=(Refusal.RATE_LIMITED,)))
async def show_payment(request: AnyRequest, payment_attempt_id: FromPath[str]) -> Response[Any]:
    """The state of a payment over x402, for whoever knows its attempt's id. Tells nothing else."""
    count_payment(request)
    house = house_of(request)
    attempt_id = _id("payatt", payment_attempt_id, "there is no such payment")
    async with snapshot(house.sessions) as session:
        found = await records.of_attempt_anywhere(session, attempt_id)
    if found is None:
        raise Refused(Refusal.NOT_FOUND, "there is no such payment")
    row, attempt = found
    return _answered(request, views.public(views.settled_as(row, attempt.state), payment_attempt_id), 200)


class _Offer:
    """What a request is asked to pay, and how that is said. Plain values with no behaviour of their own but that."""

    def __init__(self, requirement: Requirement, request: AnyRequest, url: str, attempt_id: UUID | None) -> None:
        self.requirement = requirement
        self._request = request
        self._url = url
        self._attempt_id = attempt_id

    def unpaid(self, error: NotPayable | None = None) -> Answer:
        """402: what to sign, and why what came was not taken."""
        required = messages.payment_required(
            self.requirement,
            url=self._url,
            description="credits",
            error=f"{error.reason}: {error.message}" if error is not None else "PAYMENT-SIGNATURE header is required",
            extensions=messages.payment_identifier_declaration(),
        )
        recovery: dict[str, Any] = {"x402": required}
        if self._attempt_id is not None:
            recovery["payment_attempt_id"] = external("payatt", self._attempt_id)
        refused = Refused(
            Refusal.PAYMENT_REQUIRED,
            f"the payment was not taken ({error.reason}): {error.message}" if error is not None else None,
            recovery=recovery,
        )
        headers = {messages.PAYMENT_REQUIRED.lower(): messages.encoded(required), **NO_STORE}
        return refusal_answers.refusal_of(self._request, refused, headers)


class Unpaid(Exception):
    """Answered with what to sign. Raised where an answer cannot be returned."""

    def __init__(self, offer: _Offer, error: NotPayable | None = None) -> None:
        super().__init__("payment required")
        self.answer = offer.unpaid(error)


def unpaid(_: AnyRequest, error: Unpaid) -> Answer:
    """The answer that an `Unpaid` carries."""
    return error.answer


def _native(house: House) -> Native:
    if house.native is None:
        raise Refused(
            Refusal.PAYMENT_METHOD_UNAVAILABLE,
            f"{X402.method_id} is not available: {house.unavailable(X402.method_id)}",
        )
    return house.native


def _require_available(native: Native, requirement: Requirement) -> None:
    """Nobody is asked to sign what could not be carried out: now, or because the service has moved to another chain."""
    reason = native.standing.reason
    if (requirement.network, requirement.asset) != (native.network.caip2, native.network.token_address):
        reason = f"payments are taken on {native.network.caip2} now, and this one was asked for on another chain"
    if reason is not None:
        raise Refused(Refusal.PAYMENT_METHOD_UNAVAILABLE, f"{X402.method_id} is not available: {reason}")


def _pack(house: House, pack_id: str) -> Pack:
    try:
        return house.place.offer.pack(pack_id)
    except NotForSale as error:
        raise Refused(Refusal.NOT_FOUND, str(error)) from None


def _id(prefix: str, text: str, message: str) -> UUID:
    try:
        return ids.parse(prefix, text)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, message) from None


def _payment(request: AnyRequest, offer: _Offer, obstacle: Refused | None = None) -> SignedPayment | None:
    """What was signed; none when nothing came. Raises `Refused(INVALID_ARGUMENTS)`, or `obstacle`, else `Unpaid`."""
    given = request.headers.getall(messages.PAYMENT_SIGNATURE.lower(), [])
    if not given and messages.VERSION_1_PAYMENT.lower() in request.headers:
        raise Refused(Refusal.INVALID_ARGUMENTS, messages.USE_VERSION_2)
    if len(given) > 1:
        raise Refused(Refusal.INVALID_ARGUMENTS, f"{messages.PAYMENT_SIGNATURE} stands there more than once")
    try:
        return messages.parse_payment(given[0]) if given else None
    except Malformed as error:
        raise Refused(Refusal.INVALID_ARGUMENTS, str(error)) from None
    except NotPayable as error:
        raise obstacle or Unpaid(offer, error) from None


async def _stored(house: House, actor: Actor, attempt_id: UUID) -> tuple[PaymentAttempt, CreditQuote, Requirement]:
    """The attempt and its quote, and what it is to be paid with as it was stored."""
    async with house.sessions() as session:
        attempt = await session.get_one(PaymentAttempt, (actor.organization_id, attempt_id))
        quote = await session.get_one(CreditQuote, (actor.organization_id, attempt.quote_id))
        key = (actor.organization_id, attempt_id, attempt.request_number)
        row = await session.get_one(ProviderRequestRow, key)
    return attempt, quote, messages.requirement_of(row.parameters)


async def _known(house: House, requirement: Requirement, payment: SignedPayment) -> Settlement | None:
    signed = payment.authorization
    async with house.sessions() as session:
        return await records.find(
            session, network=requirement.network, asset=requirement.asset, payer=signed.from_, nonce=signed.nonce
        )


async def _is_of_pack(house: House, row: Settlement, pack: Pack) -> bool:
    async with house.sessions() as session:
        attempt = await session.get_one(PaymentAttempt, (row.organization_id, row.attempt_id))
        quote = await session.get_one(CreditQuote, (row.organization_id, attempt.quote_id))
    return quote.pack_id == pack.pack_id and quote.idempotency_key == claiming.top_up_key(row.digest)


async def _payable(house: House, native: Native, payment: SignedPayment, offer: _Offer) -> Payable:
    """The payment, verified and its payer screened, before anything is stored. Raises `AlreadyClaimed`, `Unpaid`."""
    try:
        payable = await native.verified(payment, offer.requirement, now=house.clock())
    except NotPayable as error:
        known = await _known(house, offer.requirement, payment)
        if known is not None:  # claimed, and perhaps carried out, while it was being verified
            raise AlreadyClaimed(known) from None
        if error.reason == NONCE_USED:  # on the chain and not here: another signature would pay another time
            raise Refused(Refusal.PAYMENT_ALREADY_USED, ELSEWHERE) from None
        raise Unpaid(offer, error) from None
    except RailUnavailable as error:
        raise Refused(
            Refusal.PAYMENT_METHOD_UNAVAILABLE,
            f"the payment could not be checked and was not taken ({error}); send the same request again",
        ) from None
    screened = await native.desk.screening.screen(network=offer.requirement.network, payer=payment.authorization.from_)
    if screened.verdict is Verdict.REJECT:
        raise Refused(Refusal.PAYER_REFUSED)
    return payable


async def _settled(request: AnyRequest, native: Native, claimed: Claimed, actor: Actor | None) -> Answer:
    """The answer to who made the claim: all there is to know when the organization is new or its token was shown."""
    row = await advancing.drive(native.desk, claimed.key, wait=timedelta(seconds=native.wait_s))
    is_buyer = claimed.token is not None or _is_of(actor, row)
    return await _outcome(request, row, is_buyer=is_buyer, token=claimed.token, has_just_paid=True)


async def _replayed(
    request: AnyRequest, row: Settlement, payment: SignedPayment, actor: Actor | None, *, belongs: bool
) -> Answer:
    """The answer to a payment that is known. Raises `Refused(PAYMENT_ALREADY_USED)` where it was for something else."""
    same = eip3009.digest(payment.authorization, NETWORKS[row.network]) == row.digest
    if not same or not belongs:
        recovery = {"payment_attempt_id": external("payatt", row.attempt_id)}
        raise Refused(Refusal.PAYMENT_ALREADY_USED, recovery=recovery)
    return await _outcome(request, row, is_buyer=_is_of(actor, row), token=None, has_just_paid=False)


def _is_of(actor: Actor | None, row: Settlement) -> bool:
    return actor is not None and actor.organization_id == row.organization_id


async def _outcome(
    request: AnyRequest, row: Settlement, *, is_buyer: bool, token: str | None, has_just_paid: bool
) -> Answer:
    """What became of a payment, by its settlement."""
    house = house_of(request)
    attempt_id = external("payatt", row.attempt_id)
    async with house.sessions() as session:
        attempt = await session.get_one(PaymentAttempt, (row.organization_id, row.attempt_id))
    told = views.public(views.settled_as(row, attempt.state), attempt_id)
    if is_buyer:
        told |= await _of_buyer(house, row.organization_id, attempt, token=token)
    warnings = _warnings(is_buyer=is_buyer, token=token, has_just_paid=has_just_paid)
    if row.state in {S.SETTLED, S.KEPT}:
        return _answered(
            request, told, 200, {**views.response(row), **NO_STORE}, warnings=warnings, row=row, token=token
        )
    if row.state == S.FAILED:
        refused = Refused(Refusal.PAYMENT_FAILED, row.reason, recovery=views.failed(told))
        return refusal_answers.refusal_of(request, refused, {**views.response(row), **NO_STORE})
    told = views.waiting(told, views.status_url(house.settings.url, attempt_id))
    headers = {"retry-after": str(views.RETRY_AFTER_S), "location": told["status_url"], **NO_STORE}
    return _answered(request, told, 202, headers, warnings=warnings, row=row, token=token)


def _warnings(*, is_buyer: bool, token: str | None, has_just_paid: bool) -> list[str]:
    if token is not None:
        return [views.TOKEN_ONCE]
    return [views.SIGN_IN] if has_just_paid and not is_buyer else []


async def _told(request: AnyRequest, organization_id: UUID, attempt: PaymentAttempt) -> Answer:
    """The answer to an unpaid request for an attempt that nobody is asked to pay any more."""
    house = house_of(request)
    async with house.sessions() as session:
        row = await records.of_attempt(session, organization_id, attempt.id)
    if row is not None and row.state != S.FAILED:
        return await _outcome(request, row, is_buyer=True, token=None, has_just_paid=False)
    return _answered(request, await _of_buyer(house, organization_id, attempt, token=None), 200, NO_STORE)


async def _of_buyer(
    house: House, organization_id: UUID, attempt: PaymentAttempt, *, token: str | None
) -> dict[str, Any]:
    async with snapshot(house.sessions) as session:
        found = await status.of_quote(
            session, organization_id, attempt.quote_id, attempt_id=attempt.id, now=house.clock()
        )
    scene = Scene(house.place, Commands(house.settings.url), house.clock(), new_key("purchase"))
    return views.of_buyer(found, scene, token=token)


def _answered(
    request: AnyRequest,
    data: Mapping[str, Any],
    status_code: int,
    headers: Mapping[str, str] | None = None,
    *,
    warnings: list[str] | None = None,
    row: Settlement | None = None,
    token: str | None = None,
) -> Answer:
    actor = None
    if token is not None and row is not None:
        actor = people.as_actor(ids.parse("agt", data["agent_id"]), row.organization_id, claimed=False)
    return Answer(answer(request, data, warnings=warnings or [], actor=actor), status_code=status_code, headers=headers)


ROUTES: Final[list[Any]] = [buy, top_up, show_payment]
