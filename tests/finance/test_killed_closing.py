"""Kill it between any two lines: a close that dies before or after any statement is simply asked for again.

Dying is an exception that nothing catches, and whose connection is thrown away: what was committed stays, the rest is
as if it had never been. Every point is died at in the long tests, every ninth in the short ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event

from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from finance import proving, watermarks
from finance.closing import sealing
from finance.periods import Period
from tests.books.books import problems
from tests.finance.month import BOOKS, Month

OCTOBER = Period.parse("2026-10")
AFTER = datetime(2026, 11, 1, 2, tzinfo=UTC)
A, B, _ = BOOKS


class Died(BaseException):
    """The process is gone."""


@contextmanager
def dying(month: Month, at: int) -> Iterator[list[int]]:
    """Die at the point `at`: before and after each statement, and before each COMMIT; how many points there were."""
    engine = month.books.kw["bind"].sync_engine
    points = [0]

    def point(connection: Any, *_: Any) -> None:
        points[0] += 1
        if points[0] == at:
            connection.invalidate()
            raise Died

    names = ("before_cursor_execute", "after_cursor_execute", "commit")
    for name in names:
        event.listen(engine, name, point)
    try:
        yield points
    finally:
        for name in names:
            event.remove(engine, name, point)


async def business(month: Month) -> None:
    """What a month leaves to be done: use, an expiry that nobody has posted, a refund with a debt, a late day."""
    await month.begin_anew()
    first = await month.pay(A, 3, 500, days=5)
    await month.pay(B, 70, 700)
    await month.spend(A, 1)
    await month.spend(B, 30)
    await month.wait(days=1)
    await month.reverse(first, refunds=500)
    await month.spend(B, 5)
    await month.set_clock(AFTER)


async def close(month: Month) -> sealing.Sealed:
    return await sealing.close(
        month.books, OCTOBER, by=COMMAND_LINE, reason="over", now=month.now, progress=lambda _: None
    )


async def assert_closed_once(month: Month, sealed: sealing.Sealed, place: str) -> None:
    assert sealed.books == len(BOOKS) + 1, place
    counted = await month.owner.fetch(
        "SELECT count(*) FILTER (WHERE kind = 'close'), bool_and(accounting_date <> '2026-10-31' OR kind <> 'close')"
        " FROM ledger.operations GROUP BY organization_id"
    )
    assert {tuple(row) for row in counted} == {(1, True)}, place
    assert await month.owner.fetchval("SELECT count(*) FROM finance.closes") == 1, place
    assert await month.account("revenue_usage") == 167 + 350, place
    assert (await month.account("receivable_owed"), await month.account("deferred_revenue")) == (167, 350), place
    async with snapshot(month.books) as session:
        assert await proving.problems(session, limit=5) == [], place
        assert await watermarks.digest(session, sealed.close_id) == sealed.seal, place
    for book in BOOKS:
        assert await problems(month.books, book) == [], place


async def die_at(month: Month, points: range) -> int:
    """Die at each of the points, close again, and look; how many points there are."""
    found = points.start
    for at in points:
        await business(month)
        with dying(month, at) as seen:
            try:
                sealed = await close(month)
            except Died:
                sealed = None
        if sealed is None:
            sealed = await close(month)
        elif seen[0] < at:
            return found
        found = at
        await assert_closed_once(month, sealed, f"died at point {at}")
    return found


async def test_a_close_that_dies_anywhere_is_closed_by_asking_again(month: Month):
    assert await die_at(month, range(4, 1000, 17)) > 60


@pytest.mark.long
async def test_a_close_that_dies_at_any_point_is_closed_by_asking_again(month: Month):
    assert await die_at(month, range(1, 1000)) > 60
