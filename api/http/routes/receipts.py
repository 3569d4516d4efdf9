"""Receipts with their signatures, and the public keys that check them."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.enums import MediaType
from litestar.params import FromPath

from api.http import fields_ledger as fields
from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of, principal_of
from api.http.envelope import Answer, Envelope, answer
from api.http.reading import query_of
from api.http.routes.describe import described
from api.http.views import receipts as views
from api.pages import page, receipt_page
from billing.database import snapshot
from billing.scopes import Scope
from billing.spending import on_behalf
from finance import receipt_signing, receipts

BY_ACCEPT: Final = {"vary": "Accept"}
FRESH_FOR: Final = {"cache-control": "public, max-age=300"}


@get(
    "/v1/receipts/{receipt_id:str}",
    guards=[allowed(Scope.READ)],
    opt=described("receipts show", query=fields.ReadAsked),
)
async def show_receipt(request: AnyRequest, receipt_id: FromPath[str]) -> Response[Any]:
    """What was paid, or what a job was charged, signed, with the head of the book right after it.

    It says the same whenever it is asked for. `signature` is null where the service has no key for it. Who asks for
    `text/html` gets it as a page to print.
    """
    asked, house = query_of(request, fields.ReadAsked), house_of(request)
    organization_id = on_behalf(principal_of(request), asked.organization_id).organization_id
    async with snapshot(house.sessions) as session:
        found = await receipts.statement(session, organization_id, receipts.parsed(receipt_id))
    document = receipt_signing.signed(found, house.receipt_keys.signing)
    if _wants_page(request):
        text = receipt_page.of_receipt(document, sandbox=not house.livemode)
        return Response(text, media_type=MediaType.HTML, headers={**page.HEADERS, **BY_ACCEPT})
    return Answer(answer(request, document), status_code=200, headers=BY_ACCEPT)


def _wants_page(request: AnyRequest) -> bool:
    """Whether a page is asked for, as browsers do. Who names JSON too, or nothing, gets JSON."""
    asked = {one.partition(";")[0].strip().lower() for one in request.headers.get("accept", "").split(",")}
    return MediaType.HTML in asked and MediaType.JSON not in asked


@get("/v1/receipt-keys", opt=described("receipts keys"))
async def list_keys(request: AnyRequest) -> Response[Envelope]:
    """The public keys of receipts: the one that signs now, and those that signed before."""
    return Answer(answer(request, views.keys(house_of(request).receipt_keys)), status_code=200, headers=FRESH_FOR)


ROUTES: Final[list[Any]] = [show_receipt, list_keys]
