"""Deliveries against a receiver on loopback that misbehaves in every way, with a clock that moves."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from billing.operator_actions import COMMAND_LINE
from billing.subscriptions import delivering, endpoints, pruning, trying
from billing.subscriptions.rules import FAILING_MAX, WAITS, Heard
from outbound import signing
from outbound.door import Door
from tests.outbound.receivers import answer, hang, raw, reset
from tests.webhooks_out.conftest import PATIENCE_S, bodies
from tests.webhooks_out.dying import Died, dying, some_lines_or_all

ACT: Any = {"by": COMMAND_LINE, "reason": "a test"}
OK = raw(answer(200, "ok"))
LINES_MAX = 300
A_BIT = timedelta(seconds=1)


def changing(*answers):
    """Behave like each of these in turn, then like the last one for ever."""
    calls = count()

    async def behave(reader, writer):
        await answers[min(next(calls), len(answers) - 1)](reader, writer)

    return behave


async def told_once(world, receiver, behave):
    """A receiver that was sent one event; with its endpoint's new secret."""
    here = await receiver(behave)
    made = await world.endpoint(here.url)
    await world.happens()
    await world.spread()
    await world.deliver()
    return here, made


async def test_a_delivery_is_signed_as_standard_webhooks_has_it_and_its_id_is_the_deliverys(world, receiver):
    here, made = await told_once(world, receiver, OK)
    [call], [row] = here.calls, world.deliveries("delivered")
    payload = Webhook(made.secret).verify(call.body, call.headers)
    assert payload["type"] == "feedback.created"
    assert call.body.decode() == row["body"]
    assert call.headers["webhook-id"] == delivering.public_id(row["id"])
    assert (row["tries"], row["last_status"], row["last_error"]) == (1, 200, None)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(call.body, call.headers)
    await world.deliver()
    assert len(here.calls) == 1


