"""Operators and payments of wallets: which there are, and what is to become of one that is held."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_operator as fields
from api.http.context import AnyRequest, house_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, described
from api.http.routes.operator_letters import ACTS, LOOKS, acting
from api.http.routes.people import cursor
from api.http.views import operator as views
from billing import operator_actions
from billing.database import snapshot
from billing.operating import attempts, settlements
from billing.settling import deciding, records
from billing.settling_tables import Decision
from ledger.ids import external


@get(
    "/v1/operator/settlements",
    guards=[LOOKS],
    opt=described("operator settlements", query=fields.SettlementsAsked),
)
async def list_settlements(request: AnyRequest) -> Envelope:
    """Payments that wallets have signed, of every organization, newest first."""
    asked = query_of(request, fields.SettlementsAsked)
    async with snapshot(house_of(request).sessions) as session:
        behind = await _behind(session, asked.cursor)
        found = await settlements.listed(session, state=asked.state, before=behind, limit=asked.limit + 1)
    shown = [views.settlement(one) for one in found]
    return answer(request, views.page("settlements", shown, limit=asked.limit, key="payment_attempt_id"))


async def _behind(session: Any, asked: str | None) -> Any:
    """The settlement that a page goes on behind, named by its attempt."""
    attempt_id = cursor(attempts.PREFIX, asked)
    return (await settlements.one(session, attempt_id)).id if attempt_id is not None else None


@post(
    "/v1/operator/settlements/{attempt_id:str}/release",
    status_code=200,
    guards=[ACTS],
    opt=described("operator settlement release", body=fields.ActAsked, refuses=ACTING),
)
async def release(request: AnyRequest, attempt_id: FromPath[str]) -> Envelope:
    """Grant what a held payment paid for. Done within a minute, as soon as the chain can be asked."""
    return await _decided(request, attempt_id, Decision.RELEASE)


@post(
    "/v1/operator/settlements/{attempt_id:str}/keep",
    status_code=200,
    guards=[ACTS],
    opt=described("operator settlement keep", body=fields.ActAsked, refuses=ACTING),
)
async def keep(request: AnyRequest, attempt_id: FromPath[str]) -> Envelope:
    """Grant nothing for a held payment; its money is unallocated until it is refunded.

    Done when its block is final.
    """
    return await _decided(request, attempt_id, Decision.KEEP)


async def _decided(request: AnyRequest, attempt_id: str, decision: Decision) -> Envelope:
    asked, house = await body_of(request, fields.ActAsked), house_of(request)
    found_id, by, now = attempts.parsed(attempt_id), acting(request, asked.idempotency_key), house.clock()
    async with snapshot(house.sessions) as session:
        key = records.key_of(await settlements.one(session, found_id))
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        deciding.ACTS[decision],
        subject=external(attempts.PREFIX, found_id),
        reason=asked.reason,
        act=lambda: deciding.decide(house.sessions, key, decision, reason=asked.reason, by=by, now=now),
    )
    row = await records.read(house.sessions, key)
    return answer(
        request, {"action": views.action(recorded), "replayed": replayed, "settlement": views.settlement(row)}
    )


ROUTES: Final[list[Any]] = [list_settlements, release, keep]
