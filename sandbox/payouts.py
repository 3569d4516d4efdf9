"""Payouts (https://docs.stripe.com/payouts, https://docs.stripe.com/payouts/reconciliation).

An automatic payout takes every balance transaction that no payout has taken yet; once its reconciliation is complete
they are listed by `GET /v1/balance_transactions?payout=`. A manual payout is a sum without contents.
"""

from sandbox import balance, errors, events, ids, paging
from sandbox.fixtures import start_from
from sandbox.state import Call, Json, World


def pay_out(world: World, *, automatic: bool, amount: int | None, fails: bool) -> Json:
    """Make a payout of everything (or, manual, of an amount), paid or failed, with its events in Stripe's order."""
    taken = _untaken(world) if automatic else []
    total = sum(one["net"] for one in taken) if amount is None else amount
    if total <= 0:
        raise errors.wrong_state("There is nothing to pay out.", "balance_insufficient")
    payout = start_from(
        "payout",
        id=ids.new("po"),
        amount=total,
        arrival_date=world.created(),
        automatic=automatic,
        created=world.created(),
        reconciliation_status="in_progress" if automatic else "not_applicable",
        status="in_transit",
        trace_id=None,
    )
    own = _book(world, payout, -total, "payout", "payout")
    payout["balance_transaction"] = own
    contents = [*(one["id"] for one in taken), own]
    world.store.put("payout_contents", payout["id"], {"id": payout["id"], "transactions": contents})
    _moved(world, payout, "payout.created")
    return _fail(world, payout) if fails else _arrive(world, payout, taken)


def retrieved(world: World, call: Call) -> Json:
    """`GET /v1/payouts/{id}`."""
    payout = world.store.get("payout", call.identifier)
    if payout is None:
        raise errors.missing_resource("payout", call.identifier)
    return payout


def listed(world: World, call: Call) -> Json:
    """`GET /v1/payouts`, by status and arrival."""
    wanted = call.params

    def fits(payout: Json) -> bool:
        arrived = paging.in_range(payout["arrival_date"], wanted.get("arrival_date"))
        return arrived and wanted.get("status", payout["status"]) == payout["status"]

    return paging.page(world, call, kind="payout", url="/v1/payouts", fits=fits)


def _arrive(world: World, payout: Json, taken: list[Json]) -> Json:
    for transaction in taken:
        world.store.put("balance_transaction", transaction["id"], {**transaction, "status": "available"})
    payout["status"] = "paid"
    _moved(world, payout, "payout.paid")
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
        _moved(world, payout, "payout.reconciliation_completed")
    return payout


def _fail(world: World, payout: Json) -> Json:
    """The bank sent it back: the money is in the balance again, and the next payout takes the same contents."""
    back = _book(world, payout, payout["amount"], "payout_failure", "payout_reversal")
    payout |= {"status": "failed", "failure_code": "account_closed", "failure_balance_transaction": back}
    payout["failure_message"] = "The bank account has been closed."
    own = [payout["balance_transaction"], back]
    world.store.put("payout_contents", payout["id"], {"id": payout["id"], "transactions": own})
    _moved(world, payout, "payout.failed")
    return payout


def _untaken(world: World) -> list[Json]:
    gone = {one for contents in world.store.newest_first("payout_contents") for one in contents["transactions"]}
    return [one for one in world.store.newest_first("balance_transaction") if one["id"] not in gone]


def _book(world: World, payout: Json, amount: int, kind: str, category: str) -> str:
    transaction = balance.book(
        world,
        amount=amount,
        fee=0,
        kind=kind,
        category=category,
        source=payout["id"],
        currency=payout["currency"],
        description="STRIPE PAYOUT",
    )
    return str(transaction["id"])


def _moved(world: World, payout: Json, event_type: str) -> None:
    world.store.put("payout", payout["id"], payout)
    events.emit(world, event_type, payout)
