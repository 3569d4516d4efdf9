"""`purser demo-finance`: a month of seeded business is reconciled, closed, exported and audited.

world.py        everything that takes part: service, database, pretend Stripe, perhaps a chain
shifting.py     one time for all of them, put forward a month in a minute
serving.py      the service, in this process, on that time
customers.py    who does business, over HTTP
business.py     what happens on which day                                   <- begin here
outsiders.py    what others do and say: Stripe, banks, card holders, strangers; the faults are put in there
reconciling.py  that exactly these faults are found, and what is decided of them
closing.py      close, export, bean-check, and the tables that are printed from the exported files
journey.py      the steps, in order
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from api.command_line.console import console
from api.demo.finance import closing, journey
from api.demo.finance.serving import LOG
from api.demo.finance.world import new_world
from api.demo.fresh_service import LOG_LINES
from api.demo.telling import Failed, Teller
from api.running import local_chain

_OPENING: Final = (
    "[bold]Purser closes a month.[/] Customers buy, spend, are refunded and dispute; then the books are\n"
    "reconciled with Stripe, the bank and the chain, closed, exported and audited.\n"
    "Real HTTP, a real PostgreSQL, a pretend Stripe, and one clock for all of them: next month passes in a minute.\n"
)


def run() -> int:
    """Run it and tell it; 0 when every step found what it should, else 1 after the end of the service's log."""
    began, out = time.monotonic(), console()
    without_chain = local_chain.why_not()
    teller = Teller(steps=journey.steps(with_chain=without_chain is None))
    out.print(_OPENING)
    with new_world(with_chain=without_chain is None) as (world, folder):
        try:
            exported = journey.walk(world, teller, without_chain=without_chain)
        except Failed as failure:
            teller.failure(str(failure), _log_tail(folder))
            return 1
    _tell_end(exported, time.monotonic() - began)
    return 0


def _log_tail(folder: Path) -> list[str]:
    return (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]


def _tell_end(exported: Path, took_s: float) -> None:
    out = console()
    out.print(f"\n[bold green]Done in {took_s:.1f} s.[/] The service and its data are gone again; the export stays:\n")
    for what, where in (
        ("the closed month", f"{exported}/"),
        ("what Stripe and the bank said", f"{closing.EXPORTS / journey.STATEMENTS.format(exported.name)}/"),
        ("what all of it means", "docs/finance.md"),
    ):
        out.print(f"  {what:<32}[bold]{where}[/]", soft_wrap=True)
