"""The isolation matrix of jobs and assets."""

from tests.flows.matrix import UNKNOWN, Case, Private, Public, Request
from tests.service import Agent


def _plan(owner: Agent) -> str:
    return str(owner.do("/v1/create", prompt="a fox", dry_run=True)["job_id"])


def _asset(owner: Agent) -> str:
    return str(owner.do("/v1/create", prompt="a fox", model="house.sketcher")["assets"][0]["asset_id"])


MATRIX: dict[str, list[Case]] = {
    # A dry run needs no token: test_jobs_over_http.py.
    "POST /v1/create": [Private()],
    "GET /v1/jobs": [Private()],
    "GET /v1/jobs/{job_id}": [Private(_plan, f"job_{UNKNOWN}", (Request("/v1/jobs/{}"),))],
    # Here every job is made at once: test_jobs_called_out.py has some to cancel.
    "POST /v1/jobs/{job_id}/cancel": [Private()],
    # Who cannot sign is told nothing of any job.
    "POST /v1/jobs/{job_id}/result": [Public(status=400, body={}, named=(("job_id", f"job_{UNKNOWN}"),))],
    "GET /v1/assets/{asset_id}": [Private(_asset, f"image_{UNKNOWN}_1", (Request("/v1/assets/{}"),))],
    # A picture is made of its name and says nothing of any job.
    "GET /assets/{asset_id}": [Public(named=(("asset_id", f"image_{UNKNOWN}_1"),))],
}
