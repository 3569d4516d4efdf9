"""Holds over HTTP: made, captured in parts, voided, extended, run out; and by whom."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.scopes import Scope
from ledger.operations import Caps, Kind
from tests.giving import about_grant, give, new_operator, post_operations, set_caps
from tests.patience import in_time, over, until_over
from tests.service import agent_of, data_of, error_of, new_agent, new_key

HOLDS = "/v1/holds"
ENDINGS: dict[str, dict[str, Any]] = {"capture": {"credits": 1}, "void": {}, "extend": {"expires_in_seconds": 900}}


@pytest.fixture
def rich(agent, database):
    """An agent with 100 promotional credits."""
    give(database, agent, 100)
    return agent


@pytest.fixture
def operator(http, database):
    return new_operator(http, database, Scope.SPEND, Scope.READ)


@pytest.fixture
def admin(http, database):
    return new_operator(http, database, Scope.ADMIN)


def held(agent, credits_=60, **more):
    return agent.do(HOLDS, credits=credits_, **{"expires_in_seconds": 600, **more})


def path(hold, doing):
    return f"{HOLDS}/{hold['hold_id']}/{doing}"


def limits(agent):
    found = agent.get("/v1/quota")["limits"]
    return found["remaining_credits"], found["held_credits"]


def run_out(caller, credits_=60, **whose):
    """A hold whose deadline has passed."""

    def make(soon):
        answer = caller.ask(HOLDS, credits=credits_, deadline=soon.isoformat(), **whose)
        return (data_of(answer), soon) if answer.status_code == 200 or not over(soon) else None

    hold, deadline = in_time(make)
    until_over(deadline)
    return hold


def test_a_hold_reserves_and_its_capture_gives_the_rest_back(rich):
    hold = held(rich)
    assert (hold["kind"], hold["credits"], hold["replayed"]) == ("hold", 60, False)
    assert hold["limits"]["remaining_credits"] == 40
    assert hold["limits"]["held_credits"] == 60
    assert hold["hold"]["state"] == "open"
    assert hold["hold"]["remaining_credits"] == 60
    captured = rich.do(path(hold, "capture"), credits=45)
    assert (captured["kind"], captured["credits"], captured["hold_id"]) == ("capture", 45, hold["hold_id"])
    assert captured["hold"] == {**hold["hold"], "state": "captured", "remaining_credits": 0}
    assert captured["limits"]["remaining_credits"] == 55
    assert limits(rich) == (55, 0)


def test_a_hold_is_captured_in_parts(rich):
    hold = held(rich)
    first = rich.do(path(hold, "capture"), "first", credits=20, final=False)
    assert (first["hold"]["state"], first["hold"]["remaining_credits"]) == ("open", 40)
    error = error_of(rich.ask(path(hold, "capture"), credits=41, final=False), 409, "AMOUNT_EXCEEDS_REST")
    assert error["recovery"]["rest_credits"] == 40
    last = rich.do(path(hold, "capture"), credits=40, final=False)
    assert (last["hold"]["state"], last["hold"]["remaining_credits"]) == ("captured", 0)
    again = rich.do(path(hold, "capture"), "first", credits=20, final=False)
    assert again["hold"] == last["hold"]
    assert {**again, "hold": None} == {**first, "hold": None, "replayed": True}
    assert limits(rich) == (40, 0)


def test_a_voided_hold_gives_all_back_and_is_closed(rich):
    hold = held(rich)
    voided = rich.do(path(hold, "void"), "v")
    assert (voided["kind"], voided["hold"]["state"], "credits" in voided) == ("void", "voided", False)
    assert rich.do(path(hold, "void"), "v") == {**voided, "replayed": True}
    assert limits(rich) == (100, 0)
    for doing, body in ENDINGS.items():
        error = error_of(rich.ask(path(hold, doing), **body), 409, "HOLD_CLOSED")
        assert error["recovery"]["hold"]["state"] == "voided"


def test_a_repeated_hold_is_the_same_hold_although_time_has_passed(rich):
    """It was said how long, not until when: that counts from the first asking."""
    first = held(rich, key="k")
    time.sleep(0.01)
    assert held(rich, key="k") == {**first, "replayed": True}
    error_of(rich.ask(HOLDS, "k", credits=60, expires_in_seconds=601), 409, "SPENDING_CONFLICT")
    error_of(rich.ask(HOLDS, "k", credits=61, expires_in_seconds=600), 409, "SPENDING_CONFLICT")
    assert limits(rich) == (40, 60)


def test_a_repeated_refusal_of_a_hold_is_the_same_refusal(rich):
    body = {"credits": 101, "expires_in_seconds": 600}
    first = error_of(rich.ask(HOLDS, "k", **body), 402, "QUOTA_EXCEEDED")["recovery"]
    again = error_of(rich.ask(HOLDS, "k", **body), 402, "QUOTA_EXCEEDED")["recovery"]
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["position"] == again["position"]
    error_of(rich.send("GET", f"{HOLDS}/{first['operation_id'].replace('op_', 'hold_')}"), 404, "NOT_FOUND")


def test_an_extension_moves_the_deadline_once(rich):
    hold = held(rich)
    extended = rich.do(path(hold, "extend"), "e", expires_in_seconds=1200)
    assert extended["hold"]["deadline"] > hold["hold"]["deadline"]
    assert extended["hold"]["remaining_credits"] == 60
    time.sleep(0.01)
    assert rich.do(path(hold, "extend"), "e", expires_in_seconds=1200) == {**extended, "replayed": True}
    for seconds in (600, 30 * 86_400):
        body = {"deadline": (datetime.now(UTC) + timedelta(seconds=seconds, minutes=1)).isoformat()}
        error = error_of(rich.ask(path(hold, "extend"), **body), 400, "INVALID_ARGUMENTS")
        assert error["recovery"]["hold"]["deadline"] == extended["hold"]["deadline"]


def test_a_capture_after_the_deadline_is_refused_with_the_way_on(rich):
    hold = run_out(rich)
    error = error_of(rich.ask(path(hold, "capture"), credits=50), 409, "HOLD_EXPIRED")
    recovery = error["recovery"]
    assert error["retryable"] is False
    assert recovery["hold"]["state"] == "expired"
    assert (recovery["current"]["missing_credits"], recovery["current"]["limits"]["remaining_credits"]) == (0, 100)
    instead = recovery["next_request"]
    assert (instead["method"], instead["path"]) == ("POST", "/v1/spends")
    assert instead["body"] == {"credits": 50, "idempotency_key": recovery["idempotency_key"]}
    rich.post(instead["path"], instead["body"])
    assert limits(rich) == (50, 0)


def test_when_the_expired_holds_credits_are_gone_the_way_on_is_to_buy(rich):
    hold = run_out(rich)
    rich.do("/v1/spends", credits=70)
    recovery = error_of(rich.ask(path(hold, "capture"), credits=50), 409, "HOLD_EXPIRED")["recovery"]
    assert recovery["current"]["missing_credits"] == 20
    assert "--credits 20" in recovery["suggested_command"]


def test_the_way_on_of_an_operator_names_the_organization_and_the_agent(rich, operator):
    whose = {"organization_id": rich.organization_id, "agent_id": rich.agent_id}
    hold = run_out(operator, 10, **whose)
    answer = operator.ask(path(hold, "capture"), credits=9, organization_id=rich.organization_id)
    instead = error_of(answer, 409, "HOLD_EXPIRED")["recovery"]["next_request"]
    assert instead["body"].items() >= {**whose, "credits": 9}.items()
    assert operator.post(instead["path"], instead["body"])["agent_id"] == rich.agent_id


def test_a_frozen_part_of_a_hold_is_captured_later(agent, database):
    grant = give(database, agent, 50, paid=True)
    hold = held(agent, 50)
    post_operations(database, about_grant(agent, Kind.FREEZE, grant))
    error = error_of(agent.ask(path(hold, "capture"), "k", credits=50), 409, "HOLD_FROZEN")
    assert error["retryable"] is True
    assert error["recovery"]["retry_after_seconds"] > 0
    post_operations(database, about_grant(agent, Kind.UNFREEZE, grant))
    assert agent.do(path(hold, "capture"), "k", credits=50)["replayed"] is False


@pytest.mark.usefixtures("same_hour")
def test_what_a_hold_reserves_counts_against_the_agents_caps_until_it_is_given_back(rich, database):
    set_caps(database, rich, Caps(per_day=70))
    hold = held(rich)
    error_of(rich.ask("/v1/spends", credits=11), 402, "SPEND_CAP_EXCEEDED")
    rich.do(path(hold, "void"))
    rich.do("/v1/spends", credits=70)


def test_a_hold_is_seen_by_all_siblings_and_ended_by_its_maker_alone(rich, http):
    sibling = agent_of(http, rich.post("/v1/agents", {"agent_name": "s", "runtime": "pytest"}))
    hold = held(rich)
    shown = sibling.get(f"{HOLDS}/{hold['hold_id']}")["hold"]
    assert (shown["made_by"], shown["agent_id"]) == (rich.agent_id, rich.agent_id)
    assert shown["lots"] == [{"lot_id": "lot_1", "credits": 60, "reversed_credits": 0}]
    for doing, body in ENDINGS.items():
        error = error_of(sibling.ask(path(hold, doing), **body), 403, "NOT_THE_MAKER")
        assert error["recovery"]["made_by"] == rich.agent_id
    assert limits(rich) == (40, 60)
    rich.do(path(hold, "capture"), credits=60)


def test_an_operator_ends_its_own_holds_and_an_admin_any(rich, operator, admin):
    whose = {"organization_id": rich.organization_id}
    mine, of_agent, of_operator = held(operator, 10, **whose), held(rich, 10), held(operator, 10, **whose)
    error_of(operator.ask(path(of_agent, "void"), **whose), 403, "NOT_THE_MAKER")
    error_of(rich.ask(path(mine, "void")), 403, "NOT_THE_MAKER")
    assert rich.get(f"{HOLDS}/{mine['hold_id']}")["hold"]["made_by"] == "operator"
    operator.do(path(mine, "capture"), credits=10, **whose)
    admin.do(path(of_agent, "capture"), credits=10, **whose)
    admin.do(path(of_operator, "void"), **whose)
    assert limits(rich) == (80, 0)


def test_holds_are_listed_in_pages_and_by_state(rich, operator):
    open_ones = {held(rich, 1)["hold_id"] for _ in range(5)}
    voided = held(rich, 1)
    rich.do(path(voided, "void"))
    expired = run_out(rich, 1)
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = rich.get(HOLDS, state="open", limit=2, **cursor)
        found += [hold["hold_id"] for hold in page["holds"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
    assert (len(found), set(found), cursor) == (5, open_ones, {})
    ended = operator.get(HOLDS, state="ended", organization_id=rich.organization_id)["holds"]
    assert {hold["hold_id"]: hold["state"] for hold in ended} == {
        voided["hold_id"]: "voided",
        expired["hold_id"]: "expired",
    }
    assert all(hold["remaining_credits"] == 0 and hold["lots"] == [] for hold in ended)
    assert len(rich.get(HOLDS)["holds"]) == 7
    error_of(rich.send("GET", HOLDS, state="closed"), 400, "INVALID_ARGUMENTS")
    error_of(rich.send("GET", HOLDS, cursor="nonsense"), 400, "INVALID_ARGUMENTS")


def test_holds_of_others_are_not_there(rich, http, operator):
    hold = held(rich)
    stranger = new_agent(http)
    for doing, body in ENDINGS.items():
        error_of(stranger.ask(path(hold, doing), **body), 404, "NOT_FOUND")
        error_of(operator.ask(path(hold, doing), organization_id=stranger.organization_id, **body), 404, "NOT_FOUND")
    error_of(stranger.send("GET", f"{HOLDS}/{hold['hold_id']}"), 404, "NOT_FOUND")
    assert stranger.get(HOLDS)["holds"] == []
    error_of(operator.send("GET", HOLDS, organization_id="org_" + "0" * 26), 404, "NOT_FOUND")
    error_of(operator.send("GET", HOLDS), 400, "INVALID_ARGUMENTS")


@pytest.mark.parametrize(
    "lasting",
    [
        {},
        {"deadline": "2026-11-21T08:00:00Z", "expires_in_seconds": 5},
        {"expires_in_seconds": 0},
        {"expires_in_seconds": 30 * 86_400 + 1},
        {"expires_in_seconds": 1.5},
        {"deadline": "tomorrow"},
        {"deadline": "2126-11-21T08:00:00"},
        {"deadline": 1_800_000_000},
        {"deadline": "9999-12-31T23:59:59-23:59"},
        {"deadline": "0001-01-01T00:00:00+23:59"},
        {"deadline": "2000-01-01T00:00:00Z"},
        {"deadline": "2126-11-21T08:00:00Z"},
    ],
)
def test_a_hold_has_a_deadline_within_thirty_days(rich, lasting):
    error_of(rich.ask(HOLDS, credits=1, **lasting), 400, "INVALID_ARGUMENTS")


def test_thirty_days_are_not_too_long(rich):
    assert held(rich, expires_in_seconds=30 * 86_400)["hold"]["state"] == "open"


def test_a_key_is_needed_for_every_change(rich):
    hold = held(rich)
    for doing, body in ENDINGS.items():
        error = error_of(rich.send("POST", path(hold, doing), body), 400, "INVALID_ARGUMENTS")
        assert "idempotency_key" in error["message"]
    error_of(rich.send("POST", f"{HOLDS}/hold_nonsense/void", {"idempotency_key": new_key()}), 404, "NOT_FOUND")


@pytest.mark.parametrize("deadline", ["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"])
def test_a_deadline_that_no_calendar_of_ours_reaches_is_refused(agent, deadline):
    body = {"credits": 1, "deadline": deadline, "idempotency_key": "x"}
    error_of(agent.send("POST", "/v1/holds", body), 400, "INVALID_ARGUMENTS")
