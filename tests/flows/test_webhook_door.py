import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flows.conftest import NEW_SECRET
from tests.patience import served
from tests.service import data_of, envelope_of, error_of, until

PATH = "/webhooks/stripe"
ON_ITS_WAY_S = 60
"""A letter may take so long, and gets older by it; `tests/unit/test_webhook_signature.py` judges to the second."""


def letter(**changes):
    event = {"id": f"evt_{secrets.token_hex(8)}", "object": "event", "type": "ping.pong", "data": {"object": {}}}
    return json.dumps({**event, **changes}).encode()


def stored(service, body):
    query = "SELECT count(*) FROM webhooks.letters WHERE body = $1"
    return service.database.rows(query, body)[0][0]


def test_signed_letter_is_kept_as_the_bytes_that_were_signed(http, service):
    body = b'{ "id":"evt_' + secrets.token_hex(8).encode() + b'",  "object":"event","type":"x.y" }\n'
    envelope = envelope_of(http.post(PATH, content=body, headers=service.signed(body)))
    assert envelope["data"] == {"received": True, "duplicate": False}
    assert envelope["actor"] is None
    assert stored(service, body) == 1


def test_the_same_letter_ten_times_at_once_is_kept_once(service):
    body = letter()
    with service.client() as client, ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda _: data_of(served(lambda: client.post(PATH, content=body, headers=service.signed(body)))),
                range(10),
            )
        )
    assert sorted(answer["duplicate"] for answer in answers) == [False, *[True] * 9]
    assert stored(service, body) == 1


def test_an_event_of_no_rail_is_kept_and_ignored(http, service):
    body = letter()
    data_of(http.post(PATH, content=body, headers=service.signed(body)))
    query = "SELECT state FROM webhooks.letters WHERE body = $1 AND state <> 'pending'"
    assert until(lambda: service.database.rows(query, body)) == [("ignored",)]


def _signed(service, body, **how):
    return service.signed(body, **how)["stripe-signature"]


BAD_SIGNATURES = {
    "none": lambda *_: [],
    "empty": lambda *_: [""],
    "nonsense": lambda *_: ["nonsense"],
    "another secret": lambda service, body: [_signed(service, body, secret="whsec_wrong")],
    "another body": lambda service, body: [_signed(service, body + b" ")],
    "old": lambda service, body: [_signed(service, body, at=time.time() - 310)],
    "from the future": lambda service, body: [_signed(service, body, at=time.time() + 300 + ON_ITS_WAY_S)],
    "without a time": lambda service, body: [_signed(service, body).partition(",")[2]],
    "with two times": lambda service, body: ["t=1," + _signed(service, body)],
    "of an older scheme": lambda service, body: [_signed(service, body).replace("v1=", "v0=")],
    "cut": lambda service, body: [_signed(service, body)[:-1]],
    "twice": lambda service, body: [_signed(service, body)] * 2,
    "not ascii": lambda service, body: [_signed(service, body).encode() + b",v1=\xe9"],
    "endless": lambda service, body: [_signed(service, body) + ",v1=00" * 900],
}


@pytest.mark.parametrize("how", BAD_SIGNATURES)
def test_letter_with_a_bad_signature_is_refused_and_not_kept(http, service, how):
    body = letter()
    headers = [("stripe-signature", value) for value in BAD_SIGNATURES[how](service, body)]
    error_of(http.post(PATH, content=body, headers=headers), 400, "WEBHOOK_SIGNATURE_INVALID")
    assert stored(service, body) == 0


@pytest.mark.parametrize("off_s", [-300 + ON_ITS_WAY_S, 290])
def test_clocks_may_differ_a_little(http, service, off_s):
    body = letter()
    data_of(http.post(PATH, content=body, headers=service.signed(body, at=time.time() + off_s)))


def test_both_secrets_hold_while_one_is_rotated(strict_http, strict):
    for secret in (NEW_SECRET, strict.webhook_secret):
        body = letter()
        data_of(strict_http.post(PATH, content=body, headers=strict.signed(body, secret=secret)))
        assert stored(strict, body) == 1


NONSENSE = {
    "nothing": b"",
    "text": b"nonsense",
    "a list": b"[]",
    "a string": b'"event"',
    "no fields": b"{}",
    "another object": letter(object="charge"),
    "no id": letter(id=None),
    "an empty id": letter(id=""),
    "a number as id": letter(id=7),
    "a long id": letter(id="e" * 256),
    "nul in the id": letter(id="evt_\x00"),
    "no type": letter(type=None),
    "a long type": letter(type="t" * 256),
    "too deep": b"[" * 100_000,
    "cut": b'{"object":"event","id":"a","type":"b"',
}


@pytest.mark.parametrize("what", NONSENSE)
def test_signed_nonsense_is_refused(http, service, what):
    body = NONSENSE[what]
    before = stored(service, body)  # other tests of this service put rows of their own there, one with an empty body
    error_of(http.post(PATH, content=body, headers=service.signed(body)), 400, "INVALID_ARGUMENTS")
    assert stored(service, body) == before


def test_bytes_that_are_no_text_have_no_valid_signature(http, service):
    body = b"\xff\xfe"
    error_of(http.post(PATH, content=body, headers=service.signed(body)), 400, "WEBHOOK_SIGNATURE_INVALID")


def test_letter_over_the_limit_is_refused_unread(strict_http, strict):
    body = letter(filling="x" * 4096)
    error_of(strict_http.post(PATH, content=body, headers=strict.signed(body)), 413, "BODY_TOO_LARGE")
    assert stored(strict, body) == 0


def test_letter_may_be_larger_than_the_body_of_an_agent(strict_http, strict):
    body = letter(filling="x" * 1500)
    data_of(strict_http.post(PATH, content=body, headers=strict.signed(body)))


def test_database_that_is_away_makes_the_provider_try_again(dark_http, service):
    body = letter()
    answer = dark_http.post(PATH, content=body, headers=service.signed(body))
    assert error_of(answer, 503, "SERVICE_UNAVAILABLE")["retryable"]
    assert int(answer.headers["retry-after"]) > 0


def test_without_secrets_no_letter_is_believed(crippled_http, service):
    body = letter()
    answer = crippled_http.post(PATH, content=body, headers=service.signed(body, secret="x"))
    error_of(answer, 503, "SERVICE_UNAVAILABLE")
