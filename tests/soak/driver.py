"""Agents that live their part of the plan: each step is asked for, tried again as documented, and waited for.

What an answer does not say as planned, or what does not come in time, is a surprise: it ends its agent's part and is
told at the end. Nothing here knows why something failed; it only insists.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import httpx

from billing.scopes import Scope
from tests.giving import new_operator
from tests.service import Agent, Operator
from tests.soak.book import Balance
from tests.soak.plan import AgentPlan, Plan
from tests.soak.stage import Stage
from tests.soak.steps import Break, Step

T = TypeVar("T")

INSIST_S: Final = 300.0
"""How long an agent sends the same request again before it gives up."""
SETTLE_S: Final = 300.0
"""How long a step's effect may take: the longest recovery with the waits of a soak, on a slow machine."""
PAUSE_S: Final = 0.3
PAUSE_MAX_S: Final = 5.0
"""A patient client that is told to try again does so less and less often."""
AGENTS_AT_ONCE: Final = 16


class Surprise(Exception):
    """Something is not as planned."""


@dataclass
class Lived:
    """One agent, what it is called outside, and what it has come to know. Names are the plan's."""

    plan: AgentPlan
    agent: Agent
    operator: Operator
    stage: Stage
    shared: Shared
    attempts: dict[int, str] = field(default_factory=dict)
    payments: dict[int, str] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    disputes: dict[str, str] = field(default_factory=dict)
    hold_id: str = ""
    done: int = 0
    surprise: str | None = None

    def key(self, what: str) -> str:
        """An idempotency key that is the same however often this is asked."""
        return f"{self.plan.name}:{what}".replace(" ", "-")

    def insist(self, send: Callable[[], httpx.Response], *, what: str) -> httpx.Response:
        """The first definite answer: the same request again while there is none, or one that says to try again."""
        deadline = time.monotonic() + INSIST_S
        said, pause_s = "nothing", PAUSE_S
        while time.monotonic() < deadline:
            try:
                answer = send()
            except httpx.TransportError as error:
                said = type(error).__name__
                self.shared.tried_again("no answer")
            else:
                error_ = _error(answer)
                if not error_.get("retryable", answer.status_code >= 500):
                    return answer
                said = f"{answer.status_code} {error_.get('code')}"
                self.shared.tried_again(error_.get("code") or str(answer.status_code))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S) if self.plan.patient else PAUSE_S
        raise Surprise(f"{what}: no definite answer, last {said}")

    def do(self, send: Callable[[], httpx.Response], *, what: str) -> dict[str, Any]:
        """The data of a success that is insisted on."""
        answer = self.insist(send, what=what)
        if answer.status_code != 200:
            raise Surprise(f"{what}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json()["data"])

    def wait(self, look: Callable[[], T | None], *, what: str) -> T:
        """What is looked for, once it is there."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            time.sleep(PAUSE_S)
        raise Surprise(f"{what} has not come within {SETTLE_S:.0f} s")

    def balance(self) -> Balance:
        """What the agent is told of its organization's credits."""
        data = self.do(lambda: self.agent.send("GET", "/v1/ledger/balance"), what="balance")
        limits = data["limits"]
        return Balance(
            limits["remaining_credits"] + limits["payment_backed_remaining_credits"],
            limits["held_credits"],
            limits.get("frozen_credits", 0),
            limits.get("owed_credits", 0),
        )

    def status(self, number: int) -> dict[str, Any]:
        """What the agent is told of its purchase."""
        query = {"payment_attempt_id": self.attempts[number]}
        return self.do(lambda: self.agent.send("GET", "/v1/credit-purchases/status", **query), what="status")

    def control(self, method: str, path: str, **body: Any) -> Any:
        """What a payer, a bank or somebody in the Dashboard does: it happens once, whatever the network does."""
        return self.stage.sandbox.control(method, path, **body)


def _error(answer: httpx.Response) -> dict[str, Any]:
    try:
        return dict(answer.json().get("error") or {})
    except ValueError:
        return {}


@dataclass
class Shared:
    """What all agents share: how much is done, and what only one of them may do at a time."""

    stage: Stage
    steps: int
    done: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    broken: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)
    asking: dict[str, threading.Lock] = field(
        default_factory=lambda: {"card": threading.Lock(), "deposit": threading.Lock(), "refund": threading.Lock()}
    )
    """A fault hits the next request of its kind, so whoever breaks one asks alone."""

    @property
    def thousandths(self) -> int:
        return 1000 * self.done // max(1, self.steps)

    def step_done(self) -> None:
        with self.guard:
            self.done += 1

    def tried_again(self, code: str) -> None:
        with self.guard:
            self.answers[code] = self.answers.get(code, 0) + 1

    def break_next(self, broken: Break, path: str) -> None:
        with self.guard:
            self.broken[broken.name] = self.broken.get(broken.name, 0) + broken.times
        order: dict[str, Any] = {"kind": broken.kind, "path": path, "times": broken.times, "stored": broken.stored}
        if broken.seconds is not None:
            order["seconds"] = broken.seconds
        self.stage.sandbox.control("POST", "faults", **order)


Act = Callable[[Lived, Step], None]


def live(plan: Plan, stage: Stage, shared: Shared, act: Act, *, deadline: float) -> list[Lived]:
    """All agents live their parts, some at a time. One that has not begun at the deadline is left out: a surprise."""
    scopes = (Scope.OPERATE, Scope.READ, Scope.ADMIN)
    with stage.client() as client:
        operator = new_operator(client, stage.database, *scopes)
        with ThreadPoolExecutor(AGENTS_AT_ONCE, thread_name_prefix="agent") as pool:
            lives = [
                pool.submit(_live_one, one, operator.token, operator.key_id, stage, shared, act, deadline)
                for one in plan.agents
            ]
            return [one.result() for one in lives]


def _live_one(
    plan: AgentPlan, token: str, key_id: Any, stage: Stage, shared: Shared, act: Act, deadline: float
) -> Lived:
    with stage.client() as client:
        lived = Lived(plan, Agent(client, "", "", ""), Operator(client, token, key_id), stage, shared)
        try:
            _sign_up(lived, deadline)
            for step in plan.steps:
                act(lived, step)
                _settle(lived, step)
                lived.done += 1
                shared.step_done()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other agents go on and the report tells it
            doing = plan.steps[lived.done].act if lived.done < len(plan.steps) else "nothing"
            lived.surprise = f"{type(error).__name__}: {error} at step {lived.done + 1}, {doing}"
            for _ in range(len(plan.steps) - lived.done):
                shared.step_done()
        return lived


def _sign_up(lived: Lived, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Surprise("there was no time left to begin; give more --minutes")
    body = {"agent_name": lived.plan.name, "runtime": "soak", "return_token": True}
    data = lived.do(lambda: lived.agent.client.post("/v1/agent-signups", json=body), what="sign-up")
    agent = lived.agent
    agent.token, agent.agent_id, agent.organization_id = data["token"], data["agent_id"], data["organization_id"]


def _settle(lived: Lived, step: Step) -> None:
    """Wait until the organization has what the oracle says."""
    seen: list[Balance] = []

    def look() -> bool | None:
        seen[:] = [lived.balance()]
        return True if seen[0] == step.after else None

    try:
        lived.wait(look, what="the balance")
    except Surprise:
        raise Surprise(f"the balance is {seen[0]}, planned {step.after}") from None
