import asyncio
import random

import asyncpg
import pytest

from ledger import lane as lanes
from ledger.lane import GIVE_BACKS_MAX, Lane, LaneClosed, LaneFull, OutcomeUnknown
from ledger.outcomes import Outcome
from tests.unit.fake_books import Books, Meter, Sent, run, spend

REFUSAL: Exception = asyncpg.CharacterNotInRepertoireError("a key that no database takes")


async def _seqs(lane, *operations):
    return [answer.seq for answer in await lane.post_all(operations)]


def test_what_waits_goes_in_one_call_without_a_timer_and_each_caller_gets_its_own_answer():
    books, meter = Books(), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            return await asyncio.gather(*(lane.post(spend(n % 3, f"k{n}")) for n in range(30)))

    answers = run(main)
    assert [answer.operation_id for answer in answers] == [spend(n % 3, f"k{n}").id for n in range(30)]
    assert [answer.seq for answer in answers] == [books.journal[n % 3, f"k{n}"] for n in range(30)]
    assert [len(call.items) for call in books.calls] == [30]
    assert books.calls[0].at == books.takes_s  # the time to connect, and nothing else
    assert (meter.sizes, meter.depths[-1], meter.given_back, len(meter.waits)) == ([30], 0, 0, 30)
    assert books.open == 0


def test_no_batch_is_larger_than_its_bound_except_for_one_group():
    books = Books()

    async def main():
        async with Lane(books.connect, Meter(), batch_max=8) as lane:
            group = [spend(1, f"g{n}", group=3) for n in range(11)]
            await asyncio.gather(
                lane.post_all([spend(1, f"k{n}") for n in range(30)]),
                lane.post_all(group),
                *(lane.post(spend(2, f"s{n}")) for n in range(20)),
            )

    run(main)
    sizes = [len(call.items) for call in books.calls]
    assert sum(sizes) == 61
    assert sorted(size for size in sizes if size > 8) == [11]
    assert len(books.journal) == 61


def test_a_full_queue_turns_callers_away_and_posts_nothing_of_them():
    books = Books()

    async def main():
        async with Lane(books.connect, Meter(), queue_max=4) as lane:
            kept = [asyncio.ensure_future(lane.post(spend(1, f"k{n}"))) for n in range(4)]
            await asyncio.sleep(0)
            with pytest.raises(LaneFull):
                await lane.post_all([spend(1, f"late{n}") for n in range(5)])
            await asyncio.gather(*kept)
            return await _seqs(lane, *(spend(2, f"wide{n}") for n in range(9)))

    assert run(main) == list(range(1, 10))  # one call alone is always taken
    assert not any(key.startswith("late") for _, key in books.journal)


def test_a_caller_that_goes_away_cancels_nothing_and_nobody_else():
    books, meter = Books(), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            callers = [asyncio.ensure_future(lane.post(spend(1, f"k{n}"))) for n in range(6)]
            await asyncio.sleep(books.takes_s * 1.5)  # in the middle of the call
            assert len(books.calls) == 1
            callers[2].cancel()
            return await asyncio.gather(*callers, return_exceptions=True)

    answers = run(main)
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [answer.outcome for n, answer in enumerate(answers) if n != 2] == [Outcome.POSTED] * 5
    assert len(books.journal) == 6


def test_a_caller_that_went_away_from_an_operation_that_fails_leaves_no_error_that_nobody_hears():
    books = Books(fault=lambda _: REFUSAL)

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            caller = asyncio.ensure_future(lane.post(spend(1, "k")))
            await asyncio.sleep(books.takes_s * 1.5)
            caller.cancel()

    run(main)


def test_operations_of_a_busy_book_are_given_back_in_order_and_groups_whole():
    books, meter = Books(locked_until={1: 0.008}), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            first = asyncio.ensure_future(lane.post_all([spend(1, "a"), spend(2, "x"), spend(1, "b")]))
            await asyncio.sleep(0.0015)
            group = asyncio.ensure_future(lane.post_all([spend(1, f"g{n}", group=5) for n in range(3)]))
            await asyncio.sleep(0.001)
            last = asyncio.ensure_future(lane.post(spend(1, "z")))
            return await asyncio.gather(first, group, last)

    run(main)
    assert books.order_in(1) == ["a", "b", "g0", "g1", "g2", "z"]
    assert books.calls[0].keys == ["a", "b", "x"]
    assert not any(call.wait for call in books.calls)
    assert meter.given_back > 0
    for call in books.calls:
        groups = [group for _, key, group in call.items if key.startswith("g")]
        assert len(groups) in {0, 3}
        assert len(set(groups)) <= 1
        assert 0 not in groups


