"""Who sends links to people, by the settings."""

from pydantic import SecretStr
from structlog.testing import capture_logs

from api.running.checks import of_settings
from api.settings import Settings
from outbound.door import NotSent
from outbound.sender import CallingSender
from outbound.signing import new_secret
from tests.service import STRIPE_KEY
from tests.warm import house_of

LINK = "https://purser.example/claim/claim_x"
LIVE = "sk_live_of_the_tests"


def settings_of(key, **more):
    nowhere = SecretStr("postgresql://nobody@127.0.0.1:9/none")
    return Settings(database_url=nowhere, stripe_secret_key=SecretStr(key), public_url="https://purser.example", **more)


async def sent(key):
    """What stands in the log after a link was sent, and what was raised."""
    house, reason = house_of(settings_of(key), "senders"), None
    with capture_logs() as lines:
        try:
            await house.outside.sender.send(contact="a@b.example", link=LINK, organization_id="org_x")
        except NotSent as error:
            reason = error.reason
    await house.close()
    return str(lines), reason


async def test_in_live_mode_without_a_sender_no_link_is_sent_or_said():
    lines, reason = await sent(LIVE)
    assert reason == "no sender of links is configured"
    assert LINK not in lines


async def test_in_test_mode_without_a_sender_the_log_says_the_link():
    lines, reason = await sent(STRIPE_KEY)
    assert (reason, LINK in lines) == (None, True)


async def test_a_sender_that_is_named_is_asked_in_live_mode_too():
    named = {"claim_sender_url": "https://mail.example/", "claim_sender_secrets": [SecretStr(new_secret())]}
    house = house_of(settings_of(LIVE, **named), "senders")
    assert isinstance(house.outside.sender, CallingSender)
    await house.close()


def test_a_check_says_where_links_go():
    found = {
        key: next(each for each in of_settings(settings_of(key)) if each.subject == "links to owners").found
        for key in (LIVE, STRIPE_KEY)
    }
    assert "PURSER_CLAIM_SENDER_URL" in found[LIVE]
    assert "none is sent" in found[LIVE]
    assert "log" in found[STRIPE_KEY]
