"""The controls of faults, letters and records under `/sandbox/`; documented in the package's docstring."""

from typing import Any

from litestar import Request, delete, get, post, put
from litestar.datastructures import State

from sandbox import deliveries, errors
from sandbox.controls import order_in
from sandbox.faults import SECONDS, Fault
from sandbox.orders import DeliveryOrder, FaultOrder, RedeliveryOrder
from sandbox.state import DeliveryMode, Json, World

AnyRequest = Request[Any, Any, Any]
FAULTS_MAX = 1000
SHOWN_MAX = 200


@post("/sandbox/faults", status_code=200)
async def add_fault(state: State, request: AnyRequest) -> Json:
    """Misbehave at coming requests; answers everything that waits."""
    world: World = state.world
    order = await order_in(request, FaultOrder)
    if len(world.faults) >= FAULTS_MAX:
        raise errors.wrong_state(f"There are {FAULTS_MAX} faults waiting already.")
    seconds = SECONDS.get(order.kind, 0.0) if order.seconds is None else order.seconds
    world.faults.append(Fault(**order.model_dump(exclude={"seconds"}), seconds=seconds))
    return _faults(world)


@get("/sandbox/faults", sync_to_thread=False)
def waiting_faults(state: State) -> Json:
    """The faults not yet used up."""
    return _faults(state.world)


@delete("/sandbox/faults", status_code=200, sync_to_thread=False)
def forget_faults(state: State) -> Json:
    """Behave again."""
    world: World = state.world
    world.faults.clear()
    return _faults(world)


@put("/sandbox/deliveries")
async def set_delivery(state: State, request: AnyRequest) -> Json:
    """How letters of coming events are delivered."""
    world: World = state.world
    order = await order_in(request, DeliveryOrder)
    world.delivery = DeliveryMode(order.mode, order.delay_seconds)
    return _deliveries(world)


@get("/sandbox/deliveries", sync_to_thread=False)
def all_deliveries(state: State) -> Json:
    """The mode, the letters still out, and the last finished ones."""
    return _deliveries(state.world)


@post("/sandbox/events/{event_id:str}/deliver", status_code=200)
async def deliver(state: State, request: AnyRequest, event_id: str) -> Json:
    """Send one event again, now; answers what each receiver said (`null`: nothing)."""
    world: World = state.world
    order = await order_in(request, RedeliveryOrder)
    event = world.store.get("event", event_id)
    if event is None:
        raise errors.missing_resource("event", event_id)
    tried = await deliveries.deliver_now(world, event, order.url)
    return {"event": event_id, "status_code": tried[0]["status_code"] if tried else None, "deliveries": tried}


@get("/sandbox/calls", sync_to_thread=False)
def calls(state: State) -> Json:
    """The API requests so far, oldest first."""
    return {"calls": list(state.world.calls)}


@delete("/sandbox/calls", status_code=200, sync_to_thread=False)
def forget_calls(state: State) -> Json:
    """Forget them."""
    state.world.calls.clear()
    return {"calls": []}


@get("/sandbox/state", sync_to_thread=False)
def counts(state: State) -> Json:
    """How many objects of each kind there are."""
    return {"objects": state.world.store.counts()}


def _faults(world: World) -> Json:
    return {"faults": [vars(fault) for fault in world.faults]}


def _deliveries(world: World) -> Json:
    finished = list(world.store.newest_first("delivery_finished"))
    return {
        "mode": world.delivery.mode,
        "delay_seconds": world.delivery.delay_s,
        "modes": list(deliveries.MODES),
        "waiting": list(world.store.newest_first("delivery"))[:SHOWN_MAX],
        "finished": finished[:SHOWN_MAX],
    }
