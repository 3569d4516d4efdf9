"""Documents for agents, and `GET /openapi.json`: answers that are no envelopes, as are the pages and `/metrics`.

There is no page to show them. Each is drawn anew only when what it says of methods or prices has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from litestar import Response, get
from litestar.routes import BaseRoute

from api.documents.client_commands import client_commands
from api.documents.particulars import Limits, Particulars
from api.documents.skill import skill
from api.documents.summary import summary
from api.http import openapi
from api.http.context import AnyRequest, house_of
from api.http.operations import operations
from api.http.routes.health import VERSION
from api.http.views import discovery
from api.settings import Settings
from api.wiring import House
from billing.packs import METHODS, X402

FRESH_FOR: Final = {"cache-control": "public, max-age=300"}
MARKDOWN: Final = "text/markdown; charset=utf-8"
PLAIN: Final = "text/plain; charset=utf-8"


@get("/openapi.json")
async def openapi_document(request: AnyRequest) -> Response[dict[str, Any]]:
    """The API as an OpenAPI document."""
    house = house_of(request)
    is_offered = house.unavailable(X402.method_id) is None

    def draw() -> dict[str, Any]:
        paid = discovery.paid_operations(house.place.offer, is_offered=is_offered)
        return openapi.document(request.app.routes, url=house.settings.url, version=VERSION, paid=paid)

    return Response(drawn(request, "openapi", is_offered, draw), headers=FRESH_FOR)


@get("/llms.txt", media_type=PLAIN)
async def llms_text(request: AnyRequest) -> Response[str]:
    """The service on one page."""
    return _text(request, summary, PLAIN)


@get("/skill.md", media_type=MARKDOWN)
async def skill_text(request: AnyRequest) -> Response[str]:
    """How to buy and to spend, with every call."""
    return _text(request, skill, MARKDOWN)


@get("/cli.md", media_type=MARKDOWN)
async def command_line_text(request: AnyRequest) -> Response[str]:
    """The commands of the public client that work here."""
    return _text(request, client_commands, MARKDOWN)


def _text(request: AnyRequest, draw: Callable[[Particulars], str], media_type: str) -> Response[str]:
    here = particulars(request.app.routes, house_of(request))
    stands = (tuple(here.reasons.items()), here.prices.digest)
    text = drawn(request, draw.__name__, stands, lambda: draw(here))
    return Response(text, media_type=media_type, headers=FRESH_FOR)


def drawn(request: AnyRequest, name: str, stands: Any, draw: Callable[[], Any]) -> Any:
    """What `draw` gives, remembered for as long as things stand as `stands` says."""
    remembered: dict[str, tuple[Any, Any]] = request.app.state.setdefault("documents", {})
    if name not in remembered or remembered[name][0] != stands:
        remembered[name] = (stands, draw())
    return remembered[name][1]


def particulars(routes: Iterable[BaseRoute], house: House) -> Particulars:
    """What the documents say of this service now."""
    return Particulars(
        url=house.settings.url,
        version=VERSION,
        offer=house.place.offer,
        reasons={method_id: house.unavailable(method_id) for method_id in METHODS},
        live_money=frozenset(method_id for method_id in METHODS if house.is_live_money(method_id)),
        native=house.native.terms if house.native is not None else None,
        prices=house.outside.prices.current(),
        limits=limits(house.settings),
        operations=operations(routes),
    )


def limits(settings: Settings) -> Limits:
    """What the settings allow."""
    return Limits(
        body_bytes=settings.body_bytes_max,
        signups=settings.signups_per_minute,
        payments=settings.payments_per_minute,
        requests=settings.requests_per_minute,
        refusals=settings.refusals_per_minute,
        jobs_per_day=settings.jobs_per_day,
    )


ROUTES: Final[list[Any]] = [openapi_document, llms_text, skill_text, command_line_text]
