"""Reconciliation as the demo does it, and that it finds exactly the faults that were put in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlmodel.ext.asyncio.session import AsyncSession

from api.demo.agent import expect
from api.demo.finance import outsiders
from api.demo.finance.business import Scene
from api.demo.finance.world import World
from api.demo.telling import Failed, Step
from api.wiring import House
from billing.operator_actions import COMMAND_LINE
from finance.reconciling import keeping, running
from finance.reconciling.found import Compared
from finance.treasury import comparing as treasury
from finance.treasury import reading
from ledger.money import Currency, Money

_COUNTS: Final = ("matched", "missing_here", "missing_there", "different")
Report = dict[str, Any]
Faults = dict[tuple[str, str], tuple[str, int, str]]
"""By source and subject: what kind of finding, its amount and currency."""


def reconcile(world: World, *files: tuple[str, str, bytes]) -> Report:
    """What `purser treasury read` and `purser reconcile` do; the report of the run."""

    async def of_chain(session: AsyncSession) -> Sequence[Compared]:
        return await treasury.compared(session, now=world.now)

    async def reconciled(house: House) -> Report:
        now, holder = house.clock(), COMMAND_LINE.holder
        if house.native is not None and house.native.chain is not None:
            await reading.read(house.sessions, house.native.chain, treasury=house.native.pay_to, now=now)
        for kind, name, content in files:
            await keeping.take_over(house.sessions, kind, content, name=name, holder=holder, now=now)
        run = await running.reconcile(
            house.sessions,
            reader=house.money,
            others=(of_chain,),
            bank_days=house.settings.finance_bank_days,
            holder=holder,
            clock=house.clock,
        )
        return run.report

    return world.service.do(reconciled)


def injected(scene: Scene) -> Faults:
    """What must be found, by source and subject: what kind of finding, its amount and currency."""
    short, missing = scene.payouts[outsiders.SHORT], scene.payouts[outsiders.MISSING]
    faults: Faults = {
        ("stripe_lines", outsiders.FEE_LINE): ("missing_here", -outsiders.FEE_CENTS, "usd"),
        ("bank", short.name): ("different", -outsiders.SHORT_CENTS, "usd"),
        ("bank", missing.name): ("missing_there", -missing.cents, "usd"),
    }
    if scene.stranger:
        amount = outsiders.STRANGE_CENTS * outsiders.CENT
        faults["chain", _place(scene)] = ("missing_here", amount, "usdc")
    return faults


def _place(scene: Scene) -> str:
    """How the comparison calls the stranger's transfer: network, transaction, and the number of its log."""
    world = scene.people.world
    [log] = world.clocks.rpc("eth_getTransactionReceipt", scene.stranger)["logs"]
    network = world.chain.network if world.chain is not None else ""
    return f"{network}:{scene.stranger}:{int(log['logIndex'], 16)}"


def require_exactly(report: Report, faults: Faults) -> dict[str, str]:
    """The exceptions' ids by subject. Raises `Failed` when they are other ones, more or fewer."""
    told = {
        (one["source"], one["subject"]): (one["finding"], one["amount"], one["currency"])
        for one in report["exceptions"]
    }
    more = [f"{key}: {value}" for key, value in told.items() if faults.get(key) != value]
    fewer = [f"{key}: {value}" for key, value in faults.items() if told.get(key) != value]
    if more or fewer or report["more_exceptions"]:
        raise Failed(f"found what was not injected: {more or 'nothing'}; did not find: {fewer or 'nothing'}")
    return {one["subject"]: one["exception_id"] for one in report["exceptions"]}


def tell(report: Report, step: Step) -> None:
    """The report: what fits in each source, the clearing account, and every exception."""
    step.show(f"{'source':<18}{'matched':>9}{'missing here':>14}{'missing there':>15}{'different':>11}")
    for source, found in report["sources"].items():
        counts = [found[name] for name in _COUNTS]
        step.show(f"{source:<18}{counts[0]:>9}{counts[1]:>14}{counts[2]:>15}{counts[3]:>11}")
    for account in report["clearing"]:
        ours, theirs, rest = (
            outsiders.dollars(account[name]) for name in ("ours_cents", "theirs_cents", "unexplained_cents")
        )
        step.show(f"clearing: {ours} here, {theirs} at Stripe, unexplained {rest}")
        ages = [f"{age['days']} days {outsiders.dollars(age['cents'])}" for age in account["ageing"]]
        step.show(f"its age: {', '.join(ages)}")
    for one in sorted([*report["exceptions"], *report["resolved"]], key=lambda one: (one["source"], one["subject"])):
        amount = Money(one["amount"], Currency(one["currency"].upper())).decimal()
        step.show(
            f"{one['source']:<13}{_short(one['subject']):<28}{one['finding']:<14}{amount:>10} "
            f"{one['currency'].upper():<5}{one['age_days']:>3} days  {one['state']}"
        )


def _short(subject: str) -> str:
    """A place on a chain is long."""
    return subject if len(subject) <= 27 else f"{subject[:20]}…{subject[-6:]}"


def still(scene: Scene, *, late_came: bool = False) -> Faults:
    """What stands after the month: what was acknowledged, and the late refund until its letters come."""
    adjusted = {outsiders.FEE_LINE, scene.payouts[outsiders.SHORT].name}
    faults = {key: value for key, value in injected(scene).items() if key[1] not in adjusted}
    if not late_came:
        faults["stripe_lines", scene.late] = ("missing_here", -outsiders.LATE_CENTS, "usd")
    return faults


def acknowledge_late(scene: Scene, ids: dict[str, str], step: Step) -> None:
    """The refund that no letter has told of is left to its letters."""
    reason = "refunded in Stripe's Dashboard; it is booked when its letter comes"
    done = scene.people.ada.do(f"operator/exceptions/{ids[scene.late]}/acknowledge", reason=reason)
    step.say("acknowledged, Ada", f"{expect(_state(done), 'acknowledged', 'state')}: {reason}")


def settle(scene: Scene, ids: dict[str, str], step: Step) -> None:
    """Each exception is decided: two are adjusted, one of them by two key holders; the others are acknowledged."""
    people, payouts = scene.people, scene.payouts
    small = ids[outsiders.FEE_LINE]
    done = people.ada.do(f"operator/exceptions/{small}/resolve", reason="card updates, on the invoice", against="fees")
    step.say("fee, Ada alone", f"{expect(_state(done), 'resolved', 'state')}: 0.25 against fees")
    large = ids[payouts[outsiders.SHORT].name]
    done = people.ada.do(f"operator/exceptions/{large}/resolve", reason="the bank's charge for the transfer")
    step.say("short payout, Ada", expect(_state(done), "proposed", "state"))
    agreed = {"reason": "seen on the bank's notice", "proposal_id": done["action"]["action_id"]}
    done = people.grace.do(f"operator/exceptions/{large}/approve", **agreed)
    step.say("short payout, Grace", f"{expect(_state(done), 'resolved', 'state')}: 0.30 as a difference")
    reasons = {ids[payouts[outsiders.MISSING].name]: "the bank is looking for it, case 4711"}
    if scene.stranger:
        [strange] = [found for subject, found in ids.items() if scene.stranger in subject]
        reasons[strange] = "nobody knows the sender; it stays until somebody asks for it"
    for exception, reason in reasons.items():
        done = people.grace.do(f"operator/exceptions/{exception}/acknowledge", reason=reason)
        step.say("acknowledged, Grace", f"{expect(_state(done), 'acknowledged', 'state')}: {reason}")


def _state(done: Any) -> str:
    return str(done["exception"]["state"])
