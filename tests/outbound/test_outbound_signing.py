from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from outbound.signing import HEADER_LENGTH_MAX, TOLERANCE, BadSignature, key_of, new_secret, signed, verify

SECRET, OTHER, STRANGER = new_secret(), new_secret(), new_secret()
BODY = '{"job_id":"job_1","prompt":"café"}'.encode()
# The judge reads the process clock, so these tests live in the present.
NOW = datetime.now(UTC).replace(microsecond=0)


def test_what_we_sign_the_stock_package_takes():
    headers = signed([SECRET], "job_1", datetime.now(UTC), BODY)
    assert Webhook(SECRET).verify(BODY, headers) == {"job_id": "job_1", "prompt": "café"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


def test_while_a_secret_is_rotated_both_holders_can_verify():
    headers = signed([OTHER, SECRET], "job_1", datetime.now(UTC), BODY)
    for secret in (OTHER, SECRET):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(STRANGER).verify(BODY, headers)


def test_what_the_stock_package_signs_we_take():
    headers = {
        "Webhook-Id": "result_1",
        "Webhook-Timestamp": str(int(NOW.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("result_1", NOW, BODY.decode()),
    }
    verify([OTHER, SECRET], headers, BODY, now=NOW)
    with pytest.raises(BadSignature):
        verify([OTHER], headers, BODY, now=NOW)


@given(
    body=st.text(max_size=200),
    message_id=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=40),
    at=st.datetimes(datetime(2001, 9, 9), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
)
def test_ours_and_theirs_are_one_signature(body, message_id, at):
    try:
        raw = body.encode()
    except UnicodeEncodeError:
        raw = body.encode(errors="replace")
    ours = signed([SECRET], message_id, at, raw)
    assert ours["webhook-signature"] == Webhook(SECRET).sign(message_id, at, raw.decode())
    verify([SECRET], ours, raw, now=at)


@pytest.mark.parametrize("field", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "é", "x" * (HEADER_LENGTH_MAX + 1)])
def test_a_header_that_is_missing_or_nonsense_is_refused(field, value):
    headers = signed([SECRET], "job_1", NOW, BODY)
    headers = {name: text for name, text in {**headers, field: value}.items() if text is not None}
    with pytest.raises(BadSignature, match=field):
        verify([SECRET], headers, BODY, now=NOW)


@pytest.mark.parametrize("timestamp", ["soon", "-1", "1.5", "1e9", "9" * 13, " 1", "0x10"])
def test_a_time_that_is_none_is_refused(timestamp):
    headers = {**signed([SECRET], "job_1", NOW, BODY), "webhook-timestamp": timestamp}
    with pytest.raises(BadSignature, match="webhook-timestamp"):
        verify([SECRET], headers, BODY, now=NOW)


@pytest.mark.parametrize("off", [TOLERANCE, -TOLERANCE])
def test_five_minutes_are_the_limit_on_both_sides(off):
    verify([SECRET], signed([SECRET], "job_1", NOW + off, BODY), BODY, now=NOW)
    further = off + timedelta(seconds=1 if off > timedelta() else -1)
    with pytest.raises(BadSignature, match="more than 300 seconds"):
        verify([SECRET], signed([SECRET], "job_1", NOW + further, BODY), BODY, now=NOW)


@pytest.mark.parametrize(
    "change",
    [{"webhook-id": "job_2"}, {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, {"webhook-signature": "v1,AAAA"}],
)
def test_what_was_signed_cannot_be_changed(change):
    with pytest.raises(BadSignature, match="fits none"):
        verify([SECRET], {**signed([SECRET], "job_1", NOW, BODY), **change}, BODY, now=NOW)


def test_any_of_several_signatures_is_enough_and_other_versions_count_for_nothing():
    headers = signed([SECRET], "job_1", NOW, BODY)
    right = headers["webhook-signature"]
    verify([SECRET], {**headers, "webhook-signature": f"v1a,x nonsense {right}"}, BODY, now=NOW)
    with pytest.raises(BadSignature):
        verify([SECRET], {**headers, "webhook-signature": right.replace("v1,", "v1a,")}, BODY, now=NOW)


def test_without_a_secret_nothing_is_signed_and_nothing_accepted():
    with pytest.raises(ValueError, match="without a secret"):
        signed([], "job_1", NOW, BODY)
    with pytest.raises(BadSignature):
        verify([], signed([SECRET], "job_1", NOW, BODY), BODY, now=NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64 at all, though long enough", "é"])
def test_a_weak_or_malformed_secret_is_refused_without_being_said(secret):
    with pytest.raises(ValueError, match="24 to 64 random bytes") as raised:
        signed([secret], "job_1", NOW, BODY)
    assert len(secret) < 8 or secret not in str(raised.value)


def test_a_secret_may_lack_its_prefix_and_padding():
    assert key_of(SECRET) == key_of(SECRET.removeprefix("whsec_").rstrip("="))
    assert len(key_of(SECRET)) == 32


def test_every_new_secret_is_new():
    assert len({new_secret() for _ in range(100)}) == 100
