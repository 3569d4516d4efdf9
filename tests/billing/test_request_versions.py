"""The API version belongs to the bytes of a request: what was stored under one is never sent under another."""

from dataclasses import replace

import pytest

from api.wiring import build
from billing.refusals import Refused
from rails.stripe_door import API_VERSION
from tests.service import DEPOSIT

INTENTS, SESSIONS = "/v1/payment_intents", "/v1/checkout/sessions"
PREVIEW, NEWER_PREVIEW = "2026-05-27.preview", "2026-10-28.preview"


def versions_sent(sandbox, path):
    return [call["stripe_version"] for call in sandbox.calls(path) if call["method"] == "POST"]


async def test_a_request_stored_under_one_version_is_sent_under_it_after_the_setting_changed(buyer, quiet_sandbox):
    buyer.method = DEPOSIT
    quote = await buyer.quote()
    quiet_sandbox.fault("lost_answer", INTENTS, method="POST", times=1)
    with pytest.raises(Refused):
        await buyer.buy(quote)
    upgraded = build(buyer.house.settings.model_copy(update={"stripe_crypto_version": NEWER_PREVIEW}))
    buyer.house = replace(buyer.house, rails=upgraded.rails)
    await buyer.buy(quote)
    await buyer.buy(await buyer.quote("new"), "new")
    await upgraded.close()
    assert (await buyer.status(quote)).attempt.state == "action_required"
    assert versions_sent(quiet_sandbox, INTENTS) == [PREVIEW, PREVIEW, NEWER_PREVIEW]


async def test_a_session_stored_by_an_older_release_is_sent_under_that_releases_version(
    buyer, quiet_sandbox, quiet_database
):
    quote = await buyer.quote()
    quiet_sandbox.fault("lost_answer", SESSIONS, method="POST", times=1)
    with pytest.raises(Refused):
        await buyer.buy(quote)
    attempt = (await buyer.status(quote)).attempt
    older = "2026-04-29.preview"  # the sandbox plays no older release
    changed = "UPDATE billing.provider_requests SET api_version = $1 WHERE attempt_id = $2 RETURNING parameters"
    assert len(quiet_database.rows(changed, older, attempt.id)) == 1
    await buyer.buy(quote)
    assert versions_sent(quiet_sandbox, SESSIONS) == [API_VERSION, older]
