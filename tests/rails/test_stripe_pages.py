"""Walking through Stripe's lists: cursors, bounds, and what proves absence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rails.rail import RailUnavailable
from rails.stripe_pages import Page, first, walk, window

pytestmark = pytest.mark.asyncio


class Pages:
    """A list of three pages, as a function of the cursor; remembers the cursors it was asked for."""

    def __init__(self, *, ends: bool = True) -> None:
        self.asked: list[str | None] = []
        self._ends = ends

    async def __call__(self, after: str | None) -> Page:
        start = 0 if after is None else int(after) + 1
        self.asked.append(after)
        items = [{"id": str(number)} for number in range(start, start + 2)]
        return Page(items, not self._ends or start < 4)


async def test_every_item_comes_once_and_in_order() -> None:
    pages = Pages()
    assert [item["id"] async for item in walk(pages, pages_max=3)] == ["0", "1", "2", "3", "4", "5"]
    assert pages.asked == [None, "1", "3"]


async def test_list_of_more_pages_than_the_bound_is_not_read_as_a_whole() -> None:
    pages = Pages(ends=False)
    with pytest.raises(RailUnavailable, match="more than 3 pages"):
        [item async for item in walk(pages, pages_max=3)]
    assert len(pages.asked) == 3


async def test_list_that_goes_on_and_shows_nothing_is_not_read_as_a_whole() -> None:
    async def nothing(_after: str | None) -> Page:
        return Page([], has_more=True)

    with pytest.raises(RailUnavailable, match="shows nothing"):
        [item async for item in walk(nothing, pages_max=3)]


async def test_search_ends_with_the_first_that_fits() -> None:
    pages = Pages()
    assert await first(pages, lambda item: item["id"] == "2", pages_max=3) == {"id": "2"}
    assert pages.asked == [None, "1"]


async def test_absence_is_proven_only_by_all_pages() -> None:
    def nothing(_item: Any) -> bool:
        return False

    assert await first(Pages(), nothing, pages_max=3) is None
    with pytest.raises(RailUnavailable):
        await first(Pages(), nothing, pages_max=2)


async def test_window_is_rounded_outwards_to_whole_seconds() -> None:
    noon = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    half = timedelta(milliseconds=500)
    whole = int(noon.timestamp())
    assert window(noon + half, noon + half) == (whole, whole + 1)
    assert window(noon, noon) == (whole, whole)
