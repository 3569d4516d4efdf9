"""The page at the end of a soak: what was injected, what was survived, and where both sides differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.soak.checks import Check
from tests.soak.plan import Plan
from tests.soak.steps import Buy

WIDTH: Final = 100
SHOWN_MAX: Final = 12
"""Differences of one check that are printed."""


@dataclass(frozen=True)
class Report:
    """What a soak came to."""

    plan: Plan
    checks: Sequence[Check]
    injected: Mapping[str, int]
    survived: Mapping[str, int]
    digest: str
    drive_s: float
    whole_s: float

    @property
    def differences(self) -> int:
        return sum(len(one.differences) for one in self.checks)

    def text(self) -> str:
        """One page, when nothing differs."""
        attempts = sum(isinstance(step.act, Buy) for agent in self.plan.agents for step in agent.steps)
        title = (
            f"soak of seed {self.plan.seed}: {attempts} attempts of {len(self.plan.agents)} agents in"
            f" {self.drive_s:.0f} s, compared after {self.whole_s:.0f} s"
        )
        lines = [title, "=" * WIDTH, "driven"]
        lines += _table(self._driven())
        lines += ["injected (requests to Stripe that went wrong, as ordered; the rest as said)", *_table(self.injected)]
        lines += ["survived", *_table(self.survived)]
        lines += [f"{'compared':<84}differences"]
        for one in self.checks:
            detail = f" ({one.detail})" if one.detail else ""
            lines.append(f"  {one.sentence + detail:<85}{len(one.differences):>8}")
            lines += [f"      {difference}" for difference in one.differences[:SHOWN_MAX]]
        lines += [f"  {'in all':<85}{self.differences:>8}", f"digest of plan and final balances: {self.digest}"]
        return "\n".join(lines)

    def _driven(self) -> dict[str, int]:
        counted: Counter[str] = Counter()
        for agent in self.plan.agents:
            for step in agent.steps:
                act = step.act
                name = f"{act.rail} {act.ending}" if isinstance(act, Buy) else type(act).__name__
                counted[_words(name)] += 1
        return dict(counted)


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _table(counts: Mapping[str, int]) -> list[str]:
    """Name and number, in two columns."""
    cells = [f"{name:<40}{count:>7,}" for name, count in sorted(counts.items())]
    rows = (len(cells) + 1) // 2
    return [f"  {left}   {right}".rstrip() for left, right in zip(cells[:rows], [*cells[rows:], ""], strict=False)]
