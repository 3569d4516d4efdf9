"""Operators and letters: look at them, retry one, put one aside; and the list of all that operators did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from litestar import get, post
from litestar.params import FromPath

from api.http import fields_operator as fields
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, operator_of
from api.http.envelope import Envelope, answer
from api.http.reading import body_of, query_of
from api.http.routes.describe import ACTING, described
from api.http.routes.people import cursor
from api.http.views import operator as views
from billing import operator_actions
from billing.database import snapshot
from billing.operator_actions import Act, Acting
from billing.scopes import Scope
from billing.spending import parsed
from ledger.outcomes import Outcome
from webhooks import letters
from webhooks.tables import Letter

LOOKS: Final = allowed(Scope.OPERATE, operators_alone=True, also=Scope.READ)
"""Looking takes either scope: a scraper sees how things stand, and nothing of whom they are about."""
ACTS: Final = allowed(Scope.OPERATE, operators_alone=True)
"""Acting takes `operate`, and so does looking at what payers wrote and at what operators did."""


def acting(request: AnyRequest, key: str | None) -> Acting:
    """The operator that asks, with the holder of its key; `key` is the idempotency key of what it asks for."""
    operator = operator_of(request)
    return Acting(operator.key_id, operator.name, key)


def organization(named: str | None) -> UUID | None:
    """The organization that a list is narrowed to. Raises `Refused(NOT_FOUND)` for an id that can be nobody's."""
    return parsed("org", named, Outcome.BOOK_NOT_FOUND) if named is not None else None


@get("/v1/operator/letters", guards=[LOOKS], opt=described("operator letters", query=fields.LettersAsked))
async def list_letters(request: AnyRequest) -> Envelope:
    """Letters of the payment providers, newest first, without their bodies."""
    asked = query_of(request, fields.LettersAsked)
    before = cursor(letters.PREFIX, asked.cursor)
    async with snapshot(house_of(request).sessions) as session:
        found = await letters.listed(session, state=asked.state, before=before, limit=asked.limit + 1)
    shown = [views.letter(one) for one in found]
    return answer(request, views.page("letters", shown, limit=asked.limit, key="letter_id"))


@get("/v1/operator/letters/{letter_id:str}", guards=[ACTS], opt=described("operator letter"))
async def show_letter(request: AnyRequest, letter_id: FromPath[str]) -> Envelope:
    """One letter with its body; secrets, card numbers, links and who the payer is are struck out."""
    async with snapshot(house_of(request).sessions) as session:
        found = await letters.one(session, letters.parsed(letter_id))
    return answer(request, {"letter": views.whole_letter(found)})


@post(
    "/v1/operator/letters/{letter_id:str}/retry",
    status_code=200,
    guards=[ACTS],
    opt=described("operator letter retry", body=fields.ActAsked, refuses=ACTING),
)
async def retry_letter(request: AnyRequest, letter_id: FromPath[str]) -> Envelope:
    """Let a parked or ignored letter be tried again at once. Applying a letter twice changes nothing."""
    return await _done(request, letter_id, Act.RETRY_LETTER, letters.retry)


@post(
    "/v1/operator/letters/{letter_id:str}/park",
    status_code=200,
    guards=[ACTS],
    opt=described("operator letter park", body=fields.ActAsked, refuses=ACTING),
)
async def park_letter(request: AnyRequest, letter_id: FromPath[str]) -> Envelope:
    """Put a waiting letter aside, so that nobody tries it until it is retried."""
    return await _done(request, letter_id, Act.PARK_LETTER, letters.park)


@post(
    "/v1/operator/letters/{letter_id:str}/ignore",
    status_code=200,
    guards=[ACTS],
    opt=described("operator letter ignore", body=fields.ActAsked, refuses=ACTING),
)
async def ignore_letter(request: AnyRequest, letter_id: FromPath[str]) -> Envelope:
    """Be done with a parked letter that nothing is to be done about. It can still be retried."""
    return await _done(request, letter_id, Act.IGNORE_LETTER, letters.ignore)


@get("/v1/operator/actions", guards=[ACTS], opt=described("operator actions", query=fields.ActionsAsked))
async def list_actions(request: AnyRequest) -> Envelope:
    """What operators did, by whom and why, newest first."""
    asked = query_of(request, fields.ActionsAsked)
    before, about = cursor(operator_actions.PREFIX, asked.cursor), organization(asked.organization_id)
    async with snapshot(house_of(request).sessions) as session:
        found = await operator_actions.listed(
            session, organization_id=about, action=asked.action, before=before, limit=asked.limit + 1
        )
    shown = [views.action(one) for one in found]
    return answer(request, views.page("actions", shown, limit=asked.limit, key="action_id"))


async def _done(request: AnyRequest, letter_id: str, act: Act, do: Callable[..., Awaitable[Letter]]) -> Envelope:
    """What was recorded, and the letter as it is now; `replayed` when the key had been used for it before."""
    asked, house = await body_of(request, fields.ActAsked), house_of(request)
    found_id, by, now = letters.parsed(letter_id), acting(request, asked.idempotency_key), house.clock()
    recorded, replayed = await operator_actions.once(
        house.sessions,
        by,
        act,
        subject=letters.public_id(found_id),
        reason=asked.reason,
        act=lambda: do(house.sessions, found_id, by=by, reason=asked.reason, now=now),
    )
    if act is Act.RETRY_LETTER:
        house.letters_arrived.set()
    async with snapshot(house.sessions) as session:
        letter = await letters.one(session, found_id)
    return answer(request, {"action": views.action(recorded), "replayed": replayed, "letter": views.letter(letter)})


ROUTES: Final[list[Any]] = [list_letters, show_letter, retry_letter, park_letter, ignore_letter, list_actions]
