"""Operators and payments: attempts, what is owed and giving it up, stopping an organization, and refunds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_operator as fields
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, REFUNDING, described
from api.http.routes.operator_letters import ACTS, LOOKS, acting, organization
from api.http.routes.people import cursor
from api.http.views import operator as views
from api.refunds import carry_out, refunder, to_sign
from billing import operator_actions
from billing.database import snapshot
from billing.operating import attempts, refunds
from billing.operator_actions import Act
from billing.refusals import Refusal, Refused
from billing.reversals import freezing, refunding, writing_off
from billing.spending import parsed
from ledger.ids import external
from ledger.outcomes import Outcome


@get("/v1/operator/attempts", guards=[LOOKS], opt=described("operator attempts", query=fields.AttemptsAsked))
async def list_attempts(request: AnyRequest) -> Envelope:
    """Payment attempts of every organization, newest first; `stuck` are those that somebody should look at."""
    asked, house = query_of(request, fields.AttemptsAsked), house_of(request)
    before, whose = cursor(attempts.PREFIX, asked.cursor), organization(asked.organization_id)
    async with snapshot(house.sessions) as session:
        found = await attempts.listed(
            session,
            state=asked.state,
            organization_id=whose,
            stuck_at=house.clock() if asked.stuck else None,
            before=before,
            limit=asked.limit + 1,
        )
    shown = [views.attempt(one) for one in found]
    return answer(request, views.page("attempts", shown, limit=asked.limit, key="payment_attempt_id"))


@get("/v1/operator/attempts/{attempt_id:str}", guards=[LOOKS], opt=described("operator attempt"))
async def show_attempt(request: AnyRequest, attempt_id: FromPath[str]) -> Envelope:
    """One attempt with its requests to the provider, its payment, and all that was taken back of it."""
    async with snapshot(house_of(request).sessions) as session:
        found = await attempts.whole(session, attempts.parsed(attempt_id))
    return answer(request, {"attempt": views.whole_attempt(found)})


@get("/v1/operator/owed", guards=[LOOKS], opt=described("operator owed", query=fields.OwedAsked))
async def list_owed(request: AnyRequest) -> Envelope:
    """Who owes how many credits, for which payment, since when: credits that were spent and then taken back."""
    asked = query_of(request, fields.OwedAsked)
    whose = organization(asked.organization_id)
    async with snapshot(house_of(request).sessions) as session:
        found = await writing_off.owed(session, organization_id=whose, after=asked.cursor, limit=asked.limit + 1)
    shown = [views.owed(one) for one in found]
    return answer(request, views.page("owed", shown, limit=asked.limit, key="payment_id"))


@post(
    "/v1/operator/owed/{attempt_id:str}/write-off",
    status_code=200,
    guards=[ACTS],
    opt=described("operator owed write-off", body=fields.WriteOffAsked, refuses=(*ACTING, Refusal.AMOUNT_EXCEEDS_REST)),
)
async def write_off(request: AnyRequest, attempt_id: FromPath[str]) -> Envelope:
    """Give up what is owed for an attempt's payment, or part of it."""
    asked, house = await body_of(request, fields.WriteOffAsked), house_of(request)
    found_id, by, now = attempts.parsed(attempt_id), acting(request, asked.idempotency_key), house.clock()
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        Act.WRITE_OFF,
        subject=external(attempts.PREFIX, found_id),
        reason=asked.reason,
        act=lambda: writing_off.write_off(
            house.sessions, attempt_id=found_id, credits_=asked.credits, reason=asked.reason, by=by, now=now
        ),
    )
    if replayed and asked.credits not in {None, recorded.details["credits"]}:
        raise Refused(Refusal.SPENDING_CONFLICT)
    async with snapshot(house.sessions) as session:
        rest = await writing_off.owed(session, attempt_id=found_id, limit=1)
    owed = [views.owed(one) for one in rest]
    return answer(request, {"action": views.action(recorded), "replayed": replayed, "owed": owed[0] if owed else None})


@post(
    "/v1/operator/organizations/{organization_id:str}/freeze",
    status_code=200,
    guards=[ACTS],
    opt=described("operator freeze", body=fields.ActAsked, refuses=ACTING),
)
async def freeze(request: AnyRequest, organization_id: FromPath[str]) -> Envelope:
    """Let an organization spend nothing, not what comes later either, until it is let go. Payments still settle."""
    asked = await body_of(request, fields.ActAsked)
    return await _stopped(request, organization_id, asked, Act.FREEZE, freezing.freeze)


