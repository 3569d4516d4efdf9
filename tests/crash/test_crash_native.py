"""Killed before and after each of the N steps between the presentation of a signed payment and its last posting.

Steps are SQL statements, commits, and calls to the chain and the facilitator, from the claim over the submission and
the grant to the payment that is final and whose gas is booked. Every point is killed at in the long tests; in the short
one each `EVERY`-th, with another beginning for each way of paying. Points are in pairs, before and after.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.evm.anvil import CHAIN_ID
from tests.x402.chains import GAS_WEI, key_of
from tests.x402.facilitating import facilitator_running

ROOT = Path(__file__).parents[2]
RUNS_TIMEOUT_S = 1500
EVERY = {"top-up": 71, "quote": 83, "facilitator": 61}
FIRST = {"top-up": 36, "quote": 57, "facilitator": 26}


@pytest.fixture
def killed(onchain, new_databases, record_property):
    """`killed({name: (first, every)})`: what the runs of these ways of paying came to."""

    def run(wanted: dict[str, tuple[int, int]]) -> dict[str, Any]:
        database, gas = new_databases("crash"), onchain.new_gas_wallet()
        facilitators_own = key_of(onchain.new_gas_wallet())
        with facilitator_running(onchain.chain.url, facilitators_own, CHAIN_ID) as facilitating:
            settings = onchain.settings(x402_gas_key=key_of(gas), signups_per_minute=1_000_000)
            by_facilitator = {**settings, "x402_facilitator_url": facilitating.url}
            del by_facilitator["x402_gas_key"], by_facilitator["x402_gas_gwei_per_hour"]
            config = {
                "run_url": database.run_url,
                "chain": onchain.chain.url,
                "token": {name: getattr(onchain.token, name) for name in ("address", "name", "version", "owner")},
                "gas": gas.address,
                "cases": [
                    {"name": name, "first": first, "every": every}
                    | {"settings": by_facilitator if name == "facilitator" else settings}
                    for name, (first, every) in wanted.items()
                ],
            }
            ran = subprocess.run(
                [sys.executable, "-m", "tests.crash.native"], input=json.dumps(config), capture_output=True,
                text=True, timeout=RUNS_TIMEOUT_S, cwd=ROOT, check=False,
            )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-6000:]
        report: dict[str, Any] = json.loads(ran.stdout)
        for name, (first, every) in wanted.items():
            points = len(report["cases"][name]["points"])
            steps = f"x402, {name}: N = {points // 2} statements and calls to chain or facilitator"
            record_property("crash matrix", f"{steps}, killed at points {first}, {first + every}, … of {points}")
            points_run = [result["point"] for result in report["cases"][name]["results"]]
            assert points_run == [0, *range(first, points + 1, every)], ran.stderr[-6000:]
        return report

    return run


@pytest.mark.long
def test_a_signed_payment_that_is_killed_on_its_way_grants_exactly_once(killed):
    report = killed({name: (first, EVERY[name]) for name, first in FIRST.items()})
    for name in FIRST:
        assert_paid_once(report["cases"][name])
    assert_verified(report)


@pytest.mark.long
@pytest.mark.parametrize("name", FIRST)
def test_a_signed_payment_that_is_killed_at_any_point_grants_exactly_once(name, killed):
    report = killed({name: (1, 1)})
    assert_paid_once(report["cases"][name])
    assert_verified(report)
    places = {result["at"] for result in report["cases"][name]["results"]}
    assert {"before COMMIT", "after COMMIT"} <= places
    sending = "the facilitator's /facilitator/settle" if name == "facilitator" else "the chain's eth_sendRawTransaction"
    assert {f"before {sending}", f"after {sending}"} <= places


def assert_paid_once(case: dict[str, Any]) -> None:
    """After every run the money has moved once, has been granted once, and nothing is left under way."""
    assert len(case["points"]) % 2 == 0
    for result in case["results"]:
        place = f"killed {result['at']}, point {result['point']}: {result}"
        assert result["killed"] is (result["at"] != "never"), place
        assert (result["state"], result["final"], result["attempt"]) == ("settled", True, "succeeded"), place
        once = ("settlements", "payments", "receipts", "lots", "grants", "transfers")
        assert {name: result[name] for name in once} == dict.fromkeys(once, 1), place
        assert (result["credits"], result["left"]) == (100, 0), place
        assert result["statuses"][-1] == 200, place
        assert set(result["statuses"]) <= {200, 202}, place
        assert result["tokens"] <= 1, place
        assert result["nonce_in_use"] is False, place
        assert result["nonces"] in ([], [result["nonces_on_chain"]]), place


def assert_verified(report: dict[str, Any]) -> None:
    """The books agree with themselves and each other, and the gas that they booked is what the chain took."""
    verified = report["verified"]
    assert verified["problems"] == []
    assert verified["gas_booked"] == GAS_WEI - verified["gas_left"]
