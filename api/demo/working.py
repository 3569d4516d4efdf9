"""The steps of metered work: asking what to do next, planning a job, having it made, and seeing it charged."""

from __future__ import annotations

import time
from typing import Final

from api.demo.agent import Agent, expect
from api.demo.telling import Failed, Teller

STEPS: Final = 4
PROMPT: Final = "a fox in the snow"
DONE_WITHIN_S: Final = 20.0
_POLL_S: Final = 0.1


def walk(agent: Agent, teller: Teller) -> None:
    """Spend on a job. Raises `Failed` at the first step that does not find what it should."""
    with teller.step("It asks what to do next: the guide") as step:
        guide = agent.get("/v1/guide", operation="create")
        step.say("stage", expect(guide["stage"], "ready_to_create", "stage"))
        step.say("next", f"{guide['next_action']['method']} {guide['next_action']['path']}")
    with teller.step("A dry run: what the job would cost") as step:
        planned = agent.post("/v1/create", {"prompt": PROMPT, "dry_run": True})
        price = planned["cost"]["credit_pricing"]["credits_required"]
        step.say("job", f"{planned['job_id']}, {planned['status']}")
        step.say("credits", price)
    with teller.step("The job: held, carried out, charged") as step:
        before = agent.credits()
        job = agent.post("/v1/create", {"prompt": PROMPT, "idempotency_key": "demo-job"})
        deadline = time.monotonic() + DONE_WITHIN_S
        while job["status"] in {"queued", "running"}:
            if time.monotonic() > deadline:
                raise Failed(f"the job is still {job['status']} after {DONE_WITHIN_S:.0f} s")
            time.sleep(_POLL_S)
            job = agent.get(f"/v1/jobs/{job['job_id']}")
        step.say("job", f"{job['job_id']}, {expect(job['status'], 'completed', 'status')}")
        step.say("made", job["assets"][0]["url"])
        again = agent.post("/v1/create", {"prompt": PROMPT, "idempotency_key": "demo-job"})
        expect(again["job_id"], job["job_id"], "the same order again")
        step.say("credits now", expect(agent.credits(), before - price, "credits"))
    with teller.step("The feed tells it, the newest first") as step:
        for event in agent.get("/v1/activity", limit="6")["events"]:
            step.say(event["type"], event["summary"])
