"""The door against receivers that misbehave in every way."""

import asyncio

import pytest

from outbound.door import CALLS_MAX, NotSent, Reply
from tests.outbound.receivers import answer, dripping, hang, raw, reset

LIMIT_S = 0.15
"""A door's time for a receiver that is to exceed it."""
PATIENCE_S = 60
"""For what has to come, on a machine that stalls: no test waits until this is over."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_call_arrives_as_it_was_made_and_its_answer_comes_back(receiver, door):
    there = await receiver(raw(answer(201, {"a": 1}, headers="Retry-After: 5\r\nX-Two: a\r\n")))
    reply = await door().post(there.url, b'{"b":2}', {"Webhook-Id": "msg_1"})
    assert (reply.status, reply.body, reply.whole) == (201, b'{"a": 1}', True)
    assert reply.headers["retry-after"] == "5"
    (call,) = there.calls
    assert (call.path, call.body) == ("/hook?a=b", b'{"b":2}')
    assert call.headers["host"] == f"127.0.0.1:{there.port}"
    assert call.headers["webhook-id"] == "msg_1"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["connection"] == "close"


async def test_the_caller_may_say_another_content_type_but_no_other_host(receiver, door):
    there = await receiver(raw(answer()))
    await door().post(there.url, b"", {"Content-Type": "text/plain", "Host": "other.example"})
    assert there.calls[0].headers["content-type"] == "text/plain"
    assert there.calls[0].headers["host"] == f"127.0.0.1:{there.port}"


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 410, 429, 500, 503])
async def test_every_status_is_an_answer_and_no_redirect_is_followed(receiver, door, status):
    other = await receiver(raw(answer()))
    there = await receiver(raw(answer(status, "", headers=f"Location: {other.url}\r\n")))
    assert (await door().post(there.url, b"{}", {})).status == status
    assert not other.connections


async def test_proxies_of_the_environment_are_not_used(receiver, door, monkeypatch):
    proxy, there = await receiver(raw(answer(418))), await receiver(raw(answer()))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert (await door().post(there.url, b"{}", {})).status == 200
    assert not proxy.connections


async def test_a_receiver_that_is_not_there_is_not_sent_to(door, nobody_there):
    with pytest.raises(NotSent, match="no connection could be made"):
        await door().post(nobody_there, b"{}", {})


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!",
        CHUNKED + b"a\r\nten bytes!\r\n",
        CHUNKED + b"zz\r\nnot a length\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 9999 OK\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 30_000 + b"\r\n",
    ],
    ids=range(14),
)
async def test_an_answer_that_breaks_off_or_is_not_http_is_none(receiver, door, sent):
    there = await receiver(raw(sent))
    with pytest.raises(NotSent, match=r"breaks off|broke"):
        await door().post(there.url, b"{}", {})
    assert len(there.calls) == 1


async def test_a_connection_that_is_reset_is_no_answer(receiver, door):
    after, before = await receiver(reset), await receiver(first=reset)
    for there in (after, before):
        with pytest.raises(NotSent, match=r"broke|breaks off"):
            await door().post(there.url, b"{}", {})


@pytest.mark.parametrize(
    "slow",
    [
        hang,
        dripping(b"x", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        dripping(CHUNKED, b"1\r\nx\r\n"),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["hangs", "garbage", "headers", "body", "chunks", "continues"],
)
async def test_a_receiver_that_takes_its_time_gets_no_more_than_there_is(receiver, door, slow):
    there = await receiver(slow)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(NotSent, match="in time"):
            await door(timeout_s=LIMIT_S).post(there.url, b"{}", {})


async def test_a_receiver_that_reads_nothing_gets_no_more_time_either(receiver, door):
    async def deaf(_, writer):
        writer.transport.pause_reading()
        await asyncio.Event().wait()

    there = await receiver(first=deaf)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(NotSent, match="in time"):
            await door(timeout_s=LIMIT_S).post(there.url, b"x" * 20_000_000, {})


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_an_answer_of_two_megabytes_is_cut(receiver, door, head):
    there = await receiver(raw(head, b"x" * 2_000_000))
    reply = await door().post(there.url, b"{}", {})
    assert (reply.status, reply.body, reply.whole) == (200, b"x" * 65_536, False)
    reply = await door(answer_bytes_max=2_000_000).post(there.url, b"{}", {})
    assert (len(reply.body), reply.whole) == (2_000_000, True)


async def test_a_compressed_bomb_stays_as_small_as_it_came(receiver, door):
    there = await receiver(raw(answer(200, "bomb", headers="Content-Encoding: gzip\r\n")))
    assert (await door().post(there.url, b"{}", {})).body == b"bomb"


async def test_one_slow_receiver_delays_no_other_and_gets_a_bounded_number_of_calls(receiver, door):
    slow, quick = await receiver(hang), await receiver(raw(answer()))
    out = door()
    calls = [asyncio.create_task(out.post(slow.url, b"{}", {})) for _ in range(CALLS_MAX * 3)]
    await slow.until(calls=CALLS_MAX)
    replies = await asyncio.gather(*[out.post(quick.url, b"{}", {}) for _ in range(CALLS_MAX)])
    assert {reply.status for reply in replies} == {200}
    assert not any(call.done() for call in calls)
    assert slow.connections == CALLS_MAX
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_call_that_waits_for_a_place_waits_no_longer_than_a_call_may_take(receiver, door):
    slow, out = await receiver(hang), door(timeout_s=LIMIT_S)
    ends = await asyncio.gather(*[out.post(slow.url, b"{}", {}) for _ in range(CALLS_MAX * 2)], return_exceptions=True)
    assert {str(end) for end in ends} == {"no whole answer came in time"}


async def test_calls_beyond_a_receivers_places_wait_and_are_made(receiver, door):
    there = await receiver(raw(answer()))
    out = door()
    replies = await asyncio.gather(*[out.post(there.url, b"{}", {}) for _ in range(CALLS_MAX * 2)])
    assert {reply.status for reply in replies} == {200}
    assert len(there.calls) == CALLS_MAX * 2


async def test_a_call_that_is_given_up_leaves_no_connection_and_keeps_no_place(receiver, door):
    left = asyncio.Semaphore(0)

    async def wait(reader, _):
        assert await reader.read() == b""
        left.release()

    there, out = await receiver(wait), door()
    for turn in (1, 2):
        calls = [asyncio.create_task(out.post(there.url, b"{}", {})) for _ in range(CALLS_MAX)]
        await there.until(calls=CALLS_MAX * turn)
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        for _ in calls:
            await asyncio.wait_for(left.acquire(), PATIENCE_S)


async def test_a_closed_door_calls_nobody(receiver, door):
    there = await receiver(raw(answer()))
    out = door()
    await out.aclose()
    with pytest.raises(NotSent, match="stopping"):
        await out.post(there.url, b"{}", {})
    assert not there.connections


async def test_an_answer_does_not_show_its_body():
    assert "secret" not in repr(Reply(200, {}, b"secret"))
