"""The sandbox as one Litestar application: the API, the hosted page, the controls, and what runs beside them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Response, get, route
from litestar.datastructures import State
from pydantic import ValidationError

from sandbox import aftermath, browser, clockwork, controls, deliveries, door, ids, misbehaviour
from sandbox.config import SandboxConfig
from sandbox.errors import Refusal
from sandbox.state import Store, World

BODY_BYTES_MAX = 256 * 1024


def create_app(config: SandboxConfig) -> Litestar:
    """One sandbox with its own memory; letters go out and time passes while the application's lifespan lasts."""
    world = World(config=config, store=Store(config.state_file))

    @contextlib.asynccontextmanager
    async def beside(_: Litestar) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(deliveries.pump(world)), asyncio.create_task(clockwork.tick(world))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            world.store.commit()
            world.store.close()

    return Litestar(
        route_handlers=[
            api,
            healthz,
            browser.show,
            browser.click,
            controls.act_on_session,
            controls.act_on_intent,
            controls.send_transfer,
            controls.sent_transfers,
            controls.put_clock_forward,
            aftermath.open_dispute,
            aftermath.act_on_dispute,
            aftermath.warn_of_fraud,
            aftermath.refund,
            aftermath.let_refunds_start,
            aftermath.act_on_refund,
            aftermath.pay_out,
            aftermath.book_line,
            misbehaviour.add_fault,
            misbehaviour.waiting_faults,
            misbehaviour.forget_faults,
            misbehaviour.set_delivery,
            misbehaviour.all_deliveries,
            misbehaviour.deliver,
            misbehaviour.calls,
            misbehaviour.forget_calls,
            misbehaviour.counts,
        ],
        lifespan=[beside],
        state=State({"world": world}),
        exception_handlers={Refusal: _refused, ValidationError: _malformed, 500: _broken},
        request_max_body_size=BODY_BYTES_MAX,
        openapi_config=None,
        logging_config=None,  # the process around it decides how it logs; in one process with tests that is not us
    )


@route("/v1/{rest:path}", http_method=["GET", "POST", "DELETE"])
async def api(state: State, request: Request[Any, Any, Any], rest: str) -> Response[Any]:  # noqa: ARG001 - Litestar asks for it
    """Everything under `/v1`; the table is in `routes.py`."""
    return await door.answer(state.world, request)


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "sandbox": "a pretend Stripe; no real money"}


def _refused(_: Request[Any, Any, Any], refusal: Refusal) -> Response[dict[str, object]]:
    return Response(refusal.body(ids.new("req", 14)), status_code=refusal.status)


def _broken(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, object]]:
    """A fault of the sandbox itself: told apart from the ones it was asked for, with its traceback in the log."""
    logging.getLogger("sandbox").error("%s %s broke the sandbox", request.method, request.url.path, exc_info=error)
    told = Refusal(500, "The sandbox itself failed; its log says where.", type="api_error", code="sandbox_broken")
    return Response(told.body(ids.new("req", 14)), status_code=500)


def _malformed(_: Request[Any, Any, Any], error: ValidationError) -> Response[dict[str, object]]:
    return Response({"error": {"type": "sandbox_control_error", "message": str(error)}}, status_code=400)
