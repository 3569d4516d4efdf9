"""Jobs that a product's own executor makes: at once, later by a signed result, too late, or not at all."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from billing.refusals import Refusal
from billing.scopes import Scope
from ledger.ids import parse
from outbound import signing
from tests.flows.executing import AWAY, LATER, executor_running, failed, made, prompt_of
from tests.flows.test_jobs_over_http import at_once, lasting, limits, order, refused
from tests.giving import give, new_operator
from tests.patience import served
from tests.refused import OF_JOBS, assert_answered_by_rule
from tests.service import Agent, Database, agent_of, data_of, error_of, new_agent, new_key, until

CREATE = "/v1/create"
PER_DAY = 30
OPEN_MAX = 6
NEW_SECRET, SECRET = signing.new_secret(), signing.new_secret()
PRICES = """
version: 1
models:
  - {id: house.painter, name: Painter, provider: house, modality: image, operations: [create], availability: available,
     units_max: 4, price: {policy: per_unit, credits: 7}}
  - {id: house.dear, name: Dear, provider: house, modality: image, operations: [create], availability: available,
     units_max: 4, price: {policy: cost_plus, cost_usd: "0.10", margin_percent: "50"}}
"""


@dataclass
class Shop:
    """A service with an executor, a database and a worker of its own."""

    http: httpx.Client
    database: Database
    executor: object

    def rich_agent(self) -> Agent:
        agent = new_agent(self.http)
        give(self.database, agent, 100)
        return agent

    def result(self, job_id, said, *, secret=SECRET, at=None, signs=None, **headers):
        """Post a result as the executor would; `signs` another body, or send other headers."""
        body = json.dumps({"job_id": job_id, **said}).encode()
        signed = signing.signed([secret], "msg_1", at or datetime.now(UTC), body if signs is None else signs)
        return self.http.post(f"/v1/jobs/{job_id}/result", content=body, headers={**signed, **headers})

    def run_out(self, job):
        """Its deadline passes."""
        job_id = parse("job", job["job_id"])
        self.database.rows("UPDATE billing.jobs SET deadline = created_at WHERE id = $1::uuid", str(job_id))


@pytest.fixture(scope="module")
def shop(new_databases, start_service, tmp_path_factory):
    prices = tmp_path_factory.mktemp("prices") / "prices.yaml"
    prices.write_text(PRICES)
    database = new_databases("jobs")
    with executor_running(NEW_SECRET) as executor:
        settings = {
            "executor_url": executor.url,
            "executor_secrets": f"{NEW_SECRET}, {SECRET}",
            "outbound_private": True,
            "price_list": prices,
            "jobs_per_day": PER_DAY,
            "jobs_open_max": OPEN_MAX,
            "worker": True,
            "events_every_s": 0,
        }
        with start_service(database=database, **settings).client() as client:
            yield Shop(client, database, executor)


@pytest.fixture
def agent(shop):
    """An agent of the shop with 100 promotional credits."""
    return shop.rich_agent()


@pytest.fixture
def running(agent):
    """A job that the executor has taken on."""
    job = order(agent, "k", prompt=prompt_of(LATER))
    assert job["status"] == "running"
    return job


def test_the_executor_is_told_the_order_and_its_answer_is_charged(shop, agent):
    references = ["image_1", {"asset_id": "image_2", "role": "element_frontal", "index": 0, "new": 1}]
    job = order(agent, prompt=prompt_of(made("image_a", "image_b")), references=references, output_count=2)
    assert (job["status"], job["quota"]["consumed_credits"]) == ("completed", 14)
    assert [asset["asset_id"] for asset in job["assets"]] == ["image_a", "image_b"]
    [work] = shop.executor.asked[job["job_id"]]
    assert (work["agent_id"], work["units"], work["credits"]) == (agent.agent_id, 2, 14)
    assert work["request"]["references"] == [{"asset_id": "image_1"}, {
        "asset_id": "image_2", "role": "element_frontal", "index": 0,
    }]  # fmt: skip
    assert agent.get("/v1/assets/image_a")["asset"]["job_id"] == job["job_id"]
    error_of(new_agent(shop.http).send("GET", "/v1/assets/image_a"), 404, "NOT_FOUND")


def test_the_real_cost_is_charged_and_never_more_than_was_held(agent):
    cheap = order(agent, prompt=prompt_of(made("image_c", provider_cost_usd="0.04")), model="house.dear")
    assert cheap["cost"]["credit_pricing"]["credits_required"] == 15
    assert (cheap["cost"]["charged_credits"], cheap["cost"]["provider_reported_usd"]) == (6, 0.04)
    dear = order(agent, prompt=prompt_of(made("image_d", provider_cost_usd="9")), model="house.dear")
    assert dear["receipt"]["credits"] == 15
    nothing = order(agent, prompt=prompt_of(made(units=0)))
    assert (nothing["status"], nothing["receipt"], nothing["cost"]["charged_credits"]) == ("completed", None, 0)
    assert limits(agent) == (79, 0)


def test_a_result_that_comes_later_is_charged_once(shop, agent, running):
    assert limits(agent) == (93, 7)
    assert (running["receipt"], running["quota"]["limits"]["held_credits"]) == (None, 7)
    assert "jobs wait" in running["next"]["suggested_commands"][0]
    said = made("image_e")[1]
    first = data_of(shop.result(running["job_id"], said))
    assert first == {"job_id": running["job_id"], "status": "completed", "charged_credits": 7}
    assert data_of(shop.result(running["job_id"], said, secret=NEW_SECRET)) == first
    for other in (made("image_f")[1], failed("provider_failure")[1]):
        recovery = error_of(shop.result(running["job_id"], other), 409, "JOB_ENDED")["recovery"]
        assert (recovery["job_id"], recovery["status"]) == (running["job_id"], "completed")
    again = order(agent, "k", prompt=prompt_of(LATER))
    assert (again["replayed"], again["status"], again["assets"]) == (True, "completed", [{"asset_id": "image_e"}])
    assert lasting(order(agent, "k", prompt=prompt_of(LATER))) == lasting(again)
    assert limits(agent) == (93, 0)


def test_an_unsigned_result_is_refused_whether_or_not_there_is_such_a_job(shop, running):
    unknown = f"job_{'0' * 26}"
    wrong: dict[str, dict[str, Any]] = {
        "another secret": {"secret": signing.new_secret()},
        "another body": {"signs": b"{}"},
        "too old": {"at": datetime.fromtimestamp(time.time() - 600, UTC)},
        "no id": {"webhook-id": ""},
        "no signature": {"webhook-signature": "v1,"},
    }
    for how in wrong.values():
        errors = [
            error_of(shop.result(job_id, made()[1], **how), 400, "WEBHOOK_SIGNATURE_INVALID")
            for job_id in (running["job_id"], unknown)
        ]
        assert errors[0] == errors[1]
    error_of(shop.result(unknown, made()[1]), 404, "NOT_FOUND")


def test_headers_of_a_signature_that_come_twice_are_none(shop, running):
    body = json.dumps({"job_id": running["job_id"], **made()[1]}).encode()
    signed = signing.signed([SECRET], "msg_1", datetime.now(UTC), body)
    for name in signed:
        headers = [*signed.items(), (name, signed[name])]
        answer = shop.http.post(f"/v1/jobs/{running['job_id']}/result", content=body, headers=headers)
        error_of(answer, 400, "WEBHOOK_SIGNATURE_INVALID")


@pytest.mark.parametrize(
    "said",
    [{}, {"status": "done"}, {"status": "completed", "unit": 1}, {"status": "completed", "job_id": f"job_{'0' * 26}"},
     {"status": "completed", "job_id": None}, {"status": "completed", "assets": [{"asset_id": "x"}]}],
    ids=str,
)  # fmt: skip
def test_what_is_no_result_of_the_job_is_refused_and_changes_nothing(shop, agent, running, said):
    error_of(shop.result(running["job_id"], said), 400, "INVALID_ARGUMENTS")
    assert agent.get(f"/v1/jobs/{running['job_id']}")["status"] == "running"


def test_a_result_too_large_is_refused_before_it_is_read(shop, running):
    said = {"status": "failed", "reason": "provider_failure", "message": "x" * 70_000}
    error_of(shop.result(running["job_id"], said), 413, "BODY_TOO_LARGE")


def test_an_executor_that_is_away_is_asked_again_by_the_worker(shop, agent):
    prompt = prompt_of(AWAY, ["wait", made("image_g")[1]])
    with shop.executor.gate_closed():
        job = order(agent, "k", prompt=prompt)
        assert (job["status"], job["quota"]["limits"]["held_credits"]) == ("queued", 7)
    done = until(lambda: (shown := agent.get(f"/v1/jobs/{job['job_id']}"))["status"] == "completed" and shown)
    assert done["receipt"]["credits"] == 7
    assert len(shop.executor.asked[job["job_id"]]) == 2
    assert order(agent, "k", prompt=prompt)["receipt"] == done["receipt"]


@pytest.fixture(scope="module")
def hasty_http(shop, start_service):
    """A service beside it that waits for no job and bears few refusals."""
    settings = {"executor_url": shop.executor.url, "executor_secrets": NEW_SECRET, "outbound_private": True}
    hasty = start_service(database=shop.database, job_wait_s=0.2, refusals_per_minute=2, **settings)
    with hasty.client() as client:
        yield client


def test_an_order_does_not_wait_longer_than_it_may_and_its_turn_goes_on(shop, agent, hasty_http):
    hasty = Agent(hasty_http, agent.token, agent.agent_id, agent.organization_id)
    with shop.executor.gate_closed():
        job = order(hasty, prompt=prompt_of(["wait", made("image_h")[1]]))
        assert job["status"] == "queued"
    until(lambda: agent.get(f"/v1/jobs/{job['job_id']}")["status"] == "completed")
    assert limits(agent) == (93, 0)


def test_refused_orders_are_counted_as_refused_spends_are(shop, hasty_http):
    poor = new_agent(hasty_http)
    for _ in range(2):
        refused(poor, 402, "QUOTA_EXCEEDED")
    refused(poor, 429, "RATE_LIMITED", "k")
    give(shop.database, poor, 7)
    elsewhere = Agent(shop.http, poor.token, poor.agent_id, poor.organization_id)
    assert order(elsewhere, "k", prompt=prompt_of(made("image_l")))["status"] == "completed"


def test_a_canceled_job_gives_all_back_and_pays_for_no_late_result(shop, agent, running):
    foreigner = new_agent(shop.http)
    path = f"/v1/jobs/{running['job_id']}/cancel"
    error_of(foreigner.send("POST", path), 404, "NOT_FOUND")
    sibling = agent_of(shop.http, agent.post("/v1/agents", {"agent_name": "s", "runtime": "pytest"}))
    canceled = sibling.post(path)
    assert (canceled["status"], canceled["job"]["reason"], canceled["receipt"]) == ("canceled", "canceled", None)
    assert agent.post(path) == canceled
    assert limits(agent) == (100, 0)
    late = error_of(shop.result(running["job_id"], made("image_i")[1]), 409, "JOB_ENDED")["recovery"]
    assert late["status"] == "canceled"
    assert limits(agent) == (100, 0)


def test_a_cancellation_and_a_result_at_once_have_one_winner(shop, agent):
    for n in range(3):
        job_id = order(agent, prompt=prompt_of(LATER))["job_id"]
        before, said = limits(agent)[0], made(f"image_race_{n}")[1]
        with ThreadPoolExecutor(2) as crowd:
            canceling = crowd.submit(served, partial(agent.send, "POST", f"/v1/jobs/{job_id}/cancel"))
            making = crowd.submit(served, partial(shop.result, job_id, said))
            cancel_status, result_status = canceling.result().status_code, making.result().status_code
        assert sorted((cancel_status, result_status)) == [200, 409]
        assert limits(agent) == ((before + 7, 0) if cancel_status == 200 else (before, 0))


def test_a_hold_of_a_job_is_the_services_and_only_admin_ends_it(shop, agent, running):
    [hold] = agent.get("/v1/holds", state="open")["holds"]
    assert (hold["hold_id"], hold["made_by"]) == (running_hold(agent, running), "service")
    path = f"/v1/holds/{hold['hold_id']}/void"
    named = {"organization_id": agent.organization_id}
    spender = new_operator(shop.http, shop.database, Scope.SPEND)
    for answer in (agent.ask(path), spender.ask(path, **named)):
        assert error_of(answer, 403, "NOT_THE_MAKER")["recovery"]["made_by"] == "service"
    new_operator(shop.http, shop.database, Scope.ADMIN).do(path, **named)
    error_of(shop.result(running["job_id"], made("image_j")[1]), 409, "JOB_ENDED")
    shown = agent.get(f"/v1/jobs/{running['job_id']}")
    assert (shown["status"], shown["job"]["reason"]) == ("failed", "hold_ended")
    refused(agent, 409, "JOB_ENDED", "k", prompt=prompt_of(LATER))
    assert limits(agent) == (100, 0)


def running_hold(agent, job):
    return agent.get(f"/v1/jobs/{job['job_id']}")["job"]["hold_id"]


@pytest.mark.usefixtures("same_hour")
def test_the_last_job_of_a_day_is_ordered_once(shop, agent):
    has_ordered(shop, agent, PER_DAY - 1)

    def last() -> httpx.Response:
        return served(partial(agent.ask, CREATE, new_key(), prompt=prompt_of(LATER)))

    answers = at_once(5, last)
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429, 429]
    assert limits(agent) == (93, 7)


def has_ordered(shop, agent, jobs):
    organization_id = str(parse("org", agent.organization_id))
    shop.database.rows(
        "INSERT INTO billing.job_days (organization_id, day, jobs) VALUES ($1::uuid, (now() AT TIME ZONE 'UTC')::date, "
        "$2)", organization_id, jobs,
    )  # fmt: skip


def one_too_many(shop, agent):
    has_ordered(shop, agent, PER_DAY)
    return agent.ask(CREATE, "k", prompt=prompt_of(LATER))


def crowded(_, agent):
    jobs = [order(agent, prompt=prompt_of(LATER)) for _ in range(OPEN_MAX)]
    answer = agent.ask(CREATE, "k", prompt=prompt_of(LATER))
    for job in jobs:
        agent.post(f"/v1/jobs/{job['job_id']}/cancel")
    return answer


def over_budget(_, agent):
    return agent.ask(CREATE, "k", prompt="x", max_estimated_usd_per_image=0.06)


def of_nobody(_, agent):
    return agent.ask(CREATE, "k", prompt="x", model="nobody.knows")


def canceled(_, agent):
    job = order(agent, "k", prompt=prompt_of(LATER))
    agent.post(f"/v1/jobs/{job['job_id']}/cancel")
    return agent.ask(CREATE, "k", prompt=prompt_of(LATER))


def overdue(shop, agent):
    shop.run_out(order(agent, "k", prompt=prompt_of(LATER)))
    [job] = agent.get("/v1/jobs")["jobs"]
    error_of(shop.result(job["job_id"], made("image_k")[1]), 409, "JOB_ENDED")
    return agent.ask(CREATE, "k", prompt=prompt_of(LATER))


def fails(reason):
    return lambda _, agent: agent.ask(CREATE, "k", prompt=prompt_of(failed(reason, "a sentence")))


GIVEN_BY = {
    Refusal.DAILY_JOB_LIMIT_REACHED: one_too_many,
    Refusal.OPEN_JOBS_LIMIT_REACHED: crowded,
    Refusal.BUDGET_EXCEEDED: over_budget,
    Refusal.CAPABILITY_UNAVAILABLE: of_nobody,
    Refusal.JOB_ENDED: canceled,
    Refusal.INPUT_POLICY_DENIED: fails("content_policy"),
    Refusal.JOB_DEADLINE_PASSED: overdue,
    Refusal.PROVIDER_FAILURE: fails("provider_failure"),
    Refusal.ARTIFACT_STORAGE_WRITE_FAILED: fails("artifact_storage"),
}


def test_every_refusal_of_jobs_is_given_here():
    assert tuple(GIVEN_BY) == OF_JOBS


@pytest.mark.usefixtures("same_hour")
@pytest.mark.parametrize("refusal", GIVEN_BY, ids=lambda refusal: refusal.name)
def test_a_job_is_refused_as_its_rule_says_and_nothing_is_charged(shop, agent, refusal):
    answer = GIVEN_BY[refusal](shop, agent)
    assert_answered_by_rule(answer, refusal)
    assert limits(agent) == (100, 0)
    recovery = answer.json()["error"]["recovery"]
    if refusal is Refusal.DAILY_JOB_LIMIT_REACHED:
        assert (recovery["limit"], recovery["reset_at"][10:]) == (PER_DAY, "T00:00:00.000Z")
        assert 0 < recovery["retry_after_seconds"] <= 86_400
    if "job_id" not in recovery:
        return
    sent = json.loads(answer.request.content)
    again = agent.send("POST", CREATE, sent).json()["error"]
    assert again["message"] == answer.json()["error"]["message"]
    assert again["recovery"]["job_id"] == recovery["job_id"]
    assert recovery["idempotency_key"] != "k"
    assert any("jobs show" in command for command in recovery["suggested_commands"])
    assert agent.get(f"/v1/jobs/{recovery['job_id']}")["status"] == recovery["status"]
