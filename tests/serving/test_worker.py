"""The worker survives what goes wrong around it, says so without flooding the log, and stops when told."""

import asyncio
from collections import Counter

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from api import worker
from api.http.views.hooks import told
from api.settings import Settings
from api.wiring import build
from tests.service import free_port
from tests.unit.fake_books import run

PATIENCE_S = 60
"""For what has to come, on a machine that stalls: no test waits until this is over."""
EVERY_S = 2 * PATIENCE_S


def build_without_database():
    url = f"postgresql://nobody:nothing@127.0.0.1:{free_port()}/nothing"
    return build(Settings(database_url=SecretStr(url)))


@pytest.fixture
async def house_without_database():
    built = build_without_database()
    yield built
    await built.close()


async def test_a_database_outage_is_survived_and_said_once_for_each_chore(house_without_database, monkeypatch):
    monkeypatch.setattr(worker, "BACK_OFF_S", 0.05)
    monkeypatch.setattr(worker, "SAY_AGAIN_S", 10 * PATIENCE_S)
    stop, tried, noted = asyncio.Event(), asyncio.Event(), worker._Troubles.noted
    tries = Counter[str]()
    expected = {
        "alerts",
        "delivering",
        "freezes",
        "jobs",
        "letters",
        "pruning",
        "requests",
        "revenue",
        "spreading",
        "sweep",
    }

    def counted(troubles, error):
        tries[troubles._chore] += 1
        if all(tries[chore] >= 3 for chore in expected):
            tried.set()
        return noted(troubles, error)

    monkeypatch.setattr(worker._Troubles, "noted", counted)
    with capture_logs() as lines:
        working = asyncio.create_task(worker.run(house_without_database, stop, render=told))
        await asyncio.wait_for(tried.wait(), PATIENCE_S)
        assert not working.done()
        stop.set()
        await asyncio.wait_for(working, PATIENCE_S)
    said = [line["chore"] for line in lines if line["event"] == "worker_in_trouble"]
    assert sorted(said) == sorted(expected), lines
    assert all("exc_info" not in line or line["exc_info"] is None for line in lines)


async def test_troubles_are_said_again_after_a_minute_and_their_end_once(monkeypatch):
    loop, now = asyncio.get_running_loop(), 1000.0
    monkeypatch.setattr(loop, "time", lambda: now)
    with capture_logs() as lines:
        troubles = worker._Troubles("letters")
        waits = [troubles.noted(OSError("gone")) for _ in range(8)]
        now += worker.SAY_AGAIN_S
        troubles.noted(OSError("gone"))
        monkeypatch.undo()
        troubles.over()
        troubles.over()
    assert waits == sorted(waits)
    assert waits[-1] == worker.BACK_OFF_MAX_S
    assert [line["event"] for line in lines] == ["worker_in_trouble", "worker_in_trouble", "worker_out_of_trouble"]
    assert lines[1]["tries"] == 9


def test_a_chore_that_hangs_does_not_hold_up_the_stop(monkeypatch):
    """In a loop whose clock jumps, and so with no chore that asks a database: how fast the machine is plays no part."""

    async def hang(_: object) -> bool:
        begun.set()
        await asyncio.Event().wait()
        return False

    async def main() -> float:
        house, stop, loop = build_without_database(), asyncio.Event(), asyncio.get_running_loop()
        working = asyncio.create_task(worker.run(house, stop, render=told))
        await begun.wait()
        told_at = loop.time()
        stop.set()
        await working
        took_s = loop.time() - told_at
        await house.close()
        return took_s

    begun, hanging = asyncio.Event(), worker.Chore("hang", hang, 1.0)
    for makes, chores in (("_jobs", hanging), ("_webhooks", []), ("_revenue", hanging)):
        monkeypatch.setattr(worker, makes, lambda *_, chores=chores: chores)
    monkeypatch.setattr(worker, "CHORES", (hanging,))
    monkeypatch.setattr(worker, "STOP_WITHIN_S", 0.2)
    assert run(main) < 1


async def test_the_work_in_hand_is_finished_before_the_stop(house_without_database, monkeypatch):
    done, begun = list[bool](), asyncio.Event()
    monkeypatch.setattr(worker, "STOP_WITHIN_S", PATIENCE_S)

    async def slow(_: object) -> bool:
        begun.set()
        await stop.wait()
        await asyncio.sleep(0.1)
        done.append(True)
        return False

    monkeypatch.setattr(worker, "CHORES", (worker.Chore("slow", slow, 30.0),))
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(house_without_database, stop, render=told))
    await begun.wait()
    stop.set()
    await working
    assert done == [True]


async def test_a_letter_that_arrives_wakes_the_worker(house_without_database, monkeypatch):
    looked = asyncio.Event()

    async def look(house: object) -> bool:
        house_without_database.letters_arrived.clear()
        looked.set()
        return False

    monkeypatch.setattr(worker, "CHORES", (worker.Chore("letters", look, EVERY_S, woken_by_letters=True),))
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(house_without_database, stop, render=told))
    await looked.wait()
    looked.clear()
    house_without_database.letters_arrived.set()
    await asyncio.wait_for(looked.wait(), EVERY_S / 2)
    stop.set()
    await working
