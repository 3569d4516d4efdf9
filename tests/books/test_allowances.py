"""What a spender may still spend: counted in UTC hours, days, months and in total."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from billing.database import snapshot
from ledger.allowances import allowance
from ledger.operations import Caps, Kind, Operation, opening
from tests.books.books import AGENT, grant, new_id, post, spend

EVE = datetime(2031, 1, 31, 23, 30, tzinfo=UTC)
NEW_MONTH = datetime(2031, 2, 1, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
MICRO = timedelta(microseconds=1)
SPENDER = UUID(int=8)


@pytest.fixture(scope="module")
def database(new_databases):
    """A database whose clock nobody else looks at."""
    return new_databases("allowances")


@pytest.fixture
def posted(books, owner):
    async def at(moment, *operations):
        async with owner.clock_at(f"'{moment.isoformat()}'::timestamptz"):
            return await post(books, *operations)

    return at


@pytest.fixture
async def book(posted):
    """A book with a thousand credits and a spender with caps, half an hour before a month ends."""
    made = new_id()
    caps = Caps(per_spend=50, per_hour=100, per_day=200, total=500)
    await posted(
        EVE,
        opening(organization_id=made, event_at=EVE),
        grant(made, "grant", 1000),
        Operation(made, Kind.SET_CAPS, AGENT, "caps", "test", spender=SPENDER, caps=caps),
    )
    return made


async def used(books, book, at):
    async with snapshot(books) as session:
        found = await allowance(session, book, SPENDER, at)
    assert found is not None
    return found.per_hour.used, found.per_day.used, found.per_month.used, found.total.used


async def test_windows_begin_anew_on_the_hour_the_day_and_the_month(books, book, posted):
    await posted(EVE + SECOND, spend(book, "spend", 5, spender=SPENDER))
    assert await used(books, book, NEW_MONTH - SECOND) == (5, 5, 5, 5)
    assert await used(books, book, NEW_MONTH) == (0, 0, 0, 5)
    await posted(NEW_MONTH, spend(book, "another", 7, spender=SPENDER))
    assert await used(books, book, NEW_MONTH + SECOND) == (7, 7, 7, 12)
    assert await used(books, book, NEW_MONTH + HOUR) == (0, 7, 7, 12)
    async with snapshot(books) as session:
        found = await allowance(session, book, SPENDER, NEW_MONTH + HOUR)
    assert found is not None
    assert (found.per_spend, found.paused) == (50, False)
    assert (found.per_hour.began_at, found.per_hour.frees_up_at) == (NEW_MONTH + HOUR, NEW_MONTH + 2 * HOUR)
    assert (found.per_day.began_at, found.per_day.frees_up_at) == (NEW_MONTH, NEW_MONTH + 24 * HOUR)
    assert (found.per_month.limit, found.per_month.frees_up_at) == (None, datetime(2031, 3, 1, tzinfo=UTC))
    assert (found.total.limit, found.total.began_at, found.total.frees_up_at) == (500, EVE + 2 * MICRO, None)


@pytest.mark.parametrize("posts_it", [False, True])
async def test_what_a_hold_gives_back_is_given_to_the_windows_that_it_was_charged_to(books, book, posted, posts_it):
    """It is read the same before and after somebody posts that the hold ran out."""
    deadline = NEW_MONTH + 10 * SECOND
    await posted(EVE + SECOND, spend(book, "held", 40, kind=Kind.HOLD, spender=SPENDER, deadline=deadline))
    await posted(NEW_MONTH + SECOND, spend(book, "spend", 3, spender=SPENDER))
    assert await used(books, book, deadline - SECOND) == (3, 3, 3, 43)
    if posts_it:
        await posted(deadline, grant(book, "later", 1))
    assert await used(books, book, deadline) == (3, 3, 3, 3)


async def test_a_hold_from_before_the_first_cap_was_never_counted(books, posted):
    book = new_id()
    await posted(EVE, opening(organization_id=book, event_at=EVE), grant(book, "grant", 1000))
    deadline = EVE + 60 * SECOND
    await posted(EVE + SECOND, spend(book, "held", 40, kind=Kind.HOLD, spender=SPENDER, deadline=deadline))
    caps = Operation(book, Kind.SET_CAPS, AGENT, "caps", "test", spender=SPENDER, caps=Caps(total=9))
    await posted(EVE + 2 * SECOND, caps)
    for moment in (EVE + 3 * SECOND, deadline):
        assert await used(books, book, moment) == (0, 0, 0, 0)


async def test_a_spender_without_caps_has_no_allowance(books, book):
    async with snapshot(books) as session:
        assert await allowance(session, book, new_id(), EVE) is None
