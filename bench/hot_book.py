"""One hot book, 64 clients: `python -m bench.hot_book`. Everybody spends from one book, or pays into one account."""

from __future__ import annotations

from typing import Final

from bench.contenders.naive import Naive
from bench.contenders.ours import AMOUNT_MAX, Ours
from bench.contenders.pgledger import Pgledger
from bench.measuring.claims import ratio
from bench.measuring.load import amounts
from bench.measuring.race import race, settle, turn
from bench.measuring.report import Findings
from bench.measuring.running import Options, Row, main
from bench.measuring.stage import Stage

CLIENTS: Final = 64
PAYERS: Final = 1_000


async def measure(stage: Stage, options: Options) -> Findings:
    """Ours, pgledger with any payer and one payee, and one transaction a request."""
    ours = await Ours.open(stage, books_=1)
    theirs = await Pgledger.open(stage, accounts=PAYERS + 1, path=options.pgledger)
    naive = await Naive.open(stage, books=1)
    amount = amounts(AMOUNT_MAX)
    turns = [
        turn(ours, lambda: ours.spend(0, amount()), options, clients=CLIENTS),
        turn(theirs, theirs.into_first, options, clients=CLIENTS),
        turn(naive, lambda: naive.spend(0, amount()), options, clients=CLIENTS),
    ]
    found = await race(turns, options)
    claims = [ratio(f"{ours.name} / {theirs.name}", found[0], found[1], first=20, second=30)]
    return Findings(found, claims, await settle(ours, theirs, naive), [ours.meter.told()])


ROW = Row("hot_book", "One hot book, 64 clients", measure)

if __name__ == "__main__":
    main(ROW)
