"""The controls of paying and time under `/sandbox/`: what payers, wallets and the calendar do.

Every one is documented in the package's docstring. Bodies may be left out where every field has a default. What
becomes of money after it was paid is in `aftermath.py`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from litestar import Request, get, post
from litestar.datastructures import State

from sandbox import checkout, clockwork, deposits, errors, intents, payer
from sandbox.orders import ClockOrder, IntentOverrides, Order, Overrides, TransferOrder
from sandbox.state import Json, World

AnyRequest = Request[Any, Any, Any]
OrderT = TypeVar("OrderT", bound=Order)


async def order_in(request: AnyRequest, model: type[OrderT]) -> OrderT:
    """The body as its model, an empty one as the model's defaults; pydantic's error becomes a 400 in `app.py`."""
    return model.model_validate_json(await request.body() or b"{}")


def done(world: World, act: Callable[[], Json]) -> Json:
    """Act, run what falls due at once, and commit; a refusal leaves nothing behind."""
    clockwork.run_due(world)
    world.store.commit()
    try:
        found = act()
    except BaseException:
        world.store.rollback()
        raise
    clockwork.run_due(world)
    world.store.commit()
    return found


@post("/sandbox/sessions/{session_id:str}/{act:str}", status_code=200)
async def act_on_session(state: State, request: AnyRequest, session_id: str, act: str) -> Json:
    """As if clicked: pay, decline, expire, pay_delayed, settle_delayed, fail_delayed; answers the session."""
    world: World = state.world
    overrides = (await order_in(request, Overrides)).model_dump(exclude_none=True)
    acts: dict[str, Callable[[], Json]] = {
        "pay": lambda: payer.pay(world, session_id, overrides),
        "decline": lambda: payer.decline(world, session_id),
        "expire": lambda: _expire(world, session_id),
        "pay_delayed": lambda: payer.pay_delayed(world, session_id, overrides),
        "settle_delayed": lambda: payer.settle_delayed(world, session_id, _of_intent(overrides)),
        "fail_delayed": lambda: payer.fail_delayed(world, session_id),
    }
    return done(world, chosen(acts, act))


@post("/sandbox/payment_intents/{intent_id:str}/{act:str}", status_code=200)
async def act_on_intent(state: State, request: AnyRequest, intent_id: str, act: str) -> Json:
    """Settle, fail or expire an intent now; answers the intent."""
    world: World = state.world
    overrides = (await order_in(request, IntentOverrides)).model_dump(exclude_none=True)
    acts: dict[str, Callable[[], Json]] = {
        "settle": lambda: _settle(world, intent_id, overrides),
        "fail": lambda: _fail(world, intent_id),
        "expire": lambda: intents.end(world, _unfinished(world, intent_id), "expired"),
    }
    return done(world, chosen(acts, act))


@post("/sandbox/wallet/transfers", status_code=200)
async def send_transfer(state: State, request: AnyRequest) -> Json:
    """A wallet sends a token to an address; answers the transfer with its hash and whether it matched an intent."""
    world: World = state.world
    order = await order_in(request, TransferOrder)
    return done(
        world,
        lambda: deposits.transfer(
            world,
            network=order.network,
            token_currency=order.token_currency,
            to=order.to,
            amount_atomic=int(order.amount_atomic),
            sender=order.sender,
        ),
    )


@get("/sandbox/wallet/transfers", sync_to_thread=False)
def sent_transfers(state: State) -> Json:
    """Everything any wallet sent, newest first."""
    return {"transfers": list(state.world.store.newest_first("wallet_transfer"))}


@post("/sandbox/clock", status_code=200)
async def put_clock_forward(state: State, request: AnyRequest) -> Json:
    """Time passes at once: sessions expire, keys are forgotten, planned jobs fall due."""
    world: World = state.world
    order = await order_in(request, ClockOrder)
    world.clock_offset_s += order.advance_seconds
    world.letters_shifted = world.letters_shifted or order.letters_too
    return done(world, lambda: {"now": world.now()})


def chosen(acts: dict[str, Callable[[], Json]], act: str) -> Callable[[], Json]:
    """The act of that name; raises `Refusal` when there is none."""
    if act not in acts:
        raise errors.invalid("act", f"There is no such control: {act}. Known: {', '.join(acts)}.")
    return acts[act]


def _of_intent(overrides: Json) -> Json:
    shared = {name: overrides[name] for name in ("currency", "livemode") if name in overrides}
    return {**shared, **overrides.get("payment_intent", {})}


def _expire(world: World, session_id: str) -> Json:
    session = world.store.get("checkout.session", session_id)
    if session is None or session["status"] != "open":
        raise errors.wrong_state("Only an open Checkout Session can be expired.")
    return checkout.end(world, session)


def _unfinished(world: World, intent_id: str) -> Json:
    intent = world.store.get("payment_intent", intent_id)
    if intent is None:
        raise errors.missing_resource("payment_intent", intent_id, "intent")
    if intent["status"] in ("succeeded", "canceled"):
        raise errors.wrong_state(f"This PaymentIntent is {intent['status']} already.")
    return intent


def _settle(world: World, intent_id: str, overrides: Json) -> Json:
    intent = _unfinished(world, intent_id)
    session_id = payer.session_of(world, intent_id)
    if session_id is not None and intent["status"] == "processing":
        payer.settle_delayed(world, session_id, overrides)
    elif intent["payment_method_types"] == ["crypto"]:
        if intent["status"] == "requires_action":
            intents.process(world, intent)
        deposits.settle(world, intent_id, deposits.invented_transfer(), overrides)
    else:
        raise errors.wrong_state("Only a deposit or a delayed payment can be settled.")
    return world.store.get("payment_intent", intent_id) or intent


def _fail(world: World, intent_id: str) -> Json:
    intent = _unfinished(world, intent_id)
    session_id = payer.session_of(world, intent_id)
    if session_id is not None and intent["status"] == "processing":
        payer.fail_delayed(world, session_id)
    else:
        deposits.fail(world, intent_id)
    return world.store.get("payment_intent", intent_id) or intent
