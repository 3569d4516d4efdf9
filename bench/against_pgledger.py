"""What the rows with 50 and with 10 books share: pgledger's `performance_check`, and spends by as many workers.

Theirs is a transfer between two of the accounts, ours a spend in one of as many books: one row of balances that is
locked instead of two, and an idempotency key, lots and a hash chain that theirs has not.
"""

from __future__ import annotations

from typing import Final

from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.contenders.pgledger import Pgledger
from bench.measuring.claims import ratio
from bench.measuring.load import amounts, uniform
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options
from bench.measuring.stage import Stage

WORKERS: Final = 20


async def measure(stage: Stage, options: Options, *, books: int, first: float, second: float) -> Findings:
    """Both, in turn."""
    ours = await Ours.open(stage, books_=books)
    theirs = await Pgledger.open(stage, accounts=books, path=options.pgledger)
    pick, amount = uniform(books), amounts(AMOUNT_MAX)
    turns = [
        turn(ours, lambda: ours.spend(pick(), amount()), options, clients=WORKERS),
        turn(theirs, theirs.between_any, options, clients=WORKERS),
    ]
    found = await race(turns, options)
    claims = [ratio(f"{ours.name} / {theirs.name}", *found, first=first, second=second)]
    return Findings(found, claims, await settle(ours, theirs), [ours.meter.told()])
