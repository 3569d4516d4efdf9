"""Agents name the human that may own their organization, and say what they think; operators read it."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_operator
from api.http.authentication import agents_only, allowed
from api.http.context import AnyRequest, actor_of, house_of
from api.http.envelope import Envelope, answer
from api.http.fields_people import ClaimAsked, FeedbackAsked
from api.http.links import post_of
from api.http.rate_limits import measured
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, described
from api.http.routes.operator_letters import LOOKS, acting
from api.http.routes.people import cursor
from api.http.views import claims as views
from api.http.views import operator
from billing import claims, feedback, operator_actions
from billing.database import snapshot
from billing.operator_actions import Act
from billing.refusals import Refusal
from billing.scopes import Scope
from billing.spending import parsed
from ledger.ids import external
from ledger.outcomes import Outcome


@post(
    "/v1/agent-claims",
    status_code=200,
    guards=[agents_only, measured],
    opt=described(
        "claim request",
        body=ClaimAsked,
        refuses=(
            Refusal.CLAIM_CONFLICT,
            Refusal.WALLET_SIGN_IN_FIRST,
            Refusal.SPENDER_LIMITED,
            Refusal.RATE_LIMITED,
        ),
    ),
)
async def request_claim(request: AnyRequest) -> Envelope:
    """Name the contact of the human that may own this organization; a link is sent there.

    The same contact again changes nothing, and sends a fresh link when the last one is older than a minute. Another
    contact ends the links of the one before.
    """
    asked, house = await body_of(request, ClaimAsked), house_of(request)
    done = await claims.request(
        house.sessions, actor_of(request), asked.contact, post=post_of(house), clock=house.clock
    )
    return answer(request, views.requested(done, asked.contact))


@post(
    "/v1/feedback",
    status_code=200,
    guards=[agents_only, measured],
    opt=described("feedback create", body=FeedbackAsked, refuses=(Refusal.RATE_LIMITED,)),
)
async def give_feedback(request: AnyRequest) -> Envelope:
    """Tell the people behind this service what went well or wrong. A `dedupe_key` keeps it from being told twice."""
    asked, house = await body_of(request, FeedbackAsked), house_of(request)
    kept, replayed = await feedback.give(
        house.sessions, actor_of(request), asked.said, dedupe_key=asked.dedupe_key, now=house.clock()
    )
    return answer(request, views.feedback(kept) | {"deduplicated": replayed})


@get("/v1/operator/feedback", guards=[LOOKS], opt=described("operator feedback", query=fields_operator.PageAsked))
async def list_feedback(request: AnyRequest) -> Envelope:
    """What agents of every organization said, newest first."""
    asked = query_of(request, fields_operator.PageAsked)
    before = cursor(feedback.PREFIX, asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await feedback.listed(session, before=before, limit=asked.limit + 1)
    shown = views.feedback_page(found)
    return answer(request, operator.page("feedback", shown, limit=asked.limit, key="feedback_id"))


@post(
    "/v1/operator/organizations/{organization_id:str}/owner/end",
    status_code=200,
    guards=[allowed(Scope.ADMIN, operators_alone=True)],
    opt=described("operator owner end", body=fields_operator.ActAsked, refuses=ACTING),
)
async def end_ownership(request: AnyRequest, organization_id: FromPath[str]) -> Envelope:
    """End the ownership of an organization: its owner's sessions and all links to it end at once."""
    asked, house = await body_of(request, fields_operator.ActAsked), house_of(request)
    whose = parsed("org", organization_id, Outcome.BOOK_NOT_FOUND)
    by, now = acting(request, asked.idempotency_key), house.clock()
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        Act.END_OWNERSHIP,
        subject=external("org", whose),
        reason=asked.reason,
        act=lambda: claims.end(house.sessions, whose, reason=asked.reason, by=by, now=now),
    )
    return answer(request, {"action": operator.action(recorded), "replayed": replayed})


ROUTES: Final[list[Any]] = [request_claim, give_feedback, list_feedback, end_ownership]
