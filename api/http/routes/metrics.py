"""`GET /metrics`: what this process counts and how the service stands, in the text format of Prometheus. No envelope.

It is for operators with `read`, not open to the machine: behind a proxy, everybody comes from there. A scraper sends
the key as its bearer credentials.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.http.authentication import allowed
from api.http.context import AnyRequest, house_of
from billing.scopes import Scope


@get("/metrics", guards=[allowed(Scope.READ, operators_alone=True)], opt={"command": "metrics"})
async def metrics(request: AnyRequest) -> Response[bytes]:
    """The queue's depth, batch sizes, give-backs and latencies of this process; how payments and letters stand."""
    house = house_of(request)
    counted = generate_latest(house.metrics.registry)
    return Response(counted + await request.app.state.gauges.exposed(house), media_type=CONTENT_TYPE_PLAIN_0_0_4)


ROUTES: Final[list[Any]] = [metrics]
