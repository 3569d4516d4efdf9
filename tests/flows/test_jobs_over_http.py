"""Jobs that the sandbox's placeholder makes at once: planned, ordered, repeated, refused, looked at."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.scopes import Scope
from ledger.operations import Caps
from tests.giving import give, new_operator, set_caps
from tests.patience import served
from tests.service import agent_of, data_of, error_of, new_agent

CREATE = "/v1/create"
PAINTER, SKETCHER, COMPOSER = "house.painter", "house.sketcher", "house.composer"
UNKNOWN = "0" * 26


@pytest.fixture
def rich(agent, database):
    """An agent with 100 promotional credits."""
    give(database, agent, 100)
    return agent


def order(agent, key=None, **more):
    return agent.do(CREATE, key, **{"prompt": "a fox", **more})


def refused(agent, status, code, key=None, **more):
    return error_of(agent.ask(CREATE, key, **{"prompt": "a fox", **more}), status, code)


def limits(agent):
    found = agent.get("/v1/quota")["limits"]
    return found["remaining_credits"], found["held_credits"]


def lasting(data):
    """What every repetition says again: all but the advice on topping up, which is as it is now."""
    quota = {name: value for name, value in data["quota"].items() if name != "top_up"}
    return {**data, "quota": quota, "replayed": None}


def at_once(times, do):
    with ThreadPoolExecutor(times) as crowd:
        return [each.result() for each in [crowd.submit(do) for _ in range(times)]]


def test_a_dry_run_needs_no_token_and_tells_the_price_of_all_outputs(http):
    planned = data_of(http.post(CREATE, json={"prompt": "a fox", "dry_run": True, "output_count": 2}))
    assert (planned["job_id"], planned["job"], planned["status"]) == (None, None, "planned")
    assert planned["cost"] == {
        "estimated_usd": 0.1,
        "credit_pricing": {
            "credit_unit_usd": 0.01,
            "credits_required": 14,
            "estimated_provider_cost_usd": 0.1,
            "estimated_revenue_usd": 0.14,
            "pricing_confidence": "known",
            "policy": "per_unit",
        },
    }
    assert planned["quota"] == {"consumed_credits": 0}
    assert planned["capability"]["id"] == planned["request"]["selection"]["capability"]["id"]


def test_a_live_order_needs_a_token_and_a_bad_one_never_serves(http):
    bad = {"authorization": "Bearer nonsense"}
    error_of(http.post(CREATE, json={"prompt": "a fox"}), 401, "AUTH_REQUIRED")
    error_of(http.post(CREATE, json={"prompt": "a fox", "dry_run": 1}), 401, "AUTH_REQUIRED")
    error_of(http.post(CREATE, json={"prompt": "a fox", "dry_run": True}, headers=bad), 401, "AUTH_REQUIRED")
    error_of(http.post(CREATE, json={"prompt": "", "dry_run": True}), 400, "INVALID_ARGUMENTS")


def test_an_agents_dry_run_is_a_job_that_costs_nothing(rich):
    planned = order(rich, "k", dry_run=True, output_count=3)
    assert (planned["status"], planned["quota"]["consumed_credits"], planned["receipt"]) == ("planned", 0, None)
    assert planned["plan_receipt"]["credits_required"] == planned["cost"]["credit_pricing"]["credits_required"] == 21
    shown = rich.get(f"/v1/jobs/{planned['job_id']}")
    assert (shown["status"], shown["plan_receipt"]) == ("planned", planned["plan_receipt"])
    [event] = rich.get("/v1/activity", subject=planned["job_id"])["events"]
    assert (event["type"], event["links"]["job_id"]) == ("job.planned", planned["job_id"])
    again = order(rich, "k", dry_run=True, output_count=3)
    assert (again["replayed"], lasting(again)) == (True, lasting(planned))
    assert limits(rich) == (100, 0)
    conflict = refused(rich, 409, "SPENDING_CONFLICT", "k", output_count=3)["recovery"]
    assert data_of(rich.send("POST", CREATE, conflict["next_request"]["body"]))["status"] == "completed"


def test_an_order_is_made_charged_and_receipted(rich, http):
    made = order(rich, output_count=2, model=PAINTER, model_parameters={"style": "drawn"})
    assert (made["status"], made["state"], made["replayed"]) == ("completed", "completed", False)
    assert made["job"] == {name: made[name] for name in ("job_id", "status", "assets", "cost")}
    assert (made["quota"]["consumed_credits"], made["cost"]["charged_credits"]) == (14, 14)
    assert made["quota"]["limits"]["remaining_credits"] == 86
    assert made["quota"]["top_up"]["commands"]["quote"]
    assert limits(rich) == (86, 0)
    selection = made["request"]["selection"]
    assert (selection["policy"], selection["model_parameters"]["keys"]) == ("requested_model", ["style"])
    receipt = made["receipt"]
    assert (receipt["receipt_id"][8:], receipt["credits"]) == (made["job_id"][4:], 14)
    entry = rich.get(f"/v1/ledger/operations/{receipt['capture_operation_id']}")
    assert {name: entry[name] for name in ("seq", "head", "posted_at", "operation_id")} == receipt["journal"]
    assert "a fox" not in str(made)


def test_pictures_of_the_placeholder_are_public_and_stay(rich, http):
    made = order(rich, output_count=2)
    for asset in made["assets"]:
        picture = http.get(asset["url"])
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
        assert picture.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert struct.unpack(">II", picture.content[16:24]) == (asset["width"], asset["height"])
        found = rich.get(f"/v1/assets/{asset['asset_id']}")
        assert found["asset"] == {**asset, "job_id": made["job_id"]}


@pytest.mark.parametrize(
    "asset_id",
    [
        f"image_{UNKNOWN}_0", f"image_{UNKNOWN}_01", f"image_{UNKNOWN}_101", f"image_{UNKNOWN}", f"video_{UNKNOWN}_1",
        f"image_{'u' * 26}_1", f"image_{'z' * 26}_1", f"image_{UNKNOWN}_1.png", "x",
    ],
)  # fmt: skip
def test_what_the_placeholder_never_makes_is_not_found(http, rich, asset_id):
    error_of(http.get(f"/assets/{asset_id}"), 404, "NOT_FOUND")
    error_of(rich.send("GET", f"/v1/assets/{asset_id}"), 404, "NOT_FOUND")


def test_a_repeated_order_is_answered_as_the_first_time(rich):
    first = order(rich, "k", intent="a present")
    rich.do("/v1/spends", credits=1)
    again = order(rich, "k", intent="a present")
    assert (again["replayed"], lasting(again)) == (True, lasting(first))
    assert limits(rich) == (92, 0)
    for changes in ({"intent": "another"}, {"prompt": "a hen"}, {"output_count": 2}, {"dry_run": True}):
        recovery = refused(rich, 409, "SPENDING_CONFLICT", "k", **{"intent": "a present", **changes})["recovery"]
        assert recovery["idempotency_key"] != "k"


def test_an_order_without_a_key_gets_one(rich):
    made = data_of(rich.send("POST", CREATE, {"prompt": "a fox"}))
    again = order(rich, made["idempotency_key"])
    assert (again["replayed"], again["job_id"]) == (True, made["job_id"])


def test_twenty_equal_orders_at_once_are_one_job_and_one_charge(rich):
    made = at_once(20, lambda: data_of(served(lambda: rich.ask(CREATE, "k", prompt="a fox"))))
    assert len({each["job_id"] for each in made}) == 1
    assert sorted(each["replayed"] for each in made) == [False] + [True] * 19
    assert limits(rich) == (93, 0)
    assert len(rich.get("/v1/jobs")["jobs"]) == 1


def test_siblings_have_keys_of_their_own_and_see_each_others_jobs(rich, http):
    sibling = agent_of(http, rich.post("/v1/agents", {"agent_name": "s", "runtime": "pytest"}))
    mine, theirs = order(rich, "k"), order(sibling, "k", prompt="a hen")
    assert mine["job_id"] != theirs["job_id"]
    assert sibling.get(f"/v1/jobs/{mine['job_id']}")["status"] == "completed"
    assert sibling.get(f"/v1/assets/{mine['assets'][0]['asset_id']}")["asset"]["job_id"] == mine["job_id"]
    error_of(new_agent(http).send("GET", f"/v1/jobs/{mine['job_id']}"), 404, "NOT_FOUND")
    assert [job["job_id"] for job in rich.get("/v1/jobs")["jobs"]] == [theirs["job_id"], mine["job_id"]]


def test_short_credits_are_refused_for_ever_with_the_way_to_more(agent, database):
    give(database, agent, 5)
    recovery = refused(agent, 402, "QUOTA_EXCEEDED", "k")["recovery"]
    assert (recovery["replayed"], recovery["current"]["required_credits"]) == (False, 7)
    assert recovery["current"]["missing_credits"] == 2
    assert recovery["top_up"]["available"] is True
    assert recovery["suggested_command"].startswith("image-skill credits quote --credits")
    give(database, agent, 10)
    again = refused(agent, 402, "QUOTA_EXCEEDED", "k")["recovery"]
    assert (again["replayed"], again["current"]["missing_credits"]) == (True, 0)
    assert "suggested_command" not in again
    assert agent.get("/v1/jobs")["jobs"] == []
    body = again["next_request"]["body"]
    assert body == {"prompt": "a fox", "idempotency_key": again["idempotency_key"]}
    assert data_of(agent.send("POST", CREATE, body))["status"] == "completed"
    assert limits(agent) == (8, 0)


def test_twenty_equal_orders_at_once_that_are_too_dear_are_one_refusal(agent):
    answers = at_once(20, lambda: served(lambda: agent.ask(CREATE, "k", prompt="a fox")))
    found = [error_of(each, 402, "QUOTA_EXCEEDED")["recovery"] for each in answers]
    assert sorted(each["replayed"] for each in found) == [False] + [True] * 19


@pytest.mark.usefixtures("same_hour")
def test_caps_count_for_jobs_and_a_pause_stops_them(rich, database):
    set_caps(database, rich, Caps(per_hour=10))
    order(rich, "first")
    recovery = refused(rich, 402, "SPEND_CAP_EXCEEDED", "k")["recovery"]
    assert recovery["current"]["caps"][0]["exceeded"] is True
    set_caps(database, rich, Caps(paused=True))
    assert order(rich, "first")["replayed"] is True
    refused(rich, 409, "SPENDER_PAUSED", "p")
    set_caps(database, rich, Caps())
    assert refused(rich, 402, "SPEND_CAP_EXCEEDED", "k")["recovery"]["replayed"] is True
    assert order(rich, "p")["replayed"] is False, "a pause does not keep the key"


@pytest.mark.parametrize(
    ("model", "count", "most", "least"),
    [(PAINTER, 1, 0.069, 0.07), (PAINTER, 3, 0.0699999999, 0.07), (SKETCHER, 2, 0.019, 0.02), (COMPOSER, 1, 0, 0.02)],
)
def test_a_budget_is_kept_to_the_cent_and_leaves_the_key_free(rich, model, count, most, least):
    body = {"model": model, "output_count": count}
    recovery = refused(rich, 409, "BUDGET_EXCEEDED", "k", **body, max_estimated_usd_per_image=most)["recovery"]
    assert recovery["required_max_estimated_usd_per_image"] == least
    assert f"--max-estimated-usd-per-image={least}" in recovery["suggested_command"]
    assert recovery["next_request"]["body"]["idempotency_key"] == "k"
    made = data_of(rich.send("POST", CREATE, recovery["next_request"]["body"]))
    assert (made["status"], made["idempotency_key"]) == ("completed", "k")


@pytest.mark.parametrize(
    "changes", [{"model": "house.sculptor"}, {"model": "nobody.knows"}, {"provider": "nobody"}], ids=str
)
def test_what_nobody_can_make_now_is_refused_with_what_can(rich, http, changes):
    for answer in (
        rich.ask(CREATE, prompt="a fox", **changes),
        http.post(CREATE, json={"prompt": "a fox", "dry_run": True, **changes}),
    ):
        recovery = error_of(answer, 409, "CAPABILITY_UNAVAILABLE")["recovery"]
        assert answer.headers["x-image-skill-exit-code"] == "4"
        assert "models list --available --executable" in recovery["suggested_command"]


INVALID = {
    "no prompt": {"prompt": None},
    "blank prompt": {"prompt": " \n"},
    "nul": {"prompt": "a\0b"},
    "half a pair": {"prompt": "a\ud800"},
    "long prompt": {"prompt": "x" * 10_001},
    "no output": {"output_count": 0},
    "true outputs": {"output_count": True},
    "more than the model makes": {"output_count": 5},
    "more than any model makes": {"output_count": 101},
    "unknown parameter": {"model_parameters": {"colour": "red"}},
    "bad choice": {"model_parameters": {"style": "burnt"}},
    "deep parameter": {"model_parameters": {"style": {}}},
    "half a pair in a parameter": {"model_parameters": {"style": "\ud800"}},
    "parameters in a list": {"model_parameters": ["style"]},
    "negative budget": {"max_estimated_usd_per_image": -0.01},
    "budget in text": {"max_estimated_usd_per_image": "1"},
    "references in text": {"references": "image_1"},
    "a reference to nothing": {"references": [{"role": "element_frontal"}]},
    "an index in text": {"references": [{"asset_id": "a", "index": "0"}]},
    "too many references": {"references": ["a"] * 41},
    "a flag in text": {"dry_run": "true"},
    "a key of spaces and lines": {"idempotency_key": "\n"},
}


@pytest.mark.parametrize("changes", INVALID.values(), ids=list(INVALID))
def test_a_bad_order_is_refused_before_anything_is_stored(agent, changes):
    body = json.dumps({"prompt": "a fox", "idempotency_key": "k", **changes})
    error_of(agent.client.post(CREATE, content=body, headers=agent.headers), 400, "INVALID_ARGUMENTS")
    assert order(agent, "k", dry_run=True)["replayed"] is False


def test_numbers_that_are_none_are_no_budget(agent):
    for number in ("1e400", "NaN"):
        body = b'{"prompt": "a", "max_estimated_usd_per_image": %b}' % number.encode()
        error_of(agent.client.post(CREATE, content=body, headers=agent.headers), 400, "INVALID_ARGUMENTS")


def test_lists_are_paged_newest_first_and_kept_to_a_state(rich):
    planned = [order(rich, dry_run=True)["job_id"] for _ in range(3)]
    made = order(rich)["job_id"]
    first = rich.get("/v1/jobs", limit=2)
    rest = rich.get("/v1/jobs", limit=2, cursor=first["next_cursor"])
    assert [job["job_id"] for job in first["jobs"] + rest["jobs"]] == [made, *reversed(planned)]
    assert rest["next_cursor"] is None
    assert [job["job_id"] for job in rich.get("/v1/jobs", state="completed")["jobs"]] == [made]
    for query in ({"state": "refused"}, {"cursor": "job_x"}, {"limit": 0}):
        error_of(rich.send("GET", "/v1/jobs", **query), 400, "INVALID_ARGUMENTS")


def test_what_is_made_or_planned_cannot_be_canceled(rich):
    for made in (order(rich), order(rich, dry_run=True)):
        recovery = error_of(rich.send("POST", f"/v1/jobs/{made['job_id']}/cancel"), 409, "JOB_ENDED")["recovery"]
        assert (recovery["job_id"], recovery["status"]) == (made["job_id"], made["status"])
    for job_id in (f"job_{UNKNOWN}", "job_x"):
        error_of(rich.send("POST", f"/v1/jobs/{job_id}/cancel"), 404, "NOT_FOUND")


def test_a_result_that_is_not_signed_learns_nothing_of_a_job(rich, http):
    job_id = order(rich)["job_id"]
    answers = [
        error_of(http.post(f"/v1/jobs/{each}/result", json={"job_id": each}), 400, "WEBHOOK_SIGNATURE_INVALID")
        for each in (job_id, f"job_{UNKNOWN}")
    ]
    assert answers[0] == answers[1]


def test_operators_neither_order_nor_see_jobs(http, database):
    operator = new_operator(http, database, Scope.ADMIN)
    error_of(operator.ask(CREATE, prompt="a fox"), 401, "AUTH_REQUIRED")
    error_of(operator.send("GET", "/v1/jobs"), 401, "AUTH_REQUIRED")
