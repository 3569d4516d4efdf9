"""What happens because time passes: planned jobs fall due, sessions expire (https://docs.stripe.com/api/checkout/sessions/expire)."""

import asyncio

from sandbox import charges, checkout, deposits, refunds
from sandbox.state import Json, World

TICK_S = 0.05


def run_due(world: World) -> None:
    """Do everything that is due; called before and after every request and on every tick."""
    now = world.now()
    for row in reversed(list(world.store.newest_first("job"))):
        if row["due_at"] <= now:
            world.store.delete("job", row["id"])
            _run(world, row)
    for session in list(world.store.newest_first("checkout.session")):
        if session["status"] == "open" and session["expires_at"] <= now:
            checkout.end(world, dict(session))


async def tick(world: World) -> None:
    """Run what is due, again and again, until cancelled."""
    while True:
        run_due(world)
        world.store.commit()
        await asyncio.sleep(TICK_S)


def _run(world: World, row: Json) -> None:
    match row["kind"]:
        case "book_charge":
            charges.book(world, row["target"])
        case "settle_deposit":
            deposits.settle(world, row["target"], row["details"])
        case "fail_deposit":
            deposits.fail(world, row["target"])
        case "settle_refund":
            refunds.settle(world, row["target"])
