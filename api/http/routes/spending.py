"""Spending at once, and giving back what was spent. The hot path: one read for the token, and the posting itself."""

from __future__ import annotations

from typing import Any, Final

from litestar import post

from api.http import fields_spending as fields
from api.http import posting
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of
from api.http.routes.describe import POSTING, SPENDING, described
from api.http.views import spending as views
from billing import spending
from billing.database import snapshot
from billing.refusals import Refusal
from billing.scopes import Scope
from billing.spending import on_behalf, parsed
from billing.standing import require_agent
from ledger.outcomes import Outcome


@post(
    "/v1/spends",
    status_code=200,
    guards=[allowed(Scope.SPEND)],
    opt=described("spends make", body=fields.SpendAsked, refuses=SPENDING),
)
async def spend(request: AnyRequest) -> Envelope:
    """Spend credits at once."""
    asked = await body_of(request, fields.SpendAsked)
    behalf = on_behalf(principal_of(request), asked.organization_id, asked.agent_id)
    if asked.agent_id is not None:
        async with snapshot(house_of(request).sessions) as session:
            await require_agent(session, behalf)
    operation = spending.spend(behalf, asked.idempotency_key, asked.credits)
    return answer(request, views.posted_view(operation, await posting.post(request, behalf, operation)))


@post(
    "/v1/refunds-of-spends",
    status_code=200,
    guards=[allowed(Scope.GRANT)],
    opt=described("spends refund", body=fields.RefundAsked, refuses=(*POSTING, Refusal.AMOUNT_EXCEEDS_REST)),
)
async def refund_spend(request: AnyRequest) -> Envelope:
    """Give credits of a spend or a capture back; in parts, and never more than was spent."""
    asked = await body_of(request, fields.RefundAsked)
    behalf = on_behalf(principal_of(request), asked.organization_id)
    target = parsed("op", asked.operation_id, Outcome.SPEND_NOT_FOUND)
    operation = spending.refund(behalf, asked.idempotency_key, target, asked.credits)
    return answer(request, views.posted_view(operation, await posting.post(request, behalf, operation)))


ROUTES: Final[list[Any]] = [spend, refund_spend]
