"""A lane whose database fails: as a whole, for one operation, for a while, for ever."""

import asyncio

import asyncpg
import pytest

from ledger import lane as lanes
from ledger.lane import Lane, OutcomeUnknown
from ledger.outcomes import Outcome
from tests.unit.fake_books import Books, Meter, Sent, run, spend

REFUSAL: Exception = asyncpg.CharacterNotInRepertoireError("a key that no database takes")


async def _seqs(lane, *operations):
    return [answer.seq for answer in await lane.post_all(operations)]


def test_a_batch_that_fails_as_a_whole_is_split_and_one_bad_item_fails_alone():
    books, meter = Books(fault=lambda sent: REFUSAL if "bad" in sent.keys else None), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            keys = [f"k{n}" for n in range(40)]
            keys[17] = "bad"
            posted = (lane.post(spend(n % 5, key)) for n, key in enumerate(keys))
            return await asyncio.gather(*posted, return_exceptions=True)

    answers = run(main)
    assert isinstance(answers.pop(17), asyncpg.CharacterNotInRepertoireError)
    assert [answer.outcome for answer in answers] == [Outcome.POSTED] * 39
    assert meter.breaks["CharacterNotInRepertoireError"] <= 7
    assert {call.connection for call in books.calls} == {1}  # the server said no; the connection is as good as before


def test_what_cannot_be_encoded_fails_alone_too():
    books = Books(fault=lambda sent: ValueError("surrogates not allowed") if "odd" in sent.keys else None)

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            posted = (lane.post(spend(1, key)) for key in ("a", "odd", "b"))
            return await asyncio.gather(*posted, return_exceptions=True)

    answers = run(main)
    assert isinstance(answers[1], ValueError)
    assert [answers[n].outcome for n in (0, 2)] == [Outcome.POSTED] * 2
    assert books.connections == 1


def test_a_mistake_of_ours_in_one_operation_fails_that_one_only():
    books = Books(fault=lambda sent: KeyError("odd") if "odd" in sent.keys else None)

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            posted = (lane.post(spend(1, key)) for key in ("a", "odd", "b"))
            return await asyncio.gather(*posted, return_exceptions=True)

    answers = run(main)
    assert isinstance(answers[1], KeyError)
    assert [answers[n].outcome for n in (0, 2)] == [Outcome.POSTED] * 2
    assert books.connections > 1  # nobody knows in what state it was left


@pytest.mark.parametrize("when", ["before", "after", "hang"])
def test_after_a_lost_reply_the_same_keys_are_sent_again(when):
    books = Books()
    books.fault = lambda _: when if len(books.calls) == 1 else None

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            return await lane.post_all([spend(1, f"k{n}") for n in range(3)])

    answers = run(main)
    assert [answer.seq for answer in answers] == [1, 2, 3]
    assert [answer.replayed for answer in answers] == [when == "after"] * 3
    assert books.calls[0].items == books.calls[1].items
    assert books.calls[0].connection != books.calls[1].connection


def test_a_lost_reply_whose_book_is_still_locked_by_the_old_call_is_waited_for():
    books = Books()

    def fault(sent: Sent) -> str | None:
        if len(books.calls) > 1:
            return None
        books.locked_until[1] = sent.at + 40  # until the server notices that nobody listens
        return "hang"

    books.fault = fault

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            return await lane.post(spend(1, "k"))

    with pytest.raises(OutcomeUnknown):  # honest: more than twenty seconds went by
        run(main)
    books = Books()
    books.fault = lambda sent: fault_for(books, sent)
    assert run(main).outcome is Outcome.POSTED


def fault_for(books, sent):
    """The old call holds the book for two seconds."""
    if len(books.calls) > 1:
        return None
    books.locked_until[1] = sent.at + 2
    return "before"


def test_an_operation_that_breaks_every_connection_does_not_take_its_neighbours_along():
    books, meter = Books(fault=lambda sent: "before" if "crash" in sent.keys else None), Meter()

    async def main():
        async with Lane(books.connect, meter) as lane:
            keys = [f"k{n}" for n in range(60)]
            keys[33] = "crash"
            return await asyncio.gather(*(lane.post(spend(1, key)) for key in keys), return_exceptions=True)

    answers = run(main)
    assert isinstance(answers.pop(33), OutcomeUnknown)
    assert [answer.outcome for answer in answers] == [Outcome.POSTED] * 59
    assert meter.breaks["ConnectionResetError"] <= lanes.RESENDS_MAX + 1 + 6  # halved six times until it is alone


def test_a_server_that_is_away_for_a_while_is_waited_for_and_for_ever_is_not():
    away = Books(down_until=5.0)
    gone = Books(down_until=float("inf"))

    async def main(books):
        async with Lane(books.connect, Meter()) as lane:
            answers = await asyncio.gather(*(lane.post(spend(1, f"k{n}")) for n in range(5)), return_exceptions=True)
            return answers, asyncio.get_running_loop().time()

    answers, _ = run(lambda: main(away))
    assert [answer.seq for answer in answers] == [1, 2, 3, 4, 5]
    answers, took_s = run(lambda: main(gone))
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * 5
    assert took_s < lanes.GIVE_UP_S + 1


def test_a_full_queue_in_front_of_a_server_that_hangs_is_given_up_in_time():
    books = Books(fault=lambda _: "hang")

    async def main():
        async with Lane(books.connect, Meter(), batch_max=4) as lane:
            answers = await asyncio.gather(*(lane.post(spend(n, "k")) for n in range(100)), return_exceptions=True)
            assert lane._depth == 0
            return answers, asyncio.get_running_loop().time()

    answers, took_s = run(main)
    assert {type(answer) for answer in answers} == {OutcomeUnknown}
    assert took_s < lanes.GIVE_UP_S + lanes.ANSWER_TIMEOUT_S + 1


@pytest.mark.parametrize(
    ("error", "connections"),
    [
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), 2),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"), 2),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), 2),
        (asyncpg.InternalClientError("got result for unknown protocol state"), 2),
        (asyncpg.DeadlockDetectedError("deadlock detected"), 1),
        (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), 1),
    ],
)
def test_what_passes_is_tried_again(error, connections):
    books = Books()
    books.fault = lambda _: error if len(books.calls) == 1 else None

    async def main():
        async with Lane(books.connect, Meter()) as lane:
            return await _seqs(lane, spend(1, "a"), spend(1, "b"))

    assert run(main) == [1, 2]
    assert (books.connections, books.open) == (connections, 0)
    books.calls, books.journal, books.unwelcome = [], {}, [error]
    assert run(main) == [1, 2]
    assert books.unwelcome == []
