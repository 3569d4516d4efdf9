"""A body whose time runs out, in a loop in which no time passes but what somebody waits for."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from api.http.receiving import Body
from billing.refusals import Refusal, Refused
from tests.unit.fake_books import run


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


def test_a_body_that_comes_in_time_is_passed_on_part_by_part():
    async def main():
        receive = Body(sender([part(b"a"), part(b"b", more=False)]), within_s=5).receive
        return [await receive(), await receive()]

    assert run(main) == [part(b"a"), part(b"b", more=False)]


def test_a_body_that_stops_is_refused():
    async def main():
        receive = Body(sender([part(b"a")]), within_s=0.05).receive
        await receive()
        with pytest.raises(Refused) as caught:
            await receive()
        return caught.value.refusal

    assert run(main) is Refusal.BODY_TOO_SLOW


def test_time_is_given_to_the_whole_body_and_not_to_each_part():
    async def main():
        receive = Body(sender([part(b"a")] * 1000, every_s=0.01), within_s=0.105).receive
        for _ in range(10):
            await receive()
        with pytest.raises(Refused) as caught:
            await receive()
        return caught.value.refusal

    assert run(main) is Refusal.BODY_TOO_SLOW


def test_after_the_body_there_is_no_hurry():
    gone = {"type": "http.disconnect"}

    async def main():
        receive = Body(sender([part(b"a", more=False), gone], every_s=0.06), within_s=0.1).receive
        await receive()
        return await receive()

    assert run(main) == gone


def test_who_leaves_before_the_body_is_complete_is_refused():
    async def main():
        receive = Body(sender([part(b"a"), {"type": "http.disconnect"}]), within_s=5).receive
        await receive()
        with pytest.raises(Refused) as caught:
            await receive()
        return caught.value.refusal

    assert run(main) is Refusal.INVALID_ARGUMENTS
