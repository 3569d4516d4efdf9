import json

import pytest

from outbound import signing
from outbound.door import NotSent
from outbound.guarding import Forbidden
from outbound.sender import CallingSender, Sender
from tests.outbound.receivers import answer, raw, reset

SECRET = signing.new_secret()
LINK = "https://purser.example/claim/secret-of-the-link"
SENT = {"contact": "a@b.example", "link": LINK, "organization_id": "org_01jd9x8g000000000000000000"}


async def test_a_link_is_handed_over_signed_and_named_the_same_each_time(receiver, door, now):
    there = await receiver(raw(answer(202)))
    sender: Sender = CallingSender(door(), there.url, [SECRET], lambda: now)
    await sender.send(**SENT)
    await sender.send(**SENT)
    await sender.send(**{**SENT, "link": LINK + "2"})
    first, second, other = there.calls
    assert json.loads(first.body) == {"type": "claim_link", **SENT}
    signing.verify([SECRET], first.headers, first.body, now=now)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] != other.headers["webhook-id"]
    assert "secret-of-the-link" not in str(first.headers)


@pytest.mark.parametrize("behave", [raw(answer(status)) for status in (302, 400, 410, 429, 500)] + [reset, raw(b"")])
async def test_a_link_that_was_not_taken_is_said_so_without_being_said(receiver, door, now, behave):
    there = await receiver(behave)
    with pytest.raises(NotSent) as raised:
        await CallingSender(door(), there.url, [SECRET], lambda: now).send(**SENT)
    assert "secret-of-the-link" not in repr(raised.value)
    assert raised.value.reason


def test_a_sender_that_could_never_send_is_refused_at_the_start(door, now):
    out = door(allow_private=False)
    with pytest.raises(ValueError, match="without a secret"):
        CallingSender(out, "https://sender.example/", [], lambda: now)
    with pytest.raises(Forbidden):
        CallingSender(out, "https://127.0.0.1/", [SECRET], lambda: now)
    assert repr(CallingSender(out, "https://sender.example/", [SECRET], lambda: now)) == "CallingSender()"
