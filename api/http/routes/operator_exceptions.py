"""Operators and reconciliation: what the runs came to, and what is decided of the lines that do not fit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_exceptions as fields
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.fields_operator import ActAsked, PageAsked
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, described
from api.http.routes.operator_letters import ACTS, LOOKS, acting
from api.http.routes.people import cursor
from api.http.views import exceptions as views
from api.http.views import operator as plain_views
from billing import operator_actions
from billing.database import snapshot
from billing.operator_actions import Act, Acting
from billing.refusals import Refusal, Refused
from billing.reversal_tables import OperatorAction
from finance.reconciling import listing, resolving

_ROOT: Final = "/v1/operator/exceptions"
_ONE: Final = f"{_ROOT}/{{exception_id:str}}"
_RUNS: Final = "/v1/operator/reconciliations"


@get(_ROOT, guards=[LOOKS], opt=described("operator exceptions", query=fields.ExceptionsAsked))
async def list_exceptions(request: AnyRequest) -> Envelope:
    """Lines that are missing on a side or differ, newest first; those that still stand, or those in one state."""
    asked = query_of(request, fields.ExceptionsAsked)
    before = cursor(listing.PREFIX, asked.cursor)
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        found = await listing.listed(session, state=asked.state, before=before, limit=asked.limit + 1)
    shown = [views.exception(one, house.clock()) for one in found]
    return answer(request, plain_views.page("exceptions", shown, limit=asked.limit, key="exception_id"))


@get(_ONE, guards=[ACTS], opt=described("operator exception"))
async def show_exception(request: AnyRequest, exception_id: FromPath[str]) -> Envelope:
    """One exception with what each side says, and what was decided of it."""
    house = house_of(request)
    async with snapshot(house.sessions) as session:
        found = await listing.one(session, listing.parsed(exception_id))
    return answer(request, {"exception": views.whole_exception(found, house.clock())})


@post(
    f"{_ONE}/acknowledge",
    status_code=200,
    guards=[ACTS],
    opt=described("operator exception acknowledge", body=ActAsked, refuses=ACTING),
)
async def acknowledge(request: AnyRequest, exception_id: FromPath[str]) -> Envelope:
    """Say why an exception stands; nothing is posted. Takes a proposal back."""
    asked, house = await body_of(request, ActAsked), house_of(request)

    async def act(found_id: UUID, by: Acting) -> object:
        return await resolving.acknowledge(house.sessions, found_id, reason=asked.reason, by=by, now=house.clock())

    return await _done(request, exception_id, asked, Act.ACKNOWLEDGE_EXCEPTION, act)


@post(
    f"{_ONE}/resolve",
    status_code=200,
    guards=[ACTS],
    opt=described("operator exception resolve", body=fields.ResolveAsked, refuses=ACTING),
)
async def resolve(request: AnyRequest, exception_id: FromPath[str]) -> Envelope:
    """Settle an exception by an adjustment that names it.

    Above an amount of the settings it is proposed, and waits for another key holder to approve it.
    """
    asked, house = await body_of(request, fields.ResolveAsked), house_of(request)

    async def act(found_id: UUID, by: Acting) -> object:
        return await resolving.resolve(
            house.sessions,
            found_id,
            account=asked.account,
            against=asked.against,
            alone_up_to_cents=house.settings.finance_second_approval_cents,
            reason=asked.reason,
            by=by,
            now=house.clock(),
        )

    def as_before(recorded: OperatorAction) -> bool:
        wanted = {"account": asked.account, "against": asked.against}
        return all(value in {None, recorded.details[name]} for name, value in wanted.items())

    return await _done(request, exception_id, asked, Act.RESOLVE_EXCEPTION, act, as_before=as_before)


@post(
    f"{_ONE}/approve",
    status_code=200,
    guards=[ACTS],
    opt=described("operator exception approve", body=fields.ApproveAsked, refuses=ACTING),
)
async def approve(request: AnyRequest, exception_id: FromPath[str]) -> Envelope:
    """Agree to an adjustment that another key holder proposed, which is then posted.

    It must be the proposal that is named: when it was taken back and made anew, nothing is posted.
    """
    asked, house = await body_of(request, fields.ApproveAsked), house_of(request)

    async def act(found_id: UUID, by: Acting) -> object:
        return await resolving.approve(
            house.sessions, found_id, proposal_id=asked.proposal_id, reason=asked.reason, by=by, now=house.clock()
        )

    def as_before(recorded: OperatorAction) -> bool:
        return bool(recorded.details["proposal_id"] == asked.proposal_id)

    return await _done(request, exception_id, asked, Act.APPROVE_EXCEPTION, act, as_before=as_before)


@get(_RUNS, guards=[LOOKS], opt=described("operator reconciliations", query=PageAsked))
async def list_runs(request: AnyRequest) -> Envelope:
    """What the comparisons came to, newest first: counts by source, and the clearing account with its ageing."""
    asked = query_of(request, PageAsked)
    before = cursor(listing.RUN_PREFIX, asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.runs(session, before=before, limit=asked.limit + 1)
    shown = [views.run(one) for one in found]
    return answer(request, plain_views.page("reconciliations", shown, limit=asked.limit, key="reconciliation_id"))


@get(f"{_RUNS}/latest", guards=[ACTS], opt=described("operator reconciliation"))
async def show_latest(request: AnyRequest) -> Envelope:
    """The last comparison, with the exceptions that stood then or were resolved lately; none before the first."""
    async with snapshot(house_of(request).sessions) as session:
        found = await listing.newest_run(session)
    return answer(request, {"reconciliation": views.whole_run(found) if found is not None else None})


async def _done(
    request: AnyRequest,
    exception_id: str,
    asked: ActAsked,
    act: Act,
    do: Callable[[UUID, Acting], Awaitable[object]],
    *,
    as_before: Callable[[OperatorAction], bool] = lambda _: True,
) -> Envelope:
    """Act once. `as_before`: whether what was recorded under the key is what is asked now."""
    house, found_id, by = house_of(request), listing.parsed(exception_id), acting(request, asked.idempotency_key)
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        act,
        subject=listing.public_id(found_id),
        reason=asked.reason,
        act=lambda: do(found_id, by),
    )
    if replayed and not as_before(recorded):
        raise Refused(Refusal.SPENDING_CONFLICT)
    async with snapshot(house.sessions) as session:
        found = await listing.one(session, found_id)
    shown = views.whole_exception(found, house.clock())
    return answer(request, {"action": plain_views.action(recorded), "replayed": replayed, "exception": shown})


ROUTES: Final[list[Any]] = [
    list_exceptions,
    show_exception,
    acknowledge,
    resolve,
    approve,
    list_runs,
    show_latest,
]