@post(
    "/v1/operator/organizations/{organization_id:str}/unfreeze",
    status_code=200,
    guards=[ACTS],
    opt=described("operator unfreeze", body=fields.UnfreezeAsked, refuses=ACTING),
)
async def unfreeze(request: AnyRequest, organization_id: FromPath[str]) -> Envelope:
    """Let an organization spend again. What a fraud warning froze stays so, unless `warned` says else."""
    asked = await body_of(request, fields.UnfreezeAsked)
    act = Act.UNFREEZE_WARNED if asked.warned else Act.UNFREEZE
    return await _stopped(request, organization_id, asked, act, partial(freezing.unfreeze, warned=asked.warned))


async def _stopped(
    request: AnyRequest, organization_id: str, asked: fields.ActAsked, act: Act, do: Callable[..., Awaitable[int]]
) -> Envelope:
    house = house_of(request)
    whose = parsed("org", organization_id, Outcome.BOOK_NOT_FOUND)
    by, now = acting(request, asked.idempotency_key), house.clock()
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        act,
        subject=external("org", whose),
        reason=asked.reason,
        act=lambda: do(house.sessions, whose, reason=asked.reason, by=by, now=now),
    )
    async with snapshot(house.sessions) as session:
        frozen = await freezing.is_frozen(session, whose)
    now_is = {"organization_id": external("org", whose), "frozen": frozen}
    return answer(request, {"action": views.action(recorded), "replayed": replayed, **now_is})


@post(
    "/v1/operator/refunds",
    status_code=200,
    guards=[ACTS],
    opt=described("operator refund", body=fields.OperatorRefundAsked, refuses=(*ACTING, *REFUNDING)),
)
async def refund(request: AnyRequest) -> Envelope:
    """Refund an attempt's payment, all that is left of it or `amount_cents`; with `dry_run` say what that would do.

    Credits are taken back when the provider has confirmed the refund; what was spent of them is owed. A payment on
    chain is refunded by the treasury: `to_sign` is the transaction that it has to sign and send.
    """
    asked, house = await body_of(request, fields.OperatorRefundAsked), house_of(request)
    found_id, now = attempts.parsed(asked.payment_attempt_id), house.clock()
    if asked.dry_run:
        async with snapshot(house.sessions) as session:
            found = await refunding.preview(session, found_id, amount_cents=asked.amount_cents, now=now)
        return answer(request, {"dry_run": True, "preview": views.preview(found), "refund": None})
    async with snapshot(house.sessions) as session:
        kind = await refunding.payment_kind(session, found_id)
    refunder(house, kind)
    stored = await refunding.ask(
        house.sessions,
        attempt_id=found_id,
        amount_cents=asked.amount_cents,
        reason=asked.reason,
        by=acting(request, None),
        idempotency_key=asked.idempotency_key,
        now=now,
    )
    await carry_out(house, stored)
    async with snapshot(house.sessions) as session:
        asked_for = await refunds.one(session, stored.id)
    shown = views.asked_refund(asked_for, to_sign(house, asked_for))
    return answer(request, {"dry_run": False, "preview": None, "refund": shown})


@get(
    "/v1/operator/refunds",
    guards=[LOOKS],
    opt=described("operator refunds", query=fields.RefundsAsked, refuses=(Refusal.NOT_FOUND,)),
)
async def list_refunds(request: AnyRequest) -> Envelope:
    """Refunds that were asked for here, newest first, each with what became of it."""
    asked, house = query_of(request, fields.RefundsAsked), house_of(request)
    before, named = cursor(refunding.PREFIX, asked.cursor), asked.payment_attempt_id
    of_attempt: UUID | None = attempts.parsed(named) if named is not None else None
    async with snapshot(house.sessions) as session:
        found = await refunds.listed(
            session, attempt_id=of_attempt, state=asked.state, before=before, limit=asked.limit + 1
        )
    shown = [views.asked_refund(one, to_sign(house, one)) for one in found]
    return answer(request, views.page("refunds", shown, limit=asked.limit, key="refund_id"))


@get("/v1/operator/refunds/{refund_id:str}", guards=[LOOKS], opt=described("operator refund show"))
async def show_refund(request: AnyRequest, refund_id: FromPath[str]) -> Envelope:
    """One refund that was asked for here, with what became of it."""
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        found = await refunds.one(session, refunds.parsed(refund_id))
    return answer(request, {"refund": views.asked_refund(found, to_sign(house, found))})


ROUTES: Final[list[Any]] = [
    list_attempts,
    show_attempt,
    list_owed,
    write_off,
    freeze,
    unfreeze,
    refund,
    list_refunds,
    show_refund,
]
