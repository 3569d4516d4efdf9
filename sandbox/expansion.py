"""`expand[]`: ids become the objects they name (https://docs.stripe.com/api/expanding_objects).

A balance transaction's `source` may be a charge, a refund, a dispute or a payout: what is asked for below it is
expanded on those that have it. So is a refund's `failure_balance_transaction`, which only a failed one carries.
"""

import copy
from typing import Any

from sandbox.errors import Refusal
from sandbox.state import Json, World

DEPTH_MAX = 4
KINDS = {
    "payment_intent": "payment_intent",
    "latest_charge": "charge",
    "charge": "charge",
    "balance_transaction": "balance_transaction",
    "failure_balance_transaction": "balance_transaction",
}
"""Field → kind of object; `source` and `line_items` have their own ways."""
SOMETIMES = {"refund": ("failure_balance_transaction",)}
"""Kind of object → fields that not every one of them has."""


def expand(world: World, answer: Json, paths: list[str]) -> Json:
    """A copy of the answer with each path expanded; raises `Refusal` for what cannot be."""
    answer = copy.deepcopy(answer)
    for path in paths:
        steps = path.split(".")
        if len(steps) > DEPTH_MAX + 1:
            raise _cannot(path)
        _follow(world, answer, steps, path)
    return answer


def _follow(world: World, at: Any, steps: list[str], path: str) -> None:
    if not steps or at is None:
        return
    step, rest = steps[0], steps[1:]
    below_source = step in KINDS and ".source." in f".{path}"
    if step not in at and (below_source or step in SOMETIMES.get(at.get("object"), ())):
        return
    if step == "data" and at.get("object") == "list":
        for one in at["data"]:
            _follow(world, one, rest, path)
        return
    at[step] = _expanded(world, at, step, path)
    if at[step] is not None:
        _follow(world, at[step], rest, path)


def _expanded(world: World, owner: Json, step: str, path: str) -> Json | None:
    if step == "line_items" and owner.get("object") == "checkout.session":
        items = world.store.get("line_items", owner["id"]) or {"data": []}
        url = f"/v1/checkout/sessions/{owner['id']}/line_items"
        return {"object": "list", "data": items["data"], "has_more": False, "url": url}
    kinds = [KINDS[step]] if step in KINDS else []
    if step == "source" and owner.get("object") == "balance_transaction":
        kinds = ["charge", "refund", "dispute", "payout"]
    if not kinds or step not in owner:
        raise _cannot(path)
    value = owner[step]
    if value is None or isinstance(value, dict):
        return value
    return next((found for kind in kinds if (found := world.store.get(kind, value)) is not None), None)


def _cannot(path: str) -> Refusal:
    return Refusal(400, f"This property cannot be expanded ({path}).", param="expand")
