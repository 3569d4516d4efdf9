"""Both sides compared. Each check gives its differences, with enough in each to find it; all should be none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.service import ROOT
from tests.soak import ours
from tests.soak.book import Balance
from tests.soak.driver import Lived
from tests.soak.stage import Stage
from tests.soak.steps import ENDS, Buy
from tests.soak.stripe import Theirs

VERIFY_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True)
class Check:
    """A sentence that should hold, a number that goes with it, and where it does not hold."""

    sentence: str
    detail: str
    differences: Sequence[str]


def all_checks(stage: Stage, lives: Sequence[Lived], left: dict[str, int], failures: Sequence[str]) -> list[Check]:
    """Every check, in the order of the report."""
    theirs = Theirs.of(stage.sandbox.url)
    return [
        _as_planned(lives, failures),
        _quiet(stage, left),
        _verified(stage),
        _attempts(stage, lives),
        _receipts(stage, lives),
        _money(stage, theirs),
        _clearing(stage, theirs),
        _lines(stage, theirs),
        _nothing_in_between(stage),
        _objects(theirs),
        _charged(theirs),
        _balances(lives),
    ]


def balances(lives: Sequence[Lived]) -> dict[str, dict[str, int]]:
    """What each organization has at the end, by its agent's name in the plan."""
    return {one.plan.name: asdict(one.balance()) for one in lives if one.agent.token}


def _as_planned(lives: Sequence[Lived], failures: Sequence[str]) -> Check:
    surprised = [f"{one.plan.name} ({one.agent.organization_id}): {one.surprise}" for one in lives if one.surprise]
    steps = sum(one.done for one in lives)
    return Check("every step was answered and ended as planned", f"{steps} steps", [*surprised, *failures])


def _quiet(stage: Stage, left: dict[str, int]) -> Check:
    [[parked]] = stage.rows("SELECT count(*) FROM webhooks.letters WHERE state = 'parked'")
    found = left | ({"parked letters": int(parked)} if parked else {})
    told = [f"{count} {what}" for what, count in found.items()]
    return Check(
        "nothing is left to do, and no letter is parked", "", [*told, *(ours.left_over(stage) if told else [])]
    )


def _verified(stage: Stage) -> Check:
    environment = {**os.environ, "PURSER_DATABASE_URL": stage.database.run_url}
    ran = subprocess.run(
        [sys.executable, "-m", "api.cli", "verify"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=VERIFY_TIMEOUT_S, check=False,
    )  # fmt: skip
    said = [line for line in (ran.stdout + ran.stderr).splitlines() if "operations/s" not in line]
    wrong = [line for line in said if "WRONG" in line]
    if ran.returncode != 0 and not wrong:
        wrong = said[-10:] or [f"exit status {ran.returncode}"]
    return Check("`purser verify` is clean, books and proofs", "" if wrong else said[0].split(" verified")[0], wrong)


def _bought(lives: Sequence[Lived]) -> list[tuple[Lived, Buy, str]]:
    """What was bought, whose it is, and its attempt's id. Only of agents without a surprise: of others all is open."""
    return [
        (one, step.act, one.attempts[step.act.number])
        for one in lives
        if one.surprise is None
        for step in one.plan.steps
        if isinstance(step.act, Buy)
    ]


def _attempts(stage: Stage, lives: Sequence[Lived]) -> Check:
    states = ours.attempts(stage)
    final = {"succeeded", "expired", "failed", "canceled"}
    different = [f"{name} is {state}" for name, state in states.items() if state not in final]
    for lived, order, name in _bought(lives):
        if states.get(name) != ENDS[order.ending]:
            different.append(
                f"{name} of {lived.plan.name}, {order.ending!r}, is {states.get(name)}, planned {ENDS[order.ending]}"
            )
    return Check("every attempt is final, in the state of the plan", f"{len(states)} attempts", different)


def _receipts(stage: Stage, lives: Sequence[Lived]) -> Check:
    found = ours.receipts(stage)
    different = []
    for lived, order, name in _bought(lives):
        terms = lived.plan.granted.get(order.number)
        wanted = (terms.credits, terms.cents, terms.tax) if terms is not None else None
        if found.get(name) != wanted:
            different.append(f"{name} of {lived.plan.name}: receipt {found.get(name)}, planned {wanted}")
    return Check(
        "each payment granted once, what was planned (credits, cents, tax)", f"{len(found)} receipts", different
    )


def _money(stage: Stage, theirs: Theirs) -> Check:
    kept = ours.money_kept(stage)
    net = theirs.received_cents - theirs.tax_cents
    off = sum(kept.values()) - net
    different = [f"kept {kept}, received {net} net of tax: {off:+} cents"] if off else []
    return Check("Σ lot bases + remainders + unallocated = money received net of tax", _dollars(net), different)


def _clearing(stage: Stage, theirs: Theirs) -> Check:
    here, there = ours.balance_over_all_books(stage, "stripe_clearing"), theirs.balance_cents
    different = [f"here {here}, there {there}: {here - there:+} cents"] if here != there else []
    return Check("clearing over all books = the balance at Stripe", _dollars(there), different)


def _lines(stage: Stage, theirs: Theirs) -> Check:
    here = ours.lines(stage)
    there = {
        one["id"]: (one["amount"], one["fee"], one["net"], one["reporting_category"]) for one in theirs.lines
    }  # fmt: skip
    sources = {one["id"]: one["source"] for one in theirs.lines}
    different = [f"missing here: {name} {there[name]} of {sources[name]}" for name in there if name not in here]
    different += [f"missing there: {name} {here[name]}" for name in here if name not in there]
    different += [
        f"different: {name} here {here[name]}, there {there[name]}"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ]
    return Check("every line of Stripe's balance was posted, as it is", f"{len(there)} lines", different)


def _nothing_in_between(stage: Stage) -> Check:
    """When all refunds have arrived and all disputes are over, nothing is promised and nothing withheld."""
    found = {code: ours.balance_over_all_books(stage, code) for code in ("refunds_payable", "disputes")}
    different = [f"{code} over all books is {cents} cents" for code, cents in found.items() if cents]
    return Check("no refund is owed to a payer, no dispute holds money", "", different)


def _objects(theirs: Theirs) -> Check:
    made = theirs.objects()
    different = [f"{count} objects under {key}" for key, count in made.items() if count > 1]
    return Check("no payment object twice for one number of an attempt", f"{len(made)} objects", different)


def _charged(theirs: Theirs) -> Check:
    charged = theirs.charged()
    different = [f"the payer of {quote} was charged {count} times" for quote, count in charged.items() if count > 1]
    return Check("no payer was charged twice", f"{len(charged)} charged", different)


def _balances(lives: Sequence[Lived]) -> Check:
    """The oracle's last word, against what the agent is told now."""
    different = []
    for one in lives:
        if one.surprise is None and one.plan.steps:
            planned, found = one.plan.steps[-1].after, one.balance()
            if found != planned:
                different.append(f"{one.plan.name} ({one.agent.organization_id}): {_off(found, planned)}")
    return Check("every organization has what the oracle says", f"{len(lives)} organizations", different)


def _off(found: Balance, planned: Balance) -> str:
    was: dict[str, Any] = asdict(planned)
    return ", ".join(f"{name} {now}, planned {was[name]}" for name, now in asdict(found).items() if now != was[name])


def _dollars(cents: int) -> str:
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100:,}.{abs(cents) % 100:02} USD"
