"""What is not final is read again, ever more rarely and never for nothing, until it is final."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlmodel import col, select

from billing import looking, watching
from billing.reversal_tables import WatchedObject
from rails.money import ChargeBooked, MoneyFact
from rails.rail import ProviderRefused, RailUnavailable, Reference


@pytest.fixture
def name():
    return f"pi_{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def quiet_database(new_databases):
    """A database of this module's own: what other tests watch would come first."""
    return new_databases("watching")


@pytest.fixture
async def house(quiet_house):
    """The house; what was watched in it does not concern the next test."""
    yield quiet_house
    async with quiet_house.sessions() as session, session.begin():
        for one in (await session.exec(select(WatchedObject))).all():
            one.done_at = quiet_house.clock()


async def watch(house, name, *, kind="payment_intent", after=timedelta(), since=timedelta()):
    async with house.sessions() as session, session.begin():
        await watching.watch(session, kind, name, now=house.clock() - since, after=after)


async def finish(house, name, *, kind="payment_intent"):
    async with house.sessions() as session, session.begin():
        await watching.finish(session, kind, name, now=house.clock())


async def due(house, name, *, after=timedelta()):
    found = await watching.due(house.sessions, now=house.clock() + after)
    return [one for one in found if one.external_id == name]


async def test_an_object_is_due_when_its_time_has_come_and_then_ever_later(house, name):
    await watch(house, name, after=timedelta(minutes=1))
    assert await due(house, name) == []
    waited, looks = timedelta(minutes=2), []
    for _ in range(12):
        [one] = await due(house, name, after=waited)
        looks.append(one.next_look_at - house.clock() - waited)
        assert await due(house, name, after=waited) == []
        waited += looks[-1] + timedelta(seconds=2)
    minutes = [round(pause.total_seconds() / 60) for pause in looks]
    assert minutes[:4] == [10, 20, 40, 80]
    assert minutes[-1] == 24 * 60


async def test_what_is_finished_is_not_looked_at_until_somebody_learns_that_it_was_not_final(house, name):
    await watch(house, name)
    await finish(house, name)
    assert await due(house, name, after=timedelta(days=400)) == []
    await watch(house, name)
    [again] = await due(house, name, after=timedelta(days=400))
    assert again.looks == 1


async def test_after_half_a_year_an_object_is_looked_at_weekly_and_told_each_time(house, name):
    await watch(house, name, since=timedelta(days=181))
    reader = Reader(())
    looked, told = await look(house, reader)
    assert (looked, [one.external_id for one in told]) == (1, [name])
    assert "not final since" in told[0].reason
    assert await due(house, name, after=timedelta(days=6)) == []
    assert len(await due(house, name, after=timedelta(days=8))) == 1


class Reader:
    """A reader of money that says what it is told to say."""

    def __init__(self, says: Sequence[MoneyFact] | Exception) -> None:
        self.says = says
        self.asked: list[Reference] = []

    def references(self, _: object) -> Sequence[Reference]:
        return ()

    async def read(self, reference: Reference) -> Sequence[MoneyFact]:
        self.asked.append(reference)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


async def look(house, reader, *, after=timedelta()):
    later = house.clock() + after
    return await looking.look_at_watched(house.sessions, reader, livemode=False, clock=lambda: later)


async def test_a_watched_object_is_read_by_its_reference_and_what_is_said_is_applied(house, name):
    await watch(house, name)
    now = house.clock()
    strange = ChargeBooked(
        livemode=False,
        occurred_at=now,
        read_at=now,
        payment_kind="payment_intent",
        payment_id=name,
        transaction=None,
    )
    reader = Reader((strange,))
    looked, told = await look(house, reader)
    assert looked == 1
    assert reader.asked == [Reference("payment_intent", name)]
    assert [one for one in told if one.broken] == []


async def test_a_provider_that_is_away_is_waited_for_and_one_that_refuses_is_told(house, name):
    await watch(house, name)
    assert await look(house, Reader(RailUnavailable("away"))) == (1, [])
    _, told = await look(
        house, Reader(ProviderRefused(code="gone", message="no such thing")), after=timedelta(minutes=11)
    )
    assert [(one.external_id, "no such thing" in one.reason) for one in told] == [(name, True)]


async def test_an_error_of_ours_about_one_object_does_not_hold_up_the_others(house, name):
    await watch(house, name)
    await watch(house, f"{name}_2")
    looked, told = await look(house, Reader(ZeroDivisionError("a bug")))
    assert looked == 2
    assert {type(one.broken) for one in told} == {ZeroDivisionError}
    async with house.sessions() as session:
        rows = (await session.exec(select(WatchedObject).where(col(WatchedObject.done_at).is_(None)))).all()
    assert {row.looks for row in rows} == {1}
