"""Operators and letters over HTTP: seen without secrets, retried and put aside once, and every act recorded."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import pytest

from billing.fresh import new_id
from billing.scopes import Scope
from ledger import ids
from tests.giving import new_operator
from tests.patience import served
from tests.service import Operator, data_of, error_of, new_key

LETTERS = "/v1/operator/letters"
ACTIONS = "/v1/operator/actions"
SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.fixture
def operator(http, database) -> Operator:
    return new_operator(http, database, Scope.OPERATE)


@pytest.fixture
def letter(database):
    """`letter(state)`: the name of a fresh letter. One that is pending is not due before tomorrow."""

    def store(state: str) -> str:
        now = datetime.now(UTC)
        letter_id = new_id(now)
        event = f"evt_{letter_id.hex}"
        body = {"id": event, "object": "event", "type": "charge.updated", "client_secret": "pi_1_secret_x", "k": SECRET}
        database.rows(
            "INSERT INTO webhooks.letters (id, source, provider_event_id, type, body, state, reason, tries,"
            " next_try_at, received_at, done_at) VALUES ($1, 'stripe', $2, 'charge.updated', $3, $4, 'amounts', 3,"
            " $5::timestamptz + interval '1 day', $5, CASE WHEN $4 = 'pending' THEN NULL ELSE $5::timestamptz END)",
            letter_id, event, json.dumps(body).encode(), state, now,
        )  # fmt: skip
        return ids.external("letter", letter_id)

    return store


def act(operator, path, key=None, **body):
    return operator.ask(path, key, **{"reason": "seen to", **body})


def test_a_letter_is_shown_with_its_secrets_struck_out(operator, letter):
    name = letter("parked")
    shown = operator.send("GET", f"{LETTERS}/{name}")
    found = data_of(shown)["letter"]
    assert (found["letter_id"], found["state"], found["reason"]) == (name, "parked", "amounts")
    assert found["body"]["client_secret"] == "[redacted]"
    assert SECRET not in shown.text


@pytest.mark.parametrize("levels", [200, 3_000])
def test_a_letter_that_is_nested_too_deeply_is_shown_without_what_it_says(operator, letter, database, levels):
    name = letter("parked")
    body = b'{"a":' * levels + b'{"email":"jane@example.com"}' + b"}" * levels
    database.rows("UPDATE webhooks.letters SET body = $2 WHERE id = $1", ids.parse("letter", name), body)
    shown = operator.send("GET", f"{LETTERS}/{name}")
    assert "nested too deeply" in shown.text
    assert "jane" not in shown.text
    assert data_of(shown)["letter"]["letter_id"] == name


def test_letters_are_listed_newest_first_page_by_page(operator, letter):
    names = [letter("parked") for _ in range(3)]
    first = operator.get(LETTERS, state="parked", limit=2)
    assert [one["letter_id"] for one in first["letters"]] == names[:0:-1]
    assert "body" not in first["letters"][0]
    rest = operator.get(LETTERS, state="parked", limit=2, cursor=first["next_cursor"])
    assert rest["letters"][0]["letter_id"] == names[0]


def test_a_retried_letter_waits_for_the_worker_again_and_the_act_is_recorded_with_its_holder(operator, letter):
    name, key = letter("parked"), new_key()
    done = data_of(act(operator, f"{LETTERS}/{name}/retry", key))
    assert done["replayed"] is False
    assert done["action"]["holder"] == "of the tests"
    assert done["action"]["operator_key_id"] == ids.external("opkey", operator.key_id)
    assert done["action"]["details"] == {"state": "parked", "reason": "amounts", "tries": 3}
    again = data_of(act(operator, f"{LETTERS}/{name}/retry", key))
    assert (again["replayed"], again["action"]) == (True, done["action"])
    recorded = operator.get(ACTIONS, action="retry_letter", limit=1)["actions"]
    assert recorded == [done["action"]]


def test_the_same_request_sent_often_at_once_acts_once(operator, letter):
    name, key = letter("parked"), new_key()
    with ThreadPoolExecutor(4) as crowd:
        sent = [crowd.submit(served, partial(act, operator, f"{LETTERS}/{name}/retry", key)) for _ in range(4)]
        answers = [data_of(each.result()) for each in sent]
    assert sorted(each["replayed"] for each in answers) == [False, True, True, True]
    assert len({each["action"]["action_id"] for each in answers}) == 1


def test_a_waiting_letter_is_put_aside_with_the_reason_and_only_a_waiting_one(operator, letter):
    name = letter("pending")
    done = data_of(act(operator, f"{LETTERS}/{name}/park", reason="a duplicate"))
    assert done["letter"]["state"] == "parked"
    assert "a duplicate" in done["letter"]["reason"]
    error = error_of(act(operator, f"{LETTERS}/{name}/park"), 409, "STATE_CONFLICT")
    assert error["recovery"]["state"] == "parked"
    assert data_of(act(operator, f"{LETTERS}/{name}/ignore"))["letter"]["state"] == "ignored"
    error_of(act(operator, f"{LETTERS}/{name}/ignore"), 409, "STATE_CONFLICT")
    error_of(act(operator, f"{LETTERS}/{letter('done')}/retry"), 409, "STATE_CONFLICT")


def test_a_key_is_good_for_one_act_and_one_reason(operator, letter):
    name, key = letter("parked"), new_key()
    data_of(act(operator, f"{LETTERS}/{name}/retry", key))
    error_of(act(operator, f"{LETTERS}/{name}/park", key), 409, "SPENDING_CONFLICT")
    error_of(act(operator, f"{LETTERS}/{letter('parked')}/retry", key), 409, "SPENDING_CONFLICT")
    error_of(act(operator, f"{LETTERS}/{name}/retry", key, reason="another"), 409, "SPENDING_CONFLICT")


@pytest.mark.parametrize("body", [{"reason": None}, {"reason": "a\nb"}, {"reason": " "}, {"idempotency_key": ""}])
def test_an_act_without_a_key_or_a_printable_reason_is_refused(operator, letter, body):
    error_of(act(operator, f"{LETTERS}/{letter('parked')}/retry", **body), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize("query", [{"state": "lost"}, {"limit": "0"}, {"cursor": "payatt_1"}])
def test_a_list_refuses_what_it_does_not_understand(operator, query):
    error_of(operator.send("GET", LETTERS, **query), 400, "INVALID_ARGUMENTS")
