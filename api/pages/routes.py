"""`GET /pay/{attempt}`, the link for humans, `/state` below it, which its page asks for news, and `/receipt`, to print.

Who comes is not known and need not be: the link says which payment, and shows nothing but that payment. Browsers,
link-preview bots and HEAD requests are treated alike, because visiting twice is the same as visiting once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import UUID

import structlog
from litestar import Request, Response, route
from litestar.enums import MediaType
from litestar.params import FromPath
from sqlalchemy.exc import SQLAlchemyError

from api.freshening import freshened
from api.pages import page, receipt_page, screens, texts
from api.pages.texts import Words
from api.wiring import House
from billing import handoff, looking
from billing.database import snapshot
from billing.handoff import Visit
from billing.refusals import Refusal, Refused
from finance import receipt_signing, receipts
from ledger import ids

AnyRequest = Request[Any, Any, Any]

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 0.25
LOOKS_MAX: Final = 10
"""How long a visitor is kept waiting for what another visitor has asked the provider for: 2.5 seconds."""
_NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


def _refused(request: AnyRequest, error: Refused) -> Response[str]:  # noqa: ARG001 -- what Litestar calls it with
    """The one refusal that a link can meet."""
    return _notice(request, texts.NOT_FOUND, status=404)


def _without_receipt(request: AnyRequest, error: Refused) -> Response[str]:  # noqa: ARG001 -- what Litestar calls it with
    """There is no such payment, it has no receipt yet, or one that is not shown: all the same to whoever asks."""
    return _notice(request, texts.NO_RECEIPT, status=404)


def _unreachable(request: AnyRequest, error: Exception) -> Response[str]:
    """The database does not answer."""
    log.warning("page_unavailable", error=type(error).__name__)
    return _notice(request, texts.UNAVAILABLE, status=503, retry=True)


def _broken(request: AnyRequest, error: Exception) -> Response[str]:
    """Our fault: told to the payer as a page, to the operator with its traceback."""
    log.error("page_failed", exc_info=error)
    return _notice(request, texts.BROKEN, status=500)


_FAULTS: Final[dict[Any, Any]] = {SQLAlchemyError: _unreachable, OSError: _unreachable, Exception: _broken}


@route(
    "/pay/{attempt_id:str}",
    http_method=["GET", "HEAD"],
    exception_handlers={**_FAULTS, Refused: _refused},
    include_in_schema=False,
)
async def pay(request: AnyRequest, attempt_id: FromPath[str]) -> Response[Any]:
    """Forward to the provider's page, or show what is due or what happened."""
    house = _house(request)
    returned = request.query_params.get("returned")
    seen = await _visited(house, _attempt(attempt_id), returned=returned == screens.RETURNED_PAID)
    url = screens.forward_url(seen, returned=returned)
    if url is not None:
        # Written by hand: the framework's redirect would quote the URL anew, and Stripe's fragment must stay as it is.
        return Response("", status_code=303, media_type=MediaType.TEXT, headers={**_NO_STORE, "Location": url})
    shown = screens.screen(seen, returned=returned, sandbox=not house.livemode, now=house.clock())
    busy = shown.kind is screens.Kind.BUSY
    return _html(page.of_screen(shown), status=503 if busy else 200, retry=busy)


@route("/pay/{attempt_id:str}/state", http_method=["GET", "HEAD"], include_in_schema=False)
async def state(request: AnyRequest, attempt_id: FromPath[str]) -> Response[dict[str, str]]:
    """`{state, version}` as the books have it: cheap, asks nobody. Raises `Refused(NOT_FOUND)`."""
    house = _house(request)
    async with house.sessions() as session:
        seen = await handoff.look(session, _attempt(attempt_id))
    version = screens.version(seen, now=house.clock())
    return Response({"state": seen.attempt.state, "version": version}, headers=_NO_STORE)


@route(
    "/pay/{attempt_id:str}/receipt",
    http_method=["GET", "HEAD"],
    exception_handlers={**_FAULTS, Refused: _without_receipt},
    include_in_schema=False,
)
async def receipt(request: AnyRequest, attempt_id: FromPath[str]) -> Response[str]:
    """What the page of a paid attempt says, to print, with the receipt's signature: as the books have it, asks nobody.

    It is there when that page shows the payer's proof: not for what a wallet paid by its signature, whose attempt's id
    is known to strangers.
    """
    house = _house(request)
    async with snapshot(house.sessions) as session:
        seen = await handoff.look(session, _attempt(attempt_id))
        shown = screens.screen(seen, returned=None, sandbox=not house.livemode, now=house.clock())
        if seen.receipt is None or shown.paid is None:
            raise Refused(Refusal.NOT_FOUND, "there is no receipt to show")
        stated = await receipts.statement(session, seen.attempt.organization_id, seen.receipt.id)
    signature = receipt_signing.signed(stated, house.receipt_keys.signing)["signature"]
    return _html(receipt_page.of_payer(shown, shown.paid, signature), status=200)


PAGES: Final[list[Any]] = [pay, state, receipt]
"""What the application mounts. It puts the house at `app.state.house`."""


async def _visited(house: House, attempt_id: UUID, *, returned: bool) -> Visit:
    """The attempt after a visit; one that found the provider busy looks whether another visitor gets the answer.

    `returned`: the payer comes back from paying, so the provider may know more than any letter has told.

    Two that come at once ask for the next session under one key, and the provider refuses whoever asks while the other
    is still being served (Stripe: 409).
    """
    if returned:
        async with house.sessions() as session:
            before = await handoff.look(session, attempt_id)
        await freshened(house, before.attempt, before.quote, apart=looking.RETURNED_APART)
    seen = await handoff.visit(
        house.sessions,
        attempt_id,
        rails=house.rails,
        livemode=house.livemode,
        place=house.place,
        clock=house.clock,
    )
    for _ in range(LOOKS_MAX):
        if not screens.is_stuck(seen, now=house.clock()):
            break
        await asyncio.sleep(LOOK_EVERY_S)
        async with house.sessions() as session:
            again = await handoff.look(session, attempt_id)
        if not screens.is_stuck(again, now=house.clock()):
            return again
    return seen


def _house(request: AnyRequest) -> House:
    house: House = request.app.state.house
    return house


def _attempt(attempt_id: str) -> UUID:
    try:
        return ids.parse("payatt", attempt_id)
    except ids.MalformedId:
        raise Refused(Refusal.NOT_FOUND, "there is no such payment") from None


def _notice(request: AnyRequest, said: Words, *, status: int, retry: bool = False) -> Response[str]:
    return _html(page.of_notice(said, sandbox=not _house(request).livemode, retry=retry), status=status, retry=retry)


def _html(text: str, *, status: int, retry: bool = False) -> Response[str]:
    headers = {**page.HEADERS, "Retry-After": str(page.RETRY_S)} if retry else dict(page.HEADERS)
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=headers)
