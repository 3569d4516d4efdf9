"""What happens in a soak, all of it, drawn from a seed alone: agents and their steps, faults and when they strike.

Moments are parts of the whole that agents have done, not times, so that a slow machine meets the same storm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final, Literal

from tests.soak.drawing import Drawing
from tests.soak.steps import Break, Granted, Step

PURCHASES_MIN, PURCHASES_MAX = 2, 6
TEMPERS: Final = ("calm", "warned", "warned", "stopped")
DELIVERIES: Final = ("late", "twice", "shuffled", "never", "normal")
READS_BROKEN: Final = ("error_503", "error_429", "hang", "drop", "slow", "error_500")
KILLED: Final = ("worker", "server", "worker", "postgres")

Stroke = Literal["deliveries", "reads", "kill", "payout", "stripe fee"]


@dataclass(frozen=True)
class Moment:
    """Something strikes when this many thousandths of all steps are done."""

    at: int
    stroke: Stroke
    what: str = ""
    seconds: float = 0.0
    cents: int = 0
    broken: Break | None = None


@dataclass(frozen=True)
class AgentPlan:
    """One agent in an organization of its own: what it does, and what its payments must have brought."""

    name: str
    steps: tuple[Step, ...]
    granted: Mapping[int, Granted]
    patient: bool
    """Whether it tries again less and less often, or as fast as at first."""


@dataclass(frozen=True)
class Plan:
    """A soak. `partial`: whether the service takes deposits of another amount."""

    seed: int
    partial: bool
    agents: tuple[AgentPlan, ...]
    storm: tuple[Moment, ...]

    @property
    def steps(self) -> int:
        return sum(len(agent.steps) for agent in self.agents)

    def content(self) -> dict[str, Any]:
        """All of it as JSON; each act with its kind."""
        agents = [
            {
                "name": agent.name,
                "patient": agent.patient,
                "steps": [[type(one.act).__name__, asdict(one.act), asdict(one.after)] for one in agent.steps],
            }
            for agent in self.agents
        ]
        storm = [asdict(moment) for moment in self.storm]
        return {"seed": self.seed, "partial": self.partial, "agents": agents, "storm": storm}

    def digest(self, balances: Mapping[str, Any]) -> str:
        """SHA-256 over the plan and what each agent's organization has at the end: equal for equal runs."""
        whole = {"plan": self.content(), "balances": {name: balances[name] for name in sorted(balances)}}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def draw(seed: int, attempts: int, *, kills: int | None = None) -> Plan:
    """The plan of a seed: so many attempts, and about one killed process for each 25 of them unless told."""
    chance = Random(seed)
    partial = chance.random() < 0.5
    agents: list[AgentPlan] = []
    left = attempts
    while left:
        purchases = min(left, chance.randint(PURCHASES_MIN, PURCHASES_MAX))
        left -= purchases
        drawing = Drawing(Random(chance.getrandbits(64)), purchases, partial, chance.choice(TEMPERS))
        steps = tuple(drawing.draw())
        agents.append(AgentPlan(f"agent {len(agents) + 1}", steps, drawing.granted, chance.random() < 0.5))
    return Plan(
        seed, partial, tuple(agents), _storm(chance, attempts, max(1, attempts // 25) if kills is None else kills)
    )


def _storm(chance: Random, attempts: int, kills: int) -> tuple[Moment, ...]:
    """Deliveries change all the time; reading breaks often; processes are killed; payouts go now and then."""
    weathers = max(5, attempts // 10)
    moments = [
        Moment(1000 * n // weathers, "deliveries", DELIVERIES[n % len(DELIVERIES)], chance.uniform(0.3, 1.5))
        for n in range(weathers)
    ]
    for n in range(max(3, attempts // 12)):
        kind = READS_BROKEN[n % len(READS_BROKEN)]
        seconds = {"hang": 5.0, "slow": 1.0}.get(kind)
        broken = Break(kind, chance.randint(1, 2 if kind == "hang" else 6), seconds, stored=False)
        moments.append(Moment(chance.randint(0, 950), "reads", broken=broken))
    middles = [1000 * (2 * n + 1) // (2 * kills) + chance.randint(-30, 30) for n in range(kills)]
    moments += [Moment(at, "kill", KILLED[n % len(KILLED)]) for n, at in enumerate(middles)]
    for n in range(max(2, attempts // 60)):
        what = ("paid", "failed", "manual")[n % 3]
        moments.append(Moment(chance.randint(100, 900), "payout", what, cents=chance.randint(500, 5000)))
        moments.append(Moment(chance.randint(0, 900), "stripe fee", cents=chance.randint(25, 900)))
    return tuple(sorted(moments, key=lambda moment: moment.at))
