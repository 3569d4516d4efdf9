import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from api.http.receiving import Body
from billing.refusals import Refusal, Refused


def sender(messages: Iterable[dict[str, Any]], *, every_s: float = 0.0) -> Any:
    """A client that sends `messages`, one after each `every_s`, and then nothing more."""
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(every_s)
        for message in left:
            return message
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")

    return receive


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_that_comes_in_time_is_passed_on_part_by_part():
    receive = Body(sender([part(b"a"), part(b"b", more=False)]), within_s=5).receive
    assert [await receive(), await receive()] == [part(b"a"), part(b"b", more=False)]


async def test_a_body_that_stops_is_refused():
    receive = Body(sender([part(b"a")]), within_s=0.05).receive
    await receive()
    with pytest.raises(Refused) as caught:
        await receive()
    assert caught.value.refusal is Refusal.BODY_TOO_SLOW


async def test_time_is_given_to_the_whole_body_and_not_to_each_part():
    receive = Body(sender([part(b"a")] * 1000, every_s=0.01), within_s=0.1).receive

    async def read_all() -> None:
        for _ in range(1000):
            await receive()

    with pytest.raises(Refused) as caught:
        await read_all()
    assert caught.value.refusal is Refusal.BODY_TOO_SLOW


async def test_after_the_body_there_is_no_hurry():
    gone = {"type": "http.disconnect"}
    receive = Body(sender([part(b"a", more=False), gone], every_s=0.06), within_s=0.1).receive
    await receive()
    assert await receive() == gone


async def test_who_leaves_before_the_body_is_complete_is_refused():
    receive = Body(sender([part(b"a"), {"type": "http.disconnect"}]), within_s=5).receive
    await receive()
    with pytest.raises(Refused) as caught:
        await receive()
    assert caught.value.refusal is Refusal.INVALID_ARGUMENTS
