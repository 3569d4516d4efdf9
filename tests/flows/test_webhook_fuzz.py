"""Whatever is thrown at the webhook's door: what was not signed by the provider, now, is refused and leaves nothing."""

import json
import secrets
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service import data_of, error_of

PATH = "/webhooks/stripe"
BODY_MAX = 1_048_576
ON_ITS_WAY_S = 60
fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=10), inside, max_size=4),
    max_leaves=10,
)
bodies = st.one_of(
    st.binary(max_size=300),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=30).map(lambda text: f"evt_{text}"), "type": st.sampled_from(
            ["checkout.session.completed", "refund.created", "charge.dispute.created", "payout.paid"]
        ), "object": st.just("event"), "data": json_values}
    ).map(lambda event: json.dumps(event).encode()),
)  # fmt: skip


def letters(service, body):
    """How often the body is kept; other letters may come from the sandbox meanwhile."""
    return service.database.rows("SELECT count(*) FROM webhooks.letters WHERE body = $1", body)[0][0]


def forged(service, body, kind, noise, at):
    """A signature header that is wrong in one way."""
    good = service.signed(body, at=at)["stripe-signature"]
    moment, _, signature = good.partition(",v1=")
    return {
        "none": None,
        "noise": noise,
        "another secret": service.signed(body, secret=f"whsec_{noise}", at=at)["stripe-signature"],
        "another body": service.signed(body + b"\n", at=at)["stripe-signature"],
        "another time": f"t={int(moment[2:]) + 1},v1={signature}",
        "cut": good[:-1],
        "a bit": f"{moment},v1={signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
        "another scheme": f"{moment},v0={signature}",
        "upper case": f"{moment},v1={signature.upper()}{noise}",
    }[kind]


KINDS = [
    "none",
    "noise",
    "another secret",
    "another body",
    "another time",
    "cut",
    "a bit",
    "another scheme",
    "upper case",
]
words = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@fuzzed
@given(body=bodies, kind=st.sampled_from(KINDS), noise=words)
def test_a_forged_letter_is_refused_and_nothing_is_kept(http, service, body, kind, noise):
    before = letters(service, body)
    header = forged(service, body, kind, noise, time.time())
    answer = http.post(PATH, content=body, headers={"stripe-signature": header} if header else {})
    error_of(answer, 400, "WEBHOOK_SIGNATURE_INVALID")
    assert letters(service, body) == before


@fuzzed
@given(body=bodies, off=st.integers(301, 10**9), sign=st.sampled_from([-1, 1]))
def test_a_stale_letter_or_one_from_the_future_is_refused_and_nothing_is_kept(http, service, body, off, sign):
    before = letters(service, body)
    # On its way, however slow, a stale one gets only older, but one from the future comes nearer.
    off += ON_ITS_WAY_S if sign > 0 else 0
    answer = http.post(PATH, content=body, headers=service.signed(body, at=time.time() + sign * off))
    error_of(answer, 400, "WEBHOOK_SIGNATURE_INVALID")
    assert letters(service, body) == before


def is_text(body):
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


@fuzzed
@given(body=bodies)
def test_a_signed_letter_that_is_no_event_is_refused_and_an_event_is_kept_once(http, service, body):
    before = letters(service, body)
    answer = http.post(PATH, content=body, headers=service.signed(body))
    if answer.status_code == 400:
        # What is not text cannot have been signed by anybody.
        code = "INVALID_ARGUMENTS" if is_text(body) else "WEBHOOK_SIGNATURE_INVALID"
        error_of(answer, 400, code)
        assert letters(service, body) == before
        return
    first = data_of(answer)
    assert letters(service, body) == before + (not first["duplicate"])
    again = data_of(http.post(PATH, content=body, headers=service.signed(body)))
    assert again == {"received": True, "duplicate": True}
    assert letters(service, body) == before + (not first["duplicate"])


@settings(fuzzed, max_examples=8)
@given(over=st.integers(1, 4096))
def test_a_letter_over_the_limit_is_refused_however_it_is_signed(http, service, over):
    body = b"x" * (BODY_MAX + over)
    before = letters(service, body)
    error_of(http.post(PATH, content=body, headers=service.signed(body)), 413, "BODY_TOO_LARGE")
    assert letters(service, body) == before


def test_a_valid_letter_replayed_inside_the_window_is_answered_and_nothing_is_new(http, service):
    event = {"id": f"evt_{secrets.token_hex(8)}", "object": "event", "type": "x.y", "data": {"object": {}}}
    body = json.dumps(event).encode()
    headers = service.signed(body, at=time.time() - 300 + ON_ITS_WAY_S)
    assert data_of(http.post(PATH, content=body, headers=headers))["duplicate"] is False
    before = letters(service, body)
    for _ in range(5):
        assert data_of(http.post(PATH, content=body, headers=headers)) == {"received": True, "duplicate": True}
    assert letters(service, body) == before