def test_groups_of_several_callers_with_one_number_stay_apart_in_a_batch():
    books = Books()

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            await asyncio.gather(*(lane.post_all([spend(1, f"{c}{n}", group=1) for n in range(2)]) for c in "abc"))

    run(main)
    [call] = books.calls
    by_number = {number: [key[0] for _, key, group in call.items if group == number] for _, _, number in call.items}
    assert sorted(by_number.values()) == [["a", "a"], ["b", "b"], ["c", "c"]]


def test_a_group_of_two_books_is_a_mistake_and_posts_nothing():
    books = Books()

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            with pytest.raises(ValueError, match="one book"):
                await lane.post_all([spend(1, "a", group=1), spend(2, "b", group=1)])

    run(main)
    assert books.calls == []


def test_a_book_that_stays_busy_waits_alone_on_a_connection_of_its_own_and_stalls_nobody():
    books, meter = Books(locked_until={1: 3.0}), Meter()

    async def main():
        loop = asyncio.get_running_loop()
        async with Lane(books.connect, meter, batch_max=8) as lane:
            blocked = [asyncio.ensure_future(lane.post(spend(1, f"b{n}"))) for n in range(40)]  # more than a batch
            await asyncio.sleep(0)
            began = loop.time()
            for n in range(50):
                await lane.post(spend(2, f"k{n}"))
            others_s = loop.time() - began
            later = asyncio.ensure_future(lane.post(spend(1, "later")))
            answers = await asyncio.gather(*blocked, later)
            return others_s, answers

    others_s, answers = run(main)
    assert others_s < 0.5
    assert books.order_in(1) == [*(f"b{n}" for n in range(40)), "later"]
    assert [a.outcome for a in answers] == [Outcome.POSTED] * 41
    patient = [call for call in books.calls if call.wait]
    assert {book for call in patient for book, _, _ in call.items} == {1}
    assert {call.connection for call in patient}.isdisjoint(call.connection for call in books.calls if not call.wait)
    tries = sum(any(key == "b0" for _, key, _ in call.items) for call in books.calls if not call.wait)
    assert tries <= GIVE_BACKS_MAX + 1


def test_callers_of_one_book_that_waits_cannot_fill_the_queue(monkeypatch):
    monkeypatch.setattr(lanes, "ASIDE_MAX", 10)
    books = Books(locked_until={1: 3.0})

    async def main():
        async with Lane(books.connect, Meter(), queue_max=100) as lane:
            blocked = [asyncio.ensure_future(lane.post(spend(1, f"b{n}"))) for n in range(5)]
            await asyncio.sleep(0.5)
            blocked += [asyncio.ensure_future(lane.post(spend(1, f"c{n}"))) for n in range(10)]
            await asyncio.sleep(0.5)
            with pytest.raises(LaneFull):
                await lane.post(spend(1, "late"))
            await lane.post_all([spend(2, f"k{n}") for n in range(80)])
            await asyncio.gather(*blocked)

    run(main)


def test_more_books_may_stay_busy_than_there_are_connections_for_them(monkeypatch):
    books = Books(locked_until={book: 2.0 + book / 100 for book in range(1, 60)})

    async def main():
        most = 0
        async with Lane(books.connect, Meter()) as lane:
            calls = [asyncio.ensure_future(lane.post(spend(book, "k"))) for book in range(1, 60)]
            while not all(call.done() for call in calls):
                await asyncio.sleep(0.01)
                most = max(most, books.open)
            return most, [call.result().outcome for call in calls]

    most, outcomes = run(main)
    assert outcomes == [Outcome.POSTED] * 59
    assert most <= lanes.PATIENT_MAX + 1


def test_a_book_far_behind_catches_up_by_itself_while_others_are_served():
    books, meter = Books(due={1: 500}), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            behind = asyncio.ensure_future(lane.post(spend(1, "late")))
            for n in range(50):
                assert (await lane.post(spend(2, f"k{n}"))).seq == n + 1
            assert not behind.done()
            return await behind

    assert run(main).outcome is Outcome.POSTED
    assert sum(not call.wait for call in books.calls if call.items[0][0] == 1) == 1


