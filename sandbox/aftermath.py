"""The controls of paid money under `/sandbox/`: disputes, warnings, refunds made in the Dashboard, payouts.

Every one is documented in the package's docstring.
"""

from collections.abc import Callable

from litestar import post, put
from litestar.datastructures import State

from sandbox import balance, disputes, errors, fraud_warnings, payouts, refunds
from sandbox.controls import AnyRequest, chosen, done, order_in
from sandbox.orders import (
    BalanceOrder,
    DisputeOrder,
    FraudWarningOrder,
    PayoutOrder,
    RefundOrder,
    RefundsStartOrder,
    WinOrder,
)
from sandbox.state import Call, Json, World


@post("/sandbox/disputes", status_code=200)
async def open_dispute(state: State, request: AnyRequest) -> Json:
    """A card holder's bank opens an inquiry or a chargeback; answers the dispute."""
    world: World = state.world
    order = await order_in(request, DisputeOrder)
    charge = _charge(world, order.charge, order.payment_intent)
    return done(
        world,
        lambda: disputes.open_dispute(
            world,
            charge,
            amount=order.amount or charge["amount"],
            reason=order.reason,
            inquiry=order.inquiry,
            withdraw=order.withdraw,
        ),
    )


@post("/sandbox/disputes/{dispute_id:str}/{act:str}", status_code=200)
async def act_on_dispute(state: State, request: AnyRequest, dispute_id: str, act: str) -> Json:
    """Respond, win, lose, appeal, prevent, withdraw, or escalate an inquiry; answers the dispute."""
    world: World = state.world
    order = await order_in(request, WinOrder)
    acts: dict[str, Callable[[], Json]] = {
        "respond": lambda: disputes.respond(world, dispute_id),
        "win": lambda: disputes.win(world, dispute_id, fee_returned=order.fee_returned),
        "lose": lambda: disputes.lose(world, dispute_id),
        "appeal": lambda: disputes.appeal(world, dispute_id),
        "prevent": lambda: disputes.prevent(world, dispute_id),
        "withdraw": lambda: disputes.withdraw(world, dispute_id),
        "escalate": lambda: disputes.escalate(world, dispute_id),
    }
    if order.fee_returned and act != "win":
        raise errors.invalid("fee_returned", "Only winning gives the fee back.")
    return done(world, chosen(acts, act))


@post("/sandbox/fraud_warnings", status_code=200)
async def warn_of_fraud(state: State, request: AnyRequest) -> Json:
    """The card's issuer warns; answers the warning."""
    world: World = state.world
    order = await order_in(request, FraudWarningOrder)
    charge = _charge(world, order.charge, order.payment_intent)
    return done(world, lambda: fraud_warnings.warn(world, charge, fraud_type=order.fraud_type))


@post("/sandbox/refunds", status_code=200)
async def refund(state: State, request: AnyRequest) -> Json:
    """Somebody refunds in the Dashboard: no key, no metadata, the events of the API; answers the refund."""
    world: World = state.world
    order = await order_in(request, RefundOrder)
    return done(world, lambda: refunds.create(world, Call(order.model_dump(exclude_none=True), version="")))


@put("/sandbox/refunds")
async def let_refunds_start(state: State, request: AnyRequest) -> Json:
    """How refunds made from now on start; they stay so until told."""
    world: World = state.world
    world.refunds_start = (await order_in(request, RefundsStartOrder)).start
    return {"start": world.refunds_start}


@post("/sandbox/refunds/{refund_id:str}/{act:str}", status_code=200)
async def act_on_refund(state: State, refund_id: str, act: str) -> Json:
    """Settle a refund under way now, cancel it, or let any fail; answers the refund."""
    world: World = state.world
    acts: dict[str, Callable[[], Json]] = {
        "settle": lambda: refunds.settle(world, refund_id),
        "cancel": lambda: refunds.cancel(world, refund_id),
        "fail": lambda: refunds.fail(world, refund_id),
    }
    return done(world, chosen(acts, act))


@post("/sandbox/payouts", status_code=200)
async def pay_out(state: State, request: AnyRequest) -> Json:
    """Pay the balance out; answers the payout."""
    world: World = state.world
    order = await order_in(request, PayoutOrder)
    return done(
        world,
        lambda: payouts.pay_out(world, automatic=order.automatic, amount=order.amount, fails=order.status == "failed"),
    )


@post("/sandbox/balance_transactions", status_code=200)
async def book_line(state: State, request: AnyRequest) -> Json:
    """A line of the balance without a source, such as Stripe's own fee; answers the transaction."""
    world: World = state.world
    order = await order_in(request, BalanceOrder)
    return done(
        world,
        lambda: balance.book(
            world,
            amount=order.amount,
            fee=order.fee,
            kind=order.type,
            category=order.reporting_category,
            source=None,
            currency="usd",
            description=order.description,
        ),
    )


def _charge(world: World, charge_id: str | None, intent_id: str | None) -> Json:
    """The charge that is meant; raises `Refusal` when there is none."""
    intent = world.store.get("payment_intent", intent_id or "")
    charge = world.store.get("charge", charge_id or (intent or {}).get("latest_charge") or "")
    if charge is None:
        raise errors.missing_resource("charge", charge_id or intent_id or "", "charge")
    return charge
