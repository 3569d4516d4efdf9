"""Refunds (https://docs.stripe.com/refunds, https://docs.stripe.com/api/refunds).

Whole or in parts, never more than is left. A card's refund succeeds at once, a crypto one after a while, unless told
how they are to start; any can fail afterwards, and one that has not arrived can be canceled: then the money comes back
through `failure_balance_transaction`. Stripe keeps its fee.
"""

from sandbox import balance, errors, events, ids, jobs, paging
from sandbox.fixtures import start_from
from sandbox.state import Call, Cause, Json, World

PLAYED = {"amount", "charge", "expand", "metadata", "payment_intent", "reason"}
UNDER_WAY = ("pending", "requires_action")


def create(world: World, call: Call) -> Json:
    """`POST /v1/refunds` by `charge` or `payment_intent`."""
    for name in call.params:
        if name not in PLAYED:
            raise errors.not_played(name)
    charge = _charge(world, call.params)
    amount = _amount(charge, call.params)
    by_itself = "pending" if charge["payment_method_details"]["type"] == "crypto" else "succeeded"
    refund = start_from(
        "refund",
        id=ids.new("re"),
        amount=amount,
        charge=charge["id"],
        created=world.created(),
        currency=charge["currency"],
        destination_details=_destination(charge),
        metadata=call.params.get("metadata", {}),
        payment_intent=charge["payment_intent"],
        reason=call.params.get("reason"),
        status=world.refunds_start or by_itself,
    )
    kind = "refund" if charge["payment_method_details"]["type"] == "card" else "payment_refund"
    refund["balance_transaction"] = _book(world, refund, -amount, kind, "refund")
    world.store.put("refund", refund["id"], refund)
    events.emit(world, "refund.created", refund, call.cause)
    _change_charge(world, charge, amount, call.cause)
    if world.refunds_start is None and by_itself == "pending":
        jobs.later(world, world.config.settle_delay_s, "settle_refund", refund["id"])
    return refund


def settle(world: World, refund_id: str) -> Json:
    """A refund under way arrives; another one stays as it is."""
    refund = _found(world, refund_id)
    if refund["status"] not in UNDER_WAY:
        return refund
    before, refund["status"] = refund["status"], "succeeded"
    if refund["destination_details"]["type"] == "crypto":
        crypto = {"reference": ids.transaction_hash(), "reference_status": "available"}
        refund["destination_details"]["crypto"] = crypto
    world.store.put("refund", refund_id, refund)
    events.emit(world, "refund.updated", refund, previous={"status": before})
    return refund


def fail(world: World, refund_id: str) -> Json:
    """A refund under way or succeeded fails: the money is back in the balance, the charge is less refunded."""
    refund = _found(world, refund_id)
    if refund["status"] not in (*UNDER_WAY, "succeeded"):
        raise errors.wrong_state(f"The refund's status is {refund['status']}; it cannot fail.")
    refund["failure_reason"] = "unknown"
    refund = _taken_back(world, refund, "failed")
    events.emit(world, "refund.failed", refund)
    return refund


def cancel(world: World, refund_id: str) -> Json:
    """A refund under way is called off (https://docs.stripe.com/api/refunds/cancel): the money is back as well."""
    refund = _found(world, refund_id)
    if refund["status"] not in UNDER_WAY:
        raise errors.wrong_state(f"The refund's status is {refund['status']}; it cannot be canceled.")
    return _taken_back(world, refund, "canceled")


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/refunds/{id}`."""
    return _found(world, call.identifier)


def listed(world: World, call: Call) -> Json:
    """`GET /v1/refunds`, by charge or payment intent."""
    wanted = call.params

    def fits(refund: Json) -> bool:
        by_charge = wanted.get("charge", refund["charge"]) == refund["charge"]
        by_intent = wanted.get("payment_intent", refund["payment_intent"]) == refund["payment_intent"]
        return bool(by_charge and by_intent)

    return paging.page(world, call, kind="refund", url="/v1/refunds", fits=fits)


def _taken_back(world: World, refund: Json, status: str) -> Json:
    jobs.forget(world, "settle_refund", refund["id"])
    before, refund["status"] = refund["status"], status
    refund["failure_balance_transaction"] = _book(world, refund, refund["amount"], "refund_failure", "refund_failure")
    world.store.put("refund", refund["id"], refund)
    charge = world.store.get("charge", refund["charge"])
    if charge is not None:
        charge |= {"amount_refunded": charge["amount_refunded"] - refund["amount"], "refunded": False}
        world.store.put("charge", charge["id"], charge)
    events.emit(world, "refund.updated", refund, previous={"status": before})
    return refund


def _charge(world: World, params: Json) -> Json:
    if ("charge" in params) == ("payment_intent" in params):
        raise errors.missing_parameter("payment_intent")
    if "payment_intent" in params:
        intent = world.store.get("payment_intent", params["payment_intent"])
        if intent is None:
            raise errors.missing_resource("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise errors.wrong_state(message, "payment_intent_unexpected_state", "payment_intent")
        identifier = intent["latest_charge"]
    else:
        identifier = params["charge"]
    charge = world.store.get("charge", identifier)
    if charge is None:
        raise errors.missing_resource("charge", identifier, "charge")
    if charge["status"] != "succeeded":
        raise errors.wrong_state(f"Charge {identifier} has not succeeded and cannot be refunded.", param="charge")
    return charge


def _amount(charge: Json, params: Json) -> int:
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise errors.wrong_state(message, "charge_already_refunded")
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise errors.wrong_state(message, "charge_disputed")
    amount: int = params.get("amount", left)
    if amount < 1:
        raise errors.invalid("amount", "Invalid positive integer", "parameter_invalid_integer")
    if amount > left:
        message = f"Refund amount ({_dollars(amount)}) is greater than unrefunded amount on charge ({_dollars(left)})"
        raise errors.wrong_state(message, param="amount")
    return amount


def _change_charge(world: World, charge: Json, amount: int, cause: Cause) -> None:
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    world.store.put("charge", charge["id"], charge)
    events.emit(world, "charge.refunded", charge, cause, previous=before)


def _book(world: World, refund: Json, amount: int, kind: str, category: str) -> str:
    transaction = balance.book(
        world,
        amount=amount,
        fee=0,
        kind=kind,
        category=category,
        source=refund["id"],
        currency=refund["currency"],
        description="REFUND",
    )
    return str(transaction["id"])


def _destination(charge: Json) -> Json:
    kind = charge["payment_method_details"]["type"]
    details = {"card": {"type": "refund", "reference_status": "pending"}, "crypto": {"reference": None}}
    return {"type": kind, kind: details.get(kind, {})}


def _dollars(amount: int) -> str:
    return f"${amount // 100}.{amount % 100:02}"


def _found(world: World, refund_id: str) -> Json:
    refund = world.store.get("refund", refund_id)
    if refund is None:
        raise errors.missing_resource("refund", refund_id)
    return refund
