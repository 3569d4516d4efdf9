"""Lists: newest first, cursors, and the `created` filter (https://docs.stripe.com/api/pagination)."""

from collections.abc import Callable
from typing import Any

from sandbox import errors
from sandbox.state import Call, Json, World

PAGE_DEFAULT = 10
PAGE_MAX = 100


def page(world: World, call: Call, *, kind: str, url: str, fits: Callable[[Json], bool] = lambda _: True) -> Json:
    """Stripe's list object of those that fit, honouring `limit`, `starting_after`, `ending_before` and `created`."""
    found = [
        one
        for one in world.store.newest_first(kind)
        if fits(one) and in_range(one.get("created", 0), call.params.get("created"))
    ]
    return cut(found, call.params, url)


def cut(found: list[Json], params: Json, url: str) -> Json:
    """One page of what was found (newest first)."""
    limit = params.get("limit", PAGE_DEFAULT)
    if not 1 <= limit <= PAGE_MAX:
        raise errors.invalid("limit", f"Invalid limit: must be between 1 and {PAGE_MAX}")
    if "starting_after" in params and "ending_before" in params:
        raise errors.invalid("ending_before", "You may only specify one of starting_after and ending_before.")
    if "ending_before" in params:
        newer = found[: _position(found, params, "ending_before")]
        return _list(newer[-limit:], has_more=len(newer) > limit, url=url)
    older = found[_position(found, params, "starting_after") + 1 :] if "starting_after" in params else found
    return _list(older[:limit], has_more=len(older) > limit, url=url)


def in_range(moment: int, wanted: Any) -> bool:
    """Whether a time is the wanted one or within the wanted range (`gt`, `gte`, `lt`, `lte`)."""
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return moment == wanted
    return bool(
        moment > wanted.get("gt", -1)
        and moment >= wanted.get("gte", 0)
        and moment < wanted.get("lt", moment + 1)
        and moment <= wanted.get("lte", moment)
    )


def _position(found: list[Json], params: Json, cursor: str) -> int:
    for at, one in enumerate(found):
        if one["id"] == params[cursor]:
            return at
    raise errors.missing_resource("object", params[cursor], cursor)


def _list(data: list[Json], *, has_more: bool, url: str) -> Json:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
