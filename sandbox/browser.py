"""The hosted page over HTTP: `/c/pay/{id}` shown, and clicked (https://docs.stripe.com/payments/checkout/how-checkout-works)."""

from typing import Any
from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.response import Redirect

from sandbox import clockwork, deliveries, hosted_page, payer
from sandbox.errors import Refusal
from sandbox.state import Json, World

WEBHOOK_WAIT_S = 10.0
"""Checkout holds the payer back this long for `checkout.session.completed` to be taken
(https://docs.stripe.com/checkout/fulfillment)."""
FORM_BYTES_MAX = 4096


@get("/c/pay/{session_id:str}", sync_to_thread=False)
def show(state: State, session_id: str) -> Response[str]:
    """The page: pay, or why not."""
    world: World = state.world
    clockwork.run_due(world)
    world.store.commit()
    return _page(world, session_id)


@post("/c/pay/{session_id:str}", request_max_body_size=FORM_BYTES_MAX)
async def click(state: State, request: Request[Any, Any, Any], session_id: str) -> Response[Any]:
    """One button: off to the shop after paying, else the page again."""
    world: World = state.world
    form = parse_qs((await request.body()).decode("utf-8", errors="replace"))
    clockwork.run_due(world)
    try:
        session = _act(world, session_id, form.get("action", [""])[0], form.get("promotion_code", [""])[0])
    except Refusal as refusal:
        world.store.rollback()
        return _page(world, session_id, refusal.message)
    clockwork.run_due(world)
    world.store.commit()
    if session["status"] != "complete":
        declined = form.get("action") == ["decline"]
        return _page(world, session_id, "Your card was declined. Try another one." if declined else None)
    await _until_told(world, session_id)
    return Redirect(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id), status_code=303)


def _act(world: World, session_id: str, action: str, code: str) -> Json:
    match action:
        case "pay":
            return payer.pay(world, session_id)
        case "pay_delayed":
            return payer.pay_delayed(world, session_id)
        case "decline":
            return payer.decline(world, session_id)
        case "apply_code":
            return payer.use_promotion_code(world, session_id, code)
    raise Refusal(400, "The page did not understand that.")


def _page(world: World, session_id: str, error: str | None = None) -> Response[str]:
    session = world.store.get("checkout.session", session_id)
    items = world.store.get("line_items", session_id)
    if session is None or items is None:
        return _html(hosted_page.told("Nothing here", "This checkout page does not exist."), 404)
    if session["status"] == "expired":
        return _html(hosted_page.told("Expired", "This checkout session has expired. Nothing was paid."))
    if session["status"] == "complete":
        back = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id)
        return _html(hosted_page.told("All done", "This checkout session is complete already.", back))
    return _html(hosted_page.checkout(session, items["data"], error))


def _html(text: str, status: int = 200) -> Response[str]:
    return Response(text, status_code=status, media_type="text/html", headers=hosted_page.HEADERS)


async def _until_told(world: World, session_id: str) -> None:
    for event in world.store.newest_first("event"):
        if event["type"] == "checkout.session.completed" and event["data"]["object"]["id"] == session_id:
            await deliveries.arrived(world, event["id"], within_s=WEBHOOK_WAIT_S)
            return
