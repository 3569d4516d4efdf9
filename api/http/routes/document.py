"""`GET /openapi.json`: an answer that is no envelope, as are the pages and `/metrics`. There is no page to show it."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get

from api.http import openapi
from api.http.context import AnyRequest, house_of
from api.http.routes.health import VERSION
from api.http.views import discovery
from billing.packs import X402


@get("/openapi.json")
async def openapi_document(request: AnyRequest) -> Response[dict[str, Any]]:
    """The API as an OpenAPI document."""
    house = house_of(request)
    paid = discovery.paid_operations(house.place.offer, is_offered=house.unavailable(X402.method_id) is None)
    described = openapi.document(request.app.routes, url=house.settings.url, version=VERSION, paid=paid)
    return Response(described, headers={"cache-control": "public, max-age=300"})


ROUTES: Final[list[Any]] = [openapi_document]
