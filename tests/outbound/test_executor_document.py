"""The examples of docs/executor.md, run as they stand there."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from outbound import calling, signing
from outbound.calling import CallingExecutor, read_result
from outbound.door import CALLS_MAX
from outbound.executor import Cause, Later, Made, NotMade
from tests.outbound.receivers import answer

TEXT = (Path(__file__).parents[2] / "docs" / "executor.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, Any] = {}
for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
    exec(block, EXAMPLES)  # noqa: S102 - the document's own examples
SENT, COMPLETED, FAILED = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
SECRET = signing.new_secret()
ASSETS = [{"asset_id": "image_1"}]


@pytest.fixture
def executor(receiver, door):
    """`await executor(make, secret)`: one whose server is the document's example."""

    async def start(make, secret=SECRET):
        async def behave(_, writer):
            call = there.calls[-1]
            status, said = EXAMPLES["answer_to"](call.headers, call.body, secret=secret, make=make)
            writer.write(answer(status, said))
            await writer.drain()

        there = await receiver(behave)
        # The stock package reads the process clock.
        return CallingExecutor(door(), there.url, [SECRET], lambda: datetime.now(UTC))

    return start


async def test_the_documents_executor_answers_at_once(executor, work):
    asked = []

    def make(*given):
        asked.append(given)
        return ASSETS

    at_once = await executor(make)
    assert await at_once.perform(work) == Made(tuple(ASSETS), units=1)
    assert asked == [(work.job_id, work.request, work.units)]


async def test_the_documents_executor_takes_work_on(executor, work):
    later = await executor(lambda *_: None)
    assert await later.perform(work) == Later()


async def test_the_documents_executor_refuses_what_we_have_not_signed(executor, work):
    asked = []
    stranger = await executor(lambda *given: asked.append(given), signing.new_secret())
    refused = await stranger.perform(work)
    assert isinstance(refused, NotMade)
    assert "401" in (refused.message or "")
    assert not asked


def test_the_documents_signed_result_is_one_that_we_take():
    headers, body = EXAMPLES["signed_result"](COMPLETED, secret=SECRET)
    signing.verify([SECRET], headers, body, now=datetime.now(UTC))
    assert read_result(body) == (
        COMPLETED["job_id"],
        Made(tuple(COMPLETED["assets"]), units=1, cost_micro_usd=50_000),
    )


def test_the_documents_failure_is_one_that_we_take():
    assert read_result(json.dumps(FAILED).encode())[1] == NotMade(Cause.CONTENT_POLICY, FAILED["message"])


async def test_the_document_shows_what_is_sent(receiver, door, work, now):
    async def taken(_, writer):
        writer.write(answer(202))

    there = await receiver(taken)
    shown = replace(work, request=SENT["request"])
    await CallingExecutor(door(), there.url, [SECRET], lambda: now).perform(shown)
    assert json.loads(there.calls[0].body) == SENT


def test_the_verification_fits_in_ten_lines():
    first = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_the_document_says_the_bounds_that_the_code_has():
    assert f"at most {calling.ASSETS_MAX} objects" in TEXT
    assert f"0 to {calling.UNITS_MAX:,}" in TEXT
    assert f"at most {calling.URL_LENGTH_MAX} characters" in TEXT
    assert f"cut after {calling.MESSAGE_LENGTH_MAX} characters" in TEXT
    assert f"at most {calling.RESULT_BYTES_MAX // 1024} KiB" in TEXT
    assert f"At most {CALLS_MAX} calls" in TEXT
    assert ", ".join(str(status) for status in sorted(calling.ASK_AGAIN)) in TEXT
    assert f"{signing.KEY_BYTES_MIN} to {signing.KEY_BYTES_MAX} random bytes" in TEXT
    assert all(f"`{cause}`" in TEXT for cause in Cause)
