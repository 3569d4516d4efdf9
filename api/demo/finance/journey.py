"""The steps of the month in order: business, reconciliation, close, export, audit, and what comes late."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

from api.demo.agent import expect
from api.demo.finance import closing, outsiders, reconciling
from api.demo.finance.business import CALENDAR, NAMES, Day, Scene
from api.demo.finance.customers import new_people
from api.demo.finance.world import World
from api.demo.telling import Step, Teller
from finance.reconciling import keeping

CLOSING_STEPS: Final = 11
"""bean-check is one of them."""
STATEMENTS: Final = "{}-statements"
REPORT, BANK = "stripe-itemized.csv", "bank.csv"


def calendar(*, with_chain: bool) -> list[Day]:
    """The days that are lived through."""
    return [day for day in CALENDAR if with_chain or not day.on_chain]


def steps(*, with_chain: bool) -> int:
    """How many steps there are."""
    return len(calendar(with_chain=with_chain)) + CLOSING_STEPS - (closing.why_no_auditor() is not None)


def walk(world: World, teller: Teller, *, without_chain: str | None) -> Path:
    """The whole month; the folder of its export. Raises `Failed` at the first step that finds what it should not."""
    with new_people(world, *NAMES) as (people, connections):
        scene = Scene(people, connections, [])
        for day in calendar(with_chain=without_chain is None):
            with teller.step(f"{_written(world.period.first_day.replace(day=day.day))}: {day.title}") as step:
                world.go_to(day.day)
                day.act(scene, step)
        if without_chain is not None:
            teller.not_run("x402.exact.usdc, where wallets pay the treasury", without_chain)
        _reconcile(scene, teller)
        return _close(scene, teller)


def _reconcile(scene: Scene, teller: Teller) -> None:
    world = scene.people.world
    last = world.period.last_day
    with teller.step(f"{_written(last)}, evening: reconciliation") as step:
        world.go_to(last.day, hour=20)
        report, bank = outsiders.stripe_report(world), outsiders.bank_statement(world, scene.payouts)
        _keep(world, {REPORT: report, BANK: bank})
        told = reconciling.reconcile(world, (keeping.STRIPE_ITEMIZED, REPORT, report), (keeping.BANK, BANK, bank))
        reconciling.tell(told, step)
        ids = reconciling.require_exactly(told, reconciling.injected(scene))
        step.say("injected", f"{len(ids)} faults, and exactly these were found")
    with teller.step("Each exception is decided, with a reason") as step:
        reconciling.settle(scene, ids, step)


def _written(day: date) -> str:
    return f"{day.day} {day:%B}"


def _keep(world: World, contents: dict[str, bytes]) -> None:
    """The statements stand beside the export, so that they can be looked at."""
    folder = closing.EXPORTS / STATEMENTS.format(world.period.name)
    closing.make(folder)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _close(scene: Scene, teller: Teller) -> Path:
    world = scene.people.world
    period = world.period
    with teller.step("A refund before midnight, of which no letter comes") as step:
        scene.late = outsiders.refunded_late(scene.people, "Aurora", "last")
        step.say("in Stripe's Dashboard", "1.00 of Aurora's last 5.00, which nobody here hears of")
    with teller.step(f"{_written(period.next.first_day)}: the month is over, and reconciled once more") as step:
        world.go_to(period.last_day.day + 1, hour=2)
        told = reconciling.reconcile(world)
        reconciling.tell(told, step)
        ids = reconciling.require_exactly(told, reconciling.still(scene))
        reconciling.acknowledge_late(scene, ids, step)
        # Once more, so that the export tells what was decided.
        reconciling.require_exactly(reconciling.reconcile(world), reconciling.still(scene))
    with teller.step("The close") as step:
        sealed = closing.close(world, period, step)
    with teller.step("The export of the month, under its seal") as step:
        folder, written = closing.export(world, period)
        for one in written:
            step.say(one.name, f"{one.counted.rows} rows, {one.size:,} bytes")
        expect(closing.manifest(folder)["watermark"]["digest"], sealed.seal.hex(), "the manifest's digest")
        step.say("in", f"{folder}/")
    _audited(folder, teller)
    with teller.step("A receipt is checked without asking anybody") as step:
        receipt, key_id = closing.receipt(scene.people, "Cassini", "first")
        step.say(
            receipt["receipt_id"], f"{receipt['amount_cents'] / 100:.2f} USD, tax {receipt['tax_cents'] / 100:.2f}"
        )
        step.say("signed by", f"key {key_id}; it holds")
    with teller.step("Deferred revenue: what became of sold credits") as step:
        closing.roll_forward(folder, {one.organization_id: name for name, one in scene.people.customers.items()}, step)
    with teller.step("The trial balance over all books") as step:
        closing.trial_balance(folder, step)
    with teller.step("The letters come late: what is closed stays so") as step:
        _late(scene, folder, step)
    return folder


def _audited(folder: Path, teller: Teller) -> None:
    reason = closing.why_no_auditor()
    if reason is not None:
        teller.not_run("bean-check", reason)
        return
    with teller.step("bean-check, an auditor that knows nothing of us") as step:
        step.say("$", f"bean-check {folder / closing.LEDGER}")
        step.say("bean-check", closing.audit(folder))


def _late(scene: Scene, folder: Path, step: Step) -> None:
    world = scene.people.world
    before = closing.hashes(folder)
    outsiders.letters_come(world)
    late = closing.newest_claw_back(world)
    told = reconciling.require_exactly(reconciling.reconcile(world), reconciling.still(scene, late_came=True))
    step.say("its exception", f"is gone; {len(told)} stand")
    step.say("it happened", f"{late.event_at:%Y-%m-%d %H:%M} UTC")
    step.say("it is accounted for on", expect(late.accounting_date, world.period.next.first_day, "accounting date"))
    closing.export(world, world.period)
    expect(closing.hashes(folder), before, "the files of the closed month")
    step.say("exported again", f"{len(before)} files, byte for byte the same")