@pytest.mark.parametrize(
    ("behave", "status", "error"),
    [
        (raw(answer(500)), 500, "answered 500"),
        (raw(answer(404)), 404, "answered 404"),
        (raw(b"not http\r\n\r\n"), None, "not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), None, "not HTTP, or breaks off"),
        (raw(b""), None, ""),
        (reset, None, "broke"),
    ],
)
async def test_whatever_is_no_2xx_is_tried_again_under_the_same_id(world, receiver, behave, status, error):
    here, _ = await told_once(world, receiver, changing(behave, OK))
    [row] = world.deliveries("pending")
    assert (row["tries"], row["last_status"]) == (1, status)
    assert error in row["last_error"]
    assert abs(row["next_try_at"] - world.clock() - WAITS[0]) <= WAITS[0] / 10
    world.clock.move(WAITS[0] * 2)
    await world.deliver()
    assert len(world.deliveries("delivered")) == 1
    assert len({call.headers["webhook-id"] for call in here.calls}) == 1
    first, second = here.calls
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"], "signed when it is sent"


async def test_no_redirect_is_followed(world, receiver):
    elsewhere = await receiver(OK)
    moved = raw(answer(307, headers=f"Location: {elsewhere.url}\r\n"))
    await told_once(world, receiver, moved)
    assert (elsewhere.connections, world.deliveries("pending")[0]["last_status"]) == (0, 307)


async def test_a_huge_answer_is_cut_off_and_counts_by_its_status(world, receiver):
    await told_once(world, receiver, raw(answer(200, "x" * 3_000_000)))
    assert len(world.deliveries("delivered")) == 1


async def test_days_of_retries_end_with_a_failure_that_is_said_and_can_be_replayed(world, receiver):
    here, _ = await told_once(world, receiver, raw(answer(500)))
    begun = world.clock()
    tried: list[timedelta] = []
    with capture_logs() as lines:
        while pending := world.deliveries("pending"):
            world.clock.at = pending[0]["next_try_at"] - A_BIT
            await world.deliver()
            assert len(here.calls) == len(tried) + 1, "not before its time"
            world.clock.move(A_BIT)
            tried.append(world.clock() - begun)
            await world.deliver()
    assert len(here.calls) == len(WAITS) + 1
    assert timedelta(days=2.8) < tried[-1] < timedelta(days=3.5)
    assert [line["event"] for line in lines] == ["webhook_given_up"]
    [row] = world.deliveries("failed")
    await trying.replay(world.house.sessions, row["id"], **ACT, now=world.clock())
    await world.deliver()
    assert len({call.headers["webhook-id"] for call in here.calls}) == 1
    assert world.deliveries("pending")[0]["tries"] == 1, "it has all its tries before it"


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_time_gets_it(world, receiver, status):
    await told_once(world, receiver, raw(answer(status, headers="Retry-After: 600\r\n")))
    [row] = world.deliveries("pending")
    assert row["next_try_at"] - world.clock() == timedelta(seconds=600)


async def test_410_ends_the_endpoint_and_what_waits_for_it(world, receiver):
    here = await receiver(raw(answer(410)))
    made = await world.endpoint(here.url)
    await world.happens(times=delivering.TOGETHER_MAX + 4)
    await world.spread()
    with capture_logs() as lines:
        await world.deliver()
    assert world.endpoint_now(made.endpoint)["disabled_reason"] == "gone"
    assert len(world.deliveries("failed")) == delivering.TOGETHER_MAX + 4
    assert len(here.calls) == delivering.TOGETHER_MAX, "nothing more is sent"
    assert [(line["event"], line["reason"]) for line in lines] == [("webhook_endpoint_disabled", "gone")]
    await world.happens()
    await world.spread()
    assert world.deliveries("pending") == []
    error = next(row["last_error"] for row in world.deliveries() if row["tries"])
    assert error == "the receiver answered 410"


async def test_a_receiver_that_hangs_for_ever_delays_nobody_else(world, receiver):
    stuck, well = await receiver(hang), await receiver(OK)
    for here in (stuck, well):
        await world.endpoint(here.url)
    await world.happens(times=12)
    await world.spread()
    courier = world.courier(Door(allow_private=True, timeout_s=2 * PATIENCE_S))
    await courier.turn()
    async with asyncio.timeout(PATIENCE_S):
        await well.until(calls=12)
        await stuck.until(calls=delivering.TOGETHER_MAX)
        await world.happens(times=3)
        await world.spread()
        while len(world.deliveries("delivered")) < 15:
            await courier.turn()
            await asyncio.sleep(0.01)
    assert len(stuck.calls) == delivering.TOGETHER_MAX
    await courier.close(within_s=0)
    assert len(well.calls) == 15
    world.clock.move(delivering.LEASE + A_BIT)
    again = await delivering.due(world.house.sessions, now=world.clock())
    assert len(again) == 1, "what was cut off is sent again when its lease is over"


async def test_a_receiver_that_is_too_slow_is_left_and_tried_again(world, receiver):
    here = await receiver(hang)
    await world.endpoint(here.url)
    await world.happens()
    await world.spread()
    await world.deliver(Door(allow_private=True, timeout_s=0.1))
    [row] = world.deliveries("pending")
    assert (row["tries"], row["last_error"]) == (1, "no whole answer came in time")


async def test_while_a_secret_is_rotated_both_sign_and_then_the_new_one_alone(world, receiver):
    here, old = await told_once(world, receiver, OK)
    new = await endpoints.rotate(
        world.house.sessions, old.endpoint.id, grace=timedelta(hours=1), **ACT, now=world.clock()
    )
    for moved in (timedelta(0), timedelta(hours=1)):
        world.clock.move(moved)
        await world.happens()
        await world.spread()
        await world.deliver()

    def fits(secret, call):
        try:
            signing.verify([secret], call.headers, call.body, now=datetime.fromtimestamp(stamp(call), UTC))
        except signing.BadSignature:
            return False
        return True

    def stamp(call):
        return int(call.headers["webhook-timestamp"])

    assert [[fits(one.secret, call) for one in (old, new)] for call in here.calls] == [
        [True, False],
        [True, True],
        [False, True],
    ]
    both = here.calls[1]
    assert Webhook(new.secret).verify(both.body, both.headers) == Webhook(old.secret).verify(both.body, both.headers)


async def test_after_a_leak_the_old_secret_signs_no_more_at_once(world, receiver):
    here, old = await told_once(world, receiver, OK)
    await endpoints.rotate(world.house.sessions, old.endpoint.id, grace=timedelta(0), **ACT, now=world.clock())
    await world.happens()
    await world.spread()
    await world.deliver()
    assert " " not in here.calls[1].headers["webhook-signature"]
    with pytest.raises(WebhookVerificationError):
        Webhook(old.secret).verify(here.calls[1].body, here.calls[1].headers)


async def test_an_endpoint_that_fails_for_days_with_nothing_delivered_is_disabled(world, receiver):
    here, made = await told_once(world, receiver, changing(raw(answer(500)), OK, raw(answer(500))))
    world.clock.move(timedelta(days=3))
    await world.deliver()
    assert world.endpoint_now(made.endpoint)["failing_since"] is None, "something was delivered"
    begun = world.clock()
    await world.happens()
    await world.spread()
    await world.deliver()
    assert world.endpoint_now(made.endpoint)["failing_since"] == begun
    with capture_logs() as lines:
        for day in (4, 5):
            assert world.endpoint_now(made.endpoint)["disabled_reason"] is None
            world.clock.at = begun + timedelta(days=day)
            await world.happens()
            await world.spread()
            await world.deliver()
    assert timedelta(days=5) == FAILING_MAX
    assert world.endpoint_now(made.endpoint)["disabled_reason"] == "failing"
    assert ("webhook_endpoint_disabled", "failing") in [(line["event"], line.get("reason")) for line in lines]
    assert world.deliveries("pending") == []
    await endpoints.enable(world.house.sessions, made.endpoint.id, **ACT, now=world.clock())
    calls = len(here.calls)
    await world.happens()
    await world.spread()
    await world.deliver()
    assert len(here.calls) == calls + 1
    assert world.endpoint_now(made.endpoint)["disabled_reason"] is None, "its failing begins anew"


@some_lines_or_all
async def test_who_dies_between_any_two_lines_sends_it_again_under_the_same_id(world, receiver, step):
    here = await receiver(OK)
    await world.endpoint(here.url)
    deaths = 0
    for line in count(1, step):
        await world.happens()
        await world.spread()
        died = False
        try:
            with dying(line, delivering, within=("take", "send", "_carry_out", "write_down", "_note")):
                await world.deliver()
        except Died:
            died, deaths = True, deaths + 1
            for courier in world.couriers:
                await courier.close(within_s=0)
        if not died and not world.deliveries("pending"):
            break
        world.clock.move(delivering.LEASE + A_BIT)
        await world.deliver()
        assert world.deliveries("pending") == []
        assert line < LINES_MAX
    ids = [call.headers["webhook-id"] for call in here.calls]
    assert set(ids) == {delivering.public_id(row["id"]) for row in world.deliveries("delivered")}
    assert len(set(bodies_by_id(here).values())) == len(set(ids)) == len(world.deliveries())
    assert len(ids) > len(set(ids)), "some deaths came after the receiver had heard it"
    assert deaths > 20 // step


def bodies_by_id(here):
    return {call.headers["webhook-id"]: call.body for call in here.calls}


async def test_two_workers_at_once_send_everything_once(world, receiver):
    here = await receiver(OK)
    await world.endpoint(here.url)
    events = await world.happens(times=30)
    await world.spread()
    await asyncio.gather(*[world.deliver() for _ in range(3)])
    assert len(here.calls) == len(events) == len({body["data"]["event_id"] for body in bodies(here.calls)})


async def test_what_was_delivered_stays_so_whatever_a_slower_try_says(world, receiver):
    await told_once(world, receiver, OK)
    [row] = world.deliveries("delivered")
    one = delivering.Sending(row["id"], row["endpoint_id"], "", "", [])
    late = delivering.Outcome(Heard.FAILED, 500, "late")
    await delivering.write_down(world.house.sessions, one, late, now=world.clock())
    assert world.deliveries() == [row]


async def test_a_test_message_is_sent_once_also_to_who_is_disabled(world, receiver):
    here = await receiver(changing(OK, raw(answer(500))))
    made = await world.endpoint(here.url)
    await endpoints.disable(world.house.sessions, made.endpoint.id, **ACT, now=world.clock())
    body = json.dumps({"type": trying.TEST_TYPE})
    states = []
    for _ in range(2):
        stored = await trying.store_test(world.house.sessions, made.endpoint.id, body=body, **ACT, now=world.clock())
        done = await trying.send_test(world.house.sessions, world.door, stored.id, clock=world.clock)
        states.append((done.state, done.last_status, done.tries))
    assert states == [("delivered", 200, 1), ("failed", 500, 1)]
    assert bodies(here.calls) == [{"type": "purser.test"}] * 2


async def test_old_deliveries_are_thrown_away_and_those_that_wait_are_not(world, receiver):
    await told_once(world, receiver, changing(OK, raw(answer(500))))
    await world.happens()
    await world.spread()
    await world.deliver()
    keep = timedelta(days=14)
    assert await pruning.prune(world.house.sessions, keep=keep, now=world.clock() + keep) == 0
    assert await pruning.prune(world.house.sessions, keep=keep, now=world.clock() + keep + A_BIT) == 1
    assert [row["state"] for row in world.deliveries()] == ["pending"]


async def test_what_waits_for_an_ended_endpoint_fails_however_much_it_is(world, monkeypatch):
    monkeypatch.setattr(endpoints, "ENDED_MAX", 2)
    made = await world.endpoint("http://127.0.0.1:9/")
    await world.happens(times=5)
    await world.spread()
    await endpoints.disable(world.house.sessions, made.endpoint.id, **ACT, now=world.clock())
    assert len(world.deliveries("failed")) == 2
    assert [await pruning.fail_ended(world.house.sessions, now=world.clock()) for _ in range(3)] == [2, 1, 0]
    assert {row["last_error"] for row in world.deliveries()} == {"its endpoint was disabled"}
