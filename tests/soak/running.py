"""One soak, from its plan to its report."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.soak import checks, ours
from tests.soak.driver import Lived, Shared, live
from tests.soak.plan import Plan
from tests.soak.report import Report
from tests.soak.reversing import act
from tests.soak.stage import Stage, standing
from tests.soak.storm import Storm, pay_out


def soak(plan: Plan, *, minutes: float, logs: Path | None = None) -> Report:
    """Everything is started, driven, calmed, compared and removed. Raises when it cannot be started."""
    with standing(partial=plan.partial) as stage:
        began = time.monotonic()
        shared = Shared(stage, plan.steps)
        storm = Storm(plan, stage, shared)
        storm.begin()
        try:
            lives = live(plan, stage, shared, act, deadline=began + minutes * 60)
        finally:
            storm.end()
        drive_s = time.monotonic() - began
        left = _come_to_rest(stage)
        with stage.client() as client:
            for one in lives:
                one.agent.client = client
            compared = checks.all_checks(stage, lives, left, storm.failures)
            digest = plan.digest(checks.balances(lives))
        if logs is not None:
            _keep(stage, logs)
        return Report(
            plan, compared, _injected(storm, shared), _survived(stage, storm, shared, lives), digest, drive_s,
            time.monotonic() - began,
        )  # fmt: skip


def _come_to_rest(stage: Stage) -> dict[str, int]:
    """What nobody paid ends, what is at Stripe goes to the bank; what is left to do then."""
    ours.let_the_day_pass(stage)
    ours.wait_until_quiet(stage)
    pay_out(stage, automatic=True)
    return ours.wait_until_quiet(stage)


def _injected(storm: Storm, shared: Shared) -> dict[str, int]:
    return {**{f"write {name}": count for name, count in shared.broken.items()}, **storm.injected}


def _survived(stage: Stage, storm: Storm, shared: Shared, lives: Sequence[Lived]) -> dict[str, int]:
    again = Counter({f"told to try again: {code}": count for code, count in shared.answers.items()})
    starts = {f"starts of the {one.name}": one.starts for one in stage.processes.values()}
    met = {name if name.startswith("calls") else f"met {name}": count for name, count in storm.met.items()}
    return {
        **again,
        **starts,
        **met,
        **ours.counts(stage),
        "agents that lived to the end": sum(not one.surprise for one in lives),
    }


def _keep(stage: Stage, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for kept in stage.processes.values():
        shutil.copy(kept.log, logs / kept.log.name)
