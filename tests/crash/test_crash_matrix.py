"""Kill it between any two lines: before and after each of the N statements and provider calls of buy and grant."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", ["stripe_checkout", "stripe_x402.exact.usdc"])
def test_killed_anywhere_between_buying_and_granting_a_payment_grants_exactly_once(
    method, new_databases, lone_sandbox, record_property
):
    config = {"run_url": new_databases("crash").run_url, "sandbox": lone_sandbox, "method": method}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.crash.harness"],
        input=json.dumps(config), capture_output=True, text=True, timeout=280, cwd=ROOT, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    report = json.loads(ran.stdout)
    steps = len(report["points"]) // 2
    said = f"{method}: N = {steps} statements and provider calls, {len(report['results'])} runs"
    record_property("crash matrix", said)
    assert len(report["results"]) == 2 * steps + 1
    assert any("provider" in name for name in report["points"])
    for result in report["results"]:
        place = f"killed {result['at']}"
        assert result["killed"] is (result["at"] != "never"), place
        assert result["state"] == "succeeded", place
        assert (result["payments"], result["receipts"], result["grants"], result["objects"]) == (1, 1, 1, 1), place
        granted = result["events"]["credits.payment_backed_granted"]
        pages = result["events"].get("payment.checkout_session.created", 0)
        assert (granted, pages) == (1, 1 if method == "stripe_checkout" else 0), place
        assert result["waiting"] == [], place
    assert report["verified"] == [f"balance {500 * len(report['results'])}"]
