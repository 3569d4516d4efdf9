"""What Stripe does later by itself: a row with the time it is due, so that a restart forgets nothing.

Kinds: `settle_deposit`, `fail_deposit`, `book_charge`, `settle_refund`; `clockwork.py` runs them.
"""

from typing import Any

from sandbox import ids
from sandbox.state import Json, World


def later(world: World, delay_s: float, kind: str, target: str, **details: Any) -> None:
    """Do `kind` to the object `target` after the delay; with no delay, before this request's answer leaves."""
    row: Json = {
        "id": ids.new("job"),
        "kind": kind,
        "target": target,
        "due_at": world.now() + delay_s,
        "details": details,
    }
    world.store.put("job", row["id"], row)


def forget(world: World, kind: str, target: str) -> None:
    """Withdraw what is planned of that kind for that object."""
    for row in list(world.store.newest_first("job")):
        if row["kind"] == kind and row["target"] == target:
            world.store.delete("job", row["id"])
