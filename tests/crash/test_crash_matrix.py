"""Kill it between any two lines: before and after each of the N statements and provider calls of buy and grant.

Every point is killed at in the long tests; in the short ones a sample with another beginning for each rail, and both
sides of the last COMMIT and of the last call to the provider, wherever they are. Points are in pairs, before and after,
so that an odd step has both.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUNS_TIMEOUT_S = 600
EVERY = 31
ALSO = ("before COMMIT", "after COMMIT", "before the provider's", "after the provider's")
FIRST = {"stripe_checkout": 7, "stripe_x402.exact.usdc": 2}
METHODS = pytest.mark.parametrize("method", FIRST)


@pytest.fixture
def killed(new_databases, lone_sandbox, record_property):
    """`killed(method, first=…, every=…)`: what the runs came to, each killed at another of the points."""

    def run(method: str, *, first: int, every: int, also: tuple[str, ...] = ()) -> dict[str, Any]:
        config = {"run_url": new_databases("crash").run_url, "sandbox": lone_sandbox, "method": method}
        ran = subprocess.run(
            [sys.executable, "-m", "tests.crash.harness"],
            input=json.dumps({**config, "first": first, "every": every, "also": also}),
            capture_output=True, text=True, timeout=RUNS_TIMEOUT_S, cwd=ROOT, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-4000:]
        report: dict[str, Any] = json.loads(ran.stdout)
        points = len(report["points"])
        steps = f"{method}: N = {points // 2} statements and provider calls"
        points_run = [result["point"] for result in report["results"]]
        record_property("crash matrix", f"{steps}, killed at {len(points_run) - 1} of {points} points")
        assert {0, *range(first, points + 1, every)} <= set(points_run)
        return report

    return run


@METHODS
def test_killed_anywhere_between_buying_and_granting_a_payment_grants_exactly_once(method, killed):
    report = killed(method, first=FIRST[method], every=EVERY, also=ALSO)
    assert_granted_once(report, method)
    places = [result["at"] for result in report["results"]]
    assert all(any(place.startswith(wanted) for place in places) for wanted in ALSO)


@pytest.mark.long
@METHODS
def test_killed_at_every_point_between_buying_and_granting_a_payment_grants_exactly_once(method, killed):
    report = killed(method, first=1, every=1)
    assert_granted_once(report, method)
    assert {"before COMMIT", "after COMMIT"} <= {result["at"] for result in report["results"]}


def assert_granted_once(report: dict[str, Any], method: str) -> None:
    """After every run all is there that must be there, once, and the books agree."""
    assert len(report["points"]) % 2 == 0
    assert any("provider" in name for name in report["points"])
    for result in report["results"]:
        place = f"killed {result['at']}, point {result['point']}"
        assert result["killed"] is (result["at"] != "never"), place
        assert result["state"] == "succeeded", place
        assert (result["payments"], result["receipts"], result["grants"], result["objects"]) == (1, 1, 1, 1), place
        granted = result["events"]["credits.payment_backed_granted"]
        pages = result["events"].get("payment.checkout_session.created", 0)
        assert (granted, pages) == (1, 1 if method == "stripe_checkout" else 0), place
        assert result["waiting"] == [], place
    assert report["verified"] == [f"balance {500 * len(report['results'])}"]
