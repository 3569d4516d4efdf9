"""`GET /.well-known/x402`: an answer that is no envelope, because indexes of x402 read it."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get

from api.http.context import AnyRequest, house_of
from api.http.views import discovery
from billing.packs import X402

FRESH_FOR: Final = "public, max-age=300"


@get("/.well-known/x402")
async def x402_manifest(request: AnyRequest) -> Response[dict[str, Any]]:
    """What can be bought with x402, and where; an empty list while that is not possible."""
    house = house_of(request)
    found = discovery.manifest(
        house.place.offer, house.settings.url, is_offered=house.unavailable(X402.method_id) is None
    )
    return Response(found, headers={"cache-control": FRESH_FOR})


ROUTES: Final[list[Any]] = [x402_manifest]
