"""The application: routes, refusals, the doorway, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from api import logs, native, worker
from api.alerts import Gauges
from api.http import envelope
from api.http.doorway import doorway, no_options
from api.http.refusal_answers import answered
from api.http.routes import (
    activity,
    batches,
    caps,
    catalog,
    claims,
    discovery,
    document,
    guide,
    health,
    holds,
    jobs,
    ledger,
    metrics,
    models,
    operator_closes,
    operator_exceptions,
    operator_exports,
    operator_hooks,
    operator_letters,
    operator_money,
    operator_settlements,
    owners,
    people,
    purchases,
    quotes,
    receipts,
    sign_in,
    spending,
    x402,
)
from api.http.views.hooks import told
from api.pages.routes import PAGES
from api.settings import Settings
from api.windows import Window
from api.wiring import House, build
from webhooks.routes import webhook_routes

log = structlog.get_logger()

YOUNG_OBJECTS_MAX: Final = 20_000
"""New objects until the collector looks for dead ones. With fewer than requests under way hold, it finds them alive."""

ROUTES = [
    *health.ROUTES,
    *people.ROUTES,
    *claims.ROUTES,
    *catalog.ROUTES,
    *models.ROUTES,
    *guide.ROUTES,
    *quotes.ROUTES,
    *purchases.ROUTES,
    *receipts.ROUTES,
    *x402.ROUTES,
    *sign_in.ROUTES,
    *spending.ROUTES,
    *batches.ROUTES,
    *holds.ROUTES,
    *jobs.ROUTES,
    *caps.ROUTES,
    *ledger.ROUTES,
    *activity.ROUTES,
    *metrics.ROUTES,
    *operator_closes.ROUTES,
    *operator_exports.ROUTES,
    *operator_exceptions.ROUTES,
    *operator_hooks.ROUTES,
    *operator_letters.ROUTES,
    *operator_money.ROUTES,
    *operator_settlements.ROUTES,
    *document.ROUTES,
    *discovery.ROUTES,
    *PAGES,
    *owners.ROUTES,
]


def create_app() -> Litestar:
    """The application as the environment says, for `granian --interface asgi --factory api.http.app:create_app`."""
    settings = Settings()
    logs.configure(settings)
    return app_for(build(settings))


def app_for(house: House) -> Litestar:
    """The application of `house`, which it closes when it ends. Runs a worker inside when the settings say so."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            async with house.lane, native.checked(house.native), _working(house):
                # What was loaded stays: the collector need not look through it again while requests wait.
                gc.collect()
                gc.freeze()
                gc.set_threshold(YOUNG_OBJECTS_MAX)
                yield
        finally:
            await house.close()

    settings = house.settings
    app = Litestar(
        route_handlers=[*ROUTES, *_webhooks(house)],
        lifespan=[lifespan],
        state=State(
            {
                "house": house,
                "gauges": Gauges(),
                "exports": asyncio.Semaphore(operator_exports.AT_ONCE),
                "signups": Window(settings.signups_per_minute),
                "payments": Window(settings.payments_per_minute),
                "requests": Window(settings.requests_per_minute),
                "refusals": Window(settings.refusals_per_minute),
                "newest_migration": health.newest_migration(),
            }
        ),
        exception_handlers={Exception: answered, x402.Unpaid: x402.unpaid},
        before_request=no_options,
        request_max_body_size=settings.body_bytes_max,
        openapi_config=None,
        logging_config=None,
        response_class=envelope.Answer,
    )
    app.asgi_handler = doorway(app.asgi_handler, house)
    return app


def _webhooks(house: House) -> list[HTTPRouteHandler]:
    return webhook_routes(
        sessions=house.sessions,
        secrets=[secret.get_secret_value() for secret in house.settings.stripe_webhook_secrets],
        clock=house.clock,
        arrived=house.letters_arrived,
        bytes_max=house.settings.webhook_bytes_max,
        answer=envelope.answer,
    )


@asynccontextmanager
async def _working(house: House) -> AsyncIterator[None]:
    """A worker beside the requests; it is told to stop and waited for at the end."""
    if not house.settings.worker:
        yield
        return
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(house, stop, render=told), name="worker")
    try:
        yield
    finally:
        stop.set()
        try:
            await working
        except Exception:
            log.exception("worker_failed")