def test_closing_posts_what_is_queued_and_then_nothing_more():
    books = Books(locked_until={1: 1.0}, due={3: 5})

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            callers = [asyncio.ensure_future(lane.post(spend(n % 4, f"k{n}"))) for n in range(40)]
            await asyncio.sleep(0.05)
            callers += [asyncio.ensure_future(lane.post(spend(n % 4, f"l{n}"))) for n in range(40)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert all(caller.done() for caller in callers)
        with pytest.raises(LaneClosed):
            await lane.post(spend(1, "late"))
        return [caller.result().outcome for caller in callers]

    assert run(main) == [Outcome.POSTED] * 80
    assert books.open == 0


def test_when_the_lane_itself_is_cancelled_nobody_waits_for_ever():
    books = Books(locked_until={1: 100.0}, takes_s=0.01)

    async def main():
        lane = await Lane(books.connect, Meter()).__aenter__()
        callers = [asyncio.ensure_future(lane.post(spend(n % 2, f"k{n}"))) for n in range(10)]
        await asyncio.sleep(1)
        callers += [asyncio.ensure_future(lane.post(spend(n % 2, f"l{n}"))) for n in range(10)]
        await asyncio.sleep(0.005)
        assert lane._task
        lane._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lane.__aexit__(None, None, None)
        return await asyncio.gather(*callers, return_exceptions=True)

    answers = run(main)
    assert {type(answer) for answer in answers[1::2]} == {OutcomeUnknown}
    assert books.open == 0


def test_a_lane_that_was_not_started_takes_nothing():
    async def main():
        with pytest.raises(LaneClosed):
            await Lane(Books().connect, Meter()).post(spend(1, "k"))

    run(main)


@pytest.mark.parametrize("seed", range(150))
def test_under_any_interleaving_each_key_is_posted_once_in_order_and_everybody_is_answered(seed):
    chance = random.Random(seed)
    books, meter = Books(), Meter()
    stormy = seed % 3 > 0
    locks = {book: chance.choice([0, 0, 0.02, 0.3, 5.0]) for book in range(4)}
    books.locked_until = locks
    books.due = {book: chance.choice([0, 0, 0, 7]) for book in range(4)}

    def fault(sent: Sent) -> str | Exception | None:
        if "bad" in sent.keys:
            return REFUSAL
        return chance.choice(["before", "after", "hang"]) if stormy and chance.random() < 0.2 else None

    books.fault = fault
    asked: dict[int, list[str]] = {book: [] for book in range(4)}

    async def caller(lane, n):
        await asyncio.sleep(chance.uniform(0, 0.2))
        book = chance.randrange(4)
        size = chance.choice([1, 1, 1, 3])
        keys = ["bad"] if stormy and n == 11 else [f"c{n}-{i}" for i in range(size)]
        group = chance.choice([0, 4]) if size > 1 else 0
        asked[book] += keys
        answers = await lane.post_all([spend(book, key, group=group) for key in keys])
        assert [answer.operation_id for answer in answers] == [spend(book, key).id for key in keys]
        assert [answer.seq for answer in answers] == [books.journal[book, key] for key in keys]

    async def main():
        async with Lane(books.connect, meter, batch_max=6) as lane:
            callers = [asyncio.ensure_future(caller(lane, n)) for n in range(40)]
            await asyncio.sleep(0.1)
            gone = chance.sample(callers, 3)
            for one in gone:
                one.cancel()
            results = await asyncio.gather(*callers, return_exceptions=True)
        assert (lane._depth, lane._aside, len(lane._queue)) == (0, {}, 0)
        return results

    results = run(main, seed)
    allowed = (OutcomeUnknown, asyncio.CancelledError, asyncpg.CharacterNotInRepertoireError)
    assert all(result is None or isinstance(result, allowed) for result in results)
    if not stormy:
        assert not any(isinstance(result, OutcomeUnknown) for result in results)
        assert {book: books.order_in(book) for book in asked} == asked
    assert all(len(call.items) <= 6 for call in books.calls)
    for call in books.calls:
        for n, (book, key, group) in enumerate(call.items[:-1]):
            following = call.items[n + 1]
            assert (group > 0 and following[2] == group) <= (following[1].split("-")[0] == key.split("-")[0])
            assert book <= following[0]
    assert meter.depths[-1] == 0
    assert min(meter.depths) == 0
    assert books.open == 0
