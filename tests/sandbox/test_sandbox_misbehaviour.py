"""Keys, faults and deliveries: everything that can go wrong between two programs, on demand."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox import deliveries
from sandbox.config import SandboxConfig
from sandbox.state import DeliveryMode, Store, World
from tests.sandbox.conftest import (
    ROOT,
    WAIT_S,
    Letter,
    Receiver,
    Sandbox,
    address_of,
    new_deposit,
    new_session,
    session_params,
    start,
    until,
)
from tests.service import free_port

SESSIONS = "/v1/checkout/sessions"


def created(client: stripe.StripeClient, key: str, **more: Any) -> stripe.checkout.Session:
    return client.v1.checkout.sessions.create(session_params(expires_at=FIXED, **more), {"idempotency_key": key})


FIXED = int(time.time()) + 20 * 3600
"""The same in every request of this module, so that the same key comes with the same bytes; and payable however long a
run of all tests takes: Stripe wants it from half an hour to a day ahead."""


def count(sandbox: Sandbox) -> int:
    return int(sandbox.control("GET", "state")["objects"].get("checkout.session", 0))


def test_same_key_and_parameters_replay_the_first_answer(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    first, second = created(client, "key-1"), created(client, "key-1")
    assert (second.id, second.url) == (first.id, first.url)
    answer: Any = second.last_response
    assert answer.headers["Idempotent-Replayed"] == "true"
    original: Any = first.last_response
    assert answer.headers["Original-Request"] == original.headers["Request-Id"]
    assert "Idempotent-Replayed" not in original.headers


def test_same_key_with_other_parameters_is_an_error(client: stripe.StripeClient) -> None:
    created(client, "key-2")
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        created(client, "key-2", client_reference_id="another")
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.payment_intents.create({"amount": 500, "currency": "usd"}, {"idempotency_key": "key-2"})


def test_failed_validation_is_not_stored(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        created(client, "key-3", client_reference_id="x" * 201)
    assert created(client, "key-3").id


def test_refusal_of_an_endpoint_that_ran_is_stored(client: stripe.StripeClient) -> None:
    session = new_session(client)
    client.v1.checkout.sessions.expire(session.id)
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            client.v1.checkout.sessions.expire(session.id, {}, {"idempotency_key": f"expire-{session.id}"})
    headers: Any = refused.value.headers
    assert headers["Idempotent-Replayed"] == "true"


def test_key_of_more_than_255_characters_is_refused(client: stripe.StripeClient) -> None:
    assert created(client, "k" * 255).id
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        created(client, "k" * 256)


@pytest.mark.long
def test_key_is_forgotten_after_24_hours_and_survives_a_restart(tmp_path: Path) -> None:
    arguments = ("--state", str(tmp_path / "a state.sqlite"))
    sandbox = start(*arguments)
    session = created(sandbox.client(), "kept")
    deposit = new_deposit(sandbox.client())
    sandbox.stop(kill=True)
    sandbox = start(*arguments)
    try:
        client = sandbox.client()
        assert created(client, "kept").id == session.id
        assert client.v1.checkout.sessions.retrieve(session.id).amount_total == 500
        transfer = {"to": address_of(deposit), "amount_atomic": "5000000"}
        assert sandbox.control("POST", "wallet/transfers", transfer)["payment_intent"] == deposit.id
        sandbox.control("POST", "clock", {"advance_seconds": 24 * 3600})
        with pytest.raises(stripe.InvalidRequestError, match="expires_at"):
            created(client, "kept")
    finally:
        sandbox.stop()


def test_stored_500_is_replayed_and_made_nothing(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    before = count(sandbox)
    sandbox.control("POST", "faults", {"method": "POST", "path": SESSIONS, "kind": "error_500", "times": 1})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            created(client, "key-500")
        assert failed.value.http_status == 500
    headers: Any = failed.value.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert count(sandbox) == before


def test_unstored_500_is_survived_by_the_clients_own_retry(sandbox: Sandbox) -> None:
    sandbox.control("POST", "faults", {"path": SESSIONS, "kind": "error_500", "stored": False})
    assert created(sandbox.client(retries=2), "key-retry").id
    assert len([call for call in sandbox.calls(SESSIONS) if call["idempotency_key"] == "key-retry"]) == 2


def test_work_then_500_has_done_the_work(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    before = count(sandbox)
    sandbox.control("POST", "faults", {"path": SESSIONS, "kind": "work_then_500"})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            created(client, "key-work-500")
    assert count(sandbox) == before + 1


def test_lost_answer_is_found_under_its_key(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    before = count(sandbox)
    sandbox.control("POST", "faults", {"path": SESSIONS, "kind": "lost_answer"})
    with pytest.raises(stripe.APIConnectionError):
        created(client, "key-lost")
    assert count(sandbox) == before + 1
    answer: Any = created(client, "key-lost").last_response
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert count(sandbox) == before + 1


def test_hanging_request_did_nothing(sandbox: Sandbox) -> None:
    before = count(sandbox)
    sandbox.control("POST", "faults", {"path": SESSIONS, "kind": "hang", "seconds": 30})
    with pytest.raises(stripe.APIConnectionError):
        created(sandbox.client(timeout_s=0.3), "key-hang")
    until(lambda: called(sandbox, "key-hang"))  # it may come to it after the client has gone, and meets the fault then
    assert count(sandbox) == before
    assert created(sandbox.client(), "key-hang").id


def test_hanging_request_does_not_keep_the_sandbox_from_stopping() -> None:
    sandbox = start()
    sandbox.control("POST", "faults", {"path": "/v1/account", "method": "GET", "kind": "hang", "seconds": 120})
    hanging = threading.Thread(target=pytest.raises, args=(stripe.APIConnectionError, account_of(sandbox)))
    hanging.start()
    until(lambda: sandbox.calls("/v1/account"))
    sandbox.process.terminate()
    assert sandbox.process.wait(WAIT_S) == 0
    hanging.join(WAIT_S)
    assert not hanging.is_alive()
    sandbox.stop()


def account_of(sandbox: Sandbox) -> Callable[[], stripe.Account]:
    return sandbox.client(timeout_s=2 * WAIT_S).v1.accounts.retrieve_current


def test_key_in_progress_is_refused_with_409(sandbox: Sandbox) -> None:
    for seconds in (0.6, 6.0, 60.0):  # whoever was held up and asked too late asks again, during a longer one
        key = f"key-slow-{seconds}"
        sandbox.control("POST", "faults", {"path": SESSIONS, "kind": "slow", "seconds": seconds})
        slow = threading.Thread(target=created, args=(sandbox.client(timeout_s=2 * WAIT_S), key))
        slow.start()
        until(partial(called, sandbox, key))
        status = status_of(sandbox, key)
        assert status == 409 or (status == 200 and not in_progress(sandbox, key))
        slow.join()
        answer: Any = created(sandbox.client(), key).last_response
        assert answer.headers["Idempotent-Replayed"] == "true"
        if status == 409:
            break
    assert status == 409


def called(sandbox: Sandbox, key: str) -> bool:
    return any(call["idempotency_key"] == key for call in sandbox.calls(SESSIONS))


def in_progress(sandbox: Sandbox, key: str) -> bool:
    """Whether the first request under a key has no answer yet: so it had none before this was asked."""
    return next(call for call in sandbox.calls(SESSIONS) if call["idempotency_key"] == key)["status"] is None


def status_of(sandbox: Sandbox, key: str) -> int:
    try:
        created(sandbox.client(), key)
    except stripe.APIError as refused:
        return int(refused.http_status or 0)
    return 200


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("error_429", stripe.RateLimitError, 429),
        ("error_503", stripe.APIError, 503),
        ("card_declined", stripe.CardError, 402),
        ("card_declined_like_400", stripe.InvalidRequestError, 400),
    ],
)
def test_refusals_on_demand(
    sandbox: Sandbox, client: stripe.StripeClient, kind: str, error: type[stripe.StripeError], status: int
) -> None:
    sandbox.control("POST", "faults", {"path": "/v1/payment_intents*", "kind": kind, "method": "*"})
    with pytest.raises(error) as refused:
        client.v1.payment_intents.list()
    assert refused.value.http_status == status
    assert client.v1.payment_intents.list().url == "/v1/payment_intents"


def test_fault_lets_the_first_requests_pass(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    sandbox.control("POST", "faults", {"path": "/v1/account", "method": "GET", "kind": "error_503", "skip": 1})
    client.v1.accounts.retrieve_current()
    with pytest.raises(stripe.APIError):
        client.v1.accounts.retrieve_current()
    assert sandbox.control("GET", "faults") == {"faults": []}


def test_unknown_fault_and_field_are_refused(sandbox: Sandbox) -> None:
    sandbox.control("POST", "faults", {"path": "/v1/account", "kind": "earthquake"}, status=400)
    sandbox.control("POST", "faults", {"path": "/v1/account", "kind": "hang", "minutes": 1}, status=400)


def test_calls_are_recorded_without_the_key_that_opened_the_door(sandbox: Sandbox, client: stripe.StripeClient) -> None:
    sandbox.control("DELETE", "calls")
    created(client, "key-recorded")
    (call,) = sandbox.control("GET", "calls")["calls"]
    assert (call["method"], call["path"], call["status"]) == ("POST", SESSIONS, 200)
    assert (call["idempotency_key"], call["stripe_version"]) == ("key-recorded", "2026-10-28.endive")
    assert call["parameters"]["metadata"] == {"attempt_id": "payatt_1"}
    assert "sk_test" not in str(call)


def expired(client: stripe.StripeClient, session: str | None = None) -> str:
    """Makes exactly one event; answers the id its letter is about."""
    return client.v1.checkout.sessions.expire(session or new_session(client).id).id


def about(receiver: Receiver, session: str) -> list[Letter]:
    return [letter for letter in list(receiver.letters) if session.encode() in letter.body]


def test_event_names_the_request_and_the_key_that_caused_it(client: stripe.StripeClient, receiver: Receiver) -> None:
    session = new_session(client)
    answer = client.v1.checkout.sessions.expire(session.id, {}, {"idempotency_key": f"x-{session.id}"})
    event = receiver.wait_for("checkout.session.expired", session.id).event()
    made: Any = answer.last_response
    assert event.request is not None
    assert event.request.id == made.headers["Request-Id"]
    assert event.request.idempotency_key == f"x-{session.id}"
    assert (event.api_version, event.livemode) == ("2026-10-28.endive", False)


def test_letters_are_retried_until_taken(client: stripe.StripeClient, receiver: Receiver) -> None:
    session = new_session(client).id
    receiver.answers[session] = [500, 302]
    expired(client, session)
    until(lambda: len(about(receiver, session)) == 3)
    event = about(receiver, session)[0].event()
    until(lambda: client.v1.events.retrieve(event.id).pending_webhooks == 0)
    assert len({letter.body for letter in about(receiver, session)}) == 1


def test_twice_delivers_the_same_letter_twice(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    sandbox.control("PUT", "deliveries", {"mode": "twice"})
    session = expired(client)
    until(lambda: len(about(receiver, session)) == 2)
    assert len({letter.event().id for letter in about(receiver, session)}) == 1


def test_late_waits_for_its_delay(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    sandbox.control("PUT", "deliveries", {"mode": "late", "delay_seconds": 0.5})
    began = time.monotonic()
    session = expired(client)
    until(lambda: about(receiver, session))
    assert time.monotonic() - began >= 0.5


def test_shuffled_delivers_the_newest_first(sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver) -> None:
    sandbox.control("PUT", "deliveries", {"mode": "shuffled", "delay_seconds": 0.4})
    session = sandbox.control("POST", f"sessions/{new_session(client).id}/pay")["id"]
    intent = client.v1.checkout.sessions.retrieve(session).payment_intent
    receiver.wait_for("charge.succeeded", str(intent))
    receiver.wait_for("payment_intent.created", str(intent))
    arrived = [kind for kind in receiver.types(str(intent)) if kind != "charge.updated"]
    made = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]
    assert arrived == made[::-1]


def test_what_happens_on_both_sides_of_a_moment_is_shuffled_together() -> None:
    moments = [1000.3999, 1000.4001]
    told = iter(moments)
    config = SandboxConfig(webhook_url="http://127.0.0.1:9/", clock=lambda: next(told))
    world = World(config=config, store=Store(None), delivery=DeliveryMode("shuffled", 0.4))
    for name in ("evt_older", "evt_newer"):
        deliveries.plan(world, name, [deliveries.OWN_TARGET])
    due = {row["event"]: row["due_at"] for row in world.store.newest_first("delivery")}
    assert moments[1] < due["evt_newer"] < due["evt_older"] == pytest.approx(moments[0] + 0.4)


def test_never_delivers_until_asked_and_the_list_knows(
    sandbox: Sandbox, client: stripe.StripeClient, receiver: Receiver
) -> None:
    sandbox.control("PUT", "deliveries", {"mode": "never"})
    session = expired(client)
    missed = client.v1.events.list({"delivery_success": False, "type": "checkout.session.expired"}).data[0]
    assert missed.data.object["id"] == session
    assert about(receiver, session) == []
    told = sandbox.control("POST", f"events/{missed.id}/deliver")
    assert told["status_code"] == 200
    assert about(receiver, session)[0].event().id == missed.id
    assert client.v1.events.retrieve(missed.id).pending_webhooks == 0
    receiver.answers[session] = [503]
    assert sandbox.control("POST", f"events/{missed.id}/deliver")["status_code"] == 503


@pytest.mark.long
def test_letter_still_out_survives_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    arguments = ("--state", str(tmp_path / "state.sqlite"), "--retry-base", "0.1")
    sandbox = start(*arguments, receiver=receiver)
    sandbox.control("PUT", "deliveries", {"mode": "late", "delay_seconds": 3600})
    session = expired(sandbox.client())
    sandbox.stop(kill=True)
    assert about(receiver, session) == []
    sandbox = start(*arguments, receiver=receiver)
    try:
        sandbox.control("POST", "clock", {"advance_seconds": 3600})
        until(lambda: about(receiver, session))
    finally:
        sandbox.stop()


@pytest.mark.long
def test_sandbox_dies_with_its_parent() -> None:
    port = free_port()
    child = [sys.executable, "-m", "sandbox", "--port", str(port), "--die-with-parent"]
    program = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen({child!r}, stdout=subprocess.PIPE)\n"
        "p.stdout.readline(); print(p.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _runs(pid)
        parent.kill()
    until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    """A zombie that nobody has fetched yet does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
