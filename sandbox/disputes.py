"""Disputes (https://docs.stripe.com/disputes/api, https://docs.stripe.com/disputes/how-disputes-work).

An inquiry (`warning_*`) moves no money; a chargeback takes amount and fee (`funds_withdrawn`), at once unless told;
winning it brings the amount back (`funds_reinstated`), seldom the fee; what ended before money moved may be
`prevented`; a lost one may be appealed and then won or lost once more. Money stands in `balance_transactions`: none,
one or two of them.
"""

from sandbox import balance, errors, events, ids, paging
from sandbox.fixtures import start_from
from sandbox.state import NOBODY, Call, Cause, Json, World

DISPUTE_FEE = 1500
"""Cents (https://stripe.com/pricing)."""
RESPONSE_DUE_S = 7 * 24 * 3600
OPEN = (
    "needs_response",
    "under_review",
    "warning_needs_response",
    "warning_under_review",
    "appeal_needs_response",
    "appeal_under_review",
)


def open_dispute(world: World, charge: Json, *, amount: int, reason: str, inquiry: bool, withdraw: bool) -> Json:
    """What a card holder's bank does: an inquiry, or a chargeback with the money withdrawn now or later."""
    if charge["disputed"]:
        raise errors.wrong_state(f"Charge {charge['id']} is disputed already.")
    dispute = start_from(
        "dispute",
        id=ids.new("dp"),
        amount=amount,
        charge=charge["id"],
        created=world.created(),
        currency=charge["currency"],
        is_charge_refundable=inquiry,
        livemode=charge["livemode"],
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    dispute["payment_method_details"]["card"]["case_type"] = "inquiry" if inquiry else "chargeback"
    dispute["evidence_details"] |= {"due_by": world.created() + RESPONSE_DUE_S}
    world.store.put("dispute", dispute["id"], dispute)
    events.emit(world, "charge.dispute.created", dispute)
    _mark_charge(world, charge["id"], disputed=not inquiry)
    return _withdraw(world, dispute) if withdraw and not inquiry else dispute


def withdraw(world: World, dispute_id: str) -> Json:
    """The money of a chargeback that was opened without taking it goes now."""
    dispute = _open(world, dispute_id)
    if dispute["status"].startswith("warning_") or dispute["balance_transactions"]:
        raise errors.wrong_state("There is no money to withdraw for this dispute.")
    return _withdraw(world, dispute)


def prevent(world: World, dispute_id: str) -> Json:
    """The network settled it before money moved: it ends `prevented`."""
    dispute = _open(world, dispute_id)
    if dispute["balance_transactions"]:
        raise errors.wrong_state("The money of this dispute was withdrawn already; it cannot be prevented.")
    _mark_charge(world, dispute["charge"], disputed=False)
    return _close(world, dispute, "prevented", NOBODY)


def respond(world: World, dispute_id: str) -> Json:
    """Evidence was handed in: what needed a response is under review."""
    dispute = _found(world, dispute_id)
    before = dispute["status"]
    if not before.endswith("needs_response"):
        raise errors.wrong_state(f"The dispute's status is {before}; it waits for no response.")
    return _moved_on(world, dispute, before.replace("needs_response", "under_review"))


def appeal(world: World, dispute_id: str) -> Json:
    """A lost dispute is taken up again; the money stays away until it is won."""
    dispute = _found(world, dispute_id)
    if dispute["status"] != "lost":
        raise errors.wrong_state(f"The dispute's status is {dispute['status']}; only a lost one can be appealed.")
    return _moved_on(world, dispute, "appeal_needs_response")


def escalate(world: World, dispute_id: str) -> Json:
    """An inquiry becomes a chargeback: now the money is withdrawn."""
    dispute = _found(world, dispute_id)
    if dispute["status"] != "warning_needs_response":
        raise errors.wrong_state(f"The dispute's status is {dispute['status']}; it is no open inquiry.")
    dispute["is_charge_refundable"] = False
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    _mark_charge(world, dispute["charge"], disputed=True)
    return _withdraw(world, _moved_on(world, dispute, "needs_response"))


def win(world: World, dispute_id: str, *, fee_returned: bool = False) -> Json:
    """The bank decides for us: the amount comes back, the fee when told so; an inquiry just closes."""
    dispute = _open(world, dispute_id)
    if dispute["status"].startswith("warning_"):
        return _close(world, dispute, "warning_closed", NOBODY)
    dispute["status"] = "won"
    _mark_charge(world, dispute["charge"], disputed=False)
    if dispute["balance_transactions"]:
        _book(world, dispute, dispute["amount"], -DISPUTE_FEE if fee_returned else 0, "dispute_reversal")
        events.emit(world, "charge.dispute.funds_reinstated", dispute)
    return _close(world, dispute, "won", NOBODY)


def lose(world: World, dispute_id: str, cause: Cause = NOBODY) -> Json:
    """The bank decides against us, or we gave up; the money stays away."""
    dispute = _open(world, dispute_id)
    inquiry = dispute["status"].startswith("warning_")
    return _close(world, dispute, "warning_closed" if inquiry else "lost", cause)


def close(world: World, call: Call) -> Json:
    """`POST /v1/disputes/{id}/close`: we accept the loss (https://docs.stripe.com/api/disputes/close)."""
    return lose(world, call.identifier, call.cause)


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/disputes/{id}`."""
    return _found(world, call.identifier)


def listed(world: World, call: Call) -> Json:
    """`GET /v1/disputes`, by charge or payment intent."""
    wanted = call.params

    def fits(dispute: Json) -> bool:
        by_charge = wanted.get("charge", dispute["charge"]) == dispute["charge"]
        by_intent = wanted.get("payment_intent", dispute["payment_intent"]) == dispute["payment_intent"]
        return bool(by_charge and by_intent)

    return paging.page(world, call, kind="dispute", url="/v1/disputes", fits=fits)


def _withdraw(world: World, dispute: Json) -> Json:
    _book(world, dispute, -dispute["amount"], DISPUTE_FEE, "dispute")
    events.emit(world, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def _moved_on(world: World, dispute: Json, status: str) -> Json:
    before, dispute["status"] = dispute["status"], status
    world.store.put("dispute", dispute["id"], dispute)
    events.emit(world, "charge.dispute.updated", dispute, previous={"status": before})
    return dispute


def _close(world: World, dispute: Json, status: str, cause: Cause) -> Json:
    dispute["status"] = status
    world.store.put("dispute", dispute["id"], dispute)
    events.emit(world, "charge.dispute.closed", dispute, cause)
    return dispute


def _book(world: World, dispute: Json, amount: int, fee: int, category: str) -> None:
    transaction = balance.book(
        world,
        amount=amount,
        fee=fee,
        kind="adjustment",
        category=category,
        source=dispute["id"],
        currency=dispute["currency"],
        description=f"Chargeback withdrawal for {dispute['charge']}" if amount < 0 else "Chargeback reversal",
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], transaction]
    world.store.put("dispute", dispute["id"], dispute)


def _mark_charge(world: World, charge_id: str, *, disputed: bool) -> None:
    charge = world.store.get("charge", charge_id)
    if charge is not None:
        charge["disputed"] = disputed
        world.store.put("charge", charge_id, charge)


def _open(world: World, dispute_id: str) -> Json:
    dispute = _found(world, dispute_id)
    if dispute["status"] not in OPEN:
        raise errors.wrong_state("This dispute is already closed.")
    return dispute


def _found(world: World, dispute_id: str) -> Json:
    dispute = world.store.get("dispute", dispute_id)
    if dispute is None:
        raise errors.missing_resource("dispute", dispute_id)
    return dispute
