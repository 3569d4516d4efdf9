"""Killed before and after each of the N steps between the order of a job and its charge: none is lost, none is charged
twice.

Steps are SQL statements, commits and calls to the executor. Every point is killed at in the long tests; in the short
one each `EVERY`-th of two cases, with another beginning for each. Points are in pairs, before and after.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.jobs import PRICE

ROOT = Path(__file__).parents[2]
RUNS_TIMEOUT_S = 600
EVERY = 17
FIRST = {"at_once": 2, "later": 7}
ENDS = {"at_once": "completed", "later": "completed", "canceled": "canceled"}


@pytest.fixture
def killed(new_databases, record_property):
    """`killed(case, first=…, every=…)`: what the runs came to, each killed at another of the points."""

    def run(case: str, *, first: int, every: int) -> dict[str, Any]:
        config = {"run_url": new_databases("crash").run_url, "case": case, "first": first, "every": every}
        ran = subprocess.run(
            [sys.executable, "-m", "tests.crash.jobs"], input=json.dumps(config), capture_output=True, text=True,
            timeout=RUNS_TIMEOUT_S, cwd=ROOT, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-4000:]
        report: dict[str, Any] = json.loads(ran.stdout)
        points = len(report["points"])
        steps = f"jobs, {case}: N = {points // 2} statements and calls to the executor"
        record_property("crash matrix", f"{steps}, killed at points {first}, {first + every}, … of {points}")
        assert [result["point"] for result in report["results"]] == [*range(first, points + 1, every)]
        return report

    return run


@pytest.mark.parametrize("case", FIRST)
def test_a_job_that_is_killed_anywhere_is_neither_lost_nor_charged_twice(case, killed):
    assert_done_once(killed(case, first=FIRST[case], every=EVERY), case)


@pytest.mark.long
@pytest.mark.parametrize("case", ENDS)
def test_a_job_that_is_killed_at_every_point_is_neither_lost_nor_charged_twice(case, killed):
    report = killed(case, first=1, every=1)
    assert {"before COMMIT", "after COMMIT", "before the provider's perform"} <= {
        one["at"] for one in report["results"]
    }
    assert_done_once(report, case)


def assert_done_once(report: dict[str, Any], case: str) -> None:
    """After every run there is one job as it must be, or none before it was asked for again; and the books agree."""
    price = PRICE if case != "canceled" else 0
    for result in report["results"]:
        place = f"killed {result['at']}, point {result['point']}: {result['found']}"
        assert result["killed"], place
        alone, after = result["found"]["alone"], result["found"]["after"]
        assert alone["jobs"] == len(alone["states"]) <= 1, place
        assert "queued" not in alone["states"], place
        if case == "at_once":
            assert (alone["charged"], alone["held"]) == (price * alone["jobs"], 0), place
        assert (after["states"], after["charged"], after["held"]) == ([ENDS[case]], price, 0), place
        assert set(alone["ids"]) <= set(after["ids"]), place
    jobs = 1 + len(report["results"])
    assert report["verified"] == {"problems": [], "spent": price * jobs}
    ended = report["results"][-1]["found"]["after"]["events"]["job.completed"]
    assert ended == jobs
