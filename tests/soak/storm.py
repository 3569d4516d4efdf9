"""The storm: letters are misdelivered, reading breaks, processes are killed, payouts go, at the moments of the plan."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from tests.soak.driver import Shared
from tests.soak.plan import Moment, Plan
from tests.soak.stage import Stage

POLL_S: Final = 0.1
CALLS_EVERY: Final = 10
"""Polls between two readings of the sandbox's list of calls, which keeps the last 2000."""
OTHERS_PAID_CENTS: Final = 400_000
"""What somebody else's payment brings into the same Stripe account before each payout: fees of disputes, of fifteen
dollars each, would otherwise leave nothing to be paid out."""
OTHERS_FEE_CENTS: Final = 4_321


@dataclass
class Storm:
    """Strikes while agents live; `injected` is what was ordered, `met` what requests really met."""

    plan: Plan
    stage: Stage
    shared: Shared
    injected: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._blow, name="storm")
        self._thread.start()

    def end(self) -> None:
        """All that was planned has struck; then no more faults, and letters come as they should."""
        self.shared.over.set()
        if self._thread is not None:
            self._thread.join()
        self._count_calls()
        self.calm()

    def calm(self) -> None:
        self.stage.sandbox.control("DELETE", "faults")
        self.stage.sandbox.control("PUT", "deliveries", mode="normal")

    def _blow(self) -> None:
        left = list(self.plan.storm)
        polls = 0
        while left or not self.shared.over.is_set():
            over = self.shared.over.wait(POLL_S)
            while left and (over or left[0].at <= self.shared.thousandths):
                self._strike(left.pop(0))
            polls += 1
            if polls % CALLS_EVERY == 0:
                self._count_calls()

    def _strike(self, moment: Moment) -> None:
        try:
            self._act(moment)
        except Exception as error:  # noqa: BLE001 - told in the report; the storm goes on
            self.failures.append(f"{moment}: {type(error).__name__}: {error}")

    def _act(self, moment: Moment) -> None:
        control = self.stage.sandbox.control
        match moment.stroke:
            case "deliveries":
                self.injected[f"letters {moment.what}"] += 1
                control("PUT", "deliveries", mode=moment.what, delay_seconds=moment.seconds)
            case "reads" if moment.broken is not None:
                broken = moment.broken
                self.injected[f"read {broken.name}"] += broken.times
                order: dict[str, Any] = {"kind": broken.kind, "path": "/v1/*", "method": "GET", "times": broken.times}
                if broken.seconds is not None:
                    order["seconds"] = broken.seconds
                control("POST", "faults", **order, stored=broken.stored)
            case "kill":
                self.injected[f"kill -9 {moment.what}"] += 1
                self.stage.kill(moment.what)
            case "payout":
                self.injected[f"payout {moment.what}"] += 1
                terms: dict[str, Any] = {"automatic": True, "status": moment.what}
                if moment.what == "manual":
                    terms = {"automatic": False, "amount": moment.cents}
                pay_out(self.stage, **terms)
            case "stripe fee":
                self.injected["fee of Stripe's own"] += 1
                control("POST", "balance_transactions", amount=-moment.cents)

    def _count_calls(self) -> None:
        for call in self.stage.sandbox.control("GET", "calls")["calls"]:
            if call["request_id"] in self._seen:
                continue
            self._seen.add(call["request_id"])
            self.met["calls of the API"] += 1
            if call["fault"]:
                self.met[f"{'read' if call['method'] == 'GET' else 'write'} {call['fault']}"] += 1


def pay_out(stage: Stage, **terms: Any) -> None:
    """A payout of what is in the balance, which somebody else's payment has come into before."""
    line = {"amount": OTHERS_PAID_CENTS, "fee": OTHERS_FEE_CENTS, "type": "charge", "reporting_category": "charge"}
    stage.sandbox.control("POST", "balance_transactions", **line)
    stage.sandbox.control("POST", "payouts", **terms)
