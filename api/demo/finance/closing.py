"""The month is closed, exported and audited, with the functions behind `purser close` and `purser export`."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import subprocess
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from api import account_map
from api.command_line import books
from api.demo.agent import expect
from api.demo.finance.customers import People
from api.demo.finance.world import World
from api.demo.telling import Failed, Step
from api.postgres.connection import ask
from api.running.children import environment, module
from api.wiring import House
from billing.database import snapshot
from billing.operator_actions import COMMAND_LINE
from finance.closing import obstacles, sealing
from finance.closing.sealing import Sealed
from finance.exporting import files, marks, writing
from finance.exporting.manifest import Written
from finance.exporting.reading import reading
from finance.periods import Period
from finance.receipt_signing import Unverified, public_key, verified

KEPT: Final = Path(".purser")
EXPORTS: Final = KEPT / "exports"
LEDGER: Final = "ledger.beancount"
AUDITOR: Final = "beancount.scripts.check"
AUDIT_TIMEOUT_S: Final = 120.0
_MOVEMENTS: Final = ("opening", "sold", "consumed", "expired", "refunded", "disputed", "adjusted", "closing")
_ADDED: Final = {"opening", "sold", "adjusted", "closing"}
Row = dict[str, str]

_CLAW_BACK: Final = """
    SELECT event_at, accounting_date FROM ledger.operations WHERE kind = 'claw_back' ORDER BY posted_at DESC LIMIT 1"""


class Late(NamedTuple):
    """When something happened, and the day on which it stands in the books."""

    event_at: datetime
    accounting_date: date


def close(world: World, period: Period, step: Step) -> Sealed:
    """What `purser close` does: everything is verified, nothing is in the way, every book is closed and sealed."""

    async def closed(house: House) -> Sealed:
        verified = await books.verify(house, None)
        if verified.mismatches or verified.problems:
            raise Failed(f"the books are not clean: {[*verified.mismatches, *verified.problems]}")
        step.say("verified", f"{verified.count} books: journal, balances, lots, hash chain, proofs, revenue")
        async with snapshot(house.sessions) as session:
            in_the_way = await obstacles.standing(session, period)
        expect([f"{one.count} {one.name}" for one in in_the_way], [], "in the way")
        step.say("in the way", "nothing")
        return await sealing.close(
            house.sessions,
            period,
            by=COMMAND_LINE,
            reason="the month is over",
            now=house.clock(),
            progress=lambda _: None,
        )

    sealed = world.service.do(closed)
    step.say("closed", f"{sealed.books} books of {period.name}")
    step.say("seal", sealed.seal.hex())
    return sealed


def export(world: World, period: Period) -> tuple[Path, list[Written]]:
    """What `purser export --to` does: all files of the month with their manifest, in a folder named as the month."""
    folder = EXPORTS / period.name
    make(folder)

    async def exported(house: House) -> list[Written]:
        marked = await marks.make(house.sessions, period, by=COMMAND_LINE, reason="demo", now=house.clock())
        wanted = files.files(account_map.all_maps(house.account_map))
        async with reading(house.sessions, marked) as of:
            return await writing.into_folder(of, wanted.values(), folder, lambda _, __: None, force=True)

    return folder, world.service.do(exported)


def make(folder: Path) -> None:
    """A folder below `KEPT`, which is made as `purser serve` makes it."""
    KEPT.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of an export."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def newest_claw_back(world: World) -> Late:
    """The last time that credits were taken back."""
    [row] = ask(world.clocks.owner_url, _CLAW_BACK)
    return Late(*row)


def why_no_auditor() -> str | None:
    """Why the export cannot be audited; none when it can."""
    if importlib.util.find_spec("beancount") is None:
        return "beancount is not installed; it comes with the tests' extras"
    return None


def audit(folder: Path) -> str:
    """What `bean-check` of beancount says, a program that knows nothing of us. Raises `Failed` with what it found."""
    ended = subprocess.run(  # noqa: S603 - an installed module
        module(AUDITOR, str(folder / LEDGER)), env=environment(), timeout=AUDIT_TIMEOUT_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode != 0 or ended.stderr.strip():
        raise Failed(f"bean-check found something in {folder / LEDGER}:\n{ended.stdout}{ended.stderr}")
    text = (folder / LEDGER).read_text(encoding="utf-8")
    count = {word: text.count(f" {word} ") for word in ("open", "balance")}
    return f"no errors: {count['open']} accounts, {count['balance']} balances asserted"


def receipt(people: People, name: str, called: str) -> tuple[Any, str]:
    """The receipt of a payment, as anybody checks it: with the public keys alone; and which key has signed it."""
    agent, attempt = people[name].agent, people[name].payments[called]["payment_attempt_id"]
    bought = agent.get("/v1/credit-purchases/status", payment_attempt_id=attempt)["receipt"]
    document = agent.get(f"/v1/receipts/{bought['receipt_id']}")
    keys = [public_key(one["public_key"]) for one in agent.get("/v1/receipt-keys")["keys"]]
    try:
        stated = verified(json.dumps(document).encode(), keys)
    except Unverified as reason:
        raise Failed(f"the receipt does not hold: {reason}") from reason
    return stated, str(document["signature"]["key_id"])


def rows_of(folder: Path, name: str) -> list[Row]:
    """The rows of a CSV file of the export."""
    with (folder / name).open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def roll_forward(folder: Path, names: dict[str, str], step: Step) -> None:
    """The table of what became of sold credits, as exported; `names` by organization. Raises `Failed` if it is off."""
    step.show(f"{'':<10}" + "".join(f"{name:>10}" for name in _MOVEMENTS))
    for row in rows_of(folder, "roll-forward.csv"):
        cents = {name: int(row[f"{name}_cents"]) * (1 if name in _ADDED else -1) for name in _MOVEMENTS}
        moved = sum(cents.values()) - cents["closing"]
        expect(moved, cents["closing"], f"the closing of {row['organization_id']}")
        whose = names.get(row["organization_id"], row["organization_id"])
        step.show(f"{whose:<10}" + "".join(f"{cents[name] / 100:>10.2f}" for name in _MOVEMENTS))


def trial_balance(folder: Path, step: Step) -> None:
    """The trial balance over all books, as exported. Raises `Failed` when it says else than the roll-forward."""
    rows = rows_of(folder, "trial-balance.csv")
    step.show(f"{'account':<28}{'':<7}{'debits':>16}{'credits':>16}{'closing':>16}")
    for row in rows:
        amounts = "".join(f"{row[f'{name}_decimal']:>16}" for name in ("debits", "credits", "closing"))
        step.show(f"{row['account']:<28}{row['currency']:<7}{amounts}")
    [deferred] = [row for row in rows if row["account"] == "deferred_revenue"]
    total = rows_of(folder, "roll-forward.csv")[-1]
    expect(-int(deferred["closing"]), int(total["closing_cents"]), "deferred revenue")


def manifest(folder: Path) -> Any:
    """What the manifest says."""
    return json.loads((folder / files.MANIFEST).read_text(encoding="utf-8"))
