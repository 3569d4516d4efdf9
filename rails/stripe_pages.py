"""Stripe's lists, page after page, newest first. Source: https://docs.stripe.com/api/pagination."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from rails.rail import RailUnavailable

PAGE: Final = 100
"""Objects a page: the most that Stripe gives."""

SEARCHED_PAGES_MAX: Final = 200
"""Of what was created in a window of a day or so: twenty thousand objects."""
CLOCK_SKEW: Final = timedelta(minutes=10)
"""How far Stripe's clock, which writes `created`, may be from ours."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. The id of its last item is the cursor of the next page."""

    items: Sequence[dict[str, Any]]
    has_more: bool


def window(since: datetime, until: datetime) -> tuple[int, int]:
    """From `since` until before `until`, in the whole unix seconds that Stripe counts, rounded outwards."""
    return math.floor(since.timestamp()), math.ceil(until.timestamp())


async def walk(fetch: Callable[[str | None], Awaitable[Page]], *, pages_max: int) -> AsyncIterator[dict[str, Any]]:
    """Every item of a list, whose page behind a cursor is `fetch(cursor)`; it ends only when all pages were read.

    Raises `RailUnavailable` when a page cannot be read, or when there are more than `pages_max`.
    """
    after: str | None = None
    for _ in range(pages_max):
        page = await fetch(after)
        for item in page.items:
            yield item
        if not page.has_more:
            return
        if not page.items:
            raise RailUnavailable("Stripe says that a list goes on and shows nothing of it")
        after = page.items[-1]["id"]
    raise RailUnavailable(f"Stripe lists more than {pages_max} pages")


async def first(
    fetch: Callable[[str | None], Awaitable[Page]], fits: Callable[[dict[str, Any]], bool], *, pages_max: int
) -> dict[str, Any] | None:
    """The first item that fits. None proves that there is no such item: then all pages were read. Raises as `walk`."""
    async for item in walk(fetch, pages_max=pages_max):
        if fits(item):
            return item
    return None
