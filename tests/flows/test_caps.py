"""The caps of an agent: operators set them, agents of the organization read them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from billing.scopes import Scope
from tests.flows.operators import new_desk
from tests.patience import in_time, over, served
from tests.service import agent_of, data_of, error_of, new_agent, new_key, until

NAMES = ("per_spend", "per_hour", "per_day", "per_month", "total")
NO_CAPS: dict[str, Any] = dict.fromkeys(NAMES)

pytestmark = pytest.mark.usefixtures("same_hour")


@pytest.fixture(scope="module")
def operator(database, http):
    return new_desk(http, database, Scope.OPERATE, Scope.GRANT, Scope.READ)


@pytest.fixture
def rich(operator, agent):
    """An agent with a thousand credits."""
    operator.give(agent, 1000)
    return agent


def put_so(operator, agent, key, **limits):
    body = {**NO_CAPS, **limits, "idempotency_key": key}
    return operator.send("PUT", f"/v1/agents/{agent.agent_id}/caps", agent, body)


def put(operator, agent, *, key=None, **limits):
    return data_of(put_so(operator, agent, key or new_key(), **limits))


def switch_so(operator, agent, key, word):
    return operator.send("POST", f"/v1/agents/{agent.agent_id}/{word}", agent, {"idempotency_key": key})


def switch(operator, agent, word, key=None):
    return data_of(switch_so(operator, agent, key or new_key(), word))


def shown(agent, of=None):
    return agent.get(f"/v1/agents/{(of or agent).agent_id}/caps")


def limits_of(answer):
    return {name: answer["caps"][name]["limit"] for name in NAMES}


def spend(agent, credits_):
    return agent.send("POST", "/v1/spends", {"credits": credits_, "idempotency_key": new_key()})


def test_an_agent_without_caps_has_none_and_nothing_is_counted(rich):
    data_of(spend(rich, 10))
    answer = shown(rich)
    assert limits_of(answer) == NO_CAPS
    assert (answer["paused"], answer["counted_since"], answer["caps"]["per_day"]["used"]) == (False, None, None)


def test_caps_that_are_set_are_shown_with_what_was_used_and_when_it_frees_up(operator, rich):
    began = datetime.now(UTC)
    answer = put(operator, rich, per_spend=50, per_hour=100, per_day=200, total=500)
    assert (answer["kind"], answer["status"], answer["replayed"]) == ("set_caps", "posted", False)
    assert answer["limits"]["remaining_credits"] == 1000
    data_of(spend(rich, 30))
    caps = shown(rich)["caps"]
    assert caps["per_spend"] == {"limit": 50}
    assert [caps[name]["used"] for name in NAMES[1:]] == [30, 30, 30, 30]
    assert [caps[name]["remaining"] for name in NAMES[1:]] == [70, 170, None, 470]
    day = began.replace(hour=0, minute=0, second=0, microsecond=0)
    if datetime.now(UTC).date() == began.date():
        assert datetime.fromisoformat(caps["per_day"]["window_started_at"]) == day
        assert datetime.fromisoformat(caps["per_day"]["frees_up_at"]) == day + timedelta(days=1)
        next_month = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
        assert datetime.fromisoformat(caps["per_month"]["frees_up_at"]) == next_month
    assert caps["total"]["frees_up_at"] is None
    assert datetime.fromisoformat(caps["total"]["window_started_at"]) >= began - timedelta(seconds=1)


def test_a_cap_stops_a_spend_and_lifting_it_lets_it_through(operator, rich):
    put(operator, rich, per_day=40)
    data_of(spend(rich, 40))
    error_of(spend(rich, 1), 402, "SPEND_CAP_EXCEEDED")
    assert limits_of(put(operator, rich)) == NO_CAPS
    data_of(spend(rich, 1))
    assert shown(rich)["caps"]["per_day"]["used"] == 41


def test_setting_caps_replaces_all_of_them(operator, agent):
    put(operator, agent, per_hour=5, total=9)
    answer = put(operator, agent, per_day=7)
    assert limits_of(answer) == limits_of(shown(agent)) == {**NO_CAPS, "per_day": 7}


def test_a_hold_counts_at_once_and_what_it_gives_back_no_more(operator, rich):
    put(operator, rich, per_hour=100)
    body = {"credits": 60, "expires_in_seconds": 600, "idempotency_key": new_key()}
    hold = rich.post("/v1/holds", body)
    assert shown(rich)["caps"]["per_hour"]["used"] == 60
    rich.post(f"/v1/holds/{hold['hold_id']}/capture", {"credits": 25, "idempotency_key": new_key()})
    assert shown(rich)["caps"]["per_hour"]["used"] == 25


def test_a_hold_that_ran_out_no_longer_counts_though_nobody_has_posted_it(operator, http):
    def held_until(soon):
        agent = new_agent(http)
        operator.give(agent, 1000)
        put(operator, agent, total=100)
        held = agent.ask("/v1/holds", credits=60, deadline=soon.isoformat())
        used = shown(agent)["caps"]["total"]["used"]
        if over(soon):
            return None
        assert (held.status_code, used) == (200, 60)
        return agent

    agent = in_time(held_until)
    caps = until(lambda: (now := shown(agent)["caps"])["total"]["used"] == 0 and now)
    assert caps["per_hour"]["used"] == caps["per_day"]["used"] == 0
    assert agent.get("/v1/ledger/entries", kind="hold_expiry")["entries"] == []
    data_of(spend(agent, 100))


def test_a_paused_agent_spends_nothing_and_keeps_its_caps(operator, rich):
    put(operator, rich, per_hour=100, total=900)
    paused = switch(operator, rich, "pause")
    assert paused["paused"] is True
    assert limits_of(paused) == {**NO_CAPS, "per_hour": 100, "total": 900}
    error_of(spend(rich, 1), 409, "SPENDER_PAUSED")
    resumed = switch(operator, rich, "resume")
    assert (resumed["paused"], limits_of(resumed)) == (False, limits_of(paused))
    data_of(spend(rich, 1))


def test_setting_caps_does_not_end_a_pause(operator, agent):
    switch(operator, agent, "pause")
    assert put(operator, agent, total=3)["paused"] is True
    assert limits_of(switch(operator, agent, "resume")) == {**NO_CAPS, "total": 3}


def test_repetitions_change_nothing_whatever_was_set_since(operator, agent):
    set_key, pause_key, resume_key = new_key(), new_key(), new_key()
    first = put(operator, agent, key=set_key, per_day=7)
    paused = switch(operator, agent, "pause", pause_key)
    switch(operator, agent, "resume", resume_key)
    put(operator, agent, per_day=8)
    switch(operator, agent, "pause")
    for again, once in (
        (put(operator, agent, key=set_key, per_day=7), first),
        (switch(operator, agent, "pause", pause_key), paused),
        (switch(operator, agent, "resume", resume_key), None),
    ):
        assert again["replayed"] is True
        assert once is None or (again["operation_id"], again["position"]) == (once["operation_id"], once["position"])
        assert (again["paused"], again["caps"]["per_day"]["limit"]) == (True, 8), "the caps are shown as they are now"
    assert (shown(agent)["paused"], limits_of(shown(agent))["per_day"]) == (True, 8)


def test_a_key_that_changed_caps_is_not_used_for_another_change(operator, agent, http):
    key = new_key()
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    first = put(operator, agent, key=key, per_day=7)
    path = f"/v1/agents/{agent.agent_id}"
    changed = {**NO_CAPS, "per_day": 8, "idempotency_key": key}
    error_of(operator.send("PUT", f"{path}/caps", agent, changed), 409, "SPENDING_CONFLICT")
    pausing = operator.send("POST", f"{path}/pause", agent, {"idempotency_key": key})
    recovery = error_of(pausing, 409, "SPENDING_CONFLICT")["recovery"]
    assert (recovery["operation_id"], recovery["idempotency_key"] != key) == (first["operation_id"], True)
    same = {**NO_CAPS, "per_day": 7, "idempotency_key": key}
    answer = operator.send("PUT", f"/v1/agents/{sibling.agent_id}/caps", agent, same)
    error_of(answer, 409, "SPENDING_CONFLICT")
    assert (shown(agent)["paused"], limits_of(shown(agent))["per_day"]) == (False, 7)
    assert shown(sibling)["counted_since"] is None


def test_pausing_while_caps_are_set_loses_neither(operator, agent):
    """Twenty times at once: each order is right, but in each both must be seen at the end."""
    for limit in range(1, 21):
        with ThreadPoolExecutor(2) as together:
            set_so = partial(put_so, operator, agent, new_key(), per_day=limit)
            switched_so = partial(switch_so, operator, agent, new_key(), "pause" if limit % 2 else "resume")
            for answer in together.map(served, (set_so, switched_so)):
                data_of(answer)
        now = shown(agent)
        assert (now["caps"]["per_day"]["limit"], now["paused"]) == (limit, bool(limit % 2))


def test_every_cap_is_named_so_that_a_mistyped_one_lifts_nothing(operator, agent):
    put(operator, agent, per_hour=5)
    path = f"/v1/agents/{agent.agent_id}/caps"
    for missing in NAMES:
        body = {name: 5 for name in NAMES if name != missing} | {"idempotency_key": new_key()}
        error = error_of(operator.send("PUT", path, agent, body), 400, "INVALID_ARGUMENTS")
        assert error["message"] == f"{missing} is required"
    for bad in (-1, 1.5, True, "5", 2**53):
        bad_body = {"total": bad, "idempotency_key": new_key()}
        error = error_of(operator.send("PUT", path, agent, NO_CAPS | bad_body), 400, "INVALID_ARGUMENTS")
        assert error["message"].startswith("total ")
    assert limits_of(shown(agent)) == {**NO_CAPS, "per_hour": 5}


def test_a_cap_of_zero_is_a_cap(operator, rich):
    put(operator, rich, per_spend=0)
    error_of(spend(rich, 1), 402, "SPEND_CAP_EXCEEDED")


def test_agents_read_their_siblings_caps_and_set_nobodys(operator, agent, http):
    sibling = agent_of(http, agent.post("/v1/agents", {"agent_name": "sibling", "runtime": "pytest"}))
    put(operator, agent, total=3)
    assert limits_of(shown(sibling, of=agent)) == {**NO_CAPS, "total": 3}
    for path in ("caps", "pause", "resume"):
        method = "PUT" if path == "caps" else "POST"
        body = {**NO_CAPS, "idempotency_key": new_key()}
        error_of(agent.send(method, f"/v1/agents/{agent.agent_id}/{path}", body), 403, "SCOPE_MISSING")
    assert limits_of(shown(agent)) == {**NO_CAPS, "total": 3}


@pytest.mark.parametrize("name", ["agt_00000000000000000000000000", "agt_x", "foreign"])
def test_an_agent_that_the_organization_does_not_have_is_not_found(operator, agent, http, name):
    agent_id = new_agent(http).agent_id if name == "foreign" else name
    body = {**NO_CAPS, "idempotency_key": new_key()}
    for method, path in (("PUT", "caps"), ("POST", "pause"), ("POST", "resume")):
        error_of(operator.send(method, f"/v1/agents/{agent_id}/{path}", agent, body), 404, "NOT_FOUND")
    error_of(agent.send("GET", f"/v1/agents/{agent_id}/caps"), 404, "NOT_FOUND")
    error_of(operator.send("GET", f"/v1/agents/{agent_id}/caps", agent), 404, "NOT_FOUND")


def test_keys_without_the_scope_set_no_caps(agent, database, http):
    poor = new_desk(http, database, Scope.SPEND, Scope.READ, Scope.GRANT)
    body = {"idempotency_key": new_key()}
    error_of(poor.send("POST", f"/v1/agents/{agent.agent_id}/pause", agent, body), 403, "SCOPE_MISSING")
    assert switch(new_desk(http, database, Scope.ADMIN), agent, "pause")["paused"] is True
