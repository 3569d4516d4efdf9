"""The executor behind a URL: what it is sent, and what each of its answers means."""

import json
from datetime import UTC, datetime

import pytest

from outbound import signing
from outbound.calling import CallingExecutor
from outbound.executor import Cause, Later, Made, NotMade, NotReached
from outbound.guarding import Forbidden
from tests.outbound.receivers import answer, hang, raw, reset

SECRET, OLD = signing.new_secret(), signing.new_secret()
ASSET = {"asset_id": "image_1", "url": "https://cdn.example/1.png"}
DONE = {"status": "completed", "assets": [ASSET], "units": 2, "provider_cost_usd": "0.05"}


@pytest.fixture
def ask(receiver, door, work, now):
    """`await ask(behaviour)`: what is made of an executor that behaves so."""

    async def perform(behave, **limits):
        there = await receiver(behave)
        return await CallingExecutor(door(**limits), there.url, [SECRET], lambda: now).perform(work)

    return perform


async def test_the_work_is_sent_whole_and_signed_with_every_current_secret(receiver, door, work, now):
    there = await receiver(raw(answer(202)))
    await CallingExecutor(door(), there.url, [SECRET, OLD], lambda: now).perform(work)
    (call,) = there.calls
    assert json.loads(call.body) == {
        "job_id": work.job_id,
        "organization_id": work.organization_id,
        "agent_id": work.agent_id,
        "operation": "image.generate",
        "model_id": "fal.flux",
        "request": {"prompt": "a café at night", "model_parameters": {"strength": 0.5}},
        "units": 2,
        "credits": 10,
        "deadline": "2026-11-21T08:10:00+00:00",
        "result_path": f"/v1/jobs/{work.job_id}/result",
    }
    assert call.headers["webhook-id"] == work.job_id
    for secret in (SECRET, OLD):
        signing.verify([secret], call.headers, call.body, now=now)


async def test_every_try_is_the_same_message_signed_anew(receiver, door, work):
    there = await receiver(raw(answer(503)))
    times = iter([datetime(2026, 11, 21, 8, n, tzinfo=UTC) for n in range(3)])
    executor = CallingExecutor(door(), there.url, [SECRET], lambda: next(times))
    for _ in range(2):
        with pytest.raises(NotReached):
            await executor.perform(work)
    first, second = there.calls
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


async def test_an_executor_may_answer_at_once(ask, work):
    made = Made((ASSET,), units=2, cost_micro_usd=50_000)
    assert await ask(raw(answer(200, DONE))) == made
    assert await ask(raw(answer(200, {**DONE, "job_id": work.job_id}))) == made


async def test_what_the_content_type_says_changes_nothing(ask):
    there = answer(200, DONE).replace(b"application/json", b"text/html")
    assert isinstance(await ask(raw(there)), Made)


async def test_an_executor_may_fail_at_once(ask):
    said = {"status": "failed", "reason": "content_policy", "message": "Not this."}
    assert await ask(raw(answer(200, said))) == NotMade(Cause.CONTENT_POLICY, "Not this.")


@pytest.mark.parametrize("body", ["", "{}", "not json", DONE])
async def test_an_executor_may_take_the_work_on_whatever_else_it_says(ask, body):
    assert await ask(raw(answer(202, body))) == Later()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422, 451])
async def test_a_refusal_of_the_work_is_final(ask, status):
    refused = await ask(raw(answer(status, {"secret": "of the product"})))
    assert refused == NotMade(Cause.PROVIDER_FAILURE, f"The executor refused the work (HTTP {status}).")


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_any_other_status_is_asked_again(ask, status):
    with pytest.raises(NotReached, match=f"HTTP {status}"):
        await ask(raw(answer(status, DONE if status != 204 else "", headers="Location: https://other.example/\r\n")))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "OK",
        "<html>",
        "[]",
        "null",
        '{"status":"completed"',
        {"status": "done"},
        {**DONE, "units": -1},
        "x" * 70_000,
    ],
)
async def test_a_200_that_is_no_result_is_asked_again(ask, body):
    with pytest.raises(NotReached):
        await ask(raw(answer(200, body)))


async def test_a_result_that_is_followed_by_more_than_is_read_is_none(ask):
    with pytest.raises(NotReached, match="longer than is read"):
        await ask(raw(answer(200, json.dumps(DONE) + " " * 2_000_000)))


async def test_an_answer_for_another_job_is_none(ask):
    with pytest.raises(NotReached, match="another job"):
        await ask(raw(answer(200, {**DONE, "job_id": "job_01jd9x8g000000000000000001"})))


@pytest.mark.parametrize("behave", [hang, reset, raw(b"")], ids=["hangs", "resets", "closes"])
async def test_an_executor_without_an_answer_is_asked_again(ask, behave):
    with pytest.raises(NotReached, match="gave no answer") as raised:
        await ask(behave, timeout_s=0.15)
    assert "127.0.0.1" not in str(raised.value)


def test_what_would_fail_every_job_is_refused_at_the_start(door, now):
    out = door(allow_private=False)
    url = "https://executor.example/jobs"
    for secrets in ([], ["whsec_short"]):
        with pytest.raises(ValueError, match="secret"):
            CallingExecutor(out, url, secrets, lambda: now)
    for bad in ("http://executor.example/", "https://10.0.0.1/", "https://a:b@executor.example/"):
        with pytest.raises(Forbidden):
            CallingExecutor(out, bad, [SECRET], lambda: now)
    assert repr(CallingExecutor(out, url, [SECRET], lambda: now)) == "CallingExecutor()"
